"""One file for a whole board: MicroPython's image and, behind it, the firmware's file system.

    python3 tools/image.py ESP32_GENERIC-20260406-v1.29.0.bin    or: make image IMAGE=...bin

Writes build/ampguard-<image's name>.bin and says how to flash it. The file holds no identity
unless one is given: tools/flash.py writes it afterwards, and copies nothing else.
Exit codes: 0 fine, 2 it can't be made like that.
"""

import argparse
import hashlib
import json
import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from tools.own_python import SET_UP, enter, refuse

if __name__ == "__main__":
    enter("image")

try:
    from shipping import identity as identities
    from shipping.bundle import KEY, BundleError, load_public
    from shipping.compiler import CompileError
    from shipping.firmware import BUILD, compiled
    from shipping.image import ARCHITECTURES, CHIP_IDS, ImageFileError, chip_of, join
except ModuleNotFoundError as e:
    refuse("image", f"{e.name} is not installed: {SET_UP}")


def main() -> int:
    parser = argparse.ArgumentParser(prog="image", allow_abbrev=False, description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("image", type=Path, nargs="?", help="MicroPython's .bin, as downloaded")
    parser.add_argument("-o", "--output", type=Path, help="where to write it")
    parser.add_argument("--factory", type=Path, metavar="FILE", help="the /factory.json to put in")
    parser.add_argument("--update-key", type=Path, metavar="FILE", help="whose updates it takes")
    parser.add_argument("--frozen", action="store_true", help="it holds the firmware's modules")
    parser.add_argument("--flash-mb", type=int, help="size of the board's flash chip, if larger")
    options = parser.parse_args()
    if not options.image:
        refuse("image", "expected MicroPython's .bin to join with: make image IMAGE=FILE.bin")
    try:
        data = options.image.read_bytes()
        chip = chip_of(data)
        files = compiled(ARCHITECTURES[chip], frozen=options.frozen)
        if options.factory:
            files["factory.json"] = identity_in(options.factory)
        if options.update_key:
            files[KEY] = load_public(options.update_key)
        joined = join(data, files, options.flash_mb and options.flash_mb << 20)
        output = options.output or BUILD / f"ampguard-{options.image.name}"
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_bytes(joined)
    except (ImageFileError, CompileError) as error:
        refuse("image", f"{options.image.name}: {error}")
    except BundleError as error:
        refuse("image", str(error))
    except OSError as error:
        refuse("image", f"{error.filename}: {error.strerror}")
    print(f"{options.image.name}: for {chip}, SHA-256 {hashlib.sha256(data).hexdigest()}")
    print(f"{output}: {len(joined)} bytes, SHA-256 {hashlib.sha256(joined).hexdigest()}")
    print(f"flash it:  esptool write-flash {CHIP_IDS[chip]:#x} {output}")
    if not options.factory:
        print("then give the board its identity:  make flash PORT=...")
    return 0


def identity_in(file: Path) -> bytes:
    """The bytes of a factory.json that the firmware takes."""
    try:
        found = json.loads(file.read_bytes())
    except ValueError as error:
        raise ImageFileError(f"{file} is not JSON ({error})") from error
    if wrong := identities.fault(found):
        raise ImageFileError(f"{file}: {wrong}")
    return file.read_bytes()


if __name__ == "__main__":
    sys.exit(main())
