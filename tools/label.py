"""Prints a label again: python3 tools/label.py --serial AG100042317G --pin K7M3XQ9A

Writes front and back as PNG and both as PDF into --out (build/labels). Exit code 2 if the serial
or the PIN is none.
"""

import argparse
import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"

if __name__ == "__main__":
    if Path(sys.prefix).resolve() != VENV.resolve():
        python = VENV / "bin" / "python"
        if not python.exists():
            sys.exit("label: the host's packages are not installed: run `make setup` first")
        os.execv(python, [str(python), __file__, *sys.argv[1:]])
    sys.path[0] = str(ROOT)

try:
    from shipping import label
    from shipping.identity import DEFAULTS, fault
except ModuleNotFoundError as e:
    sys.exit(f"label: {e.name} is not installed: run `make setup` first")


def main() -> int:
    parser = argparse.ArgumentParser(prog="label", allow_abbrev=False, description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--serial", required=True)
    parser.add_argument("--pin", required=True)
    parser.add_argument("--variant", choices=("home", "public"), default="home")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "labels")
    options = parser.parse_args()
    identity = DEFAULTS | {name: getattr(options, name) for name in ("serial", "pin", "variant")}
    if wrong := fault(identity):
        print(f"label: {wrong}", file=sys.stderr)
        return 2
    for path in label.save(identity, options.out):
        print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
