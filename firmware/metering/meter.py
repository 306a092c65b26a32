"""The meter: slices of one mains cycle become a Measurement a second, or at once on a step.

In: a converter (adc.py), a Calibration, the clock. Out: Measurement objects. Main's loop calls
`slice()` and truly yields between two calls. A slice may begin anywhere in the cycle and covers
exactly one period as followed on whichever voltage lives; without any it is timed. slice() touches
no heap except when it returns a Measurement.
"""

import math
from array import array

from micropython import const

from metering import kernels as k
from metering import quantities
from metering.mains import LONGEST_US, Mains

_SECOND_MS = const(1000)
_ALIVE_MV = const(40_000)  # a voltage below this is absent
_LATE_US = const(100)  # a scan that far behind the grid spoils its cycle: 1.8 degrees
_REFIT_US = const(100)  # the period may leave the one the grid was made for by half a percent
_CLEAN = const(3)  # cycles after a step that confirm it and make its message
_FAST_MS = const(100)  # no two messages closer than this
_TOP = const(50_000)  # counts: the converter bends from 2450 mV on (45,900), 1 % at 2600 mV
_BIAS_LOW = const(17_000)  # 1300 mV are 23,000 counts; 300 mV off is no tolerance
_BIAS_HIGH = const(29_000)
_NOISY = const(64)  # counts^2: where other channels show this, a constant one is stuck
_GATE = const(1250)  # a current below this part of the range (0.08 %) is none


class Measurement:
    """What the meter knows at one instant. Lists have one entry per phase, None where absent.

    seq: +1 for each; ts_ms: Unix ms or None; i_ma, u_mv: true RMS; p_mw, q_mvar: positive into the
    building, inductive positive; pf_milli: -1000..1000; f_mhz; cov_permille: share of the time
    since the last message that was measured; flags: list of words.
    """

    __slots__ = (  # noqa: RUF023 (as in the docstring)
        "seq",
        "ts_ms",
        "i_ma",
        "u_mv",
        "p_mw",
        "q_mvar",
        "pf_milli",
        "f_mhz",
        "cov_permille",
        "flags",
    )

    def __init__(self, seq, ts_ms):
        self.seq = seq
        self.ts_ms = ts_ms
        self.i_ma = [None, None, None]
        self.u_mv = [None, None, None]
        self.p_mw = [None, None, None]
        self.q_mvar = [None, None, None]
        self.pf_milli = [None, None, None]
        self.f_mhz = None
        self.cov_permille = 0
        self.flags = []


class Meter:
    """last: the newest Measurement or None."""

    def __init__(
        self, adc, calibration, *, time, phases=3, unix_ms=None, step_a=5, supply_max_a=None
    ):
        """phases: 1 or 3. unix_ms: callable giving Unix ms, or None before the clock is set."""
        if phases not in (1, 3):
            raise ValueError("phases: expected 1 or 3, got %r" % (phases,))
        self.last = None
        self._calibration = calibration
        self._phases = phases
        self._unix_ms = unix_ms
        self._readers = adc.readers
        self._time = time
        self._ticks_us = time.ticks_us
        self._sleep_us = time.sleep_us

        self._cycle = array("i", [0] * k.CYCLE_WORDS)
        self._total = array("i", [0] * k.TOTAL_WORDS)  # since the last message
        self._recent = array("i", [0] * k.TOTAL_WORDS)  # since the step now being confirmed
        k.clear(self._total)
        self._rms = array("i", [0] * 6)  # of the last cycle, in counts
        self._alive = [_ALIVE_MV * 1000 // (gain // 1000) for gain in calibration.gain_u_nv]
        self._mains = Mains(phases, self._alive)
        self._seen = [False] * 3  # voltages that have lived since power-on
        self._source = [0, 1, 2]  # the voltage that each phase's products are formed with
        self._unseen = phases
        self._noise = [0] * 6  # variance in 1/64 counts^2, running mean
        self._noise_seen = [0] * 6
        self._turn = 0
        self._told = array("i", [0] * 3)  # RMS counts last reported
        self._step = array("i", [0] * 3)
        self._fuse = array("i", [0] * 3)
        self._over = 0  # 2 while a current above its fuse has been reported
        self._suspects = 0
        self._spoilt = 0
        self._seq = 0
        self.limits(step_a, supply_max_a)

        self._raw = array("H", [0] * 6 * 9)
        self._time_scans()
        self._raw = array("H", [0] * 6 * min(k.MAX_SCANS, LONGEST_US // self._scan_us + 3))
        self._fit_grid()
        self._message_us = time.ticks_us()
        self._message_ms = time.ticks_ms()
        self._due_ms = time.ticks_add(self._message_ms, _SECOND_MS)
        self._covered_us = 0

    def limits(self, step_a=5, supply_max_a=None):
        """What makes a message at once: a step of `step_a` A, a current above `supply_max_a` A."""
        for i, gain in enumerate(self._calibration.gain_i_na):
            self._step[i] = int(step_a * 1000) * 1_000_000 // gain
            self._fuse[i] = int((supply_max_a or 10_000) * 1000) * 1_000_000 // gain

    def slice(self):
        """Measure one cycle. Returns None, or a Measurement when one is due."""
        mains = self._mains
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
            self._cycle,
            self._raw,
        )
        if done > 0:
            self._spoilt = 0
            self._covered_us += period_us
            self._take(self._cycle)
        else:
            self._spoilt += 1
            if self._spoilt == 3:  # not bad luck: this board is slower than it was
                self._spoilt = 0
                self._time_scans()
                self._fit_grid()
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
        self._mains.follow(cycle, rms)
        if self._unseen:
            self._look_for_voltages(cycle)
        c = self._turn = (self._turn + 1) % 6
        seen = self._noise_seen[c]
        if seen < 64:
            seen += 1
            self._noise_seen[c] = seen
        noise = self._noise[c]
        self._noise[c] = noise + ((k.roughness(self._raw, cycle[k.SCANS], c) << 6) - noise) // seen
        k.add(self._total, cycle)
        found = k.moved(rms, self._told, self._step, self._fuse, self._phases, self._over)
        if found & 1 or found & 2 != self._over:
            if self._suspects:  # the cycle the step fell into is half of each
                k.add(self._recent, cycle)
            else:
                k.clear(self._recent)
            self._suspects += 1
        else:
            self._suspects = 0

    def _look_for_voltages(self, cycle):
        """A phase whose voltage has not been seen since power-on borrows one, turned."""
        ref = self._mains.ref
        third = cycle[k.SCANS] // 3
        for i in range(self._phases):
            if not self._seen[i]:
                if self._rms[3 + i] >= self._alive[i]:
                    self._seen[i] = True
                    self._source[i] = i
                    self._unseen -= 1
                elif ref >= 0:
                    self._source[i] = ref
                    k.turned(self._raw, cycle[k.SCANS], ref, i, (i - ref) % 3 * third, cycle)
                else:
                    self._source[i] = i

    def _time_scans(self):
        """How long a scan takes on this board, by running a few without a grid."""
        scan = k.scan_cycle
        now, pause, cycle = self._ticks_us, self._sleep_us, self._cycle
        scan(self._readers, now, pause, 9, 9, -1, 0, 0, 10_000_000, cycle, self._raw)
        self._scan_us = max(1, cycle[k.BUSY_US] // 9 + 1)

    def _fit_grid(self):
        """As many scans as the cycle holds, in thirds for the turned voltages."""
        self._fitted_us = self._mains.period_us
        fit = min(self._fitted_us // (self._scan_us + 1), len(self._raw) // 6)
        self._scans = max(3, fit // 3 * 3)

    def _measure(self, sums):
        """Make the message from `sums` and start the next. The one place that uses the heap."""
        self._seq += 1
        m = Measurement(self._seq, self._unix_ms() if self._unix_ms else None)
        now_us = self._ticks_us()
        elapsed = max(1, self._time.ticks_diff(now_us, self._message_us))
        m.cov_permille = min(1000, (self._covered_us * 1000 + elapsed // 2) // elapsed)
        self._mains.settle()
        m.f_mhz = self._mains.f_mhz
        if sums[k.SCANS]:
            self._fill(m, sums)
        self._flag(m, sums)
        total = self._total
        if total[k.SCANS]:
            self._scan_us = total[k.BUSY_US] // total[k.SCANS] + 1
            self._fit_grid()
        self._message_us = now_us
        self._message_ms = self._time.ticks_ms()
        self._covered_us = 0
        self._suspects = 0
        k.clear(total)
        self.last = m
        return m

    def _fill(self, m, sums):
        calibration = self._calibration
        n = sums[k.SCANS]
        cycles = sums[k.CYCLES]
        step = 2 * math.pi * cycles / n
        per_us = 2 * math.pi / self._mains.period_us
        conversion_us = sums[k.READ_US] / cycles / 6
        lead = math.pi / 180_000 * self._mains.period_us / 20_000  # leads fall with frequency
        gate_ma = calibration.range_ma // _GATE
        self._over = 0
        for i in range(self._phases):
            u = self._source[i]
            noise = self._noise_of(i)
            spread = quantities.variance(sums, i)
            square = float(spread) / n / n
            self._told[i] = int(math.sqrt(square))
            if self._told[i] > self._fuse[i]:
                self._over = 2
            root = quantities.root(spread - noise * n * n)
            root_u = quantities.root(quantities.variance(sums, 3 + u))
            i_ma = quantities.thousandths(root, n, calibration.gain_i_na[i])
            u_mv = quantities.thousandths(root_u, n, calibration.gain_u_nv[u])
            lives = root_u // n >= self._alive[u]
            p = q = 0
            # What is left of the noise after its mean is taken off varies by sqrt(2 / n). Where
            # there is a voltage, a load shows in step with it, a dozen times clearer.
            if lives:
                skew_us = conversion_us * (3 + u - i if u != i else 3)
                angle = per_us * skew_us + lead * (
                    calibration.phase_u_mdeg[u] - calibration.phase_i_mdeg[i]
                )
                p, q = quantities.products(sums, u, i, angle, step)
                coherent = math.sqrt(p * p + q * q) * n / root_u
                if square - noise - coherent * coherent < noise / 6:
                    i_ma = int(coherent * calibration.gain_i_na[i] / 1e6 + 0.5)
            elif square - noise < noise * 7 / math.sqrt(n):
                i_ma = 0
            if i_ma < gate_ma:
                i_ma = p = q = 0
            m.i_ma[i] = i_ma
            if self._seen[u]:
                m.u_mv[i] = u_mv
            if self._mains.ref >= 0:
                mw = (calibration.gain_u_nv[u] * 1e-9) * (calibration.gain_i_na[i] * 1e-6)
                m.p_mw[i] = round(p * mw)
                m.q_mvar[i] = round(q * mw)
                if lives and i_ma:
                    m.pf_milli[i] = max(
                        -1000, min(1000, m.p_mw[i] * 1000 // (i_ma * u_mv // 1000))
                    )

    def _noise_of(self, i):
        """Variance of channel `i`'s noise in counts^2. A load's own roughness is not noise: the
        voltages, read by the same converter, are smooth and say how much can be.
        """
        noise = self._noise[i]
        for u in range(3):
            if self._seen[u]:
                noise = min(noise, self._noise[3 + u] * 5 // 4)
        return noise >> 6

    def _flag(self, m, sums):
        flags = m.flags
        noisy = max(self._noise) >> 6 > _NOISY
        for i in range(self._phases):
            name = "_l%d" % (i + 1)
            if max(sums[k.CLIPPED + i], sums[k.CLIPPED + 3 + i]) > 1:
                flags.append("clipped" + name)
            if self._source[i] != i:
                flags.append("estimated" + name)
            for c in (i, 3 + i):
                if sums[k.SCANS] and self._faulty(sums, c, noisy):
                    flags.append("adc_fault" + name)
                    break
        if self._mains.ref < 0:
            flags.append("no_voltage")
        if not self._calibration.calibrated:
            flags.append("uncalibrated")
        if m.cov_permille < 950:
            flags.append("low_coverage")
        if m.ts_ms is None:
            flags.append("clock_unset")

    def _faulty(self, sums, c, noisy):
        if noisy and sums[k.MIN + c] == sums[k.MAX + c]:
            return True
        return not _BIAS_LOW < sums[k.X + c] // sums[k.SCANS] < _BIAS_HIGH
