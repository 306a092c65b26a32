"""Random sites and every way to clamp them wrongly, for the wiring tests and their bench."""

from __future__ import annotations

import cmath
import itertools
import math
import random
from dataclasses import dataclass
from typing import Any

from metering import kernels as k
from metering import wiring_judge
from metering.calibration import Calibration
from metering.measurement import Measurement
from metering.wiring import Wiring

Grips = tuple[str | None, ...]
RIGHT: Grips = ("L1", "L2", "L3")


def turn(grip: str | None) -> str | None:
    return grip and (grip[1:] if grip[0] == "-" else "-" + grip)


def reverse(grips: Grips, *clamps: int) -> Grips:
    return tuple(turn(g) if n in clamps else g for n, g in enumerate(grips))


def without(grips: Grips, *clamps: int) -> Grips:
    return tuple(None if n in clamps else g for n, g in enumerate(grips))


SWAPPED: list[Grips] = [p for p in itertools.permutations(RIGHT) if p != RIGHT]
DOUBLED: list[Grips] = [
    tuple(RIGHT[to] if n == clamp else g for n, g in enumerate(RIGHT))
    for clamp, to in itertools.permutations(range(3), 2)
]
MOVED = SWAPPED + DOUBLED

Fault = tuple[Grips, str]  # grips, sequence
SINGLE: list[Fault] = [(reverse(RIGHT, n), "123") for n in range(3)]
SINGLE += [(without(RIGHT, n), "123") for n in range(3)]
SINGLE += [(grips, "123") for grips in MOVED] + [(RIGHT, "132")]
PAIRS = list(itertools.combinations(range(3), 2))
DOUBLE: list[Fault] = [(reverse(RIGHT, *two), "123") for two in PAIRS]
DOUBLE += [(without(RIGHT, *two), "123") for two in PAIRS]
for _n in range(3):
    DOUBLE += [(reverse(grips, _n), "123") for grips in MOVED]
    DOUBLE += [(without(grips, _n), "123") for grips in MOVED]
    DOUBLE += [(without(reverse(RIGHT, m), _n), "123") for m in range(3) if m != _n]
DOUBLE += [(grips, "132") for grips, sequence in SINGLE if sequence == "123"]


@dataclass
class Site:
    """Three loads: currents in A, how far each lags in degrees, the converter's noise, and what
    the mains lose on the way."""

    i: list[float]
    phi: list[float]
    noise_lsb: float = 2.0
    mains_ohm: float = 0.0

    @classmethod
    def draw(cls, rng: random.Random, least_pf: float = 0.9) -> Site:
        widest = math.degrees(math.acos(least_pf))
        return cls(
            [math.exp(rng.uniform(math.log(2.1), math.log(80))) for _ in range(3)],
            [rng.uniform(-widest, widest) for _ in range(3)],
            rng.uniform(1, 3),
        )

    def switch(self, phase: int, rng: random.Random) -> None:
        """A load of 3 to 16 A and PF 0.9 or more goes on, or as much goes off."""
        load = cmath.rect(rng.uniform(3, 16), math.radians(rng.uniform(-25, 25)))
        now = cmath.rect(self.i[phase], math.radians(self.phi[phase]))
        now += load if rng.random() < 0.7 else -load
        self.i[phase], self.phi[phase] = abs(now), math.degrees(cmath.phase(now))


class Bench:
    """A Wiring that is shown messages of a site without measuring them."""

    def __init__(self, rng: random.Random, setting: dict[str, Any] | None = None) -> None:
        calibration = Calibration("home")
        calibration.phase_i_mdeg = calibration.phase_u_mdeg = (0, 0, 0)
        self.rng = rng
        self.wiring = Wiring(calibration, 3, lambda: 1 << 20)
        self.wiring.expect(setting, calibration)
        self.wiring.ref = 0
        self.told: list[str] = []

    def show(self, site: Site, grips: Grips, sequence: str = "123", times: int = 3) -> None:
        for _ in range(times):
            m = self._message(site, grips, sequence)
            self.wiring.listen(m)
            self.told += wiring_judge.judge(self.wiring, m)

    def _message(self, site: Site, grips: Grips, sequence: str) -> Measurement:
        third = 120 if sequence == "123" else -120
        m = Measurement(1, 1)
        m.f_mhz = 50_000
        for phase in range(3):
            drop = site.mains_ohm * site.i[phase] * math.cos(math.radians(site.phi[phase]))
            m.u_mv[phase] = 230_000 - round(1000 * drop)
            if site.mains_ohm:  # the neighbours'
                m.u_mv[phase] += round(self.rng.gauss(0, 400))
            self._sum(3 + phase, phase * third, 0.02)
        for clamp, grip in enumerate(grips):
            if grip is None:
                m.i_ma[clamp] = 0
                self._sum(clamp, self.rng.uniform(-180, 180), 0)
                continue
            currents = [
                cmath.rect(site.i[phase], math.radians(site.phi[phase] + phase * third))
                for phase in range(3)
            ]
            current = -sum(currents) if grip[-1] == "N" else currents[int(grip[-1]) - 1]
            gain = 1 + self.rng.gauss(0, 0.003)
            m.i_ma[clamp] = round(abs(current) * 1000 * gain)
            lag = math.degrees(cmath.phase(current)) + (180 if grip[0] == "-" else 0)
            lsb = abs(current) * 7.45 + 0.1  # a Home board's
            self._sum(clamp, lag, math.degrees(site.noise_lsb / lsb / math.sqrt(2 * 700)) + 0.1)
        return m

    def _sum(self, channel: int, lag: float, error: float) -> None:
        lag = math.radians(lag + self.rng.gauss(0, error))
        third = lag - 2 * math.pi / 3
        for n, angle in enumerate((lag, third)):
            value = round(1e9 * math.cos(angle))
            self.wiring.sums[4 * channel + 2 * n] = value & 0xFFFF
            self.wiring.sums[4 * channel + 2 * n + 1] = value >> 16
        self.wiring.sums[k.CROSS_CYCLES + channel] = 8

    @property
    def clamps(self) -> list[str | None]:
        return self.wiring.state["clamps"] or [None] * 3

    @property
    def keys(self) -> list[str]:
        return [key for key, _ in self.wiring.findings]
