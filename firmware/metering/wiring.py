"""What each clamp grips: collects what tells it, and keeps what was found.

In: cycles while measuring (`take`, no heap), each message (`look`). Out: `state`, the `wiring` of
`info`; `findings`, pairs of key and arguments for pages in other languages.

The angles between one live voltage and every other channel come from two sums of products, of one
channel a cycle in turn (kernels.crossed). Judging them takes 8 kB of code for some milliseconds:
wiring_judge.py, which is imported for it and let go, and only when there is room.

Nothing is corrected here. Where all power seems to flow out, or where the owner says that the
site exports, no direction is claimed.
"""

import gc
from array import array

from micropython import const

from metering import kernels as k

_LEAST = const(2)  # cycles of each channel that make a look
_SOON = const(1)  # messages between two judgements until the same was found twice
_LATER = const(10)  # and from then on
_ROOM = const(14 * 1024)  # free heap that judging leaves something of


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
        self._free = free
        self._next = 0
        self._forget()

    def _forget(self):
        self.seen = [None] * 3  # angle and mA of each channel when last above the gate
        for h in range(18):
            self.steps[h] = 255  # what steps say of each hypothesis
        self.found = None
        self.percent = 0
        self.agreed = 0
        self._wait = 0
        self._clear()

    def expect(self, setting, calibration):
        """The confirmed wiring: the setting `wiring`, or None. What differs from it is found.
        calibration: by channel.
        """
        self.calibration = calibration
        self.rare = 5 if setting else 3
        setting = setting or {}
        expected, clamp_of = [0, 0, 0], [0, 0, 0]
        for clamp, grip in enumerate(setting.get("clamps") or ("L1", "L2", "L3")):
            channel = int(grip[-1]) - 1
            expected[channel] = channel + 3 * (grip[0] == "-")
            clamp_of[channel] = clamp
        self.export = setting.get("export", False)
        self.expected = (expected[0], expected[1], expected[2])
        self.clamp_of = (clamp_of[0], clamp_of[1], clamp_of[2])
        self._forget()

    def take(self, cycle, raw, ref):
        """One cycle of the meter: one channel of it, in turn."""
        if ref != self.ref:
            self.ref = ref
            self._clear()
        n = cycle[k.SCANS]
        c = self._next
        self._next = c + 1 if c < 5 else 0
        if ref < 0 or n % 3 or self.sums[k.CROSS_CYCLES + c] > 60:
            return
        self.read_us = cycle[k.READ_US]
        k.crossed(raw, n, ref, cycle[k.X + 3 + ref] // n, c, cycle[k.X + c] // n, self.sums)

    def _clear(self):
        for word in range(k.CROSS_WORDS):
            self.sums[word] = 0

    def look(self, m):
        """Judge by what was seen since the last message, `m`. Returns new findings in words."""
        told = ()
        self._wait -= 1
        if self._wait < 0 and self.ref >= 0 and m.f_mhz and self._enough():
            gc.collect()
            if self._free() > _ROOM:
                from metering import wiring_judge  # noqa: PLC0415 (for a moment)

                told = wiring_judge.judge(self, m)
                self._wait = _LATER if wiring_judge.settled(self) else _SOON
                wiring_judge.forget()
        self._clear()
        return told

    def _enough(self):
        return min(self.sums[k.CROSS_CYCLES + c] for c in range(6)) >= _LEAST
