"""A simulated board on a pty, and the tools that people use on real ones.

with bench(image, tmp_path) as on: the board is powered; `await on.flash("--check")` runs
tools/flash.py on it, `await on.mpremote("fs", "ls")` the real mpremote.
"""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from conftest import SteadyPlant

from sim.air import Air
from sim.device import SimulatedDevice
from sim.image import Image
from sim.serial_port import SerialPort

ROOT = Path(__file__).resolve().parent.parent
TIMEOUT_S = 180

Said = tuple[int, str]  # exit code, everything said


async def run(*command: str) -> Said:
    process = await asyncio.create_subprocess_exec(
        *command, stdin=-3, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    try:
        async with asyncio.timeout(TIMEOUT_S):
            said, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    assert process.returncode is not None
    return process.returncode, said.decode()


async def start_flash(port: Path | str, *options: str) -> asyncio.subprocess.Process:
    """tools/flash.py, running."""
    command = [str(ROOT / "tools" / "flash.py"), "--port", str(port), *options]
    return await asyncio.create_subprocess_exec(
        *(sys.executable, *command),
        stdin=-3,
        stderr=-3,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # if we ignore it
    )


async def flash(port: Path | str, *options: str) -> Said:
    """tools/flash.py, as a person calls it."""
    return await run(
        sys.executable, str(ROOT / "tools" / "flash.py"), "--port", str(port), *options
    )


class Bench:
    """One board; `firmware`: laid out already, else it has the image alone."""

    def __init__(
        self,
        built: Image,
        folder: Path,
        /,
        *,
        firmware: bool = False,
        files: dict[str, str] | None = None,
        **board: Any,
    ) -> None:
        self.port = folder / "tty"
        self.files = folder / "flash"
        self._serial = SerialPort(self.port)
        self.device = SimulatedDevice(
            self.files,
            Air(),
            SteadyPlant(),
            heap="200wk",
            image=built,
            bare=not firmware,
            files=files,
            serial=self._serial,
            board=board,
        )

    async def __aenter__(self) -> "Bench":
        await self.device.start()
        await self.device.until("boot")
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.device.stop()
        self._serial.close()

    async def flash(self, *options: str) -> Said:
        return await flash(self.port, *options)

    async def mpremote(self, *words: str) -> Said:
        mpremote = str(Path(sys.executable).with_name("mpremote"))
        return await run(mpremote, "connect", str(self.port), *words)

    @contextlib.asynccontextmanager
    async def over_tcp(self) -> AsyncIterator[str]:
        """The board's port behind a serial server; yields its socket:// address."""

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            tty = os.open(self.port, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
            loop = asyncio.get_running_loop()
            loop.add_reader(tty, lambda: writer.write(os.read(tty, 4096)))
            while data := await reader.read(4096):
                os.write(tty, data)
            loop.remove_reader(tty)
            os.close(tty)
            writer.close()

        async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
            yield f"socket://127.0.0.1:{server.sockets[0].getsockname()[1]}"

    def events(self, name: str) -> list[dict[str, Any]]:
        return [event for event in self.device.events if event["ev"] == name]
