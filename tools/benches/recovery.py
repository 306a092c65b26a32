"""Every part of the device killed, hung and looping: how long until it measures again, what it
says of the cause, what became of the counters.

The unchanged firmware runs in the simulator. A boot.py of ours adds the fault: it takes the first
line of /faults, "part kind", and lets it happen inside that part's own task at a sign of life,
not before /waits is gone.
"""

from __future__ import annotations

import asyncio
import json
import socket
import tempfile
import time
from binascii import crc32
from collections.abc import Awaitable
from dataclasses import dataclass
from pathlib import Path
from struct import pack, unpack
from typing import Any

from rich.console import Console

from sim.air import BUILDING
from sim.message import Message
from sim.options import parse
from sim.ports import free_port
from tools.benches.device import Silent, _beside
from tools.benches.report import Report
from tools.simulate import Simulation

ROOT = Path(__file__).resolve().parents[2]
SEQ = 4711  # of the counters a device of ours starts with

PATCH = """
def _fault():
    import os, sys, time

    try:
        with open("/faults") as file:
            lines = file.read().strip().split("\\n")
    except OSError:
        return
    os.remove("/faults")
    if len(lines) > 1:
        with open("/faults", "w") as file:
            file.write("\\n".join(lines[1:]))
    if not lines[0]:
        return
    part, kind, after_ms, watchdog_ms, forgiven = lines[0].split()

    import machine
    from device import boots, supervisor

    if forgiven == "1":
        boots.BootRecord().settled()  # else three of them are a loop
    del sys.modules["device.boots"], boots
    scale = int(watchdog_ms) / 15000
    watchdog = machine.WDT
    machine.WDT = lambda timeout: watchdog(timeout=int(timeout * scale))
    supervise = supervisor.Supervisor
    hoard = []
    ready = []

    def due():
        if time.ticks_ms() <= int(after_ms):
            return False
        try:
            os.stat("/waits")
        except OSError:
            return True
        return False

    def act():
        if kind == "fills":
            with open("/filler", "wb") as file:
                try:
                    size = 2048
                    while size:
                        try:
                            file.write(bytes(size))
                        except OSError:
                            size //= 2
                except MemoryError:
                    pass
            print("fault", part, kind)
            raise RuntimeError("on purpose")
        print("fault", part, kind)
        if kind == "killed":
            raise RuntimeError("on purpose")
        if kind == "hung":
            time.sleep_ms(10000000)
        while kind == "looping":
            pass
        if kind == "hoards":
            try:
                while True:
                    hoard.append(bytearray(64))
            except MemoryError:
                pass

    def once():
        if not ready and due():
            ready.append(1)
            act()
        return ready

    if part == "supervisor":
        step = supervise.step

        def stepping(self):
            once()
            return step(self)

        supervise.step = stepping
    elif part == "uplink":
        from connectivity.clock import Clock

        clock_due = Clock.due

        def asked(self):
            once()
            return clock_due(self)

        Clock.due = asked
    else:
        beat = supervise.beat

        def beating(self, name, limit_ms):
            real = beat(self, name, limit_ms)
            if name != part:
                return real

            class Faulty:
                worst_ms = 0
                def __call__(self):
                    if not (once() and kind == "silent"):
                        real()
            return Faulty()

        supervise.beat = beating


_fault()
del _fault
"""


@dataclass
class Suffering:
    """What one fault led to. Times in s; back_s: from the fault to the next measurement."""

    part: str
    kind: str
    reset_s: float = 0
    back_s: float = 0
    cause: str = ""
    told: str = ""
    boots: int = 0
    seq: int = 0


class Recovery(Simulation):
    """A device that is installed and has counted, and suffers what /faults says."""

    def __init__(self, folder: Path, *more: str) -> None:
        options = parse(
            [
                "--json",
                "--no-provision",
                *more,
                f"--portal={free_port()}",
                f"--dns={free_port(socket.SOCK_DGRAM)}",
                f"--control={free_port()}",
            ]
        )
        folder.mkdir(parents=True, exist_ok=True)
        prepare(folder)
        super().__init__(options, None, folder)
        boot = (ROOT / "firmware" / "boot.py").read_text()
        self.device._files = {"boot.py": boot + PATCH}
        self.device._on_console = self._console
        self.folder = folder
        self.heard: list[tuple[float, str, Any]] = []
        self.words: list[str] = []
        self.view = Silent(self.words)  # type: ignore[assignment]
        self.struck: list[float] = []

    def plan(
        self,
        faults: list[tuple[str, str]],
        after_ms: int = 5000,
        watchdog_ms: int = 15000,
        forgiven: bool = True,
    ) -> None:
        """One fault for each start of the device. forgiven: no three of them are a crash loop."""
        lines = [f"{a} {b} {after_ms} {watchdog_ms} {int(forgiven)}" for a, b in faults]
        (self.folder / "faults").write_text("\n".join(lines))

    def _console(self, line: str) -> None:
        if line.startswith("fault "):
            self.struck.append(time.monotonic())
        self.words.append(line)

    def _message(self, message: Message) -> None:
        self.story.message(message)
        self.heard.append((time.monotonic(), message.topic.rpartition("/")[2], message.payload))

    async def until(self, wanted: Any, seconds: float, what: str) -> Any:
        deadline = time.monotonic() + seconds
        while not (found := wanted()):
            if time.monotonic() > deadline:
                raise TimeoutError(f"no {what}; the device said: {self.words[-12:]}")
            await asyncio.sleep(0.02)
        return found

    def since(self, at: float, topic: str) -> list[tuple[float, Any]]:
        return [(t, payload) for t, name, payload in self.heard if t > at and name == topic]

    async def suffer(self, fault: tuple[str, str], number: int, patience: float) -> Suffering:
        """Waits for the `number`th fault and for what follows; the next one waits meanwhile."""
        outcome = Suffering(*fault)
        await self.until(lambda: len(self.struck) > number, 60, f"fault {fault}")
        (self.folder / "waits").touch()
        at = self.struck[number]

        def reset() -> list[float]:
            return [e["at"] for e in self.device.events if e["ev"] == "reset" and e["at"] > at]

        outcome.reset_s = (await self.until(reset, patience, "restart"))[0] - at
        restarted = at + outcome.reset_s

        def back() -> list[tuple[float, Any]]:
            return self.since(restarted + 0.2, "measurement")

        outcome.back_s = (await self.until(back, 60, "measurement"))[0][0] - at
        info = await self.until(lambda: self.since(restarted, "info"), 60, "info")
        outcome.cause = info[0][1]["reset_cause"]
        outcome.boots = info[0][1]["boot_count"]
        events = await self.until(
            lambda: [p for _, p in self.since(restarted, "event") if p["kind"] == "crash"],
            60,
            "event",
        )
        outcome.told = events[0]["words"]
        outcome.seq = counted(self.folder)
        (self.folder / "waits").unlink()
        return outcome


def prepare(folder: Path) -> None:
    """Settings of the building, and counters of a long life."""
    network = {"wifi_ssid": BUILDING.ssid, "wifi_password": BUILDING.password}
    body = json.dumps(network).encode()
    (folder / "settings").write_bytes(b"%08x\n" % crc32(body) + body)
    (folder / "energy").mkdir(exist_ok=True)
    body = pack("<4sI8Q", b"AGE1", SEQ, *(1_000_000 * n for n in range(1, 9)))
    (folder / "energy" / "a").write_bytes(body + pack("<I", crc32(body)))


def counted(folder: Path) -> int:
    """The newest whole count on flash; 0 if none is, or if one ran backwards."""
    best = 0
    for name in ("a", "b"):
        path = folder / "energy" / name
        data = path.read_bytes() if path.exists() else b""
        if len(data) == 76 and crc32(data[:-4]) == unpack("<I", data[-4:])[0]:
            fields = unpack("<4sI8Q", data[:-4])
            if all(count >= 1_000_000 * n for n, count in enumerate(fields[2:], 1)):
                best = max(best, fields[1])
    return best


def faults() -> list[tuple[str, str, float]]:
    """(part, kind, patience in s): all of them."""
    tasks = ("meter", "link", "portal", "panel", "service", "supervisor")
    found: list[tuple[str, str, float]] = []
    for kind, patience in (("killed", 10.0), ("hung", 30.0), ("looping", 30.0)):
        found += [(part, kind, patience) for part in tasks]
    found += [(part, "silent", 30.0) for part in ("meter", "link", "portal", "panel")]
    found += [("uplink", "killed", 10.0), ("uplink", "hung", 150.0), ("uplink", "looping", 150.0)]
    found += [("panel", "hoards", 60.0), ("panel", "fills", 10.0)]
    return found


async def strike(chosen: list[tuple[str, str, float]]) -> list[Suffering]:
    """One device, one fault after another."""
    outcomes: list[Suffering] = []

    async def work(device: Recovery) -> None:
        for number, (part, kind, patience) in enumerate(chosen):
            outcomes.append(await device.suffer((part, kind), number, patience))
            (device.folder / "filler").unlink(missing_ok=True)

    with tempfile.TemporaryDirectory(prefix="ampguard-recovery-") as folder:
        device = Recovery(Path(folder) / "flash")
        device.plan([(part, kind) for part, kind, _ in chosen])
        await beside(device, work(device))
    return outcomes


async def beside(device: Recovery, work: Awaitable[None]) -> None:
    """Runs the device as long as the work on it takes."""
    await _beside(device.run(), work, device)  # type: ignore[arg-type]


def report(console: Console, quick: bool) -> None:
    page = Report("recovery", "Every part killed, hung and looping", console)
    chosen = faults()[::6] if quick else faults()
    outcomes = asyncio.run(strike(chosen))
    page.table(
        "Recovery",
        ["part", "fault", "restart after, s", "measures again after, s", "`reset_cause`",
         "the event says", "counters"],
        [
            [o.part, o.kind, f"{o.reset_s:.1f}", f"{o.back_s:.1f}", o.cause, o.told,
             "intact" if o.seq >= SEQ else "LOST"]
            for o in outcomes
        ],
    )  # fmt: skip
    page.save()
