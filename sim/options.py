"""The simulator's command line: every option, checked before anything starts.

In: argv. Out: Options, or an OptionError whose text says what was wrong and what was expected.
"""

import argparse
import contextlib
import fcntl
import json
import math
import os
import re
import shutil
import socket
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import IO, Any, NoReturn

ROOT = Path(__file__).resolve().parent.parent
RANGE_A = {"home": 100, "public": 400}
CLIP = 1.29  # of the range: the largest sine the converter still follows
DEFAULT_SERIAL = "AG100042317G"
DEFAULT_PIN = "K7M3XQ9A"
DEFAULT_HEAP = "100wk"
DEFAULT_LOAD = (16.0, 10.0, 6.0)
_HEAP_MIN, _HEAP_MAX = 20_000, 64_000_000  # bytes of a 32-bit board
_CUSTOMARY_PORTS = {"portal": 8251, "dns": 8253, "control": 8252}
_CUSTOMARY_LOCK = Path(tempfile.gettempdir()) / "ampguard-simulate.lock"


class OptionError(Exception):
    """One line for the person who typed the command."""


@dataclass(frozen=True)
class Options:
    """What to simulate. Ports are chosen and free; `note` is worth telling, or empty."""

    for_s: float | None
    json: bool
    replay: Path | None
    nominal: float
    amps: float
    load: tuple[float, float, float]
    variant: str
    serial: str
    pin: str
    phases: int
    state: Path | None
    provision: bool
    broker: tuple[str, int] | None
    web: tuple[str, int] | None
    vm: Path
    heap: str
    lib: Path | None
    portal: int
    dns: int
    control: int
    repl: Path | None = None
    bare: bool = False
    note: str = ""

    @property
    def ssid(self) -> str:
        """The name of the device's access point."""
        return f"Amp Guard_{self.serial[-6:-1]}"


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise OptionError(f"{message}; --help lists the options")


_HELP: dict[str, list[tuple[str, str, str]]] = {  # by group: option, its value, what it means
    "the run": [
        ("--for", "S", "stop S seconds after power-on; exit 0 if it published throughout, else 1"),
        ("--json", "", "one line of JSON per MQTT message on stdout, all else on stderr"),
        ("--state", "DIR", "the board's flash as a folder that survives (a fresh one)"),
        ("--no-provision", "", "leave the form to a person or a browser"),
    ],
    "the plant": [
        ("--load", "A,B,C", "currents of L1, L2, L3 in A, negative: export (16,10,6)"),
        ("--replay", "FILE.cfg", "drive the ADC from a COMTRADE recording, in a loop"),
        ("--nominal", "V", "scales all its voltages: phase A's RMS in the first cycle (230)"),
        ("--amps", "A", "scales all its currents: phase A's RMS in the first cycle (16)"),
    ],
    "the device": [
        ("--variant", "NAME", "home: clamps of 100 A; public: of 400 A (home)"),
        ("--phases", "N", "voltages wired on the site, 1 or 3 (3)"),
        ("--serial", "SERIAL", f"ends in five digits and G ({DEFAULT_SERIAL})"),
        ("--pin", "PIN", f"the key of its access point, as on the label ({DEFAULT_PIN})"),
    ],
    "the board": [
        ("--vm", "PATH", "another MicroPython binary"),
        ("--heap", "SIZE", f"the firmware's heap, stand-ins not counted ({DEFAULT_HEAP})"),
        ("--lib", "DIR", "another folder for what the image freezes (umqtt/)"),
        ("--repl", "PTY_LINK", "its serial port: a name for mpremote and tools/flash.py"),
        ("--bare", "", "no firmware on it: the image alone, to be flashed through --repl"),
    ],
    "the network": [
        ("--broker", "HOST:PORT", "use that MQTT broker instead of the embedded one"),
        ("--web", "HOST:PORT", "the device knows that web server as http://web.lan"),
        ("--portal", "PORT", "where the board's 192.168.251.1:80 appears on 127.0.0.1"),
        ("--dns", "PORT", "where its UDP port 53 appears"),
        ("--control", "PORT", "where plant, network and power are controlled over HTTP"),
    ],
}


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="simulate",
        allow_abbrev=False,
        description="Runs the unchanged firmware in the MicroPython VM on a simulated board, "
        "with an MQTT broker, plays the installer and shows what the broker receives.",
        epilog="docs/simulator.md says what --control serves.",
    )
    for title, options in _HELP.items():
        group = parser.add_argument_group(title)
        for option, value, words in options:
            if value:
                group.add_argument(option, metavar=value, help=words)
            else:
                group.add_argument(option, action="store_true", help=words)
    return parser


def _joined(argv: list[str]) -> list[str]:
    """`--load -5,0,0` as `--load=-5,0,0`: argparse takes a leading minus for an option."""
    joined: list[str] = []
    for word in argv:
        if joined and re.match(r"-[0-9.]", word) and re.fullmatch(r"--[a-z]+", joined[-1]):
            joined[-1] += f"={word}"
        else:
            joined.append(word)
    return joined


def parse(argv: list[str]) -> Options:
    """Checks everything that can be checked without starting anything. OptionError if not."""
    given = vars(_parser().parse_args(_joined(argv)))
    state = None if given["state"] is None else Path(given["state"])
    factory = _factory_of(state)
    defaults = {"variant": "home", "serial": DEFAULT_SERIAL, "pin": DEFAULT_PIN, "phases": 3}
    identity: dict[str, Any] = {
        name: _identity(name, given[name], factory, default) for name, default in defaults.items()
    }
    if given["replay"] is not None and given["load"] is not None:
        raise OptionError("--load and --replay exclude each other: a recording is the load")
    for name in ("nominal", "amps"):
        if given["replay"] is None and given[name] is not None:
            raise OptionError(f"--{name} scales a recording: expected --replay FILE.cfg with it")
    clip_a = RANGE_A[identity["variant"]] * CLIP
    load, note = _load(given["load"], identity["phases"], identity["variant"])
    ports = _ports({name: given[name] for name in _CUSTOMARY_PORTS})
    return Options(
        for_s=None if given["for"] is None else _number("for", given["for"], (0.1, 999999), "s"),
        json=given["json"],
        replay=_recording(given["replay"]),
        nominal=_number("nominal", given["nominal"] or "230", (10, 390), "V"),
        amps=_number("amps", given["amps"] or "16", (0.1, clip_a), "A"),
        load=load,
        **identity,
        state=state,
        provision=not given["no_provision"],
        broker=_address("broker", given["broker"]),
        web=_address("web", given["web"]),
        vm=_vm(given["vm"]),
        heap=_heap(given["heap"] or DEFAULT_HEAP),
        lib=_lib(given["lib"]),
        portal=ports["portal"],
        dns=ports["dns"],
        control=ports["control"],
        repl=_repl(given["repl"], given["bare"]),
        bare=given["bare"],
        note=note,
    )


def _number(name: str, words: str, bounds: tuple[float, float], unit: str) -> float:
    try:
        value = float(words)
    except ValueError:
        value = math.nan
    if not bounds[0] <= value <= bounds[1]:
        raise OptionError(f"--{name} {words}: expected {bounds[0]:g} to {bounds[1]:g} {unit}")
    return value


def _load(words: str | None, phases: int, variant: str) -> tuple[tuple[float, float, float], str]:
    """The currents in A, and a note when a clamp is driven beyond its range."""
    if words is None:
        return DEFAULT_LOAD, ""
    try:
        currents = [float(part) for part in words.split(",")]
    except ValueError:
        currents = []
    if len(currents) == 1 and phases == 1:
        currents += [0.0, 0.0]
    if len(currents) != 3:
        raise OptionError(
            f"--load {words}: expected the currents of L1, L2, L3 in A, like 16,10,6"
            + (", or that of L1 alone" if phases == 1 else "")
        )
    range_a = RANGE_A[variant]
    clip_a = range_a * CLIP
    for current in currents:
        if not abs(current) <= clip_a:
            raise OptionError(
                f"--load {words}: expected {-clip_a:g} to {clip_a:g} A, "
                f"where the clamps of the {variant} variant clip"
            )
    beyond = [f"L{n}" for n, current in enumerate(currents, 1) if abs(current) > range_a]
    note = f"{' '.join(beyond)} beyond the clamps' {range_a} A: an overload" if beyond else ""
    return (currents[0], currents[1], currents[2]), note


def _recording(words: str | None) -> Path | None:
    if words is None:
        return None
    if not Path(words).is_file():
        raise OptionError(f"--replay {words}: no such file, expected a COMTRADE .cfg")
    return Path(words)


def _factory_of(state: Path | None) -> dict[str, Any]:
    """Checks --state; returns what the board in that folder was delivered with, if any."""
    if state is None:
        return {}
    folder = state
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    if not folder.is_dir():
        raise OptionError(f"--state {state}: {folder} is no folder")
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as e:
        raise OptionError(f"--state {state}: can't write there: {e.strerror}") from e
    try:
        factory = json.loads((state / "factory.json").read_text())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError):
        factory = None
    if not isinstance(factory, dict):
        raise OptionError(f"--state {state}: its factory.json is not JSON; take a fresh folder")
    return factory


def _identity(name: str, given: Any, factory: dict[str, Any], default: Any) -> Any:
    """One trait of the device: as given, as the board in --state has it, or the default."""
    value = factory.get(name, default) if given is None else given
    if name == "phases":
        value = {"1": 1, "3": 3}.get(str(value))
    faults = {
        "variant": (value in RANGE_A, "expected home or public"),
        "phases": (value is not None, "expected 1 or 3"),
        "serial": (
            re.fullmatch(r"(?=.{6,24}$)[A-Z0-9-]*[0-9]{5}G", str(value)) is not None,
            "expected 6 to 24 of A-Z, 0-9 and -, ending in five digits and G",
        ),
        "pin": (
            re.fullmatch(r"[!-~]{8}", str(value)) is not None,
            "expected eight printable ASCII characters",
        ),
    }
    good, expected = faults[name]
    if not good:
        raise OptionError(f"--{name} {given if given is not None else value}: {expected}")
    if given is not None and factory.get(name, value) != value:
        raise OptionError(
            f"--{name} {given}: the board in --state was made with {factory[name]}; "
            "drop the option or take a fresh folder"
        )
    return value


def _address(name: str, words: str | None) -> tuple[str, int] | None:
    if words is None:
        return None
    host, colon, port = words.rpartition(":")
    if not (colon and host and re.fullmatch(r"[0-9]{1,5}", port) and 0 < int(port) < 65536):
        raise OptionError(f"--{name} {words}: expected HOST:PORT, like 127.0.0.1:1883")
    try:
        found = socket.getaddrinfo(host, int(port), socket.AF_INET, socket.SOCK_STREAM)
    except (OSError, UnicodeError) as e:
        raise OptionError(f"--{name} {words}: no such host: {host}") from e
    return str(found[0][4][0]), int(port)


def _vm(words: str | None) -> Path:
    name = words or str(ROOT / ".venv" / "bin" / "micropython")
    found = shutil.which(name)
    if found is None:
        hint = "expected a MicroPython binary" if words else "run `make setup` first"
        raise OptionError(f"--vm {name}: can't be executed, {hint}")
    return Path(os.path.abspath(found))


def _heap(words: str) -> str:
    """MicroPython's own notation: a number, w for words instead of bytes / 4, then k or m."""
    match = re.fullmatch(r"([0-9]{1,9})(w?)([km]?)", words.lower())
    if match is None:
        raise OptionError(f"--heap {words}: expected a size like 100wk, 100k or 1m")
    size = int(match[1]) * {"": 1, "k": 1024, "m": 1024 * 1024}[match[3]]
    if not _HEAP_MIN <= size <= _HEAP_MAX:
        raise OptionError(f"--heap {words}: expected 20k to 60m")
    return words.lower()


def _lib(words: str | None) -> Path | None:
    if words is None:
        return None
    folder = Path(words)
    if not any((folder / "umqtt" / name).is_file() for name in ("simple.py", "simple.mpy")):
        raise OptionError(f"--lib {folder}: expected a folder that holds umqtt/simple.py")
    return folder.resolve()


def _repl(words: str | None, bare: bool) -> Path | None:
    if words is None:
        if bare:
            raise OptionError(
                "--bare: expected --repl PTY_LINK with it, to flash the board through"
            )
        return None
    link = Path(words)
    if link.exists() and not link.is_symlink():
        raise OptionError(f"--repl {words}: that is there already; expected a name for a link")
    if not link.parent.is_dir():
        raise OptionError(f"--repl {words}: no such folder: {link.parent}")
    return link


def _ports(given: dict[str, str | None]) -> dict[str, int]:
    """A free port for each name: the one asked for, else a customary one, else any."""
    ports: dict[str, int] = {}
    for name, words in given.items():
        if words is None:
            continue
        if not re.fullmatch(r"[0-9]{1,5}", words) or not 0 < int(words) < 65536:
            raise OptionError(f"--{name} {words}: expected a port, 1 to 65535")
        port = int(words)
        if port in ports.values():
            raise OptionError(f"--{name} {port}: that port is given twice")
        try:
            _bind(name, port)
        except OSError as e:
            raise OptionError(f"--{name} {port}: {(e.strerror or str(e)).lower()}") from e
        ports[name] = port
    for name in _CUSTOMARY_PORTS.keys() - ports.keys():
        ports[name] = _free_port(name, set(ports.values()))
    return ports


@cache
def _owns_customary_ports() -> IO[bytes] | None:
    """The lock that only one simulator holds, until it ends: a port that is free now could
    otherwise be taken by two that start together."""
    with contextlib.suppress(OSError):
        lock = _CUSTOMARY_LOCK.open("ab")
        with contextlib.suppress(OSError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return lock
        lock.close()
    return None


def _free_port(name: str, taken: set[int]) -> int:
    wish = _CUSTOMARY_PORTS[name] if _owns_customary_ports() else 0
    for port in (wish, *(0,) * 20):
        try:
            found = _bind(name, port)
        except OSError:
            continue
        if found not in taken:
            return found
    raise OptionError(f"--{name}: no free port on 127.0.0.1")


def _bind(name: str, port: int) -> int:
    """Proves that a port is free by taking it for a moment; returns it."""
    kind = socket.SOCK_DGRAM if name == "dns" else socket.SOCK_STREAM
    with socket.socket(socket.AF_INET, kind) as s:
        if kind == socket.SOCK_STREAM:  # else a port that was just left would look busy
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        s.bind(("127.0.0.1", port))
        return int(s.getsockname()[1])
