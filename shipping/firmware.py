"""The firmware as it lands on a board's file system.

`pieces()` names what it is made of. `compiled(architecture)` is the whole of it for one kind of
processor: {path on the board: bytes}. Compiled once, kept under build/ by the hash of all that
went into it.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from shipping.compiler import ROOT, compile_file, version
from shipping.whittling import MICRODOT_UNUSED, whittled

FIRMWARE = ROOT / "firmware"
BUILD = ROOT / "build"

_SOURCE = {"boot.py", "main.py"}  # the board runs these by name, uncompiled
_NOT_SHIPPED = {"manifest.py"}  # says what to freeze into an image


@dataclass(frozen=True)
class Piece:
    """One file: its path on the board, where it comes from, whether it is compiled."""

    name: str
    source: Path
    compiled: bool
    omitted: tuple[str, ...] = ()  # names in the source that are left out, see whittling.py


def pieces(firmware: Path = FIRMWARE) -> Iterator[Piece]:
    """Everything that lands on the board, Microdot included, in order of its path here."""
    for source in sorted(firmware.rglob("*")):
        path = source.relative_to(firmware)
        name = str(path)
        if not source.is_file() or "__pycache__" in path.parts or name[0] == ".":
            continue
        if source.suffix == ".py" and name not in _SOURCE | _NOT_SHIPPED:
            yield Piece(str(path.with_suffix(".mpy")), source, True)
        elif source.suffix != ".mpy" and name not in _NOT_SHIPPED:
            yield Piece(name, source, False)
    spec = find_spec("microdot")
    if spec and spec.origin:
        source = Path(spec.origin).with_name("microdot.py")
        yield Piece("lib/microdot.mpy", source, True, MICRODOT_UNUSED)


def compiled(architecture: str, firmware: Path = FIRMWARE) -> dict[str, bytes]:
    """The whole firmware for one architecture. CompileError names file, line and fault."""
    parts = list(pieces(firmware))
    folder = store(parts, architecture, "firmware")
    return {part.name: (folder / part.name).read_bytes() for part in parts}


def store(parts: list[Piece], architecture: str, kind: str, more: str = "") -> Path:
    """The folder under build/ that holds `parts`, compiled where they are to be; made if it is
    not there. Safe when several processes ask at the same time. `more` is part of its key."""
    digest = hashlib.sha256(repr((architecture, version(), more)).encode())
    for part in parts:
        digest.update(repr((part.name, part.compiled, part.omitted)).encode())
        digest.update(hashlib.sha256(part.source.read_bytes()).digest())
    folder = BUILD / f"{kind}-{architecture}-{digest.hexdigest()[:16]}"
    if folder.is_dir():
        return folder
    BUILD.mkdir(exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f".{kind}-", dir=BUILD))
    try:
        for part in parts:
            path = work / part.name
            path.parent.mkdir(parents=True, exist_ok=True)
            if part.omitted:
                less = path.with_name(part.source.name)
                less.write_text(whittled(part.source.read_text(), part.omitted))
                compile_file(less, path, architecture)
                less.unlink()
            elif part.compiled:
                compile_file(part.source, path, architecture)
            else:
                shutil.copyfile(part.source, path)
        work.chmod(0o755)
        try:
            os.rename(work, folder)
        except OSError:
            if not folder.is_dir():  # else someone else was quicker
                raise
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return folder
