"""A COMTRADE recording as the wave that drives the plant, looped.

In: a .cfg file (IEEE C37.111-1991, -1999 or -2013 with its .dat: ASCII, BINARY, BINARY32 or
FLOAT32), the voltage and current to scale it to. Out: a `Wave` for `sim.plant.Plant`.

    recording = Recording.load("feeder.cfg", nominal=230.0, amps=16.0)
    plant = Plant(recording=recording)
    recording.truth()     what an ideal meter says about the loop (sim.waves.measured)

One factor scales all voltages so that phase A's RMS over the recording's first mains cycle is
`nominal`, another all currents so that phase A's is `amps`.

What is looped: of the first sampling rate section as many whole mains cycles as it holds, from its
first sample. How long a cycle is comes from phase A's voltage itself: its phase at the end of the
section against the beginning. So the voltages run on across the seam even if the mains was not at
its nominal frequency; what differs for real, as before and after a fault, does step there.
A section within 1/64 cycle of whole cycles is looped as it is. A section longer than 26 s is cut.

The samples are interpolated to the plant's rows by a windowed sinc, so that a slow recorder's
signal is not flattened between its samples.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from sim.comtrade_file import read
from sim.sinc import TAPS, interpolate
from sim.waves import Floats, Grid, Wave, measured

_ROW_S = 40e-6
_SLOWEST_ROW_S = 100e-6
_FEW_ROWS, _MOST_ROWS = 1 << 15, 1 << 18
_NEARLY_WHOLE = 1 / 64  # of a cycle, 5.6 degrees
_MAINS_HZ = (40.0, 70.0)
_CYCLE_POINTS = 1000
_DEAD = 1e-3  # of the largest phase


@dataclass(frozen=True)
class Recording:
    """A recording ready to drive the plant."""

    name: str
    wave: Wave

    @classmethod
    def load(cls, path: str | Path, nominal: float = 230.0, amps: float = 16.0) -> Recording:
        """Read, loop and scale; a ValueError of one line says what is wrong with it."""
        for name, value in (("nominal", nominal), ("amps", amps)):
            if not (math.isfinite(value) and value > 0):
                raise ValueError(f"{name}: expected a positive number, got {value!r}")
        path = Path(path)
        values, digit, rate, nominal_hz = read(path)
        try:
            hz = _mains_frequency(values[0], rate, nominal_hz)
            wave = _loop(values, rate, hz)
            cycle = wave.grid.loop_s / wave.cycles * rate
            u = wave.u * (nominal / _first_cycle_rms(values[:3], cycle, digit[0], "voltage"))
            i = wave.i * (amps / _first_cycle_rms(values[3:], cycle, digit[3], "current"))
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None
        return cls(path.stem, replace(wave, u=u, i=i))

    def truth(self) -> dict[str, Any]:
        """What an ideal meter says, over the whole loop."""
        return measured(self.wave, ("L1", "L2", "L3"))


def _mains_frequency(voltage: Floats, rate: float, nominal_hz: float) -> float:
    """Hz at which the voltage's first and last cycles lie whole turns apart."""
    low, high = _MAINS_HZ
    hz = nominal_hz
    if not low <= hz <= high:
        size = 16 * len(voltage)
        spectrum = np.abs(np.fft.rfft(voltage * np.hanning(len(voltage)), size))
        candidates = np.fft.rfftfreq(size, 1 / rate)
        hz = candidates[np.argmax(spectrum * ((candidates >= low) & (candidates <= high)))]
    for _ in range(2):
        hz = _refined(voltage, rate, hz)
    if not low <= hz <= high:
        raise ValueError(f"phase A's voltage has {hz:.3g} Hz, expected mains of 40 to 70 Hz")
    return hz


def _refined(voltage: Floats, rate: float, hz: float) -> float:
    """One step: how the fundamental's phase drifts against `hz`, seen through two cycles."""
    cycle = rate / hz
    size = round(2 * cycle)
    starts = np.arange(0, len(voltage) - size + 1, cycle).astype(int)
    if len(starts) < 2:
        return hz
    window = np.hanning(size + 1)[:-1]
    turn = np.exp(-2j * np.pi * hz / rate * np.arange(len(voltage)))
    phasors = np.array([np.sum((voltage * turn)[s : s + size] * window) for s in starts])
    alive = np.abs(phasors) >= 0.3 * np.abs(phasors[0])
    phase = np.unwrap(np.angle(phasors[alive]))
    seconds = (starts[alive][-1] - starts[0]) / rate
    return hz + (phase[-1] - phase[0]) / (2 * np.pi * seconds) if seconds else hz


def _loop(samples: Floats, rate: float, hz: float) -> Wave:
    held = samples.shape[1] / rate * hz
    cycles = math.floor(held + _NEARLY_WHOLE)
    if cycles < 1:
        raise ValueError(
            f"its first sampling rate section holds {held:.2f} mains cycles, expected one or more"
        )
    length = cycles * rate / hz
    if abs(held - cycles) <= _NEARLY_WHOLE:
        length = float(samples.shape[1])
    longest = math.floor(_MOST_ROWS * _SLOWEST_ROW_S * hz)
    if cycles > longest:
        length, cycles = length * longest / cycles, longest
    loop_s = length / rate
    grid = Grid.fit(loop_s, cycles, min(max(loop_s / _FEW_ROWS, _ROW_S), _SLOWEST_ROW_S))
    rows = _looped(samples, length, grid.rows)
    return Wave(rows[:3], rows[3:], grid, cycles)


def _first_cycle_rms(signals: Floats, cycle: float, digit: float, what: str) -> float:
    """Of phase A over its first `cycle` samples, a fraction of one included.

    Without the recorder's offset, which no transformer passes; from the samples rather than the
    loop, whose beginning rings with a step at the seam.
    """
    points = np.arange(_CYCLE_POINTS) * (cycle / _CYCLE_POINTS)
    rms = np.std(interpolate(signals, points, 1.0), axis=1)
    if not rms[0] > max(_DEAD * np.max(rms), 2 * digit):
        raise ValueError(
            f"phase A's {what} is {rms[0]:.2g} over the first mains cycle, of the three at most "
            f"{np.max(rms):.2g}, its last digit {digit:.2g}: nothing to scale by; choose a "
            "recording that begins live"
        )
    return float(rms[0])


def _looped(samples: Floats, length: float, rows: int) -> Floats:
    """`rows` equally spaced values over the first `length` samples, running round the seam."""
    cutoff = min(1.0, rows / length)
    margin = math.ceil(TAPS / cutoff) + 1
    end = math.ceil(length)
    before = interpolate(samples, length + np.arange(-margin, 0), 1.0)
    after = interpolate(samples, end - length + np.arange(margin), 1.0)
    around = np.concatenate([before, samples[:, :end], after], axis=1)
    return interpolate(around, margin + np.arange(rows) * (length / rows), cutoff)
