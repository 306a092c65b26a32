"""Calibrates a board beside a reference: `python3 tools/calibrate.py --help`, or `make calibrate`.

Leads through the points, reads the raw sums of the board, finds gain and phase of each channel,
shows what is left of the errors, writes the constants to the board and a protocol to file.
docs/calibration.md explains it; calibrating/ does the work. Exit codes: 0 written (or, with
--dry-run, found good); 1 it broke off or the errors are beyond their limits, nothing was written;
2 it can't be done like that; 130 Ctrl-C.
"""

import argparse
import contextlib
import copy
import getpass
import importlib
import json
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from tools.own_python import SET_UP, enter, refuse

if __name__ == "__main__":
    enter("calibrate")

try:
    from rich.console import Console
    from rich.prompt import Prompt
    from rich.table import Table

    import calibrating
    from calibrating import protocol
    from calibrating.protocol import Session
    from calibrating.readings import Point, Reading, Reference, complaints, read, rows
    from calibrating.reference import ReferenceFailed, Scpi, Typed, dialect_of
    from calibrating.sampler import Failed as WindowFailed
    from calibrating.sampler import Sampler, Window
    from shipping.board import Board, Failed, Refused, find_port
    from shipping.flashing import wait_until_ready
except ModuleNotFoundError as e:
    refuse("calibrate", f"{e.name} is not installed: {SET_UP}")

_FACTORY = "factory.json"
_MOST = 1000  # of a number on the command line: s, A


class Stopped(Exception):
    """Nothing was written; the words say why."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise Refused(f"{message}; --help lists the options")


def parser() -> argparse.ArgumentParser:
    p = _Parser(prog="calibrate", allow_abbrev=False, description="Calibrates an Amp Guard board.")
    p.add_argument("--port", help="/dev/ttyUSB0, socket://, rfc2217://, a pty (found on USB)")
    p.add_argument("--by", help="who calibrates (asked for; the user's name by default)")
    p.add_argument("--note", default="", help="remarks for the protocol")
    ref = p.add_argument_group("the reference")
    ref.add_argument("--reference", metavar="NAME", help="make and number, for the protocol")
    ref.add_argument("--scpi", metavar="RESOURCE", help="a source or meter: VISA name, HOST:PORT")
    ref.add_argument("--dialect", type=Path, metavar="FILE", help="JSON with its SCPI commands")
    ref.add_argument("--settle", type=float, default=1, metavar="S", help="it takes (1)")
    ref.add_argument("--max-amps", type=float, metavar="A", help="what it gives (the range)")
    ref.add_argument("--points", type=Path, metavar="FILE", help="JSON with points of one's own")
    ref.add_argument(
        "--one-by-one", action="store_true", help="channel after channel, not all three at once"
    )
    ref.add_argument("--seconds", type=int, default=3, metavar="S", help="of each reading (3)")
    out = p.add_argument_group("what becomes of it")
    out.add_argument("--protocol", type=Path, metavar="FILE", help="calibration-SERIAL-DAY.html")
    out.add_argument("--dry-run", action="store_true", help="all of it, but write to no board")
    out.add_argument("--replace", action="store_true", help="replace a calibration unasked")
    out.add_argument("--yes", action="store_true", help="ask nothing; needs a SCPI source")
    return p


def main() -> int:
    out = Console(highlight=False, soft_wrap=True)
    try:
        options = parser().parse_args()
        if options.yes and not options.scpi:
            raise Refused("--yes: expected --scpi with it, for nobody types the values")
        for name, least in (("settle", 0), ("seconds", 1), ("max_amps", 0.1)):
            value = getattr(options, name)
            if value is not None and not least <= value <= _MOST:
                option = name.replace("_", "-")
                raise Refused(f"--{option} {value:g}: expected {least} to {_MOST}")
        if options.dialect and not options.scpi:
            raise Refused("--dialect: expected --scpi with it, it is how an instrument speaks")
        if options.dialect:
            dialect_of(options.dialect)
        points = points_of(options.points) if options.points else None
        with Board.connect(options.port or find_port()) as board:
            return Calibration(board, options, points, out).run()
    except (Refused, ReferenceFailed) as error:
        refuse("calibrate", str(error), 2)
    except (Failed, WindowFailed, Stopped) as error:
        refuse("calibrate", f"{error}; nothing was written", 1)
    except (KeyboardInterrupt, EOFError):
        refuse("calibrate", "stopped; nothing was written", 130)


class Calibration:
    """One board, from the first point to the protocol."""

    def __init__(
        self,
        board: Board,
        options: argparse.Namespace,
        points: list[Point] | None,
        out: Console,
    ) -> None:
        self.board, self.options, self.out = board, options, out
        self.maths: Any = importlib.import_module("metering.calibration")
        self.factory = self._factory()
        self.old: dict[str, Any] | None = self.factory.get("calibration")
        variant = self.factory["variant"]
        try:
            self.used = self.maths.load(variant, self.old)
        except ValueError as error:
            self.out.print(f"[yellow]{error}: starting from the printed values of a {variant}")
            self.old, self.used = None, self.maths.load(variant)
        range_a = self.used.range_ma / 1000
        self.points = points or default_points(min(range_a, options.max_amps or range_a))
        self.phases = range(3) if self.factory["phases"] == 3 else range(1)
        self.version = ""
        self.taken: list[tuple[list[Window], Point, list[Reference], list[int]]] = []

    def run(self) -> int:
        """Returns 0. Whatever else happens, the board goes on as it was before."""
        try:
            return self._run()
        except Refused:  # the board's own way out of it restarts it
            raise
        except BaseException:
            with contextlib.suppress(Failed):
                self.board.restart()
            raise

    def _run(self) -> int:
        about = self.board.about
        self.out.print(
            f"{self.board.port}: {self.factory['serial']}, {self.factory['variant']}, "
            f"{about.chip}, MicroPython {about.image}"
        )
        self._tell_of_the_old()
        by = self.options.by or self._ask("who calibrates", getpass.getuser())
        reference = self._reference()
        try:
            self.out.print(f"reference: {reference.name}")
            sampler = Sampler(self.board, self._alive())
            self.version = (
                self.board.run("import version; print(version.VERSION)").decode().strip()
            )
            for n, phases in enumerate(self._rounds()):
                for m, point in enumerate(self.points):
                    self._take(sampler, reference, point, phases, (n, m))
        finally:
            reference.close()
        session = self._session(by, reference.name)
        self._show(session)
        target = self._file(session)
        if session.faults:
            raise Stopped(f"{session.faults[0]} ({target} has all)")
        if self.options.dry_run:
            self.out.print("--dry-run: the constants are good, nothing was written to the board")
            self.board.restart()
            return 0
        if self.old and not (self.options.replace or self._sure()):
            raise Stopped("the calibration on the board stays")
        self._write(session)
        return 0

    # --- what the board is

    def _factory(self) -> dict[str, Any]:
        try:
            found = json.loads(self.board.read(_FACTORY))
        except (Failed, ValueError) as error:
            raise Refused(
                f"{self.board.port}: no identity on the board; run `make flash` first"
            ) from error
        if found.get("variant") not in ("home", "public"):
            raise Refused(f"{_FACTORY}: variant is {found.get('variant')!r}")
        return found

    def _tell_of_the_old(self) -> None:
        if not self.old:
            self.out.print("this board has no calibration yet")
            return
        when = protocol.moment(int(self.old.get("at") or 0))
        self.out.print(f"[yellow]this board was calibrated by {self.old.get('by')} at {when}")
        if self.options.yes and not (self.options.replace or self.options.dry_run):
            raise Refused("the board has a calibration; --replace replaces it")

    def _alive(self) -> list[int]:
        return [40_000 * 1000 // (gain // 1000) for gain in self.used.gain_u_nv]

    # --- the points

    def _reference(self) -> Typed | Scpi:
        if self.options.scpi:
            found: Typed | Scpi = Scpi(
                self.options.scpi, self.options.dialect, self.options.settle
            )
        else:
            found = Typed(self._ask)
        if self.options.reference:
            found.name = self.options.reference
        elif not self.options.scpi:
            found.name = self._ask("make and number of the reference", "not named")
        return found

    def _rounds(self) -> list[list[int]]:
        if self.options.one_by_one:
            return [[phase] for phase in self.phases]
        return [list(self.phases)]

    def _take(
        self,
        sampler: Sampler,
        reference: Typed | Scpi,
        point: Point,
        phases: list[int],
        number: tuple[int, int],
    ) -> None:
        """One point, again and again until it is right or given up."""
        turn, at = number
        where = ", ".join(f"L{phase + 1}" for phase in phases)
        self.out.print(
            f"\n[bold]{turn * len(self.points) + at + 1}/{len(self._rounds()) * len(self.points)}"
            f"  {where}: {point.words}" + (" (to check)" if point.check else "")
        )
        while True:
            try:
                found = self._try(sampler, reference, point, phases)
            except (WindowFailed, Failed, ReferenceFailed) as error:
                found = [str(error)]
            if not found:
                return
            for words in found:
                self.out.print(f"[red]  {words}", highlight=False)
            if self.options.yes:
                raise Stopped(found[0])
            said = self._ask("  [a]gain, [s]kip this point, [q]uit", "a")[:1].lower()
            if said == "q":
                raise Stopped("given up")
            if said == "s":
                return

    def _try(
        self, sampler: Sampler, reference: Typed | Scpi, point: Point, phases: list[int]
    ) -> list[str]:
        reference.set(point)
        if not reference.sets:
            self._ask("  set it, then press Enter", "")
        with self.out.status("reading the board"):
            windows = [sampler.window() for _ in range(max(1, self.options.seconds))]
        shown = [reference.read(point)] * 3
        wrong = complaints(windows, self.used, point, shown, phases)
        if wrong:
            return wrong
        for r in read(windows, self.used, point, shown, phases):
            self.out.print(
                f"  L{r.phase + 1}  {r.volts:8.2f} V  {r.amperes:8.3f} A  {r.lag_deg:+7.2f}°"
                f"   [dim]reference {r.reference.volts:g} V  {r.reference.amperes:g} A"
            )
        self.taken.append((windows, point, shown, phases))
        return []

    # --- the result

    def _readings(self, calibration: Any) -> list[Reading]:
        return [
            reading
            for windows, point, shown, phases in self.taken
            for reading in read(windows, calibration, point, shown, phases)
        ]

    def _session(self, by: str, reference: str) -> Session:
        bench: Any = importlib.import_module("metering.calibration_bench")
        now = self._readings(self.used)
        used = rows([r for r in now if not r.point.check])
        for phase in range(3):  # a phase without a socket keeps what it has
            if phase not in self.phases:
                for channel in "iu":
                    used += [
                        {"channel": channel, "phase": phase, "told": 1.0, "reference": 1.0}
                    ] * 2
        try:
            new = bench.calibrated(self.used, used, by, int(time.time()))
            found = self.maths.load(self.factory["variant"], new)
        except ValueError as error:
            raise Stopped(str(error)) from error
        for phase in self.phases:
            if not any(row["phase"] == phase and "told_deg" in row for row in used):
                raise Stopped(
                    f"clamp {phase + 1}: no point with a known power factor of 0.87 or less, by "
                    "which its phase is found"
                )
        return Session(
            serial=self.factory["serial"],
            variant=self.factory["variant"],
            board=f"{self.board.about.chip}, {self.board.about.mac.hex(':')}",
            firmware=f"{self.version}, MicroPython {self.board.about.image}",
            reference=reference,
            by=by,
            at=new["at"],
            note=self.options.note,
            old=self.old,
            new=new,
            readings=list(zip(now, self._readings(found), strict=True)),
        )

    def _show(self, session: Session) -> None:
        table = Table(title="Errors in %, before → now", title_justify="left")
        for name in ("point", "phase", "U", "I", "P"):
            table.add_column(name, justify="left" if name == "point" else "right")
        for old, new in session.readings:
            before, after = old.errors(), new.errors()
            cells = []
            for q in "UIP":
                if q not in after:
                    cells.append("–")
                    continue
                colour = "green" if abs(after[q]) <= new.limit(q) else "red"
                cells.append(f"{before[q]:+.2f} → [{colour}]{after[q]:+.2f}[/]")
            point = new.point.words + (", check" if new.point.check else "")
            table.add_row(point, f"L{new.phase + 1}", *cells)
        self.out.print(table)
        for line in protocol.bars([new for _, new in session.readings]):
            self.out.print(line, markup=False)
        table = Table(title="Constants", title_justify="left")
        for name in ("", "1", "2", "3"):
            table.add_column(name, justify="right" if name else "left")
        for name, words in protocol.CONSTANTS.items():
            before = getattr(self.used, name)
            cells = []
            for old_value, new_value in zip(before, session.new[name], strict=True):
                if name.startswith("gain"):
                    cells.append(f"{new_value}  {100 * (new_value / old_value - 1):+.2f} %")
                else:
                    cells.append(f"{new_value}  {new_value - old_value:+d}")
            table.add_row(words, *cells)
        self.out.print(table)

    def _file(self, session: Session) -> Path:
        day = time.strftime("%Y-%m-%d", time.gmtime(session.at))
        target = self.options.protocol or Path(f"calibration-{session.serial}-{day}.html")
        if target.exists() and not self.options.protocol:  # an earlier one of that day stays
            target = target.with_stem(f"{target.stem}-{session.fingerprint[:6]}")
        try:
            target.write_text(protocol.document(session))
            target.with_suffix(".json").write_text(json.dumps(session.new, indent=2) + "\n")
        except OSError as error:
            raise Stopped(f"{target}: {error.strerror}") from error
        self.out.print(f"protocol: {target}", soft_wrap=True)
        return target

    def _write(self, session: Session) -> None:
        factory = copy.deepcopy(self.factory) | {"calibration": session.new}
        self.board.write(_FACTORY, json.dumps(factory).encode())
        if json.loads(self.board.read(_FACTORY)) != factory:
            raise Failed(f"{_FACTORY} did not read back as written; repeat the calibration")
        self.out.print("written to the board, waiting for the firmware")
        wait_until_ready(self.board, lambda line: None)
        self.out.print(f"[green]calibrated, fingerprint {session.fingerprint}")

    # --- talking

    def _ask(self, words: str, default: str) -> str:
        if self.options.yes:
            return default
        return (
            Prompt.ask(words.replace("[", r"\["), console=self.out, default=default or None) or ""
        )

    def _sure(self) -> bool:
        said = self._ask("replace the calibration that is on the board? (yes, no)", "no")
        return said.strip().lower() in ("y", "yes")


def default_points(most: float) -> list[Point]:
    """For a reference that gives up to `most` amperes."""

    def amperes(share: float) -> float:
        return float(f"{share * most:.3g}")

    return [
        Point(230, amperes(0.2)),
        Point(253, amperes(0.5)),
        Point(207, amperes(1.0)),
        Point(230, amperes(0.5), 60),
        Point(230, amperes(0.2), 60),
        Point(230, amperes(0.05), check=True),
        Point(230, amperes(0.35), 37, check=True),
    ]


def points_of(file: Path) -> list[Point]:
    """[{"volts": 230, "amperes": 20, "lag_deg": 60, "check": true}, ...]"""
    try:
        found = json.loads(file.read_text())
        points = [replace(Point(0, 0), **entry) for entry in found]
    except (OSError, ValueError, TypeError) as error:
        raise Refused(f"--points {file}: {error}") from error
    for point in points:
        numbers = (point.volts, point.amperes, point.lag_deg)
        if not all(type(n) in (int, float) and -1000 <= n <= 1000 for n in numbers):
            raise Refused(f"--points {file}: {point}: expected numbers, -1000 to 1000")
    if len([p for p in points if not p.check]) < 2:
        raise Refused(f"--points {file}: expected two points or more that are no checks")
    return points


if __name__ == "__main__":
    assert calibrating.ROOT
    sys.exit(main())
