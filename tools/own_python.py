"""What every tool does first: go on in the project's own Python, whichever one was called.

Imports nothing but the standard library, since a tool may be started before the set-up.
"""

import os
import sys
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"

SET_UP = "run `make setup` first"


def enter(tool: str) -> None:
    """Starts the tool again in .venv unless this is it; refuses if there is none."""
    if Path(sys.prefix).resolve() == VENV.resolve():
        return
    python = VENV / "bin" / "python"
    if not python.exists():
        refuse(tool, f"the host's packages are not installed: {SET_UP}")
    os.execv(python, [str(python), *sys.argv])


def refuse(tool: str, words: object, code: int = 2) -> NoReturn:
    """One line on stderr and out, with exit code 2 if it can't be done like that."""
    print(f"{tool}: {' '.join(str(words).split())}", file=sys.stderr)
    sys.exit(code)
