"""A batch of devices: identities, firmware, labels, and a record for each one.

    python3 tools/factory.py batch.csv --port /dev/ttyUSB0 --port /dev/ttyUSB1 --by Kim

batch.csv has the columns serial and variant, and may have phases and calibration (a JSON file);
comma or semicolon, as spreadsheets write it.
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

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from tools.own_python import SET_UP, enter, refuse

if __name__ == "__main__":
    enter("factory")

try:
    from shipping import label
    from shipping.board import Board, Failed, Refused
    from shipping.bundle import BundleError, load_public
    from shipping.compiler import CompileError
    from shipping.flashing import Plan, forgive, wait_until_ready
    from shipping.identity import DEFAULTS, Identity, fault, new_pin
    from tools.flash import certificate_in, provider_in
except ModuleNotFoundError as e:
    refuse("factory", f"{e.name} is not installed: {SET_UP}")

_NEEDED, _OPTIONAL = ("serial", "variant"), ("phases", "calibration")


def main() -> int:
    parser = argparse.ArgumentParser(prog="factory", allow_abbrev=False, description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("batch", type=Path, help="CSV: serial,variant[,phases,calibration]")
    parser.add_argument("--port", action="append", default=[], help="a board's port; repeatable")
    parser.add_argument("--out", type=Path, default=Path("factory"), help="records and labels")
    parser.add_argument("--by", default="", help="who signs the records")
    parser.add_argument(
        "--update-key", type=Path, help="the .key of those whose updates they take"
    )
    parser.add_argument("--provider", metavar="HOST[:PORT]", help="their broker (broker.lan:1883)")
    parser.add_argument("--tls", action="store_true", help="they talk TLS to it, 8883 if no port")
    parser.add_argument("--ca", type=Path, metavar="FILE", help="the broker's CA, PEM or DER")
    parser.add_argument("--frozen", action="store_true", help="their image holds the modules")
    parser.add_argument("--labels", action="store_true", help="PINs and labels only")
    options = parser.parse_args()
    try:
        shared = shared_by_all(options)
        options.ca = certificate_in(options.ca) if options.ca else None
        wanted = batch(options.batch, shared)
        devices = [prepared(identity, options.out) for identity in wanted]
    except (ValueError, Refused) as error:
        refuse("factory", str(error))
    except OSError as error:
        refuse("factory", f"--out {options.out}: can't write there: {error.strerror}")
    if options.labels:
        print(f"{len(devices)} labels in {options.out / 'labels'}, their PINs beside it")
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


def shared_by_all(options: argparse.Namespace) -> Identity:
    """The fields of the identity that no line of the CSV has."""
    if options.tls and not options.provider:
        raise Refused("--tls: expected --provider HOST[:PORT] with it")
    if not options.provider:
        return DEFAULTS
    return DEFAULTS | {"provider": provider_in(options.provider, options.tls)}


def rows_of(file: Path) -> list[dict[str, str]]:
    """The lines under the first one, by its columns. ValueError if that is no such file."""
    try:
        text = file.read_text(encoding="utf-8-sig")  # spreadsheets put a mark before the text
    except OSError as error:
        raise ValueError(f"{file}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{file}: this is no text in UTF-8, expected a CSV file") from error
    head = text.partition("\n")[0].strip()
    between = ";" if ";" in head else ","
    columns = [name.strip() for name in head.split(between)]
    unknown = set(columns) - {*_NEEDED, *_OPTIONAL}
    if text.strip() and (unknown or not set(_NEEDED) <= set(columns)):
        raise ValueError(
            f"{file}:1: the columns are {', '.join(columns)}; expected {' and '.join(_NEEDED)}, "
            f"and perhaps {' and '.join(_OPTIONAL)}"
        )
    lines = list(csv.reader(text.splitlines(), delimiter=between))[1:]
    return [dict(zip(columns, map(str.strip, line), strict=False)) for line in lines]


def batch(file: Path, shared: Identity = DEFAULTS) -> list[Identity]:
    """The identities in a CSV, without PINs. ValueError names the line."""
    found: list[Identity] = []
    for number, given in enumerate(rows_of(file), 2):
        if not any(given.values()):
            continue
        wanted = shared | {"serial": given.get("serial"), "variant": given.get("variant")}
        if given.get("phases"):
            # What is no number the firmware's own check names.
            phases = given["phases"]
            wanted["phases"] = int(phases) if phases.isdecimal() else phases
        if name := given.get("calibration"):
            try:
                wanted["calibration"] = json.loads((file.parent / name).read_text())
            except OSError as error:
                raise ValueError(f"{file}:{number}: {name}: {error.strerror}") from error
            except ValueError as error:
                raise ValueError(f"{file}:{number}: {name}: no JSON ({error})") from error
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
            key = load_public(options.update_key) if options.update_key else None
            plan = Plan.of(board, identity, key=key, ca=options.ca, frozen=options.frozen)
            plan.carry_out(board, lambda path, size: None)
            forgive(board)
            version = wait_until_ready(board, lambda line: None)
            about = board.about
    except (Refused, Failed, BundleError, CompileError) as error:
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
        "updates": options.update_key is not None,
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
