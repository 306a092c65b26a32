"""A board at a serial port, spoken to through MicroPython's REPL by mpremote's transport.

    with Board.connect("/dev/ttyUSB0") as board:     # also socket://, rfc2217://, a pty
        board.about.chip, board.files(), board.write("main.py", data), board.restart()

`Refused`: nothing on the board was changed, the words say what is wrong and what to do.
`Failed`: it went wrong on the way.
"""

from __future__ import annotations

import ast
import base64
import binascii
import contextlib
import errno
import os
import re
import stat
import struct
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import serial
from mpremote import transport_serial
from mpremote.transport import TransportError, TransportExecError
from mpremote.transport_serial import SerialTransport
from serial.tools import list_ports

from shipping.compiler import architecture

# mpremote prints what it did not expect. Not redirected: several boards may be flashed at a time.
vars(transport_serial)["print"] = lambda *_: None

CHIPS = ("ESP32", "ESP32S3", "ESP32C3")  # whose pins firmware/board.py knows
OLDEST, NEWEST = (1, 23), (1, 29)  # images that the firmware is made for
BLOCK = 4096

_ANSWER_S = 10
_CHUNK = 2048
_WINDOW_BITS = 11  # the board keeps 2 kB while it unpacks
_WATCHDOG_MS = 600_000  # the firmware's 15 s can't be stopped, but stretched
_USB_BRIDGES = {0x10C4, 0x1A86, 0x0403, 0x303A}  # CP210x, CH34x, FTDI, Espressif

_ABOUT = """
import os, sys
u = os.uname()
print(repr((u.sysname, u.release, u.machine, getattr(sys.implementation, '_mpy', 0))))
"""
_FROZEN = """
import sys
p, m = sys.path[:], sys.modules.pop('version', None)
sys.path[:] = ['.frozen']
try:
 from version import VERSION as v
except ImportError:
 v = ''
sys.path[:] = p
sys.modules.pop('version', None)
if m: sys.modules['version'] = m
print(v)
"""
_PREPARE = """
import binascii, gc, hashlib, io, machine, os
machine.WDT(timeout=%d)
try:
 import deflate
 def z(b): return deflate.DeflateIO(io.BytesIO(b), deflate.ZLIB).read()
except ImportError:
 z = None
a = binascii.a2b_base64
s = os.statvfs('/')
print(repr((machine.unique_id(), s[1] * s[3], z is not None)))
def walk(p, m):
 for e in os.ilistdir(p or '/'):
  q = p + '/' + e[0]
  if e[1] == 0x4000:
   print('d 0 -', q)
   walk(q, m)
  else:
   h = hashlib.sha256()
   with open(q, 'rb') as f:
    while True:
     n = f.readinto(m)
     if not n: break
     h.update(m[:n])
   print('f', os.stat(q)[6], binascii.hexlify(h.digest()).decode(), q)
"""


class Refused(Exception):
    """Nothing was changed; the words say what to do."""


class Failed(Exception):
    """It broke off; the words say what to do."""


@dataclass(frozen=True)
class About:
    """What a board says of itself."""

    chip: str
    image: str
    architecture: str
    mac: bytes
    free: int


@dataclass(frozen=True)
class OnBoard:
    """A file on the board."""

    size: int
    sha256: str


def find_port() -> str:
    """The one port that looks like a board's."""
    ports = [port for port in list_ports.comports() if port.vid in _USB_BRIDGES]
    names = sorted(port.device for port in ports)
    if not names:
        raise Refused(
            "no board found on USB; plug it in with a data cable, or name its port: "
            "--port /dev/ttyUSB0"
        )
    if len(names) > 1:
        raise Refused(f"several boards found; name one: --port {' or --port '.join(names)}")
    return names[0]


class Board:
    """See the head of this file; made by `Board.connect`."""

    def __init__(self, port: str, transport: SerialTransport) -> None:
        self.port = port
        self._transport = transport
        self._packed = False
        self.about = About("", "", "", b"", 0)

    @classmethod
    def connect(cls, port: str) -> Board:
        """Interrupts what runs on the board, and asks it what it is. Refused with the reason."""
        board = cls(port, _open(port))
        try:
            board._enter()
            board.about = board._ask()
        except BaseException as error:
            board.__exit__(type(error), error)
            raise
        return board

    def __enter__(self) -> Board:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is Refused and self._transport.in_raw_repl:
            with contextlib.suppress(Failed):
                self.restart()  # nothing was changed: it goes on as before
        self.close()

    def close(self) -> None:
        with contextlib.suppress(OSError, TransportError):
            self._transport.close()

    # --- files -----------------------------------------------------------------------------

    def files(self) -> dict[str, OnBoard | None]:
        """Every file by its path without the leading slash; None for a folder."""
        found: dict[str, OnBoard | None] = {}
        said = self.run("m = memoryview(bytearray(1024))\nwalk('', m)\n").decode()
        for line in said.splitlines():
            kind, size, digest, path = line.split(" ", 3)
            found[path[1:]] = OnBoard(int(size), digest) if kind == "f" else None
        return found

    def frozen_version(self) -> str:
        """Of the firmware in the image itself, "" if there is none."""
        return self.run(_FROZEN).decode().strip()

    def read(self, path: str) -> bytes:
        said = self.run(
            f"with open({_quoted(path)}, 'rb') as f:\n"
            " while True:\n"
            "  b = f.read(512)\n"
            "  if not b: break\n"
            "  print(binascii.hexlify(b).decode())\n"
        )
        return binascii.unhexlify(b"".join(said.split()))

    def write(self, path: str, data: bytes, told: Callable[[int], None] | None = None) -> None:
        """`told(bytes)` after each piece. A new file takes the old one's place at once."""
        temporary = path + ".new"
        self.run(f"f = open({_quoted(temporary)}, 'wb')\nw = f.write\n")
        for at in range(0, len(data), _CHUNK):
            piece = data[at : at + _CHUNK]
            if self._packed:
                packer = zlib.compressobj(9, wbits=_WINDOW_BITS)
                packed = packer.compress(piece) + packer.flush()
                self.run(f"w(z(a({base64.b64encode(packed)!r})))\n")
            else:
                self.run(f"w(a({base64.b64encode(piece)!r}))\n")
            if told:
                told(len(piece))
        self.run(f"f.close()\ngc.collect()\nos.rename({_quoted(temporary)}, {_quoted(path)})\n")

    def make_folder(self, path: str) -> None:
        self.run(f"os.mkdir({_quoted(path)})\n")

    def remove(self, path: str, folder: bool = False) -> None:
        self.run(f"os.{'rmdir' if folder else 'remove'}({_quoted(path)})\n")

    # --- running ---------------------------------------------------------------------------

    def restart(self) -> None:
        """A hard reset; the board runs boot.py and main.py."""
        self._guarded(
            lambda: self._transport.exec_raw_no_follow("import machine; machine.reset()")
        )

    def lines(self, seconds: float) -> Iterator[str]:
        """What the board says on its console after a restart, for at most so long."""
        deadline = time.monotonic() + seconds
        rest = b""
        while (left := deadline - time.monotonic()) > 0:
            try:
                self._transport.serial.timeout = min(left, 0.2)
                rest += self._transport.serial.read(self._transport.serial.in_waiting or 1)
            except OSError:
                # A board with USB of its own went away with its reset and comes back.
                time.sleep(0.5)
                self._reopen()
            *whole, rest = rest.split(b"\n")
            for line in whole:
                yield line.decode(errors="replace").strip("\r\x04>")

    def _reopen(self) -> None:
        self.close()
        with contextlib.suppress(Refused):
            self._transport = _open(self.port)

    # --- the REPL --------------------------------------------------------------------------

    def _enter(self) -> None:
        """Into the raw REPL of a freshly reset interpreter: no thread of the firmware is left."""
        deadline = time.monotonic() + _ANSWER_S
        soft_resets = 2  # a boot.py that never ends would swallow each
        while True:
            try:
                self._stop_program(deadline)
                self._transport.enter_raw_repl(soft_resets > 0, timeout_overall=5)
                return
            except TransportError as error:
                soft_resets -= 1
                if time.monotonic() > deadline:
                    raise Refused(
                        f"{self.port}: no answer from a MicroPython there; is it the board's "
                        "port, is the image on it (--image FILE writes it)? Press its reset "
                        "button and try again"
                    ) from error
            except OSError as error:
                raise Refused(f"{self.port}: {_why(error)}") from error

    def _stop_program(self, deadline: float) -> None:
        """Ctrl-C, and Ctrl-B out of the raw REPL, until there is a prompt: a board that crashes
        and restarts again and again listens for moments only."""
        port, said = self._transport.serial, b""
        while not said.endswith(b">>> "):
            if time.monotonic() > deadline:
                raise TransportError("no prompt")
            port.write(b"\r\x03\x02")
            time.sleep(0.05)
            while port.in_waiting:  # of a socket:// never more than 1
                said = (said + port.read(port.in_waiting))[-64:]

    def _ask(self) -> About:
        try:
            system, image, machine, mpy = ast.literal_eval(self.run(_ABOUT).decode())
        except (Failed, ValueError, SyntaxError) as error:
            raise Refused(f"{self.port}: this is no MicroPython for the ESP32") from error
        chip = machine.rpartition(" with ")[2] if system == "esp32" else machine
        if system != "esp32" or chip not in CHIPS:
            raise Refused(
                f"{self.port}: this is {machine}; the firmware runs on {', '.join(CHIPS)} "
                "(firmware/board.py says why: its pins)"
            )
        version = re.match(r"(\d+)\.(\d+)", image)
        if not version or (int(version[1]), int(version[2])) < OLDEST:
            raise Refused(
                f"{self.port}: MicroPython {image} is too old, expected {_dotted(OLDEST)} to "
                f"{_dotted(NEWEST)}; take an image from micropython.org/download/ESP32_GENERIC "
                "and give it with --image FILE"
            )
        native = architecture(mpy)
        if native is None:
            raise Refused(f"{self.port}: this MicroPython runs no native code; take a stock image")
        mac, free, self._packed = ast.literal_eval(self.run(_PREPARE % _WATCHDOG_MS).decode())
        return About(chip, image, native, mac, free)

    def run(self, code: str) -> bytes:
        """What the board prints of it. Failed with the reason if it raises."""
        said: bytes = self._guarded(lambda: self._transport.exec(code))
        return said

    def _guarded(self, ask: Callable[[], Any]) -> Any:
        try:
            return ask()
        except TransportExecError as error:
            last = error.error_output.strip().splitlines()[-1:]
            words = last[0] if last else "an error without words"
            if "ENOSPC" in words or "Errno 28" in words:
                raise Failed(
                    f"{self.port}: the board's file system is full; --erase clears it"
                ) from error
            raise Failed(f"{self.port}: the board said {words}") from error
        except (TransportError, OSError, struct.error, IndexError) as error:
            raise Failed(
                f"{self.port}: the board went silent ({_why(error)}); check the cable and repeat, "
                "it goes on where it stopped"
            ) from error


def _open(port: str) -> SerialTransport:
    """Opens the port, or says in one line why not and what to do."""
    try:
        transport = SerialTransport(port, baudrate=115200, timeout=_ANSWER_S)
    except (OSError, TransportError, ValueError) as first:
        error: Exception = first
        try:  # mpremote does not say why
            serial.serial_for_url(port, 115200, exclusive=True).close()
        except (OSError, ValueError) as reason:
            error = reason
        raise Refused(_unopened(port, error)) from error
    transport.serial.write_timeout = _ANSWER_S
    kind = type(transport.serial)
    transport.serial.__class__ = type(kind.__name__, (_AllAtOnce, kind), {})
    return transport


class _AllAtOnce:
    """Of a serial port: reads what is there, also for mpremote, which asks byte by byte."""

    _held = b""

    @property
    def in_waiting(self) -> int:
        return len(self._held) + super().in_waiting  # type: ignore[misc]

    def read(self, size: int = 1) -> bytes:
        missing = size - len(self._held)
        if missing > 0:
            there = super().in_waiting  # type: ignore[misc]
            self._held += super().read(max(missing, there))  # type: ignore[misc]
        data, self._held = self._held[:size], self._held[size:]
        return data

    def reset_input_buffer(self) -> None:
        self._held = b""
        super().reset_input_buffer()  # type: ignore[misc]


def _unopened(port: str, error: Exception) -> str:
    number = getattr(error, "errno", None)
    words = str(error)
    if number in (errno.EACCES, errno.EPERM) or "ermission denied" in words:
        group = _group_of(port)
        if not group:
            return f"{port}: no permission; it is for its owner alone: sudo chown $USER {port}"
        return f"{port}: no permission; add yourself to the group {group} and log in again"
    if number in (errno.EBUSY, errno.EAGAIN) or "lock port" in words or "busy" in words:
        return f"{port}: busy, another program has it open; close that terminal or monitor"
    if number in (errno.ENOENT, errno.ENXIO, errno.ENODEV) or "No such file" in words:
        return f"{port}: no such port; is the board plugged in?"
    return f"{port}: can't be opened ({_why(error)})"


def _group_of(port: str) -> str:
    """Whose members may read and write it, "" if that is nobody's, or root's."""
    path = Path(port)
    try:
        both = stat.S_IRGRP | stat.S_IWGRP
        shared = path.stat().st_mode & both == both and path.group() != "root"
        return path.group() if shared else ""
    except (OSError, KeyError):
        return "dialout"


def _why(error: BaseException) -> str:
    if isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno)
    return str(error) or type(error).__name__


def _quoted(path: str) -> str:
    return repr("/" + path)


def _dotted(version: tuple[int, int]) -> str:
    return ".".join(map(str, version))
