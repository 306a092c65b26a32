"""The simulated board: the firmware in a MicroPython VM, with mains, air and flash around it.

    device = SimulatedDevice(flash, air, plant, on_event=..., on_console=...)
    await device.start()          # power on
    device.plant_changed()        # after plant.set(...): the ADC sees it within milliseconds
    await device.cut()            # power fails, mid-instruction
    await device.start(); await device.stop()

Events are dicts with "ev" (see sim/board: boot, ap, sta, lan, listen, pin, wdt, fed, second, rtc,
crash, interrupted, repl, reset, cut) and "at", seconds on the host's monotonic clock; the host
adds "power" (on, off) and "standins". A reset the firmware asks for, or that its watchdog forces,
starts the VM again with the cause; a VM that ends any other way is an event "died".
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import json
import os
import re
import resource
import shutil
import signal
import socket
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from shipping.renaming import explained
from sim.air import Air
from sim.image import Image, ImageError, build, default_vm
from sim.ports import free_port
from sim.serial_port import SerialPort

Event = dict[str, Any]

PWRON_RESET, HARD_RESET, WDT_RESET, _DEEPSLEEP_RESET, SOFT_RESET = 1, 2, 3, 4, 5

_SPARE_BYTES = 4096  # what the stand-ins use for a moment: an event's text, a lookup's line
_BOOT_S = 0.3  # from reset to the image running
_PLANT_BYTES = 65536
_measured: dict[tuple[Path, int, Any, bool], int] = {}  # what stand-ins hold, by image and plant
_FED_EVERY_S = 0.3  # a stand-in tells of a fed watchdog at least this often


class Plant(Protocol):
    """What makes plant.bin; sim.plant.Plant is one."""

    def render(self) -> bytes: ...


def heap_bytes(heap: str, word_bytes: int) -> int:
    """The VM's -X heapsize notation ("100wk": 100 k of 32-bit words' worth) in bytes."""
    match = re.fullmatch(r"(\d+)(w?)([km]?)", heap.lower())
    if not match:
        raise ValueError(f"heap: expected a number like 100wk, 160k or 1m, got {heap!r}")
    size = int(match[1]) * {"": 1, "k": 1024, "m": 1024 * 1024}[match[3]]
    return size * word_bytes // 4 if match[2] else size


class SimulatedDevice:
    """One board; see the head of this file."""

    def __init__(  # noqa: PLR0917 (the six parts of a board)
        self,
        flash: Path,
        air: Air,
        plant: Plant,
        vm: Path | None = None,
        heap: str = "100wk",
        lib: Path | None = None,
        portal_port: int = 0,
        dns_port: int = 0,
        on_event: Callable[[Event], None] | None = None,
        on_console: Callable[[str], None] | None = None,
        *,
        image: Image | None = None,
        factory: dict[str, Any] | None = None,
        files: dict[str, str] | None = None,
        bare: bool = False,
        serial: SerialPort | None = None,
        board: dict[str, Any] | None = None,
    ) -> None:
        """flash: the folder that is the board's file system; the firmware is laid out in it at
        the first start, `files` (path: source, with the names of the repository's) over it at
        each, e.g. a main.py of one's own. bare: nothing is laid out, the board has what somebody
        flashes through `serial`, its serial port.

        board: further words for the stand-ins, e.g. {"chip": "esp32s3", "mac": "3c8a1f5e2b40",
        "image": "1.23.0", "cut_at_write": 7, "flash_size": 2097152, "conversion_us": 35,
        "live_heap": True (garbage is collected before each look at the heap),
        "chip_file": "lfs.bin" (the flash is this file, with LittleFS; the folder is not used),
        "erase_us": 45000, "program_us": 700 (the time a chip takes), "tell_erases": True}.
        cut_at_write holds for one power-on.
        """
        self.flash, self.air, self.plant = flash.resolve(), air, plant
        self.portal_port = portal_port or free_port()
        self.dns_port = dns_port or free_port(socket.SOCK_DGRAM)
        self.board = dict(board or {})
        self.events: list[Event] = []
        self.console: list[str] = []
        self.standin_bytes = 0
        self._vm, self._heap, self._lib = vm or default_vm(), heap, lib
        self._image, self._factory, self._files = image, factory, files or {}
        self._bare, self._serial = bare, serial
        self._laid_out = False
        self._on_event, self._on_console = on_event, on_console
        self._run: Path | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._news = asyncio.Event()
        self._reset: int | None = None
        self._wdt_s = 0.0
        self._fed = 0.0
        self._rtc: tuple[float, int] | None = None
        self._rtc_memory = ""
        self._capacity = 0

    # --- power -----------------------------------------------------------------------------

    async def start(self) -> None:
        """Power on. ImageError if the firmware does not compile or the VM is none."""
        if self._keeper:
            return
        if self._image is None:
            self._image = await asyncio.to_thread(build, self._vm, self._lib)
        self.flash.mkdir(parents=True, exist_ok=True)
        if not self._bare and not self._laid_out:
            self._image.flash(self.flash, self._factory)
            self._laid_out = True
        for name, text in self._files.items():
            (self.flash / name).parent.mkdir(parents=True, exist_ok=True)
            code = name.endswith(".py")
            (self.flash / name).write_text(self._image.translated(text) if code else text)
        self._run = Path(tempfile.mkdtemp(prefix="ampguard-board-"))
        self.air.attach(self._run)
        self._write_plant()
        chip_file = "chip_file" in self.board
        key = (self._image.folder, self._capacity, self.board.get("chip"), chip_file)
        if key not in _measured:
            _measured[key] = await self._measure()
        self.standin_bytes = _measured[key]
        self._say({"ev": "standins", "bytes": self.standin_bytes})
        self._rtc, self._rtc_memory = None, ""
        self._say({"ev": "power", "on": True})
        await self._launch(PWRON_RESET)
        self._keeper = asyncio.create_task(self._keep())

    async def cut(self) -> None:
        """The power fails now."""
        keeper, self._keeper = self._keeper, None
        if keeper:
            keeper.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await keeper
        await self._kill()
        self.air.detach()
        if self._run:
            shutil.rmtree(self._run, ignore_errors=True)
            self._run = None
            self._say({"ev": "power", "on": False})

    stop = cut

    def kill(self) -> None:
        """Ends the VM from outside an event loop, whatever state it is in."""
        if self._process and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
        if self._run:
            shutil.rmtree(self._run, ignore_errors=True)
            self._run = None

    async def __aenter__(self) -> SimulatedDevice:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    @property
    def powered(self) -> bool:
        return self._keeper is not None

    @property
    def pid(self) -> int | None:
        """The VM's process, while it runs."""
        return self._process.pid if self._process else None

    def plant_changed(self) -> None:
        """Renders the plant again and shows it to the ADC."""
        if self._run:
            self._write_plant()
            self.air.new_plant()

    # --- looking on ------------------------------------------------------------------------

    @property
    def heap(self) -> dict[str, int]:
        """Bytes of the firmware's heap: total, in_use (least seen in the last second: live data
        and young garbage) and peak (most seen, garbage included); standins on top."""
        seconds = [e for e in self.events if e["ev"] == "second"]
        last = seconds[-1] if seconds else {"total": 0, "in_use": 0}
        return {
            "standins": self.standin_bytes,
            "total": last["total"],
            "in_use": last["in_use"],
            "peak": max((e["peak"] for e in seconds), default=0),
        }

    async def until(
        self,
        wanted: Callable[[Event], bool] | str,
        timeout: float = 60,  # noqa: ASYNC109 (says in its error what the console says)
        since: int = 0,
    ) -> Event:
        """The first event from number `since` on that is wanted (by its name, or by asking)."""
        name = wanted
        ask = wanted if callable(wanted) else (lambda event: event["ev"] == name)
        seen = since
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                while True:
                    while seen < len(self.events):
                        seen += 1
                        if ask(self.events[seen - 1]):
                            return self.events[seen - 1]
                    if self.events and self.events[-1]["ev"] == "died":
                        break  # nothing more will come
                    self._news.clear()
                    await self._news.wait()
        tail = "\n".join(self.console[-30:])
        raise TimeoutError(f"no such event in {timeout} s; the console says:\n{tail}")

    # --- the VM ----------------------------------------------------------------------------

    def _write_plant(self) -> None:
        assert self._run
        data = self.plant.render()
        self._capacity = max(self._capacity, len(data), _PLANT_BYTES)
        new = self._run / "plant.new"
        new.write_bytes(data)
        os.replace(new, self._run / "plant.bin")

    def _config(self, cause: int, events: int) -> dict[str, Any]:
        assert self._run
        flash = str(self.flash)
        config: dict[str, Any] = {
            "events": events,
            "flash": flash,
            "nvs": flash.rstrip("/") + ".nvs",
            "air": str(self._run / "air.bin"),
            "world": str(self._run / "world.txt"),
            "plant": str(self._run / "plant.bin"),
            "plant_capacity": self._capacity,
            "ports": {"tcp 80": self.portal_port, "udp 53": self.dns_port},
            "reset_cause": cause,
            "standins": self.standin_bytes,
            "repl": self._serial is not None,
        } | self.board
        if self._serial and cause == SOFT_RESET:
            config["raw_repl"] = self._serial.raw
        if cause != PWRON_RESET:
            config["rtc_memory"] = self._rtc_memory
            if self._rtc:
                at, seconds = self._rtc
                config["rtc"] = seconds + int(time.monotonic() - at)
        return config

    async def _spawn(
        self, config: dict[str, Any], heap: int, write_end: int, line: int | None = None
    ) -> asyncio.subprocess.Process:
        assert self._run
        assert self._image
        path = self._run / "board.json"
        path.write_text(json.dumps(config))
        return await asyncio.create_subprocess_exec(
            str(self._image.vm.path),
            "-X",
            f"heapsize={heap}",
            *([] if line is None else ["-i"]),
            "-c",
            "import poweron",
            cwd=self._run,
            env={
                "MICROPYPATH": f"{self._image.standins}:.frozen",
                "AMPGUARD_BOARD": str(path),
                "TZ": "UTC",
                "HOME": str(self._run),
            },
            stdin=asyncio.subprocess.DEVNULL if line is None else line,
            stdout=asyncio.subprocess.PIPE if line is None else line,
            stderr=asyncio.subprocess.STDOUT,
            pass_fds=(write_end,),
            process_group=0,
            preexec_fn=_die_with_parent,
        )

    async def _measure(self) -> int:
        """What the stand-ins hold of a heap, found by a launch that runs nothing else."""
        read_end, write_end = os.pipe()
        config = self._config(PWRON_RESET, write_end) | {"measure": True, "standins": 0}
        process = await self._spawn(config, 4 * 1024 * 1024 + self._capacity, write_end)
        os.close(write_end)
        output, _ = await process.communicate()
        with os.fdopen(read_end, "rb") as pipe:
            for line in pipe:
                event = json.loads(line)
                if event["ev"] == "standins":
                    return int(event["bytes"]) + _SPARE_BYTES
        words = output.decode(errors="replace").strip().splitlines()
        raise ImageError(f"the stand-ins do not start: {words[-1] if words else 'no output'}")

    async def _launch(self, cause: int) -> None:
        assert self._image
        self._reset = None
        if cause != SOFT_RESET:  # the watchdog outlives it
            self._wdt_s = 0.0
            if self._serial:
                self._serial.raw = False
        heap = heap_bytes(self._heap, self._image.vm.word_bytes) + self.standin_bytes
        read_end, write_end = os.pipe()
        line = self._serial.new_line(cause == PWRON_RESET) if self._serial else None
        self.air.interrupts(0)
        process = await self._spawn(self._config(cause, write_end), heap, write_end, line)
        os.close(write_end)
        if line is not None:
            os.close(line)
        self.board.pop("cut_at_write", None)
        reader = asyncio.StreamReader(limit=1 << 20)
        await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(read_end, "rb", 0)
        )
        self._process = process
        self._tasks = [
            asyncio.create_task(self._read_events(reader)),
            asyncio.create_task(self._read_console(process)),
        ]

    async def _kill(self) -> None:
        if self._process:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            await self._process.wait()
            self._process = None
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []

    async def _keep(self) -> None:
        """Restarts the VM after a reset, and is the watchdog's hardware."""
        while True:
            assert self._process
            ended = asyncio.create_task(self._process.wait())
            while not ended.done():
                await asyncio.wait([ended], timeout=0.25)
                if self._starved() and not ended.done():
                    await asyncio.sleep(0.1)  # this process may have been the slow one
                    if self._starved():
                        self._say({"ev": "reset", "cause": WDT_RESET})
                        break
            await asyncio.wait([*self._tasks], timeout=0.5)  # what it said last
            cause, code = self._reset, self._process.returncode
            ended.cancel()
            await self._kill()
            if cause is None and self._serial and code is not None and code >= 0:  # REPL left
                cause = SOFT_RESET
                self._say({"ev": "reset", "cause": cause})
            if cause is None:
                self._say({"ev": "died", "code": code})
                return
            if self._serial and cause == SOFT_RESET:
                self._serial.soft_reboot()
            await asyncio.sleep(_BOOT_S)
            await self._launch(cause)

    def _starved(self) -> bool:
        return bool(self._wdt_s) and time.monotonic() - self._fed > self._wdt_s + _FED_EVERY_S

    def _say(self, event: Event) -> None:
        event["at"] = time.monotonic()
        self.events.append(event)
        match event["ev"]:
            case "reset":
                self._reset = event["cause"]
                if self._serial:
                    self._serial.resets()
            case "wdt":
                self._wdt_s = event["timeout"] / 1000
                self._fed = event["at"]
            case "fed":
                self._fed = event["at"]
            case "rtc":
                self._rtc = (event["at"], event["seconds"])
            case "rtc_memory":
                self._rtc_memory = event["data"]
            case "boot" if self._serial:
                self._serial.started()
            case "interrupted" if self._serial:
                self._serial.interrupted()
        self._news.set()
        if self._on_event:
            self._on_event(event)

    async def _read_events(self, reader: asyncio.StreamReader) -> None:
        while line := await reader.readline():
            # What the VM printed before this event is in its pipe by now: let that be read first.
            for _ in range(4):
                await asyncio.sleep(0)
            self._say(json.loads(line))

    async def _read_console(self, process: asyncio.subprocess.Process) -> None:
        if self._serial:
            await self._serial.serve(process.pid, self.air.interrupts, self._console_line)
        while process.stdout and (line := await process.stdout.readline()):
            self._console_line(line.decode(errors="replace").rstrip("\r\n"))

    def _console_line(self, text: str) -> None:
        text = explained(text, self._image.names if self._image else {})
        self.console.append(text)
        if self._on_console:
            self._on_console(text)


_libc = ctypes.CDLL(None)


def _die_with_parent() -> None:
    _libc.prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
