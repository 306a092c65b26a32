"""Reads a crash report of a board in the source's names: python3 tools/explain.py < report.txt

On the board names are short, and those of different modules share them; a report names
the functions it was in as `metering.meter._c`. The board must run the firmware of this checkout.
"""

import argparse
import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from tools.own_python import enter

if __name__ == "__main__":
    enter("explain")

from shipping.firmware import names
from shipping.renaming import explained


def main() -> int:
    parser = argparse.ArgumentParser(prog="explain", allow_abbrev=False, description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.parse_args()
    real = names()
    for line in sys.stdin:
        print(explained(line.rstrip("\n"), real))
    return 0


if __name__ == "__main__":
    sys.exit(main())
