"""What the meter can do, measured: `make bench`, `make bench ARGS="--quick"`, `... accuracy`.

Prints tables and saves them, with pictures, under docs/bench/. Only what was measured is told,
targets that are missed included. All of it takes about a quarter of an hour.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
if __name__ == "__main__":
    sys.path[0] = str(ROOT)

from rich.console import Console  # noqa: E402
from rich.progress import Progress  # noqa: E402

from sim.image import build, default_vm  # noqa: E402
from tools.benches import accuracy, device, network, recovery, speed, updates, wiring  # noqa: E402

PARTS = ("accuracy", "speed", "wiring", "device", "recovery", "network", "updates")


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench", description=__doc__.partition("\n")[0])
    parser.add_argument("parts", nargs="*", metavar="part", help=f"{', '.join(PARTS)}; all")
    parser.add_argument("--quick", action="store_true", help="fewer boards, fewer faults")
    options = parser.parse_args()
    for part in options.parts:
        if part not in PARTS:
            parser.error(f"{part}: expected {', '.join(PARTS)}")
    parts = options.parts or PARTS
    console = Console()
    image = build(default_vm())
    if "accuracy" in parts:
        found = list(accuracy.cases(options.quick))
        with Progress(console=Console(stderr=True), transient=True) as progress:
            task = progress.add_task("accuracy", total=len(found))
            accuracy.run(image, found, lambda done: progress.advance(task, done))
        accuracy.report(found, console, accuracy.gate(image, options.quick))
    if "speed" in parts and hasattr(speed, "report"):
        speed.report(image, console)
    if "wiring" in parts:
        wiring.report(console, options.quick)
    if "device" in parts:
        device.report(console, options.quick)
    if "recovery" in parts:
        recovery.report(console, options.quick)
    if "network" in parts:
        network.report(console, options.quick)
    if "updates" in parts:
        updates.report(image, console, options.quick)
    return 0


if __name__ == "__main__":
    os.chdir(ROOT)
    sys.exit(main())
