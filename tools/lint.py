"""Everything that can be said about the code without running it: `make lint`.

ruff's rules and format, types of the host's code, types of the firmware against the stubs of
the board's image, and a compile of every firmware file for the two processor families of the
board (Xtensa: ESP32, S2, S3; RISC-V: C3, C6). Exits 1 if any of them complains.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from rich.console import Console

from shipping.compiler import compiler

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent
BOARD_ARCHITECTURES = ("xtensawin", "rv32imc")

Check = Callable[[], str]  # returns a complaint, or nothing


def main() -> int:
    console = Console(stderr=True)
    firmware = [str(path) for path in firmware_files()]
    mypy = [str(BIN / "mypy"), "--cache-dir"]
    host = [*mypy, ".mypy_cache/host", "calibrating", "shipping", "sim", "tools"]
    board = [*mypy, ".mypy_cache/firmware", "--config-file", "tools/mypy-firmware.ini", *firmware]
    checks: dict[str, list[Check]] = {  # the long ones first: several run at a time
        "types of the host's code": [partial(complaint_of, host)],
        "types of the firmware": [partial(complaint_of, board)],
        "ruff rules": [partial(complaint_of, [str(BIN / "ruff"), "check", "."])],
        "ruff format": [partial(complaint_of, [str(BIN / "ruff"), "format", "--check", "."])],
    }
    for arch in BOARD_ARCHITECTURES:
        checks[f"compile for {arch}"] = [partial(compile_for, arch, file) for file in firmware]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        running = {name: [pool.submit(part) for part in parts] for name, parts in checks.items()}
        complaints = {}
        for name, parts in running.items():
            complaints[name] = "".join(part.result() for part in parts)
            console.print("[red]✗" if complaints[name] else "[green]✓", name)
            if complaints[name]:
                print(complaints[name], flush=True)
    return 1 if any(complaints.values()) else 0


def firmware_files() -> list[Path]:
    return sorted(path.relative_to(ROOT) for path in (ROOT / "firmware").rglob("*.py"))


def complaint_of(command: list[str]) -> str:
    done = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)
    return (done.stdout + done.stderr) if done.returncode else ""


def compile_for(arch: str, file: str) -> str:
    """Returns mpy-cross's complaint about one file, or nothing. Small ints have 31 bits there."""
    with tempfile.TemporaryDirectory() as folder:
        cross = [compiler(), f"-march={arch}", "-msmall-int-bits=31"]
        return complaint_of([*cross, "-o", f"{folder}/out.mpy", file])


if __name__ == "__main__":
    sys.exit(main())
