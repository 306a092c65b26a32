"""A rendered loop of ADC codes: plant.bin for the simulated board, and its reader on CPython.

In: codes over one loop of the plant and a noise level. Out: bytes, or conversions one by one.

plant.bin, little-endian: a header of 64 bytes (magic "AGPL", u32 version 1, generation, rows,
row_ns, unit_ns, noise length), `rows` + 1 rows of 6 u16 (ADC code * 16 after everything but
noise and rounding, channels i1 i2 i3 u1 u2 u3; the last row is the first again), then the noise
table of int16 in 1/16 LSB. The loop repeats for ever. A row lasts row_ns * unit_ns nanoseconds;
a position in the loop counts in units of unit_ns. Chosen so that 32-bit integers suffice:

- row_ns < 2**14, so that (difference of two codes * 16) * (position in the row) < 2**30
- rows * row_ns < 2**30 units, so that a position is a small int
- unit_ns divides 1000, so that a clock in microseconds hits whole units
- the loop is within 5 ppm of its true length, steady mains within 2 ppm (of 50 Hz: 0.0001 Hz)

A conversion at a time takes the position, interpolates between two rows, draws from the noise
table (its length is a power of two) and rounds, all in integers:

    value = a + (b - a) * position_in_row // row_ns
    state = (state * 69069 + 12345) & 0x3fffffff
    code  = (value + noise[(state >> 10) & (length - 1)] + 8) >> 4, held within 0..4095

sim/board/_clock.py does the same inside the VM: same plant, same start, same codes.
"""

from __future__ import annotations

import struct
from statistics import NormalDist
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from sim.waves import Floats, Grid

# GPIO of i1 i2 i3 u1 u2 u3 on the reference board (docs/hardware.md), all on ADC1.
GPIO = (36, 39, 32, 33, 34, 35)
TOP_CODE = 4095

_HEADER = struct.Struct("<4s6I36x")
_MULTIPLIER, _INCREMENT, _STATE_MASK = 69069, 12345, 0x3FFFFFFF
FIRST_STATE = 20260101  # of the noise generator, at power-on
_NOISE_LENGTH = 4096


class Clock(Protocol):
    """What a conversion needs of time: nanoseconds since power-on, moved on by converting."""

    ns: int


class Loop:
    """One generation of the plant, rendered."""

    def __init__(self, codes: Floats, grid: Grid, noise_lsb: float, spikes: float, seed: int):
        scaled = np.clip(np.rint(codes * 16), 0, TOP_CODE * 16).astype(np.uint16)
        self.grid = grid
        self.rows: NDArray[np.uint16] = np.concatenate([scaled, scaled[:, :1]], axis=1).T
        self.noise = _noise_table(noise_lsb, spikes, seed)
        # Plain lists and numbers at hand: a conversion in CPython costs about a microsecond so.
        self.columns: list[list[int]] = self.rows.T.tolist()
        noise: list[int] = self.noise.tolist()
        self.at_hand = (grid.unit_ns, grid.row_ns, grid.rows * grid.row_ns, noise, len(noise) - 1)

    def to_bytes(self, generation: int) -> bytes:
        """plant.bin."""
        grid = self.grid
        header = _HEADER.pack(
            b"AGPL", 1, generation, grid.rows, grid.row_ns, grid.unit_ns, len(self.noise)
        )
        return header + self.rows.astype("<u2").tobytes() + self.noise.astype("<i2").tobytes()

    def convert(self, at_ns: NDArray[np.int64], channels: NDArray[np.int64], state: int) -> tuple:
        """Codes of many conversions at once, and the generator's state after them."""
        grid = self.grid
        position = at_ns // grid.unit_ns % (grid.rows * grid.row_ns)
        row, within = position // grid.row_ns, position % grid.row_ns
        a = self.rows[row, channels].astype(np.int64)
        b = self.rows[row + 1, channels].astype(np.int64)
        states = _states(state, len(at_ns))
        noise = self.noise[(states >> 10) & (len(self.noise) - 1)]
        codes = (a + (b - a) * within // grid.row_ns + noise + 8) >> 4
        return np.clip(codes, 0, TOP_CODE), int(states[-1]) if len(states) else state


def _states(state: int, count: int) -> NDArray[np.int64]:
    """The generator's next `count` states; products wrap at 2**64, of which it keeps 30 bits."""
    power = np.cumprod(np.full(count, _MULTIPLIER, np.uint64))
    below = np.concatenate([np.ones(1, np.uint64), power[:-1]]) if count else power
    added = np.cumsum(below) * np.uint64(_INCREMENT)
    return ((power * np.uint64(state) + added) & np.uint64(_STATE_MASK)).astype(np.int64)


def _noise_table(noise_lsb: float, spikes: float, seed: int) -> NDArray[np.int16]:
    """Shuffled quantiles of the normal distribution, in 1/16 LSB; some replaced by spikes."""
    rng = np.random.default_rng(seed)
    inverse = NormalDist().inv_cdf
    quantiles = [inverse((k + 0.5) / _NOISE_LENGTH) for k in range(_NOISE_LENGTH)]
    table = rng.permutation(np.array(quantiles)) * noise_lsb * 16
    hit = rng.choice(_NOISE_LENGTH, round(spikes * _NOISE_LENGTH), replace=False)
    table[hit] += rng.uniform(50, 100, len(hit)) * rng.choice((-16, 16), len(hit))
    return np.rint(table).astype(np.int16)


class AdcReader:
    """One pin of the plant as `machine.ADC` shows it; each conversion moves the clock on.

    The input is sampled when the conversion begins.
    """

    def __init__(self, source: LoopSource, channel: int, time: Clock, conversion_ns: int):
        self._source, self._channel, self._time = source, channel, time
        self._conversion_ns = conversion_ns

    def read(self) -> int:
        """The 12-bit code."""
        return self.read_u16() >> 4

    def read_u16(self) -> int:
        """The code stretched to 16 bits, as ports/esp32/machine_adc.c does."""
        source, time = self._source, self._time
        loop = source.loop
        unit_ns, row_ns, length, noise, mask = loop.at_hand
        column = loop.columns[self._channel]
        now = time.ns
        time.ns = now + self._conversion_ns
        position = now // unit_ns % length
        row = position // row_ns
        a = column[row]
        state = (source.noise_state * _MULTIPLIER + _INCREMENT) & _STATE_MASK
        source.noise_state = state
        value = a + (column[row + 1] - a) * (position - row * row_ns) // row_ns
        code = (value + noise[state >> 10 & mask] + 8) >> 4
        if not 0 <= code <= TOP_CODE:
            code = 0 if code < 0 else TOP_CODE
        return code << 4 | code >> 8


class LoopSource(Protocol):
    """Where a reader gets the loop of the moment; `noise_state` is shared by all channels."""

    noise_state: int

    @property
    def loop(self) -> Loop:
        """The newest generation."""
