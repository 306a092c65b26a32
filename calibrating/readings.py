"""From the sums of a board and what a reference says to readings, or to words about what is wrong.

In: windows (sampler.py), a Calibration of the firmware, a Point with what the reference shows.
Out: `Reading`s, one a channel; `complaints`, in the words of somebody who stands at the bench.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from calibrating.sampler import Window, k

quantities: Any = importlib.import_module("metering.quantities")

LEAST_SHARE = 0.015  # of the range: below, noise and curvature decide, not the gain
LEAST_VOLTS = 100.0
_QUIET_SHARE = 0.005  # a clamp that carries nothing
_TOLERANCE = 0.12  # parts and chip together are within 6 %
_UNSTEADY = 0.004
_LAG_TOLERANCE_DEG = 12.0
_BIAS = (17_000, 29_000)


@dataclass(frozen=True)
class Point:
    """What is to be set: volts, amperes, degrees that the current lags; `lag_known`: whether the
    reference's angle is good enough to find a lead by. `check`: not used for the constants, but
    to prove them."""

    volts: float
    amperes: float
    lag_deg: float = 0.0
    check: bool = False

    @property
    def words(self) -> str:
        pf = math.cos(math.radians(self.lag_deg))
        way = "" if abs(self.lag_deg) < 1 else " lagging" if self.lag_deg > 0 else " leading"
        return f"{self.volts:g} V, {self.amperes:g} A, PF {pf:.2f}{way}"


@dataclass(frozen=True)
class Reference:
    """What the reference shows: volts, amperes, degrees lagging (None: not known), Hz."""

    volts: float
    amperes: float
    lag_deg: float | None


@dataclass
class Reading:
    """One channel at one point, in the units of a Calibration; phases 0..2."""

    point: Point
    reference: Reference
    phase: int
    volts: float
    amperes: float
    watts: float
    lag_deg: float
    hertz: float
    spread: float  # relative, of the current between the windows

    def errors(self) -> dict[str, float]:
        """Percent of the reference, by quantity; watts only where the angle is known."""
        r = self.reference
        found = {
            "U": 100 * (self.volts / r.volts - 1),
            "I": 100 * (self.amperes / r.amperes - 1),
        }
        if r.lag_deg is not None:
            watts = r.volts * r.amperes * math.cos(math.radians(r.lag_deg))
            if abs(watts) > 0.05 * r.volts * r.amperes:
                found["P"] = 100 * (self.watts / watts - 1)
        return found

    def limit(self, quantity: str) -> float:
        """What an error may be in percent: the meter's promise."""
        if quantity != "P":
            return 0.5
        lag = self.reference.lag_deg or 0.0
        return 1.0 if math.cos(math.radians(lag)) > 0.8 else 1.5


def told(window: Window, calibration: Any, phase: int) -> tuple[float, float, float, float]:
    """(V, A, W, degrees lagging) of a phase; the maths of metering/site.py."""
    sums, n = window.sums, window.sums[k.SCANS]
    noise = min(window.noise[phase], *(window.noise[3 + u] * 1.25 for u in range(3)))
    gain_i = calibration.gain_i_na[phase] * 1e-9
    gain_u = calibration.gain_u_nv[phase] * 1e-9
    i_counts = math.sqrt(max(0.0, quantities.variance(sums, phase) / n / n - noise))
    u_counts = math.sqrt(max(0.0, quantities.variance(sums, 3 + phase) / n / n))
    cycles = sums[k.CYCLES]
    skew_us = sums[k.READ_US] / cycles / 6 * 3
    lead = math.pi / 180_000 * window.period_us / 20_000
    angle = 2 * math.pi / window.period_us * skew_us + lead * (
        calibration.phase_u_mdeg[phase] - calibration.phase_i_mdeg[phase]
    )
    p, q = quantities.products(sums, phase, phase, angle, 2 * math.pi * cycles / n)
    lag = math.degrees(math.atan2(q, p)) if p or q else 0.0
    return u_counts * gain_u, i_counts * gain_i, p * gain_u * gain_i, lag


def read(
    windows: Sequence[Window],
    calibration: Any,
    point: Point,
    references: Sequence[Reference],
    phases: Sequence[int],
) -> list[Reading]:
    """Readings of `phases`, means over the windows. references: by phase."""
    found = []
    for phase in phases:
        each = [told(window, calibration, phase) for window in windows]
        volts, amperes, watts = (sum(row[n] for row in each) / len(each) for n in range(3))
        x = sum(math.cos(math.radians(row[3])) for row in each)
        y = sum(math.sin(math.radians(row[3])) for row in each)
        currents = [row[1] for row in each]
        found.append(
            Reading(
                point,
                references[phase],
                phase,
                volts,
                amperes,
                watts,
                math.degrees(math.atan2(y, x)),
                windows[0].hertz or 1e6 / windows[0].period_us,
                (max(currents) - min(currents)) / amperes if amperes else 0.0,
            )
        )
    return found


def complaints(
    windows: Sequence[Window],
    calibration: Any,
    point: Point,
    references: Sequence[Reference],
    phases: Sequence[int],
) -> list[str]:
    """What makes this no reading. phases: the ones fed; the others must be quiet."""
    found: list[str] = []
    range_a = calibration.range_ma / 1000
    for phase in phases:
        ref = references[phase]
        if ref.amperes < LEAST_SHARE * range_a:
            found.append(
                f"the reference of {ref.amperes:g} A is too low: clamp {phase + 1} needs "
                f"{LEAST_SHARE * range_a:g} A or more"
            )
        if ref.volts < LEAST_VOLTS:
            found.append(
                f"the reference of {ref.volts:g} V is too low: give {LEAST_VOLTS:g} V or more"
            )
    if found:
        return sorted(set(found))
    all_read = read(windows, calibration, point, references, range(3))
    sums = windows[-1].sums
    quiet = [r for r in all_read if r.amperes < _QUIET_SHARE * range_a]
    others = [r for r in all_read if r.phase not in phases and r not in quiet]
    for phase in phases:
        found += _of_channel(sums, all_read[phase], range_a, others)
    dead = {r.phase for r in quiet}
    for r in others:
        if not any(phase in dead for phase in phases):
            found.append(
                f"clamp {r.phase + 1} carries {r.amperes:.2f} A, but only "
                f"{_named(phases)} should: take it off the conductor"
            )
    return found


def _of_channel(
    sums: Sequence[int], r: Reading, range_a: float, others: Sequence[Reading]
) -> list[str]:
    clamp, phase = f"clamp {r.phase + 1}", r.phase
    found = []
    for name, c in ((clamp, phase), (f"voltage L{phase + 1}", 3 + phase)):
        mean = sums[k.X + c] / sums[k.SCANS]
        if not _BIAS[0] < mean < _BIAS[1]:
            found.append(
                f"{name} has no bias ({mean / 65535 * 3300:.0f} mV): is it plugged in, is the "
                "input whole?"
            )
        elif sums[k.CLIPPED + c]:
            found.append(f"{name} is clipped: lower the reference")
    if found:
        return found
    if r.amperes < _QUIET_SHARE * range_a:
        moved = [o for o in others if abs(o.amperes / r.reference.amperes - 1) < 0.3]
        if moved:
            return [
                f"clamp {moved[0].phase + 1} shows the current meant for {clamp}: check which "
                "clamp is in which socket, and which one is on the conductor"
            ]
        return [
            f"{clamp} shows no current ({r.amperes:.2f} A of {r.reference.amperes:g} A): is it "
            "closed around the conductor and plugged in, is the source on?"
        ]
    if r.volts < 0.2 * r.reference.volts:
        return [
            f"voltage L{phase + 1} shows nothing ({r.volts:.1f} V of {r.reference.volts:g} V): "
            "is it connected, is the source on?"
        ]
    found += _off(clamp, r.amperes / r.reference.amperes, "A", r.amperes, r.reference.amperes)
    found += _off(f"voltage L{phase + 1}", r.volts / r.reference.volts, "V", r.volts,
                  r.reference.volts)  # fmt: skip
    if r.spread > _UNSTEADY:
        found.append(
            f"{clamp} is not steady ({100 * r.spread:.1f} % within seconds): wait until the "
            "source has settled"
        )
    expected = r.point.lag_deg if r.reference.lag_deg is None else r.reference.lag_deg
    off = (r.lag_deg - expected + 180) % 360 - 180
    if abs(off) > 180 - _LAG_TOLERANCE_DEG - 8:
        found.append(f"{clamp} is the wrong way round: turn it")
    elif abs(abs(off) - 120) < _LAG_TOLERANCE_DEG or abs(abs(off) - 60) < _LAG_TOLERANCE_DEG:
        found.append(
            f"{clamp} and voltage L{phase + 1} are of different phases ({off:+.0f} degrees)"
        )
    elif abs(off) > _LAG_TOLERANCE_DEG:
        found.append(
            f"{clamp} shows a lag of {r.lag_deg:.1f} degrees where the reference has "
            f"{expected:.1f}: lagging given as leading?"
        )
    return found


def _off(name: str, ratio: float, unit: str, shown: float, wanted: float) -> list[str]:
    if abs(ratio - 1) <= _TOLERANCE:
        return []
    hint = "read the reference again"
    for times in (2, 3, 4, 5):
        if abs(ratio / times - 1) < _TOLERANCE:
            hint = f"does the conductor go through {times} times?"
        if abs(ratio * times - 1) < _TOLERANCE:
            hint = f"the reference is {times} times as much: does the conductor share it?"
    if unit == "A" and abs(ratio - 4) < 4 * _TOLERANCE:
        hint = "a 100 A clamp on a board for 400 A? or the conductor goes through 4 times"
    if unit == "A" and abs(ratio - 0.25) < 0.25 * _TOLERANCE:
        hint = "a 400 A clamp on a board for 100 A?"
    return [f"{name} shows {shown:.2f} {unit} where {wanted:g} {unit} are given: {hint}"]


def _named(phases: Sequence[int]) -> str:
    return "clamp " + " and ".join(str(phase + 1) for phase in phases)


def rows(readings: Sequence[Reading]) -> list[dict[str, Any]]:
    """As calibration_bench takes them. Angles only from points where they can be read well: a
    power factor near 1 says little about its angle."""
    found: list[dict[str, Any]] = []
    for r in readings:
        current: dict[str, Any] = {
            "channel": "i",
            "phase": r.phase,
            "told": r.amperes,
            "reference": r.reference.amperes,
        }
        if r.reference.lag_deg is not None and abs(r.reference.lag_deg) >= 30:
            current |= {"told_deg": r.lag_deg, "reference_deg": r.reference.lag_deg}
            current["f"] = r.hertz
        found.append(current)
        found.append(
            {"channel": "u", "phase": r.phase, "told": r.volts, "reference": r.reference.volts}
        )
    return found
