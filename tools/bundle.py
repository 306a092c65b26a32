"""Updates: keys, bundles, and a bundle onto a board over its port.

    python3 tools/bundle.py keygen ~/update             once: update.pem signs, update.key verifies
    python3 tools/bundle.py build --key ~/update.pem    build/ampguard-0.2.0-xtensawin.bundle
    python3 tools/bundle.py show FILE                   what is in it
    python3 tools/bundle.py verify FILE --key ~/update.key
    python3 tools/bundle.py push FILE --port /dev/ttyUSB0    installs it, as a device does itself

docs/updates.md tells the rest. Exit codes: 0 fine; 1 it broke off; 2 it can't be done like that,
nothing was changed; 130 Ctrl-C.
"""

import argparse
import getpass
import os
import sys
from pathlib import Path
from typing import NoReturn

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from tools.own_python import SET_UP, enter, refuse

if __name__ == "__main__":
    enter("bundle")

try:
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn
    from rich.table import Table

    from shipping import bundle as bundles
    from shipping.board import Board, Failed, Refused, find_port
    from shipping.bundle import Bundle, BundleError, Contents
    from shipping.compiler import ARCHITECTURES, ROOT, CompileError
    from shipping.firmware import BUILD, FIRMWARE, compiled, in_slot, version_of
    from shipping.flashing import wait_until_ready
    from shipping.pushing import push
except ModuleNotFoundError as e:
    refuse("bundle", f"{e.name} is not installed: {SET_UP}")


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise BundleError(f"{message}; --help lists what there is")


def parser() -> argparse.ArgumentParser:
    p = _Parser(prog="bundle", allow_abbrev=False, description="Makes and installs updates.")
    what = p.add_subparsers(dest="what", required=True, parser_class=_Parser, metavar="WHAT")

    keygen = what.add_parser("keygen", help="make a key pair: NAME.pem signs, NAME.key verifies")
    keygen.add_argument("name", type=Path, help="where to, outside this repository")
    keygen.add_argument(
        "--password", action="store_true", help="protect the .pem; it is asked for"
    )

    build = what.add_parser("build", help="compile the firmware, sign it, make one file of it")
    build.add_argument("--key", type=Path, required=True, help="the .pem of keygen")
    build.add_argument("--arch", choices=ARCHITECTURES.values(), default="xtensawin")
    build.add_argument("--variant", choices=("home", "public"), help="for this one only (both)")
    build.add_argument("--firmware", type=Path, default=FIRMWARE, help="another source folder")
    build.add_argument("-o", "--output", type=Path, help="the file (in build/)")

    show = what.add_parser("show", help="what is in a bundle")
    show.add_argument("file", type=Path)

    verify = what.add_parser("verify", help="whether a board with this key would take it")
    verify.add_argument("file", type=Path)
    verify.add_argument("--key", type=Path, required=True, help="the .key of keygen")

    on_board = what.add_parser("push", help="install a bundle on a board over its port")
    on_board.add_argument("file", type=Path)
    on_board.add_argument("--port", help="as tools/flash.py takes it (found on USB)")
    on_board.add_argument("--downgrade", action="store_true", help="also to an older version")
    return p


def main() -> int:
    out = Console(highlight=False, soft_wrap=True)
    doing = {"keygen": keygen, "build": build, "show": show, "verify": verify, "push": onto}
    try:
        options = parser().parse_args()
        return doing[options.what](options, out)
    except (BundleError, Refused, CompileError) as error:
        refuse("bundle", str(error), 2)
    except Failed as error:
        refuse("bundle", str(error), 1)
    except KeyboardInterrupt:
        refuse("bundle", "stopped; what runs on the board goes on after a restart", 130)
    except OSError as error:
        refuse("bundle", f"{error.filename}: {error.strerror}", 2)


def keygen(options: argparse.Namespace, out: Console) -> int:
    if options.name.name in ("", ".."):
        raise BundleError(f"{options.name}: expected a name for the two files, e.g. ~/update")
    private = options.name.with_name(options.name.name + ".pem")
    public = options.name.with_name(options.name.name + ".key")
    if private.resolve().is_relative_to(ROOT):
        raise BundleError(f"{private}: a private key has no place in the repository")
    for file in (private, public):
        if file.exists():
            raise BundleError(f"{file} is there already; a key that boards have is never replaced")
    password = asked_twice() if options.password else None
    key = bundles.new_key()
    with os.fdopen(os.open(private, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(bundles.private_pem(key, password))
    public.write_bytes(bundles.public(key))
    out.print(f"{private}  signs updates: keep it safe, and a copy elsewhere; who has it owns")
    out.print("      every board that knows its public half, and without it none can be updated")
    out.print(f"{public}  goes to the boards:  make flash ARGS='--update-key {public}'")
    return 0


def build(options: argparse.Namespace, out: Console) -> int:
    key = private_key(options.key)
    version = version_of(options.firmware)
    with out.status(f"compiling {version} for {options.arch}"):
        files = in_slot(compiled(options.arch, options.firmware))
    del files[bundles.MANIFEST]
    variants = (options.variant,) if options.variant else ("home", "public")
    contents = Contents.of(files, version, options.arch, variants)
    data = bundles.bundle(contents, files, key)
    suffix = f"-{options.variant}" if options.variant else ""
    file = options.output or BUILD / f"ampguard-{version}-{options.arch}{suffix}.bundle"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(data)
    out.print(
        f"{file}: {version} for {options.arch}, {len(files)} files, {len(data)} bytes, signed"
    )
    return 0


def show(options: argparse.Namespace, out: Console) -> int:
    found = taken_apart(options.file)
    contents = found.contents
    out.print(f"version   {contents.version}")
    out.print(f"variants  {' '.join(contents.variants)}")
    out.print(f"for       {contents.architecture}, MicroPython {contents.image} or newer")
    table = Table(box=None, pad_edge=False)
    table.add_column("file")
    table.add_column("bytes", justify="right")
    table.add_column("SHA-256")
    for entry in contents.files:
        table.add_row(entry.path, str(entry.size), entry.sha256[:16] + "...")
    out.print(table)
    out.print(f"{len(contents.files)} files, {contents.size} bytes")
    if wrong := found.damage():
        raise BundleError(f"{options.file}: {wrong}")
    return 0


def verify(options: argparse.Namespace, out: Console) -> int:
    found = sound(options.file)
    if not found.signed_by(bundles.load_public(options.key)):
        raise BundleError(f"{options.file}: it is not signed with the key of {options.key}")
    out.print(f"{options.file}: {found.contents.version}, whole, signed with this key")
    return 0


def onto(options: argparse.Namespace, out: Console) -> int:
    data = options.file.read_bytes()
    found = sound(options.file)
    with Board.connect(options.port or find_port()) as board:
        about = board.about
        out.print(f"{board.port}: {about.chip}, MicroPython {about.image}")
        columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
        with Progress(*columns, console=out, transient=True, disable=not out.is_terminal) as bars:
            bar = bars.add_task(f"installing {found.contents.version}", total=len(data))
            try:
                new = push(
                    board, data, options.downgrade, lambda at: bars.update(bar, completed=at)
                )
            except Failed:
                board.restart()  # it goes on with what it has
                raise
        if not new:
            out.print(f"{found.contents.version} is already running")
            board.restart()
            return 0
        out.print(f"{found.contents.version} is installed and verified; waiting for it")
        version = wait_until_ready(board, lambda line: None)
    out.print(f"{version} runs, on trial: it has five minutes to reach its broker, else the")
    out.print("      firmware before it comes back by itself")
    return 0


def sound(file: Path) -> Bundle:
    """BundleError if it is damaged."""
    found = taken_apart(file)
    if wrong := found.damage():
        raise BundleError(f"{file}: {wrong}")
    return found


def taken_apart(file: Path) -> Bundle:
    try:
        return Bundle.parse(file.read_bytes())
    except BundleError as error:
        raise BundleError(f"{file}: {error}") from error


def private_key(file: Path) -> "bundles.rsa.RSAPrivateKey":
    try:
        return bundles.load_private(file, None)
    except BundleError as error:
        if "assword" not in str(error) or not sys.stdin.isatty():
            raise
    return bundles.load_private(file, getpass.getpass(f"password of {file}: ").encode())


def asked_twice() -> bytes:
    first = getpass.getpass("password for the private key: ")
    if not first or getpass.getpass("again: ") != first:
        raise BundleError("the two are not the same, or empty")
    return first.encode()


if __name__ == "__main__":
    sys.exit(main())
