"""What each clamp grips: collects what tells it, and keeps what was found.

In: cycles while measuring (`take`, no heap), each message (`look`). Out: `state`, the `wiring` of
`info`; `findings`, pairs of key and arguments for pages in other languages.

The angles between one live voltage and every other channel come from two sums of products, of one
channel a cycle in turn (kernels.crossed). Judging them takes 7 kB for some milliseconds: rooms
that wiring_judge.py imports one after the other and lets go, and only when there is room.

Nothing is corrected here. Where all power seems to flow out, or where the owner says that the
site exports, no direction is claimed.
"""

import gc
import sys
from array import array

from micropython import const

from device.unloading import unload
from metering import kernels as k

_SILENT = const(2)  # messages without current until a clamp counts as silent
_BIAS_LOW = const(17_000)  # mean counts of a channel; below, its clamp is not plugged in
_LEAST = const(2)  # cycles of each channel that make a look
_SOON = const(1)  # messages between two judgements until the same was found twice
_LATER = const(10)  # and from then on
_TURN = const(300)  # thousandths of power factor since the last look that bring on the next
_GATE_MA = const(2000)
_ROOM = 12_000 if sys.maxsize >> 32 else 8_000  # free heap that judging leaves something of


class Wiring:
    """state: dict of `info`; findings: list of (key, arguments)."""

    def __init__(self, calibration, phases, free):
        """phases: 1 or 3. free: callable that tells how much heap is left (gc.mem_free)."""
        self.findings = []
        self.state = {"clamps": None, "confidence": None, "sequence": None, "findings": None}
        self.calibration = calibration
        self.phases = phases
        self.expected = (0, 1, 2)  # hypothesis that is right for channel 0, 1, 2
        self.clamp_of = (0, 1, 2)  # and which clamp the channel reads
        self.export = False
        self.rare = 3  # a fault is one in 2^rare
        self.sums = array("i", [0] * k.CROSS_WORDS)
        self.ref = -1
        self.read_us = 0
        self.steps = bytearray(18)
        self.silent = [0] * 3
        self._pf = [0] * 3
        self.unbiased = 0  # bit per channel of a clamp that is not plugged in
        self._free = free
        self._next = 0
        self._forget()

    def _forget(self):
        self.renew()
        self.known = ()  # channel, angle and mA of the currents seen before
        self.found = None
        self.percent = 0
        self.agreed = 0
        self._wait = 0
        self._clear()

    def renew(self):
        """Somebody was at the clamps: what they showed before says nothing of now."""
        self.seen = [None] * 3  # angle and mA of each channel when last above the gate
        self.stepped = [None] * 3  # the last step of each: angle and mA
        self.first = [0] * 3  # its angle when it was first seen
        self.before = None  # what each channel showed at the last look, and the voltages then
        self.shared = 0  # bit of each two clamps that saw the same load switched
        self.neutral = -1  # channel of the clamp that saw what both others did
        self.both_ways = False  # whether one has turned by itself since
        for h in range(18):
            self.steps[h] = 255  # what steps say of each hypothesis

    def expect(self, setting, calibration):
        """The confirmed wiring: the setting `wiring`, or None. What differs from it is found.
        calibration: by channel.
        """
        self.calibration = calibration
        setting = setting or {}
        self.rare = 5 if setting.get("clamps") else 3
        expected, clamp_of = [0, 0, 0], [0, 0, 0]
        for clamp, grip in enumerate(setting.get("clamps") or ("L1", "L2", "L3")):
            channel = int(grip[-1]) - 1
            expected[channel] = channel + 3 * (grip[0] == "-")
            clamp_of[channel] = clamp
        before = (self.expected, self.export)
        self.export = setting.get("export", False)
        self.expected = (expected[0], expected[1], expected[2])
        self.clamp_of = (clamp_of[0], clamp_of[1], clamp_of[2])
        if before != (self.expected, self.export):  # what was found is right or wrong no more
            self.findings = []
            self.state = dict(self.state)
            self.state["findings"] = None
        self._forget()

    def take(self, cycle, raw, ref):
        """One cycle of the meter: one channel of it, in turn."""
        if ref != self.ref:
            self.ref = ref
            self._clear()
        n = cycle[k.SCANS]
        c = self._next
        self._next = c + 1 if c < 5 else 0
        mean = cycle[k.X + c] // n
        if c < 3:
            self.unbiased = self.unbiased & ~(1 << c) | (mean < _BIAS_LOW) << c
        if ref < 0 or n % 3 or self.sums[k.CROSS_CYCLES + c] > 60:
            return
        self.read_us = cycle[k.READ_US]
        k.crossed(raw, n, ref, cycle[k.X + 3 + ref] // n, c, mean, self.sums)

    def _clear(self):
        for word in range(k.CROSS_WORDS):
            self.sums[word] = 0

    def listen(self, m):
        """Which clamps are silent. Somebody may be at them: what they showed holds no more."""
        for j in range(self.phases):
            if m.i_ma[j]:
                if self.silent[j]:
                    self._wait = min(self._wait, _SOON)
                self.silent[j] = 0
            elif self.silent[j] < _SILENT:
                self.silent[j] += 1
                if self.silent[j] == _SILENT:
                    self._wait = min(self._wait, _SOON)
                    self.seen[j] = self.stepped[j] = None
                    self.shared = 0
                    self.neutral = -1
                    self.steps[6 * j : 6 * j + 6] = b"\xff" * 6

    def look(self, m):
        """Judge by what was seen since the last message, `m`. Returns new findings in words."""
        told = ()
        self.listen(m)
        for j in range(self.phases):
            i_ma = m.i_ma[j] or 0  # None: not a cycle was measured
            if i_ma >= _GATE_MA and abs((m.pf_milli[j] or 0) - self._pf[j]) > _TURN:
                self._wait = min(self._wait, _SOON)  # not yet: half of this message was as before
        self._wait -= 1
        if self._wait < 0 and self.ref >= 0 and m.f_mhz and self._enough():
            gc.collect()
            if self._free() > _ROOM:
                try:
                    from metering import wiring_judge  # noqa: PLC0415 (for a moment)

                    for j in range(self.phases):
                        self._pf[j] = m.pf_milli[j] or 0
                    try:
                        told = wiring_judge.judge(self, m)
                        self._wait = _LATER if wiring_judge.settled(self) else _SOON
                    finally:
                        unload("metering.wiring_judge")
                except MemoryError:  # free, but in pieces: another time
                    self._wait = _LATER
        self._clear()
        return told

    def _enough(self):
        return min(self.sums[k.CROSS_CYCLES + c] for c in range(6)) >= _LEAST
