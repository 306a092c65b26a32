"""The mains and the loads: three voltages and three currents as one periodic wave.

In: amplitudes, angles, frequency and harmonics. Out: a `Wave`, a loop of equally spaced samples
in volts and amperes, and what an ideal meter would say about it (`measured`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

# How far each conductor lags L1, in degrees, for both rotations of the field.
LAG_DEG = {"123": (0.0, 120.0, 240.0), "132": (0.0, 240.0, 120.0)}

# Bounds of sim/loop.py: units in a row, units in a loop, relative error of a loop's length.
_ROW_LIMIT, _LOOP_LIMIT, _LENGTH_ERROR = 1 << 14, 1 << 30, 5e-6
_UNITS_NS = [unit for unit in range(1, 1001) if 1000 % unit == 0]

HIGHEST_ORDER = 40  # IEC 61000-4-7 counts harmonics up to the 40th


@dataclass(frozen=True)
class Grid:
    """How a loop is cut into rows: `rows` rows of row_ns units of unit_ns nanoseconds."""

    rows: int
    row_ns: int
    unit_ns: int

    @property
    def loop_s(self) -> float:
        """Length of the loop as it is played."""
        return self.rows * self.row_ns * self.unit_ns * 1e-9

    @classmethod
    def fit(cls, loop_s: float, cycles: int, row_s: float) -> Grid:
        """The grid nearest to `loop_s` with a whole number of rows in each of its `cycles`.

        Rows last `row_s` seconds or up to a quarter less; of the numbers of rows and the units
        that qualify, those are taken that come closest to the length wanted.
        """
        loop_ns = loop_s * 1e9
        least = max(16, math.ceil(loop_s / row_s / cycles - 1e-9))
        best: tuple[float, Grid] | None = None
        for per_cycle in range(least, least + least // 4 + 1):
            row = loop_ns / (per_cycle * cycles)
            for unit in _UNITS_NS:
                grid = cls(per_cycle * cycles, round(row / unit), unit)
                if not 0 < grid.row_ns < _ROW_LIMIT or grid.rows * grid.row_ns >= _LOOP_LIMIT:
                    continue
                error = abs(grid.row_ns * unit / row - 1)
                if best is None or error < best[0]:
                    best = error, grid
            if best and best[0] < _LENGTH_ERROR / 100:
                break
        if best is None or best[0] > _LENGTH_ERROR:
            raise ValueError(f"loop: {loop_s} s in rows of {row_s} s fit no whole nanoseconds")
        return best[1]


@dataclass(frozen=True)
class Wave:
    """One loop of `cycles` whole mains cycles, a sample for each of the grid's rows.

    u: (3, rows) phase voltages L1, L2, L3 in V; i: (3, rows) conductor currents in A, positive
    into the building.
    """

    u: Floats
    i: Floats
    grid: Grid
    cycles: int

    @property
    def frequency(self) -> float:
        """Mains frequency in Hz."""
        return self.cycles / self.grid.loop_s


@dataclass(frozen=True)
class Mains:
    """Steady mains with one load per phase.

    u, i: true RMS in V and A, harmonics included, so that they are what a true-RMS meter shows.
    A voltage of 0 is a phase that is absent at the meter. A negative current flows out of the
    building. phi: degrees by which a current's fundamental lags its phase voltage (positive =
    inductive, P = U I cos phi). harmonics: {"u": {order: (share, degrees)}, "i": {...}}, share
    of the fundamental, all phases alike: u = sqrt(2) U1 (sin x + share sin(order x + degrees)).
    """

    u: Sequence[float] = (230.0, 230.0, 230.0)
    i: Sequence[float] = (16.0, 10.0, 6.0)
    phi: Sequence[float] = (0.0, 0.0, 0.0)
    f: float = 50.0
    sequence: str = "123"
    harmonics: dict[str, dict[int, tuple[float, float]]] = field(default_factory=dict)

    def wave(self, row_s: float) -> Wave:
        """One mains cycle in rows of about `row_s` seconds."""
        grid = Grid.fit(1 / self.f, 1, row_s)
        rows = grid.rows
        x = 2 * np.pi * np.arange(rows) / rows
        u, i = np.empty((3, rows)), np.empty((3, rows))
        for phase, lag in enumerate(LAG_DEG[self.sequence]):
            at_u = x - np.radians(lag)
            at_i = at_u - np.radians(self.phi[phase])
            u[phase] = self.u[phase] * _unit_rms(at_u, self.harmonics.get("u", {}))
            i[phase] = self.i[phase] * _unit_rms(at_i, self.harmonics.get("i", {}))
        return Wave(u, i, grid, 1)


def _unit_rms(x: Floats, harmonics: dict[int, tuple[float, float]]) -> Floats:
    wave = np.sin(x)
    for order, (share, degrees) in harmonics.items():
        wave = wave + share * np.sin(order * x + np.radians(degrees))
    total = 1 + sum(share**2 for share, _ in harmonics.values())
    return wave * np.sqrt(2 / total)


def clamped(wave: Wave, ct: Sequence[str | None]) -> Floats:
    """The three currents inside the clamps, (3, N) in A, by the notation of `Plant`."""
    seen = np.zeros_like(wave.i)
    for clamp, conductor in enumerate(ct):
        if conductor and conductor != "unplugged":
            sign = -1.0 if conductor[0] == "-" else 1.0
            seen[clamp] = sign * wave.i[int(conductor[-1]) - 1]
    return seen


def measured(wave: Wave, ct: Sequence[str | None]) -> dict[str, Any]:
    """What an ideal meter says, with voltage k and clamp k taken as phase k.

    i, u true RMS, without direct current, as no transformer passes it; p the mean of u*i;
    s = u*i; pf = p / s; q the reactive power of the fundamental (IEEE 1459-2010, Q1; positive =
    inductive), cycle by cycle. None where the voltage is absent or the clamp is unplugged (and
    pf without current); f is None without any voltage. All of it over one loop.
    """
    u = wave.u - np.mean(wave.u, axis=1, keepdims=True)
    i = clamped(wave, ct)
    i -= np.mean(i, axis=1, keepdims=True)
    u_rms = np.sqrt(np.mean(u**2, axis=1))
    i_rms = np.sqrt(np.mean(i**2, axis=1))
    real = np.mean(u * i, axis=1)
    reactive = _fundamental_reactive(u, i, wave.cycles)
    truth: dict[str, Any] = {name: [None] * 3 for name in ("i", "u", "p", "q", "s", "pf")}
    for phase in range(3):
        if ct[phase] != "unplugged":
            truth["i"][phase] = float(i_rms[phase])
        if u_rms[phase] > 0:
            truth["u"][phase] = float(u_rms[phase])
        if truth["i"][phase] is None or truth["u"][phase] is None:
            continue
        apparent = float(u_rms[phase] * i_rms[phase])
        truth["p"][phase] = float(real[phase])
        truth["q"][phase] = float(reactive[phase])
        truth["s"][phase] = apparent
        if apparent:
            truth["pf"][phase] = min(1.0, max(-1.0, float(real[phase]) / apparent))
    truth["f"] = wave.frequency if u_rms.any() else None
    return truth


def _fundamental_reactive(u: Floats, i: Floats, cycles: int) -> Floats:
    """Mean over the cycles of Im(U1 conj(I1)); the rows divide evenly into the cycles."""
    rows = u.shape[1] // cycles
    turn = np.exp(-2j * np.pi * np.arange(rows) / rows) * np.sqrt(2) / rows
    phasor_u = u.reshape(3, cycles, rows) @ turn
    phasor_i = i.reshape(3, cycles, rows) @ turn
    return np.mean((phasor_u * phasor_i.conj()).imag, axis=1)
