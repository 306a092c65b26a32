"""The firmware as it lands on a board's file system.

In the root lie boot.py, the main.py that runs a slot's main, and what boot.py needs to choose the
slot; the firmware itself lies in slot a, with a manifest as bundles have it (shipping/bundle.py).

`pieces()` names what it is made of. `compiled(architecture)` is the whole of it for one kind of
processor: {path on the board: bytes}. Compiled once, kept under build/ by the hash of all that
went into it.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
import tempfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path

from shipping import fixed_names, inlining, renaming, whittling
from shipping.bundle import MANIFEST, Contents
from shipping.compiler import ROOT, compile_source, version
from shipping.inlining import inlined
from shipping.renaming import Names, renamed
from shipping.whittling import MICRODOT_UNUSED, whittled

FIRMWARE = ROOT / "firmware"
BUILD = ROOT / "build"
NAMES = "names.json"  # beside what was compiled: what its short names are in the source
_MAKERS = [Path(maker.__file__ or "") for maker in (fixed_names, inlining, renaming, whittling)]

SLOT = "a"  # where a board is flashed to; an update takes the other one

_ROOT = {"boot.py": "boot.py", "run.py": "main.py"}  # the board runs these by name, uncompiled
_CHOOSER = "device/slots.py"  # in the slot and, for boot.py, in the root
_MAIN = "main.py"  # frozen, it would be run in place of the root's
_NOT_SHIPPED = {"manifest.py"}  # says what to freeze into an image
_POINTER = b'{"run": "%s"}' % SLOT.encode()


@dataclass(frozen=True)
class Piece:
    """One file: its path on the board, where it comes from, whether it is compiled."""

    name: str
    source: Path
    compiled: bool
    omitted: tuple[str, ...] = ()  # names in the source that are left out, see whittling.py
    module: str = ""  # as others import it; "": its names stay as they are, see renaming.py
    world: str = "firmware"  # modules of one world know each other's names


def pieces(firmware: Path = FIRMWARE, frozen: bool = False) -> Iterator[Piece]:
    """Everything that lands on the board, Microdot included, in order of its path here. `frozen`:
    only what firmware/manifest.py leaves out of an image. Files other than code then lie in the
    root, where frozen modules look for them: their folder in the slot would hide the modules."""
    for source in sorted(firmware.rglob("*")):
        path = source.relative_to(firmware)
        name = str(path)
        if not source.is_file() or "__pycache__" in path.parts or name[0] == ".":
            continue
        if name in _ROOT:
            yield Piece(_ROOT[name], source, False)
        elif source.suffix == ".py" and name not in _NOT_SHIPPED:
            module = "" if frozen else ".".join(path.with_suffix("").parts)
            if not frozen or name == _MAIN:
                yield Piece(f"{SLOT}/{path.with_suffix('.mpy')}", source, True, module=module)
            if name == _CHOOSER:
                yield Piece(f"{path.stem}.mpy", source, True)
        elif source.suffix != ".mpy" and name not in _NOT_SHIPPED:
            yield Piece(name if frozen else f"{SLOT}/{name}", source, False)
    spec = find_spec("microdot")
    if spec and spec.origin:
        source = Path(spec.origin).with_name("microdot.py")
        module = "" if frozen else "microdot"
        yield Piece(f"{SLOT}/lib/microdot.mpy", source, True, MICRODOT_UNUSED, module)


def compiled(
    architecture: str, firmware: Path = FIRMWARE, frozen: bool = False
) -> dict[str, bytes]:
    """The whole firmware for one architecture, or what a frozen one needs beside it. CompileError
    names file, line and fault."""
    parts = list(pieces(firmware, frozen))
    folder = store(parts, architecture, "firmware")
    found = {part.name: (folder / part.name).read_bytes() for part in parts}
    return found | beside(found, version_of(firmware), architecture)


def names(firmware: Path = FIRMWARE) -> Names:
    """What the short names on a board are in the source."""
    return _prepared(list(pieces(firmware)))[1]


def in_slot(files: dict[str, bytes]) -> dict[str, bytes]:
    """What lies in the slot, by its path there."""
    inside = (name for name in files if name.startswith(f"{SLOT}/"))
    return {name.removeprefix(f"{SLOT}/"): files[name] for name in inside}


def beside(files: dict[str, bytes], version: str, architecture: str) -> dict[str, bytes]:
    """What is made for the pieces: the slot's manifest, and the file that names the slot."""
    return {
        f"{SLOT}/{MANIFEST}": Contents.of(in_slot(files), version, architecture).text(),
        "slot": b"%08x " % zlib.crc32(_POINTER) + _POINTER,
    }


def version_of(firmware: Path = FIRMWARE) -> str:
    """What its version.py says."""
    try:
        found = re.search(r'VERSION = "([^"]+)"', (firmware / "version.py").read_text())
    except OSError:
        found = None
    return found[1] if found else "0.0.0"


def store(parts: list[Piece], architecture: str, kind: str, more: str = "") -> Path:
    """The folder under build/ that holds `parts`, compiled where they are to be; made if it is
    not there. Of several processes that ask at the same time one makes it. `more` is part of its
    key."""
    digest = hashlib.sha256(repr((architecture, version(), more)).encode())
    digest.update(fixed_names.key())
    for maker in _MAKERS:
        digest.update(maker.read_bytes())
    for part in parts:
        digest.update(repr(replace(part, source=Path())).encode())
        digest.update(hashlib.sha256(part.source.read_bytes()).digest())
    folder = BUILD / f"{kind}-{architecture}-{digest.hexdigest()[:16]}"
    if folder.is_dir():
        return folder
    BUILD.mkdir(exist_ok=True)
    with (BUILD / f".{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.is_dir():
            work = Path(tempfile.mkdtemp(prefix=f".{kind}-", dir=BUILD))
            try:
                _make(parts, architecture, work)
                work.chmod(0o755)
                os.rename(work, folder)
            finally:
                shutil.rmtree(work, ignore_errors=True)
    return folder


def _make(parts: list[Piece], architecture: str, folder: Path) -> None:
    sources, real = _prepared(parts)
    (folder / NAMES).write_text(json.dumps(real))
    for part in parts:
        path = folder / part.name
        path.parent.mkdir(parents=True, exist_ok=True)
        if part.compiled:
            compile_source(sources[part.name], part.source, path, architecture, part.module)
        else:
            shutil.copyfile(part.source, path)


def _prepared(parts: list[Piece]) -> tuple[dict[str, str], Names]:
    """What is compiled, by the name of its piece: less of it, and renamed."""
    try:
        return _sources(parts)
    except SyntaxError:
        with tempfile.TemporaryDirectory() as folder:  # for the complaint of the board's compiler
            for part in (part for part in parts if part.compiled):
                text, target = part.source.read_text(), Path(folder) / "x.mpy"
                compile_source(text, part.source, target, "xtensawin", part.module)
        raise


def _not_ours(sources: dict[str, str], parts: list[Piece]) -> frozenset[str]:
    """Names of the image, and of the libraries that are shipped with the firmware."""
    libraries = [part.name for part in parts if part.world not in ("firmware", "image")]
    names = (fixed_names.of_library(sources[name]) for name in libraries)
    return fixed_names.of_image().union(*names)


def _sources(parts: list[Piece]) -> tuple[dict[str, str], Names]:
    """What is compiled, by the name of its piece: without what is left out, and renamed."""
    sources = {
        part.name: whittled(part.source.read_text(), part.omitted)
        for part in parts
        if part.compiled
    }
    real: Names = {}
    for world in {part.world for part in parts}:
        ours = [part for part in parts if part.world == world and part.source.suffix == ".py"]
        named = {part.module: part.name for part in ours if part.module}
        short, known = renamed(
            inlined({module: sources[name] for module, name in named.items()}),
            [part.source.read_text() for part in ours if not part.module] + fixed_names.asked(),
            _not_ours(sources, parts) if world == "firmware" else None,
        )
        sources |= {named[module]: source for module, source in short.items()}
        real |= known
    return sources, real
