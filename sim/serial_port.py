"""The simulated board's serial port: the VM's REPL behind a pty that mpremote takes for hardware.

A person's side, open as long as the simulator runs: PTY_LINK, a symbolic link to a pty. The
board's side: a pty per life of the VM, its stdin and stdout. What lies between behaves like the
ESP32's UART and what ports/esp32/main.c does around the REPL that the VM shares with it
(shared/runtime/pyexec.c):

- what is sent while the board is off is lost, what it says while nobody listens too. What is sent
  while it restarts waits for it: a VM takes seconds on a busy machine, a board a third of one;
- Ctrl-C interrupts a running program, else it is a character;
- a soft reset prints "MPY: soft reboot" and, from the raw REPL, comes back in the raw REPL;
- a line feed arrives as CR LF.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import select
import signal
import tty
from collections.abc import Callable
from pathlib import Path

_CTRL_A, _CTRL_C = b"\x01", b"\x03"
_RAW_BANNER = b"raw REPL; CTRL-B to exit\r\n"
_BANNER = re.compile(rb"MicroPython [^\n]*\r\nType \"help\(\)\"[^\n]*\r\n(>>> \r\n)?")
_NOBODY_S = 0.05  # how often to look whether somebody listens again
_POLITE_S = 0.5  # for the program to notice Ctrl-C in a stand-in; then by a signal
_UNREAD_BYTES = 1 << 18


class SerialPort:
    """See the head of this file."""

    def __init__(self, link: Path) -> None:
        """`link` appears with the power; an older symbolic link of that name goes now."""
        self._person, slave = os.openpty()
        tty.setraw(slave)
        os.set_blocking(self._person, False)
        self.link, self._name = link, os.ttyname(slave)
        os.close(slave)
        if link.is_symlink():
            link.unlink()
        self.raw = False
        self._vm = -1
        self._unsent = bytearray()
        self._received: asyncio.Queue[bytes] = asyncio.Queue()
        self._heard = False
        self._early = bytearray()  # sent while the board starts
        self._hushed: bytes | None = None
        self._tail = b""
        self._after_cr = False
        self._line = bytearray()
        self._interrupted = asyncio.Event()
        self._interrupts = 0

    def close(self) -> None:
        with contextlib.suppress(OSError):
            if os.readlink(self.link) == self._name:
                self.link.unlink()
        os.close(self._person)

    # --- one life of the VM ----------------------------------------------------------------

    def new_line(self, power_on: bool) -> int:
        """The VM's end of a new line, to be closed once the VM has it. OSError if the link
        can't be made."""
        if not self.link.is_symlink():
            self.link.symlink_to(self._name)
        if power_on or self._nobody():
            self._forget()
            self._early.clear()
        while not self._received.empty():
            self._received.get_nowait()
        self._vm, slave = os.openpty()
        tty.setraw(slave)
        os.set_blocking(self._vm, False)
        self._heard, self._after_cr, self._interrupts = False, False, 0
        self._hushed = b"" if self.raw else None
        return slave

    def resets(self) -> None:
        """What is sent from now on is for the next life."""
        if self._heard:
            self._heard = False
            self._early.clear()

    def started(self) -> None:
        """The board runs boot.py: from now on it listens."""
        self._heard = True
        if self.raw:
            self._received.put_nowait(_CTRL_A)
        if self._early and not self._nobody():
            self._received.put_nowait(bytes(self._early))
        self._early.clear()

    def _forget(self) -> None:
        """What was sent and not read by then is lost."""
        with contextlib.suppress(OSError):
            while os.read(self._person, 4096):
                pass

    def interrupted(self) -> None:
        """The program has noticed."""
        self._interrupts = (self._interrupts + 1) % 256
        self._interrupted.set()

    async def serve(
        self, pid: int, interrupt: Callable[[int], None], say: Callable[[str], None]
    ) -> None:
        """Carries bytes until the VM `pid` has ended; `say` gets its console line by line, but
        for what is said in the raw REPL.

        `interrupt(number)`: the stand-ins stop the running program if it is another number.
        """
        loop = asyncio.get_running_loop()
        ended = asyncio.Event()

        def from_vm() -> None:
            try:
                data = os.read(self._vm, 4096)
            except BlockingIOError:
                return
            except OSError:  # EIO: the VM has gone
                data = b""
            if data:
                self._say(data, say)
            else:
                loop.remove_reader(self._vm)
                ended.set()

        loop.add_reader(self._vm, from_vm)
        tasks = [
            asyncio.create_task(self._listen()),
            asyncio.create_task(self._deliver(pid, interrupt)),
        ]
        try:
            await ended.wait()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            loop.remove_reader(self._vm)
            os.close(self._vm)

    def soft_reboot(self) -> None:
        """What the board says when a program or Ctrl-D asked for it."""
        self._send(b"MPY: soft reboot\r\n")

    # --- from the board --------------------------------------------------------------------

    def _say(self, data: bytes, say: Callable[[str], None]) -> None:
        after_cr, self._after_cr = self._after_cr, data.endswith(b"\r")
        data = re.sub(rb"(?<!\r)\n", b"\r\n", data)
        if after_cr and data.startswith(b"\r\n"):
            data = data[1:]
        if self._hushed is not None:
            data = self._without_banner(data)
        self._tail = (self._tail + data)[-256:]
        raw = self._tail.rfind(_RAW_BANNER)
        friendly = max((found.start() for found in _BANNER.finditer(self._tail)), default=-1)
        if raw != friendly:
            self.raw = raw > friendly
        self._send(data)
        if self.raw:  # what tools talk, no console
            self._line.clear()
            return
        self._line += data
        while b"\n" in self._line:
            line, _, rest = self._line.partition(b"\n")
            self._line = bytearray(rest)
            say(line.decode(errors="replace").strip("\r\x04"))

    def _without_banner(self, data: bytes) -> bytes:
        """The VM starts in the friendly REPL where the board stays in the raw one."""
        self._hushed = (self._hushed or b"") + data
        if _RAW_BANNER not in self._hushed:
            return b""
        data, self._hushed = _BANNER.sub(b"", self._hushed, count=1), None
        return data

    def _send(self, data: bytes) -> None:
        if self._nobody():
            self._unsent.clear()
            return
        if not self._unsent:
            asyncio.get_running_loop().call_soon(self._flush)
        if len(self._unsent) < _UNREAD_BYTES:
            self._unsent += data

    def _flush(self) -> None:
        try:
            while self._unsent:
                del self._unsent[: os.write(self._person, self._unsent)]
        except BlockingIOError:
            asyncio.get_running_loop().call_later(0.005, self._flush)
        except OSError:
            self._unsent.clear()

    def _nobody(self) -> bool:
        poll = select.poll()
        poll.register(self._person, 0)
        return any(flags & select.POLLHUP for _, flags in poll.poll(0))

    # --- to the board ----------------------------------------------------------------------

    async def _listen(self) -> None:
        loop = asyncio.get_running_loop()
        gone = asyncio.Event()

        def from_person() -> None:
            try:
                data = os.read(self._person, 4096)
            except BlockingIOError:
                return
            except OSError:  # EIO: closed
                data = b""
            if not data:
                loop.remove_reader(self._person)
                gone.set()
            elif self._heard:
                self._received.put_nowait(data)
            else:
                self._early += data

        try:
            while True:
                while self._nobody():  # noqa: ASYNC110 - nothing tells when a pty is opened
                    await asyncio.sleep(_NOBODY_S)
                gone.clear()
                loop.add_reader(self._person, from_person)
                await gone.wait()
        finally:
            loop.remove_reader(self._person)

    async def _deliver(self, pid: int, interrupt: Callable[[int], None]) -> None:
        while True:
            for piece in re.split(rb"(\x03)", await self._received.get()):
                if piece == _CTRL_C and _executing(pid):
                    await self._interrupt(pid, interrupt)
                else:
                    await self._type(piece)

    async def _type(self, data: bytes) -> None:
        while data:
            try:
                data = data[os.write(self._vm, data) :]
            except BlockingIOError:
                await asyncio.sleep(0.005)
            except OSError:
                return

    async def _interrupt(self, pid: int, interrupt: Callable[[int], None]) -> None:
        """The stand-ins raise KeyboardInterrupt between two of the program's steps, as the board
        does; a signal may hit the VM in the midst of anything, and is for programs that never
        call one."""
        self._interrupted.clear()
        interrupt((self._interrupts + 1) % 256)
        try:
            async with asyncio.timeout(_POLITE_S):
                await self._interrupted.wait()
        except TimeoutError:
            interrupt(self._interrupts)
            await _signal(pid)


def _executing(pid: int) -> bool:
    """Whether Python code runs in the VM: only then it catches SIGINT."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False
    match = re.search(r"^SigCgt:\s*([0-9a-f]+)", status, re.MULTILINE)
    return match is not None and bool(int(match[1], 16) >> (signal.SIGINT - 1) & 1)


def _stopped(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


async def _signal(pid: int) -> None:
    """SIGINT, if the VM catches it: it is held still while we look, else it could kill it."""
    with contextlib.suppress(OSError):
        os.kill(pid, signal.SIGSTOP)
        try:
            for _ in range(100):
                if _stopped(pid):
                    break
                await asyncio.sleep(0.001)
            if _executing(pid):
                os.kill(pid, signal.SIGINT)
        finally:
            os.kill(pid, signal.SIGCONT)
