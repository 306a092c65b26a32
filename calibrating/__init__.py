"""Calibration of a board beside a reference: what tools/calibrate.py is made of.

The maths is the firmware's own (firmware/metering: quantities, calibration, calibration_bench),
which runs on the host as it does on the board.
"""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
for _folder in ("sim/cpython", "firmware"):
    if str(ROOT / _folder) not in sys.path:
        sys.path.insert(0, str(ROOT / _folder))
