"""From a bare board to a running device: `python3 tools/flash.py --help`, or `make flash`.

Brings the firmware and the board's identity onto an ESP32 with MicroPython, over its serial port,
copies only what differs, proves it by hashes taken on the board, and waits until it runs. This
file is the command line; shipping/ does the work. Exit codes: 0 fine; 1 it broke off, or --check
found a difference; 2 it can't be done like that, nothing was changed; 130 Ctrl-C.
"""

import argparse
import getpass
import hashlib
import json
import os
import ssl
import subprocess
import sys
from pathlib import Path
from typing import Any, NoReturn

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from tools.own_python import SET_UP, enter, refuse

if __name__ == "__main__":
    enter("flash")

try:
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn

    from shipping import identity as identities
    from shipping.board import CHIPS, Board, Failed, Refused, find_port
    from shipping.bundle import BundleError, load_public
    from shipping.compiler import CompileError
    from shipping.flashing import Plan, forgive, wait_until_ready
    from shipping.identity import Identity, ssid
    from shipping.image import CHIP_IDS, ImageFileError, chip_of
except ModuleNotFoundError as e:
    refuse("flash", f"{e.name} is not installed: {SET_UP}")


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise Refused(f"{message}; --help lists the options")


def parser() -> argparse.ArgumentParser:
    p = _Parser(prog="flash", allow_abbrev=False, description="Flashes an Amp Guard board.")
    p.add_argument("--port", help="/dev/ttyUSB0, socket://, rfc2217://, a pty (found on USB)")
    what = p.add_argument_group("what to do")
    what.add_argument("--check", action="store_true", help="only tell whether it is up to date")
    what.add_argument("--dry-run", action="store_true", help="only tell what would be done")
    what.add_argument("--erase", action="store_true", help="all files first, but its identity")
    what.add_argument("--image", type=Path, metavar="FILE", help="write this MicroPython first")
    what.add_argument(
        "--frozen", action="store_true", help="its image holds the firmware's modules"
    )
    who = p.add_argument_group("the board's identity, written once")
    who.add_argument("--factory", type=Path, metavar="FILE", help="JSON with any of its fields")
    who.add_argument("--serial", help="as on the label (made from the MAC address)")
    who.add_argument("--pin", help="the key of its access point (a new random one)")
    who.add_argument("--variant", choices=("home", "public"), help="100 A or 400 A clamps (home)")
    who.add_argument("--phases", type=int, choices=(1, 3), help="voltages wired (3)")
    who.add_argument("--provider", metavar="HOST[:PORT]", help="its broker (broker.lan:1883)")
    who.add_argument("--tls", action="store_true", help="talk TLS to it, port 8883 if none given")
    who.add_argument("--calibration", type=Path, metavar="FILE", help="JSON from the bench")
    who.add_argument("--update-key", type=Path, metavar="FILE", help="whose updates it takes")
    who.add_argument("--ca", type=Path, metavar="FILE", help="its broker's CA, PEM or DER")
    who.add_argument(
        "--wifi", metavar="SSID", help="the building's network; asks for its password"
    )
    who.add_argument("--factory-overwrite", action="store_true", help="replace an existing one")
    return p


def main() -> int:
    out = Console(highlight=False, soft_wrap=True)
    try:
        options = parser().parse_args()
        given = identity_of(options)
        key = load_public(options.update_key) if options.update_key else None
        ca = certificate_in(options.ca) if options.ca else None
        wifi = wifi_settings(options.wifi) if options.wifi is not None else None
        port = options.port or find_port()
        if options.image:
            write_image(options.image, port, out)
        with Board.connect(port) as board:
            overwrite, erase = options.factory_overwrite, options.erase
            more: dict[str, Any] = {"key": key, "ca": ca, "settings": wifi}
            plan = Plan.of(board, given, overwrite, erase, frozen=options.frozen, **more)
            return flash(board, plan, options, out)
    except (Refused, BundleError, CompileError, ImageFileError) as error:
        refuse("flash", str(error), 2)
    except Failed as error:
        refuse("flash", str(error), 1)
    except KeyboardInterrupt:
        refuse("flash", "stopped; repeat it, it goes on where it stopped", 130)


def flash(board: Board, plan: Plan, options: argparse.Namespace, out: Console) -> int:
    about = board.about
    free = f"{about.free // 1024} kB free"
    out.print(f"{board.port}: {about.chip}, MicroPython {about.image}, {free}")
    if options.check or options.dry_run:
        for line in plan.words():
            out.print(line)
        out.print("up to date" if plan.empty else f"{plan.size} bytes to copy")
        board.restart()
        return 1 if options.check and not plan.empty else 0
    if plan.empty:
        out.print("up to date, nothing copied")
    else:
        for path in plan.gone:
            out.print(f"removing {path}, which is not of this firmware")
        carry_out(plan, board, out)
        erased = f"{len(plan.erased)} files erased, " if options.erase else ""
        written = "identity written, " if plan.write_identity else ""
        out.print(f"{erased}{len(plan.changed)} files copied, {written}verified")
    forgive(board)
    out.print("waiting for the firmware")
    version = wait_until_ready(board, lambda line: None)
    who = plan.identity
    out.print(f"ready: firmware {version}, serial {who['serial']}, {who['variant']}")
    out.print(f"  Wi-Fi  {ssid(who)}", markup=False)
    out.print(f"  PIN    {who['pin']}", markup=False)
    out.print("next: join that Wi-Fi with a phone, the PIN is its password; its page opens, or")
    out.print("      open http://192.168.251.1/ and choose the building's network there")
    return 0


def carry_out(plan: Plan, board: Board, out: Console) -> None:
    columns = (TextColumn("{task.description:<36}"), BarColumn(), DownloadColumn())
    with Progress(*columns, console=out, transient=True, disable=not out.is_terminal) as progress:
        bar = progress.add_task("preparing", total=plan.size)

        def told(path: str, size: int) -> None:
            progress.update(bar, advance=size, description=path)

        plan.carry_out(board, told)


def write_image(file: Path, port: str, out: Console) -> None:
    """MicroPython's image, as downloaded, to where the chip looks for it."""
    try:
        data = file.read_bytes()
    except OSError as error:
        raise Refused(f"--image {file}: {error.strerror}") from error
    chip = chip_of(data)
    if chip not in CHIPS:
        raise Refused(f"--image {file}: this is for {chip}, expected {' or '.join(CHIPS)}")
    offset = CHIP_IDS[chip]
    out.print(f"{file.name}: for {chip}, SHA-256 {hashlib.sha256(data).hexdigest()}")
    words = ["--chip", chip.lower(), "--port", port, "--baud", "460800"]
    command = [sys.executable, "-m", "esptool", *words, "write-flash", hex(offset), str(file)]
    out.print(f"writing it at {offset:#x}")
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        said = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
        fatal = [line for line in said if "rror" in line] or said or ["nothing"]
        raise Failed(
            f"{port}: esptool could not write the image: {fatal[0].strip()}; hold BOOT while you "
            "press reset, and repeat"
        )


def identity_of(options: argparse.Namespace) -> Identity:
    """The fields that were given. Refused if a file is not what it should be."""
    given = json_of(options.factory, "--factory") if options.factory else {}
    for name in ("serial", "pin", "variant", "phases"):
        if getattr(options, name) is not None:
            given[name] = getattr(options, name)
    if options.tls and not options.provider:
        raise Refused("--tls: expected --provider HOST[:PORT] with it")
    if options.provider:
        given["provider"] = provider_in(options.provider, options.tls)
    if options.calibration:
        given["calibration"] = json_of(options.calibration, "--calibration")
    return given


def provider_in(words: str, tls: bool) -> dict[str, Any]:
    """HOST[:PORT] as the identity has it."""
    host, _, port = words.partition(":")
    if port and not port.isdecimal():
        raise Refused(f"--provider {words}: expected HOST or HOST:PORT")
    return {"host": host, "port": int(port or (8883 if tls else 1883)), "tls": tls}


def certificate_in(file: Path) -> bytes:
    """The one certificate in a file, as DER. Refused if there is none, or more."""
    expected = "expected one certificate, PEM or DER"
    try:
        data = file.read_bytes()
        if data.count(b"-----BEGIN CERTIFICATE-----") > 1:
            raise Refused(f"--ca {file}: {expected}; there are several, name the root alone")
        if b"-----BEGIN" in data:
            data = ssl.PEM_cert_to_DER_cert(data[data.index(b"-----BEGIN") :].decode())
        ssl.create_default_context(cadata=data)
    except OSError as error:
        why = error.strerror if not isinstance(error, ssl.SSLError) else expected
        raise Refused(f"--ca {file}: {why}") from error
    except ValueError as error:
        raise Refused(f"--ca {file}: {expected}") from error
    return data


def wifi_settings(name: str) -> bytes:
    """The board's /settings that know this network. Refused if they would be refused there."""
    password = os.environ.get("AMPGUARD_WIFI_PASSWORD")
    if password is None:
        if not sys.stdin.isatty():
            raise Refused("--wifi: no password; a terminal to ask on, or AMPGUARD_WIFI_PASSWORD")
        password = getpass.getpass(f"password of {name} (empty: an open network): ")
    if 0 < len(password) < 8:
        raise Refused("--wifi: a password has at least 8 characters, an open network none")
    try:
        return identities.settings(wifi_ssid=name, wifi_password=password)
    except ValueError as error:
        raise Refused(f"--wifi: {error}") from error


def json_of(file: Path, option: str) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text())
    except OSError as error:
        raise Refused(f"{option} {file}: {error.strerror}") from error
    except ValueError as error:
        raise Refused(f"{option} {file}: this is not JSON ({error})") from error
    if not isinstance(found, dict):
        raise Refused(f"{option} {file}: expected a JSON object")
    return found


if __name__ == "__main__":
    sys.exit(main())
