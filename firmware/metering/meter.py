"""The meter: slices of one mains cycle become a Measurement a second, or at once on a step.

In: a converter (adc.py), a Calibration, the clock. Out: Measurement objects. Main's loop calls
`slice()` and truly yields between two calls. A slice may begin anywhere in the cycle and covers
exactly one period as followed on whichever voltage lives; without any it is timed. slice() touches
no heap except when it returns a Measurement.
"""

from array import array

from micropython import const

from metering import kernels as k
from metering.mains import LONGEST_US, Mains
from metering.measurement import Measurement
from metering.site import Site

_SECOND_MS = const(1000)
_LATE_US = const(100)  # a scan that far behind the grid spoils its cycle: 1.8 degrees
_BRIDGED_US = const(2_000_000)
_REFIT_US = const(100)  # the period may leave the one the grid was made for by half a percent
_CLEAN = const(3)  # cycles after a step that confirm it and make its message
_FAST_MS = const(100)  # no two messages closer than this
_EVENTS = const(6)  # that wait to be taken
_TOLERATED = const(28)  # one in so many microseconds may be lost to what else the board does
_BEHIND_US = const(150_000)
_TOP = const(50_000)  # counts: the converter bends from 2450 mV on (45,900), 1 % at 2600 mV


class Meter:
    """last: the newest Measurement or None. events: overloads that began or ended, oldest first,
    as (phase 0..2, mA, None or how many seconds it lasted); who takes one removes it. wiring: a
    Wiring or None. behind_us: what of the last seconds was not measured, beyond a 28th of them:
    who can wait, waits (provisioning/web.py). cycle, raw, mains: sums (kernels.py) and counts of
    the newest cycle, six a scan, and what is known of the mains; valid until the next slice.
    """

    def __init__(
        self,
        adc,
        calibration,
        *,
        time,
        phases=3,
        unix_ms=None,
        step_a=5,
        supply_max_a=None,
        energy=None,
        wiring=None,
    ):
        """phases: 1 or 3. unix_ms: callable giving Unix ms, or None before the clock is set.
        energy: what to `add` each message's mean powers to (energy.py). wiring: what to `take`
        each cycle (wiring.py).
        """
        if phases not in (1, 3):
            raise ValueError("phases: expected 1 or 3, got %r" % (phases,))
        self.last = None
        self.events = []
        self._plain = calibration  # by clamp; _calibration is by phase
        self._adc = adc
        self._calibration = calibration
        self._phases = phases
        self._unix_ms = unix_ms
        self._energy = energy
        self.wiring = wiring
        self._readers = adc.readers
        self._time = time
        self._ticks_us = time.ticks_us
        self._sleep_us = time.sleep_us

        self.cycle = array("i", [0] * k.CYCLE_WORDS)
        self._total = array("i", [0] * k.TOTAL_WORDS)  # since the last message
        self._recent = array("i", [0] * k.TOTAL_WORDS)  # since the step now being confirmed
        k.clear(self._total)
        self._rms = array("i", [0] * 6)  # of the last cycle, in counts
        self._site = Site(calibration, phases)
        self.mains = Mains(phases, self._site.alive)
        self._told = array("i", [0] * 3)  # RMS counts last reported
        self._step = array("i", [0] * 3)
        self._fuse = array("i", [0] * 3)
        self._peak = array("i", [0] * 3)  # highest cycle since the last message
        self._since = [None] * 3  # ticks_ms from which a phase is above its fuse
        self._worst = [0] * 3  # and the highest mA told since
        self._over = 0  # 2 while a current above its fuse has been reported
        self._suspects = 0
        self._spoilt = 0
        self._seq = 0
        self.limits(step_a, supply_max_a)

        self.raw = array("H", [0] * 6 * 9)
        self._time_scans()
        self.raw = array("H", [0] * 6 * min(k.MAX_SCANS, LONGEST_US // self._scan_us + 3))
        self._fit_grid()
        self._message_us = time.ticks_us()
        self._message_ms = time.ticks_ms()
        self._due_ms = time.ticks_add(self._message_ms, _SECOND_MS)
        self._covered_us = 0
        self.behind_us = 0
        self._begun_us = self._message_us

    def limits(self, step_a=5, supply_max_a=None):
        """What makes a message at once: a step of `step_a` A, a current above `supply_max_a` A."""
        for i, gain in enumerate(self._calibration.gain_i_na):
            self._step[i] = int(step_a * 1000) * 1_000_000 // gain
            self._fuse[i] = int((supply_max_a or 10_000) * 1000) * 1_000_000 // gain

    def wire(self, setting):
        """Which clamp is around which conductor: the setting `wiring`, or None for as labelled.
        Holds from the next slice on.
        """
        order, direction = [0, 1, 2], [1, 1, 1]
        for clamp, grip in enumerate((setting or {}).get("clamps") or ()):
            phase = int(grip[-1]) - 1
            order[phase] = clamp
            direction[phase] = -1 if grip[0] == "-" else 1
        readers = self._adc.readers
        self._readers = tuple(readers[clamp] for clamp in order) + readers[3:]
        self._calibration = self._plain.clamped(order, direction)
        self._site.calibration = self._calibration
        if setting and setting.get("voltages") == 1:
            self._site.alone()
        if self.wiring:
            self.wiring.expect(setting, self._calibration)
        k.clear(self._total)
        k.clear(self._recent)
        self._suspects = 0

    def slice(self):
        """Measure one cycle. Returns None, or a Measurement when one is due."""
        mains = self.mains
        period_us = mains.period_us
        if abs(period_us - self._fitted_us) > _REFIT_US:
            self._fit_grid()
        done = k.scan_cycle(
            self._readers,
            self._ticks_us,
            self._sleep_us,
            period_us,
            self._scans,
            mains.ref,
            mains.zero,
            mains.band,
            _LATE_US,
            self.cycle,
            self.raw,
        )
        begun = self.cycle[k.START]
        passed = self._time.ticks_diff(begun, self._begun_us)
        self._begun_us = begun
        behind = self.behind_us + passed - passed // _TOLERATED
        if done > 0:
            behind -= period_us
            self._spoilt = 0
            self._covered_us += period_us
            self._take(self.cycle)
        else:
            self._spoilt += 1
            if self._spoilt == 3:  # not bad luck: this board is slower than it was
                self._spoilt = 0
                self._time_scans()
                self._fit_grid()
        self.behind_us = min(max(behind, 0), _BEHIND_US)
        return self._due()

    def _due(self):
        time = self._time
        now = time.ticks_ms()
        late = time.ticks_diff(now, self._due_ms)
        if late >= 0:  # one message for all that was slept over, the grid stays
            self._due_ms = time.ticks_add(self._due_ms, (late // _SECOND_MS + 1) * _SECOND_MS)
            return self._measure(self._total)
        if (
            self._suspects > _CLEAN
            and self._seq
            and time.ticks_diff(now, self._message_ms) >= _FAST_MS
        ):
            return self._measure(self._recent)
        return None

    def _take(self, cycle):
        """Add one good cycle to everything that lives longer than it."""
        rms = self._rms
        k.judge(cycle, rms, _TOP)
        self.mains.follow(cycle, rms)
        self._site.take(cycle, rms, self.raw, self.mains.ref)
        if self.wiring:
            self.wiring.take(cycle, self.raw, self.mains.ref)
        k.add(self._total, cycle)
        found = k.moved(
            rms, self._told, self._step, self._fuse, self._peak, self._phases, self._over
        )
        if found & 1 or found & 2 != self._over:
            if self._suspects:  # the cycle the step fell into is half of each
                k.add(self._recent, cycle)
            else:
                k.clear(self._recent)
            self._suspects += 1
        else:
            self._suspects = 0

    def _time_scans(self):
        """How long a scan takes on this board, by running a few without a grid."""
        scan = k.scan_cycle
        now, pause, cycle = self._ticks_us, self._sleep_us, self.cycle
        scan(self._readers, now, pause, 9, 9, -1, 0, 0, 10_000_000, cycle, self.raw)
        self._scan_us = max(1, cycle[k.BUSY_US] // 9 + 1)

    def _fit_grid(self):
        """As many scans as the cycle holds, in thirds for the turned voltages."""
        self._fitted_us = self.mains.period_us
        fit = min(self._fitted_us // (self._scan_us + 1), len(self.raw) // 6)
        self._scans = max(3, fit // 3 * 3)

    def _measure(self, sums):
        """Make the message from `sums` and start the next. The one place that uses the heap."""
        self._seq += 1
        m = Measurement(self._seq, self._unix_ms() if self._unix_ms else None)
        now_us = self._ticks_us()
        elapsed = max(1, self._time.ticks_diff(now_us, self._message_us))
        m.cov_permille = min(1000, (self._covered_us * 1000 + elapsed // 2) // elapsed)
        self.mains.settle()
        m.f_mhz = self.mains.f_mhz
        total = self._total
        if total[k.SCANS]:
            self._site.fill(m, total, self.mains, self._told)
            self._account(m, elapsed)
            if sums is not total:  # a step: the message is about what came after it
                self._site.fill(m, sums, self.mains, self._told)
            self._judge_fuses(m)
            self._scan_us = total[k.BUSY_US] // total[k.SCANS] + 1
            self._fit_grid()
        self._site.flag(m, sums, self.mains)
        self._message_us = now_us
        self._message_ms = self._time.ticks_ms()
        self._covered_us = 0
        self._suspects = 0
        k.clear(total)
        self.last = m
        return m

    def _judge_fuses(self, m):
        """Note what begins and what ends. Once above, a current counts as such down to 1/32 below
        its fuse.
        """
        self._over = 0
        now = self._time.ticks_ms()
        for i in range(self._phases):
            since = self._since[i]
            edge = self._fuse[i] if since is None else self._fuse[i] - (self._fuse[i] >> 5)
            if self._told[i] > edge:
                self._over = 2
                if since is None:
                    self._since[i] = now
                    self._worst[i] = 0
                    self._event(i, m.i_ma[i], None)
                self._worst[i] = max(self._worst[i], m.i_ma[i])
            elif since is not None:
                self._since[i] = None
                self._event(i, self._worst[i], self._time.ticks_diff(now, since) // 1000)

    def _event(self, phase, i_ma, seconds):
        if len(self.events) < _EVENTS:
            self.events.append((phase, i_ma, seconds))

    def _account(self, m, elapsed):
        """Energy of the whole time since the last message. A gap without measurement counts as its
        surroundings did, but no longer than _BRIDGED_US.
        """
        highest = [None] * 3
        for i in range(self._phases):
            highest[i] = self._peak[i] * (self._calibration.gain_i_na[i] // 1000) // 1000
            self._peak[i] = 0
        if self._energy:
            self._energy.add(m.p_mw, min(elapsed, self._covered_us + _BRIDGED_US), highest)
