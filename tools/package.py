"""The firmware for `mpremote mip install`: python3 tools/package.py, or make package.

Writes build/package-xtensawin/: the compiled files and a package.json that names them, to be
installed from there or from any web server:

    mpremote mip install --target / build/package-xtensawin/package.json

The sources themselves are no package: compiling them takes more heap than a board has.
"""

import argparse
import json
import shutil
import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from tools.own_python import SET_UP, enter, refuse

if __name__ == "__main__":
    enter("package")

try:
    from shipping.compiler import ARCHITECTURES, CompileError
    from shipping.firmware import BUILD, compiled, version_of
except ModuleNotFoundError as e:
    refuse("package", f"{e.name} is not installed: {SET_UP}")


def main() -> int:
    parser = argparse.ArgumentParser(prog="package", allow_abbrev=False, description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--arch", choices=ARCHITECTURES.values(), default="xtensawin")
    options = parser.parse_args()
    folder = BUILD / f"package-{options.arch}"
    try:
        files = compiled(options.arch)
    except CompileError as error:
        print(f"package: {error}", file=sys.stderr)
        return 2
    shutil.rmtree(folder, ignore_errors=True)
    for path, data in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
    # main.py last: a board whose installation broke off waits in its REPL.
    names = sorted(files, key=lambda path: (path == "main.py", path))
    package = {"version": version_of(), "urls": [[path, path] for path in names]}
    (folder / "package.json").write_text(json.dumps(package, indent=1) + "\n")
    print(f"{folder / 'package.json'}: {len(files)} files")
    return 0


if __name__ == "__main__":
    sys.exit(main())
