"""What has to happen to a board until it is what the repository says, and doing it.

    plan = Plan.of(board, given, overwrite)      # reads, compares, changes nothing
    plan.words(), plan.carry_out(board, told)
    ready = wait_until_ready(board)

A run that breaks off leaves a board that waits in its REPL (main.py is taken away first and comes
last), and the next run goes on where it stopped.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import PurePosixPath
from typing import Any

from shipping import identity as identities
from shipping.board import BLOCK, Board, Failed, OnBoard, Refused
from shipping.bundle import KEY
from shipping.firmware import FIRMWARE, SLOT, compiled, version_of

FACTORY = "factory.json"
CA = "ca.der"  # as firmware/main.py knows it
SETTINGS = "settings"

_GIVEN = (FACTORY, KEY, CA)
_LAST = "main.py"
_CODE = (".py", ".mpy")
_SHARED = {"lib", "a/lib"}  # a folder where others' code may live beside ours
_RESERVE = 16 * BLOCK  # settings, logs and what LittleFS needs to move
_READY_S = 45
_REPL = ("MicroPython ", "Type ")  # its banner: main.py has ended
_STARTED = re.compile(r" I device: (\S+) (\S+) on ")
_REACHABLE = re.compile(r" I link: (access point .* is open|(wifi|lan) [0-9.]+)")

Told = Callable[[str, int], None]  # what is being copied, bytes done

_FORGIVE = """
import sys
if '/a' not in sys.path:
 sys.path.insert(0, '/a')
try:
 from device.boots import BootRecord
 BootRecord().settled()
except Exception:
 pass
"""


@dataclass
class Plan:
    """Differences between a board and the repository, and the board's identity afterwards."""

    firmware: dict[str, bytes]
    changed: list[str]
    gone: list[str]
    folders: list[str]
    folders_gone: list[str]
    identity: identities.Identity
    write_identity: bool
    erased: list[str] = field(default_factory=list)

    @classmethod
    def of(
        cls,
        board: Board,
        given: identities.Identity,
        overwrite: bool = False,
        erase: bool = False,
        *,
        key: bytes | None = None,
        ca: bytes | None = None,
        settings: bytes | None = None,
        frozen: bool = False,
    ) -> Plan:
        """given: fields of /factory.json; key: the /update.key; ca: the /ca.der; settings: the
        /settings; frozen: the image holds the modules. Refused if they contradict what the board
        has and `overwrite` is not set, if the firmware would not take them, or if space is
        short."""
        if frozen and (there := board.frozen_version()) != version_of():
            raise Refused(
                f"{board.port}: --frozen, but the image holds "
                f"{'no firmware' if not there else 'the firmware ' + there}, expected "
                f"{version_of()}; build it anew with firmware/manifest.py, or drop the option"
            )
        firmware = compiled(board.about.architecture, frozen=frozen)
        found = board.files()
        for path, what, data in (
            (KEY, "update key", key),
            (CA, "CA certificate", ca),
            (SETTINGS, "Wi-Fi, or other settings,", settings),
        ):
            if data is None:
                continue
            if found.get(path) and not _same(found[path], data) and not overwrite:
                raise Refused(
                    f"{board.port}: this board has another {what} already; drop the option, "
                    "or --factory-overwrite"
                )
            firmware[path] = data
        who = _who(board, found, given, overwrite)
        erased = [
            path
            for path, entry in found.items()
            if erase and path not in _GIVEN and path not in firmware and entry is not None
        ]
        changed = {path for path, data in firmware.items() if not _same(found.get(path), data)}
        ours = _imported(firmware, frozen)
        gone = [path for path in _unwanted(found, firmware, ours) if path not in erased]
        if changed or gone:
            changed.add(_LAST)
        plan = cls(
            firmware,
            sorted(changed, key=lambda path: (path == _LAST, path)),
            gone,
            [path for path in _folders(firmware) if path not in found],
            _in_the_way(found, ours),
            *who,
            erased,
        )
        plan._check_space(board.about.free, found)
        return plan

    @property
    def empty(self) -> bool:
        return not (self.changed or self.gone or self.write_identity or self.erased)

    @property
    def size(self) -> int:
        return sum(len(self.firmware[path]) for path in self.changed)

    @property
    def _factory(self) -> bytes:
        return json.dumps(self.identity).encode()

    def words(self) -> Iterator[str]:
        """One line per thing to do."""
        for path in self.erased:
            yield f"erase   {path}"
        for path in self.gone:
            yield f"remove  {path}"
        for path in self.changed:
            yield f"copy    {path} ({len(self.firmware[path])} bytes)"
        if self.write_identity:
            yield f"write   {FACTORY} ({self.identity['serial']})"

    def carry_out(self, board: Board, told: Told) -> None:
        """Makes the board so, and proves it: every file is hashed there. Failed if not."""
        if self.changed and _LAST in board.files():
            board.remove(_LAST)
        for path in self.erased + self.gone:
            board.remove(path)
        for path in self.folders_gone:
            board.remove(path, folder=True)
        for path in self.folders:
            board.make_folder(path)
        if self.write_identity:
            board.write(FACTORY, self._factory)
        for path in self.changed:
            board.write(path, self.firmware[path], partial(told, path))
        self._verify(board)

    def _verify(self, board: Board) -> None:
        found = board.files()
        wrong = [path for path, data in self.firmware.items() if not _same(found.get(path), data)]
        if self.write_identity and not _same(found.get(FACTORY), self._factory):
            wrong.append(FACTORY)
        if wrong:
            raise Failed(
                f"{board.port}: {' '.join(wrong)} did not arrive intact; repeat, and if it stays "
                "so, the board's flash is worn"
            )

    def _check_space(self, free: int, found: dict[str, OnBoard | None]) -> None:
        """Each file needs its place before the old one's is free."""
        freed = sum(
            _blocks(entry.size) for path, entry in found.items() if entry and path in self.erased
        )
        grown = sum(
            _blocks(len(self.firmware[path])) - _blocks(_size(found.get(path)))
            for path in self.changed
        )
        largest = max((_blocks(len(self.firmware[path])) for path in self.changed), default=0)
        needed = grown + largest + (_RESERVE if self.changed else 0)
        if needed > free + freed:
            raise Refused(
                f"no space: the firmware needs {needed // 1024} kB more, the board has "
                f"{(free + freed) // 1024} kB free; --erase clears everything but its identity"
            )


def forgive(board: Board) -> None:
    """What crashed before is history: a board in safe mode would stay in it, repaired or not."""
    board.run(_FORGIVE)


def wait_until_ready(board: Board, said: Callable[[str], None]) -> str:
    """Restarts the board and waits until the firmware runs and can be reached; returns its
    version. Failed with the board's own last words if it does not."""
    board.restart()
    tail: list[str] = []
    version = ""
    for line in board.lines(_READY_S):
        said(line)
        tail = [*tail[-8:], line]
        if started := _STARTED.search(line):
            version = started[2]
        elif version and _REACHABLE.search(line):
            return version
        elif " E device: crashed" in line or line.startswith(_REPL):
            break
    last = " | ".join(line for line in tail if line and not line.startswith(_REPL)) or "nothing"
    raise Failed(f"{board.port}: the firmware is there but does not run; the board said: {last}")


def _who(
    board: Board, found: dict[str, OnBoard | None], given: identities.Identity, overwrite: bool
) -> tuple[identities.Identity, bool]:
    """The identity the board is to have, and whether it must be written."""
    there: Any = None
    if found.get(FACTORY):
        try:
            there = json.loads(board.read(FACTORY))
        except ValueError:
            there = {}
        faulty = identities.fault(there) if isinstance(there, dict) and there else "it is not JSON"
        if not overwrite:
            if faulty:
                raise Refused(
                    f"{board.port}: the board's {FACTORY} is damaged ({faulty}); "
                    "--factory-overwrite with --serial and --pin of its label writes it anew"
                )
            other = [name for name, value in given.items() if there.get(name) != value]
            if other:
                raise Refused(
                    f"{board.port}: this board is {there['serial']} already and has another "
                    f"{' and '.join(other)}; drop the option, or --factory-overwrite"
                )
            return there, False
    wanted = identities.merge(there if isinstance(there, dict) else {}, given, board.about.mac)
    if wrong := identities.fault(wanted):
        raise Refused(wrong)
    return wanted, wanted != there


def _imported(firmware: dict[str, bytes], frozen: bool) -> set[str]:
    """Our modules by where others of their names, or folders, would be imported in their place."""
    ours = {path.removesuffix(".mpy") for path in firmware if path.endswith(".mpy")}
    rooms = {path.parent.name for path in FIRMWARE.glob("*/*.py")} if frozen else set()
    return ours | {f"{SLOT}/{room}" for room in rooms}


def _unwanted(
    found: dict[str, OnBoard | None], firmware: dict[str, bytes], ours: set[str]
) -> Iterator[str]:
    """Files that would be imported in place of ours, code of ours that is no more, and pieces of
    an interrupted run."""
    folders = set(_folders(firmware)) - _SHARED
    for path, entry in found.items():
        if entry is None or path in firmware:
            continue
        place = PurePosixPath(path)
        shadows = path.removesuffix(".py") in ours or bool(ours & set(map(str, place.parents)))
        stale = place.suffix in _CODE and str(place.parent) in folders
        if shadows or stale or path.removesuffix(".new") in firmware:
            yield path


def _in_the_way(found: dict[str, OnBoard | None], ours: set[str]) -> list[str]:
    """Folders that would be imported in place of a module of ours, innermost first."""
    inside = [path for path, entry in found.items() if entry is None]
    return sorted(
        (path for path in inside if ours & {path, *map(str, PurePosixPath(path).parents)}),
        reverse=True,
    )


def _folders(firmware: dict[str, bytes]) -> list[str]:
    """Parents before children."""
    parents = {str(parent) for path in firmware for parent in PurePosixPath(path).parents}
    return sorted(parents - {"."})


def _same(entry: OnBoard | None, data: bytes) -> bool:
    return entry is not None and entry.sha256 == hashlib.sha256(data).hexdigest()


def _size(entry: OnBoard | None) -> int:
    return entry.size if entry else 0


def _blocks(size: int) -> int:
    return -(-size // BLOCK) * BLOCK
