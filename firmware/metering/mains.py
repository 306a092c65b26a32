"""Follows the mains: which voltage the cycles are counted on, how long one lasts, the frequency.

In: one cycle's crossings and RMS after the other. Out: `ref` (0..2, -1 without any voltage),
`zero` and `band` for the next cycle's crossing detector, `period_us`, `f_mhz`. No heap but in
`settle()`.
"""

from micropython import const

from metering import kernels as k

_TICKS = const(0x3FFFFFFF)
_PERIOD_US = const(20_000)  # until a voltage has told better
_SHORTEST_US = const(15_150)  # 66 Hz
_LONGEST_US = const(22_730)  # 44 Hz
_LOCK_CYCLES = const(8)  # cycles counted before their mean is trusted
_AMBIGUOUS_US = const(45_000)  # unlocked: 3 cycles of 65 Hz look like 2 of 45 Hz from here on
_LOST_US = const(2_000_000)  # locked: a count across a longer gap may be one off

LONGEST_US = _LONGEST_US


class Mains:
    def __init__(self, voltages, alive):
        """voltages: how many are wired. alive: RMS in counts from which each is a voltage."""
        self._voltages = voltages
        self._alive = alive
        self.ref = -1
        self.zero = 0
        self.band = 0
        self.period_us = _PERIOD_US
        self.f_mhz = None
        self._start = 0
        self._last_us = 0
        self._forget()

    def _forget(self):
        self._anchored = False
        self._locked = False
        self._cycles = 0
        self._span_us = 0

    def follow(self, cycle, rms):
        """Take in one cycle's sums and its six RMS in counts."""
        if self.ref >= 0 and cycle[k.CROSSINGS]:
            self._count(cycle)
        if self.ref < 0 or rms[3 + self.ref] < self._alive[self.ref]:
            self.ref = -1
            self._forget()
            for u in range(self._voltages):
                if rms[3 + u] >= self._alive[u]:
                    self.ref = u
                    break
        if self.ref >= 0:
            self.zero = cycle[k.X + 3 + self.ref] // cycle[k.SCANS]
            self.band = rms[3 + self.ref] // 4

    def _count(self, cycle):
        """Count cycles from the last crossing to this one; their mean length is the period."""
        start = cycle[k.START] & _TICKS
        last = cycle[k.LAST_US]
        span = ((start - self._start) & _TICKS) + last - self._last_us if self._anchored else 0
        self._start = start
        self._last_us = last
        self._anchored = True
        period = self.period_us
        if not self._locked:
            if cycle[k.CROSSINGS] > 1:
                period = (last - cycle[k.FIRST_US]) // (cycle[k.CROSSINGS] - 1)
            if span > _AMBIGUOUS_US:
                span = 0
        if span == 0 or span > _LOST_US:
            self._cycles = 0
            self._span_us = 0
            self._set(period)
            return
        cycles = (span + period // 2) // period
        off = span - cycles * period
        if cycles == 0 or (self._locked and (off > period >> 2 or -off > period >> 2)):
            self._forget()
            return
        self._cycles += cycles
        self._span_us += span
        if self._cycles >= _LOCK_CYCLES:
            self._locked = True
        if self._cycles >= _LOCK_CYCLES or not self._locked:
            period = (self._span_us + self._cycles // 2) // self._cycles
        self._set(period)

    def _set(self, period):
        if _SHORTEST_US <= period <= _LONGEST_US:
            self.period_us = period
        else:
            self._forget()

    def settle(self):
        """End of a message: its frequency into `f_mhz`, and count anew from the last crossing."""
        if self.ref < 0:
            self.f_mhz = None
        elif self._locked and self._cycles >= _LOCK_CYCLES:
            self.f_mhz = (self._cycles * 1_000_000_000 + self._span_us // 2) // self._span_us
        if self._locked:
            self._cycles = 0
            self._span_us = 0
