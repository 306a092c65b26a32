"""The site: which voltages are wired and alive, how noisy channels are, what sums mean here.

In: one cycle after the other while measuring, a message's sums at its end. Out: the quantities and
flags of a Measurement. Only `fill()` and `flag()` use the heap.
"""

import math

from micropython import const

from metering import kernels as k
from metering import quantities

_ALIVE_MV = const(40_000)  # a voltage below this is absent
_GATE = const(1250)  # a current below this part of the range (0.08 %) is none
_BIAS_LOW = const(17_000)  # 1300 mV are 23,000 counts; 300 mV off is no tolerance
_BIAS_HIGH = const(29_000)
_NOISY = const(64)  # counts^2: where other channels show this, a constant one is stuck


class Site:
    """alive: RMS in counts from which each voltage is one. source: the voltage that each phase's
    products are formed with. calibration: by phase.
    """

    def __init__(self, calibration, phases):
        self.calibration = calibration
        self._phases = phases
        self.alive = [_ALIVE_MV * 1000 // (gain // 1000) for gain in calibration.gain_u_nv]
        self.source = [0, 1, 2]
        self._seen = [False] * 3  # voltages that have lived since power-on
        self._unseen = phases
        self._noise = [0] * 6  # variance in 1/64 counts^2, running mean
        self._heard = [0] * 6
        self._turn = 0

    def alone(self):
        """A person says that L1 alone is wired: another that has lived is not lost but was never
        meant. One that lives is seen anew.
        """
        for i in range(1, self._phases):
            self._unseen += self._seen[i]
            self._seen[i] = False

    def take(self, cycle, rms, raw, ref):
        """Learn from one cycle. A phase whose voltage was never seen borrows `ref`, turned."""
        scans = cycle[k.SCANS]
        if self._unseen:
            for i in range(self._phases):
                if self._seen[i]:
                    continue
                self.source[i] = i
                if rms[3 + i] >= self.alive[i]:
                    self._seen[i] = True
                    self._unseen -= 1
                elif ref >= 0:
                    self.source[i] = ref
                    k.turned(raw, scans, ref, i, (i - ref) % 3 * (scans // 3), cycle)
        c = self._turn = (self._turn + 1) % 6
        heard = self._heard[c]
        if heard < 64:
            heard += 1
            self._heard[c] = heard
        noise = self._noise[c]
        self._noise[c] = noise + ((k.roughness(raw, scans, c) << 6) - noise) // heard

    def fill(self, m, sums, mains, told):
        """The quantities of `sums` into the Measurement `m`, RMS of the currents in counts into
        `told`.
        """
        calibration = self.calibration
        n = sums[k.SCANS]
        cycles = sums[k.CYCLES]
        step = 2 * math.pi * cycles / n
        per_us = 2 * math.pi / mains.period_us
        conversion_us = sums[k.READ_US] / cycles / 6
        lead = math.pi / 180_000 * mains.period_us / 20_000  # leads fall with frequency
        gate_ma = calibration.range_ma // _GATE
        for i in range(self._phases):
            u = self.source[i]
            noise = self._noise_of(i)
            spread = quantities.variance(sums, i)
            square = float(spread) / n / n
            told[i] = int(math.sqrt(square))
            root = quantities.root(spread - noise * n * n)
            root_u = quantities.root(quantities.variance(sums, 3 + u))
            i_ma = quantities.thousandths(root, n, calibration.gain_i_na[i])
            u_mv = quantities.thousandths(root_u, n, calibration.gain_u_nv[u])
            lives = root_u // n >= self.alive[u]
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
            elif square - noise < noise * 12 / math.sqrt(n):
                i_ma = 0
            if i_ma < gate_ma:
                i_ma = p = q = 0
            m.i_ma[i] = i_ma
            if self._seen[u]:
                m.u_mv[i] = u_mv
            if mains.ref >= 0 and lives:
                mw = (calibration.gain_u_nv[u] * 1e-9) * (calibration.gain_i_na[i] * 1e-6)
                mw *= calibration.direction[i]
                m.p_mw[i] = round(p * mw)
                m.q_mvar[i] = round(q * mw)
                if i_ma:
                    share = (m.p_mw[i] * 2000 // (i_ma * u_mv // 1000) + 1) >> 1
                    m.pf_milli[i] = max(-1000, min(1000, share))

    def flag(self, m, sums, mains):
        """The flags of `m`, whose quantities come from `sums`."""
        flags = m.flags
        noisy = max(self._noise) >> 6 > _NOISY
        for i in range(self._phases):
            name = "_l%d" % (i + 1)
            if self.source[i] != i:
                flags.append("estimated" + name)
            elif mains.ref >= 0 and m.p_mw[i] is None:
                flags.append("voltage_lost" + name)
            if sums[k.SCANS] and (
                self._faulty(sums, i, noisy) or self._faulty(sums, 3 + i, noisy)
            ):
                flags.append("adc_fault" + name)
            elif max(sums[k.CLIPPED + i], sums[k.CLIPPED + 3 + i]) > 1:
                flags.append("clipped" + name)
        if mains.ref < 0:
            flags.append("no_voltage")
        if not self.calibration.calibrated:
            flags.append("uncalibrated")
        if m.cov_permille < 950:
            flags.append("low_coverage")
        if m.ts_ms is None:
            flags.append("clock_unset")

    def _faulty(self, sums, c, noisy):
        if noisy and sums[k.MIN + c] == sums[k.MAX + c]:
            return True
        return not _BIAS_LOW < sums[k.X + c] // sums[k.SCANS] < _BIAS_HIGH

    def _noise_of(self, i):
        """Variance of channel `i`'s noise in counts^2. A load's own roughness is not noise: the
        voltages, read by the same converter, are smooth and say how much can be.
        """
        noise = self._noise[i]
        for u in range(3):
            if self._seen[u]:
                noise = min(noise, self._noise[3 + u] * 5 // 4)
        return noise >> 6
