"""The raw sums of a board, read through its REPL.

In: a shipping.board.Board whose firmware is stopped, but there. Out: windows of about a second:
what the firmware's own kernel summed, before any calibration.
"""

from __future__ import annotations

import ast
import importlib
from dataclasses import dataclass
from typing import Any, Protocol

k: Any = importlib.import_module("metering.kernels")
mains: Any = importlib.import_module("metering.mains")

_SETTLING_CYCLES = 14  # until the frequency is locked
_WATCHDOG_MS = 600_000
_NAMES = (
    "CYCLE_WORDS",
    "TOTAL_WORDS",
    "BUSY_US",
    "MAX_SCANS",
)

_PREPARE = """
import gc, machine, time
from array import array
machine.WDT(timeout={watchdog})
import board
from metering import kernels as k
from metering.mains import Mains
readers = board.converter().readers
cycle = array("i", [0] * {CYCLE_WORDS})
total = array("i", [0] * {TOTAL_WORDS})
rms = array("i", [0] * 6)
raw = array("H", [0] * 54)
now, pause = time.ticks_us, time.sleep_us
scan_us = 10000
for _ in range(5):
    k.scan_cycle(readers, now, pause, 9, 9, -1, 0, 0, 10000000, cycle, raw)
    scan_us = min(scan_us, max(1, cycle[{BUSY_US}] // 9 + 1))
raw = array("H", [0] * (6 * min({MAX_SCANS}, {longest_us} // scan_us + 3)))
mains = Mains(3, {alive})
def window(ms):
    machine.WDT(timeout={watchdog})
    gc.collect()
    noise = [0] * 6
    good = spoilt = 0
    while good < {settling}:
        good, spoilt = one(good, spoilt)
    mains.settle()
    k.clear(total)
    good = spoilt = 0
    start = time.ticks_ms()
    while time.ticks_diff(time.ticks_ms(), start) < ms:
        before = good
        good, spoilt = one(good, spoilt)
        if good > before:
            k.add(total, cycle)
            for c in range(6):
                noise[c] += k.roughness(raw, cycle[{SCANS}], c)
    mains.settle()
    noise = [x / max(1, good) for x in noise]
    print(repr((list(total), noise, mains.period_us, mains.f_mhz, spoilt)))
def one(good, spoilt):
    period = mains.period_us
    scans = max(3, min(period // (scan_us + 1), len(raw) // 6) // 3 * 3)
    ref = mains.ref
    done = k.scan_cycle(
        readers, now, pause, period, scans, ref, mains.zero, mains.band, 100, cycle, raw)
    if done > 0:
        k.judge(cycle, rms, {top})
        mains.follow(cycle, rms)
        return good + 1, spoilt
    if spoilt > 500:
        raise OSError("the converter is too slow or is held up")
    return good, spoilt + 1
"""


class Failed(Exception):
    """No window came of it; the words say why."""


@dataclass(frozen=True)
class Window:
    """Sums over about a second (layout: metering/kernels.py), mean variance of the channels'
    noise in counts^2, mains period in us, frequency in Hz or None."""

    sums: list[int]
    noise: list[float]
    period_us: int
    hertz: float | None


class Running(Protocol):
    """What runs code: shipping.board.Board."""

    def run(self, code: str) -> bytes: ...


class Sampler:
    """See the head of this file."""

    def __init__(self, board: Running, alive: list[int]) -> None:
        """alive: RMS in counts from which each of the voltages is one."""
        self._board = board
        names = {name: getattr(k, name) for name in _NAMES}
        code = _PREPARE.format(
            **names,
            SCANS=k.SCANS,
            watchdog=_WATCHDOG_MS,
            longest_us=mains.LONGEST_US,
            alive=alive,
            settling=_SETTLING_CYCLES,
            top=50_000,
        )
        board.run(code)

    def window(self, ms: int = 1000) -> Window:
        said = self._board.run(f"window({ms})\n").decode()
        try:
            sums, noise, period_us, f_mhz, spoilt = ast.literal_eval(said.strip())
        except (ValueError, SyntaxError) as error:
            raise Failed(f"the board answered {said.strip()[:80]!r}") from error
        if sums[k.CYCLES] < 3 or spoilt > sums[k.CYCLES]:
            raise Failed(f"only {sums[k.CYCLES]} whole cycles were measured, {spoilt} were not")
        return Window(sums, noise, period_us, f_mhz / 1000 if f_mhz else None)
