"""A batch of devices: identities, firmware, labels, and a record for each one.

    python3 tools/factory.py batch.csv --port /dev/ttyUSB0 --port /dev/ttyUSB1 --by Kim

batch.csv has the columns serial and variant, and may have phases and calibration (a JSON file).
Each device gets a PIN, its label and, once its board has proved that it runs, a signed-off record
in the folder --out. Boards on several ports are flashed side by side; when all are done, Enter
goes on with the next. Repeated after a fault, it goes on with the devices without a record;
a PIN once made stays. --labels makes PINs and labels only.
Exit codes: 0 all signed off; 1 some are not; 2 it can't be done like that; 130 Ctrl-C.
"""

import argparse
import csv
import datetime
import json
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from tools.own_python import SET_UP, enter, refuse

if __name__ == "__main__":
    enter("factory")

try:
    from shipping import label
    from shipping.board import Board, Failed, Refused
    from shipping.compiler import CompileError
    from shipping.flashing import Plan, wait_until_ready
    from shipping.identity import DEFAULTS, Identity, fault, new_pin
except ModuleNotFoundError as e:
    refuse("factory", f"{e.name} is not installed: {SET_UP}")


def main() -> int:
    parser = argparse.ArgumentParser(prog="factory", allow_abbrev=False, description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("batch", type=Path, help="CSV: serial,variant[,phases,calibration]")
    parser.add_argument("--port", action="append", default=[], help="a board's port; repeatable")
    parser.add_argument("--out", type=Path, default=Path("factory"), help="records and labels")
    parser.add_argument("--by", default="", help="who signs the records")
    parser.add_argument("--labels", action="store_true", help="PINs and labels only")
    options = parser.parse_args()
    try:
        devices = [prepared(wanted, options.out) for wanted in batch(options.batch)]
    except ValueError as error:
        refuse("factory", str(error))
    if options.labels:
        return 0
    if not options.port or not options.by:
        refuse("factory", "expected --port PORT, for each board one, and --by NAME")
    waiting = [device for device in devices if not record_of(device, options.out).exists()]
    print(f"{len(devices)} devices, {len(waiting)} to be made")
    try:
        while waiting:
            now, waiting = waiting[: len(options.port)], waiting[len(options.port) :]
            with ThreadPoolExecutor(len(now)) as pool:
                done = list(pool.map(partial(made, options), options.port, now))
            if not all(done) or (waiting and not next_boards(len(waiting))):
                return 1
    except KeyboardInterrupt:
        return 130
    return 0


def batch(file: Path) -> list[Identity]:
    """The identities in a CSV, without PINs. ValueError names the line."""
    try:
        with file.open(newline="") as lines:
            rows = list(csv.DictReader(lines))
    except OSError as error:
        raise ValueError(f"{file}: {error.strerror}") from error
    found: list[Identity] = []
    for number, row in enumerate(rows, 2):
        given: dict[str, Any] = {name: (row.get(name) or "").strip() for name in row if name}
        wanted = DEFAULTS | {"serial": given.get("serial"), "variant": given.get("variant")}
        try:
            if given.get("phases"):
                wanted["phases"] = int(given["phases"])
            if given.get("calibration"):
                wanted["calibration"] = json.loads(
                    (file.parent / given["calibration"]).read_text()
                )
        except (OSError, ValueError) as error:
            raise ValueError(f"{file}:{number}: {error}") from error
        if wrong := fault(wanted | {"pin": new_pin()}):
            raise ValueError(f"{file}:{number}: {wrong}")
        if wanted["serial"] in [other["serial"] for other in found]:
            raise ValueError(f"{file}:{number}: serial {wanted['serial']} is there twice")
        found.append(wanted)
    if not found:
        raise ValueError(f"{file}: no devices; expected lines under serial,variant")
    return found


def prepared(wanted: Identity, out: Path) -> Identity:
    """With a PIN, the same at every call, and its label in out/labels."""
    kept = out / "identities" / f"{wanted['serial']}.json"
    if kept.exists():
        identity = wanted | {"pin": json.loads(kept.read_text())["pin"]}
    else:
        identity = wanted | {"pin": new_pin()}
    kept.parent.mkdir(parents=True, exist_ok=True)
    new = kept.with_suffix(".new")
    new.touch(0o600)
    new.write_text(json.dumps(identity))
    new.replace(kept)
    label.save(identity, out / "labels")
    return identity


def record_of(identity: Identity, out: Path) -> Path:
    return out / "records" / f"{identity['serial']}.json"


def made(options: argparse.Namespace, port: str, identity: Identity) -> bool:
    """Flashes one board and signs it off; says how it went."""
    serial = identity["serial"]
    try:
        with Board.connect(port) as board:
            plan = Plan.of(board, identity)
            plan.carry_out(board, lambda path, size: None)
            version = wait_until_ready(board, lambda line: None)
            about = board.about
    except (Refused, Failed, CompileError) as error:
        print(f"{serial}: NOT made: {error}", flush=True)
        return False
    record = record_of(identity, options.out)
    record.parent.mkdir(parents=True, exist_ok=True)
    signed = {
        "serial": serial,
        "variant": identity["variant"],
        "mac": about.mac.hex(":"),
        "chip": about.chip,
        "image": about.image,
        "firmware": version,
        "calibrated": "calibration" in identity,
        "by": options.by,
        "at": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }
    record.write_text(json.dumps(signed, indent=1) + "\n")
    print(f"{serial}: made, {about.mac.hex(':')}", flush=True)
    return True


def next_boards(left: int) -> bool:
    """Waits for the person; False if there is none."""
    try:
        input(f"{left} to go: connect the next boards, then Enter ")
    except EOFError:
        return False
    return True


if __name__ == "__main__":
    sys.exit(main())
