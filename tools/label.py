"""Prints a label again: python3 tools/label.py --serial AG100042317G --pin K7M3XQ9A

Writes front and back as PNG and both as PDF into --out (build/labels). Exit code 2 if the serial
or the PIN is none.
"""

import argparse
import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from tools.own_python import ROOT, SET_UP, enter, refuse

if __name__ == "__main__":
    enter("label")

try:
    from shipping import label
    from shipping.identity import DEFAULTS, fault
except ModuleNotFoundError as e:
    refuse("label", f"{e.name} is not installed: {SET_UP}")


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
        refuse("label", wrong)
    try:
        for path in label.save(identity, options.out):
            print(path)
    except OSError as error:
        refuse("label", f"--out {options.out}: can't write there: {error.strerror}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
