"""The board's image and the firmware, compiled for the VM at hand.

In: the path of a MicroPython binary. Out: an `Image`, a folder under build/ named by the hash of
all that went into it: `standins/` (what the ESP32 image provides: sim/board and umqtt) and
`flash/` (what lands on the board: firmware/ compiled, Microdot, pages and other files as they
are; `code` is the slot in it). Made once, safe when several processes ask at the same time.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from shipping import renaming
from shipping.compiler import ROOT, CompileError, architecture
from shipping.firmware import NAMES, SLOT, Piece, beside, pieces, store, version_of
from shipping.renaming import Names

VENV_LIB = ROOT / ".venv" / "lib"

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
    version: str

    @property
    def standins(self) -> Path:
        return self.folder / "standins"

    @cached_property
    def names(self) -> Names:
        """What short names are in the source, see shipping/renaming.py."""
        return json.loads((self.folder / NAMES).read_text())

    def translated(self, source: str) -> str:
        """A source that uses the firmware, in the names that this has here."""
        ours = {
            module: names
            for module, names in self.names.items()
            if not (self.standins / f"{module}.mpy").exists()
        }
        return renaming.translated(source, ours)

    @property
    def code(self) -> Path:
        return self.folder / "flash" / SLOT

    @property
    def files(self) -> dict[str, bytes]:
        """All that a board is flashed with, by its path."""
        source = self.folder / "flash"
        found = {
            str(path.relative_to(source)): path.read_bytes()
            for path in sorted(source.rglob("*"))
            if path.is_file()
        }
        return found | beside(found, self.version, self.vm.architecture)

    def flash(self, folder: Path, factory: dict[str, Any] | None = None) -> None:
        """Lays the firmware out in `folder`, the board's file system, as slot a.

        Code that is there and not in the image goes; everything else (settings, an existing
        factory.json, the other slot) stays as it is. A board that has this firmware in slot a
        goes on with the slot it was updated to.
        """
        folder.mkdir(parents=True, exist_ok=True)
        ours = self.files
        if all(_holds(folder / name, data) for name, data in ours.items() if name != "slot"):
            ours = {name: data for name, data in ours.items() if not (folder / name).exists()}
        else:
            for path in list(folder.rglob("*")):
                name = str(path.relative_to(folder))
                if path.suffix in (".py", ".mpy") and name not in ours and name[:2] != "b/":
                    path.unlink()
        for name, data in ours.items():
            target = folder / name
            if not _holds(target, data):
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(data)
        if factory is not None and not (folder / "factory.json").exists():
            (folder / "factory.json").write_text(json.dumps(factory))


def _holds(path: Path, data: bytes) -> bool:
    return path.is_file() and path.read_bytes() == data


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
    runs = architecture(int(mpy))
    if runs is None:
        raise ImageError(
            f"{vm}: this MicroPython runs no native code; expected one for x86 or x86-64"
        )
    return Vm(vm, runs, 8 if int(bits) > 32 else 4, version)


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
    try:
        folder = store(list(_pieces(lib, firmware)), vm.architecture, "image")
        return Image(vm, folder, version_of(firmware))
    except CompileError as error:
        raise ImageError(str(error)) from error


def _pieces(lib: Path, firmware: Path) -> Iterator[Piece]:
    for source in sorted((ROOT / "sim" / "board").glob("*.py")):
        yield Piece(f"standins/{source.stem}.mpy", source, True, module=source.stem, world="image")
    for source in sorted((lib / "umqtt").glob("*.py")):
        yield Piece(f"standins/umqtt/{source.stem}.mpy", source, True, world="image")
    for piece in pieces(firmware):
        yield replace(piece, name=f"flash/{piece.name}")
