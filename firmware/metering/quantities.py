"""From the sums of a window to amperes, volts and watts. Once a message, in exact integers first.

In: a set of sums (layout in kernels.py) over n scans of whole cycles. Out: integers in mA, mV, mW.
Offsets vanish by n * sum(xy) - sum(x) * sum(y), which is n^2 times the covariance; it is formed
in integers of any size, so nothing cancels. Floats only multiply and divide what is left, where
the 24 bits of the board's single precision give 1e-7.
"""

import math

from metering import kernels as k

_MID = 32768


def isqrt(square):
    """Whole square root, rounded down: Newton's iteration from a float's guess."""
    if square <= 0:
        return 0
    root = int(math.sqrt(square)) + 1
    while True:
        better = (root + square // root) >> 1
        if abs(better - root) <= 1:
            break
        root = better
    while better * better > square:
        better -= 1
    while (better + 1) * (better + 1) <= square:
        better += 1
    return better


def variance(total, channel):
    """n^2 times the variance of a channel in counts^2."""
    n = total[k.SCANS]
    x = total[k.X + channel] - n * _MID
    square = total[k.SQ_HIGH + channel] * 65536 + total[k.SQ_LOW + channel]
    return n * square - x * x


def covariances(total, u, i):
    """n^2 times the covariance of current `i` with its voltage, and with that one scan earlier.

    `u` is the voltage (0..2) that phase `i`'s products were formed with.
    """
    n = total[k.SCANS]
    xy = (total[k.X + 3 + u] - n * _MID) * (total[k.X + i] - n * _MID)
    now = n * (total[k.VI_HIGH + i] * 65536 + total[k.VI_LOW + i]) - xy
    before = n * (total[k.WI_HIGH + i] * 65536 + total[k.WI_LOW + i]) - xy
    return now, before


def scaled_rms(spread, n, gain):
    """RMS in thousandths: square root of `spread` (n^2 times a variance) times `gain` in 1e-9."""
    return (isqrt(spread) * gain + n * 500_000) // (n * 1_000_000)


def delayed(now, before, angle, step):
    """The product a voltage delayed by `angle` would have given; both angles in radians.

    now, before: products with the voltage undelayed and delayed by `step` (one scan). As phasors,
    a + b exp(-j step) = exp(-j angle) gives a = sin(step - angle) / sin(step),
    b = sin(angle) / sin(step): exact for the fundamental. A negative angle extrapolates.
    """
    return (math.sin(step - angle) * now + math.sin(angle) * before) / math.sin(step)


def powers(now, before, n, angle, step, gain_u_nv, gain_i_na):  # noqa: PLR0917
    """Real and reactive power in mW and mvar.

    Real power is the mean of v * i with the sampled voltage delayed by `angle`, which undoes skew
    and leads; reactive power (inductive positive) the same with a quarter cycle more: that of the
    fundamental, IEEE 1459-2010, 3.1.1.3.
    """
    scale = (gain_u_nv * 1e-9) * (gain_i_na * 1e-6) / n / n
    now = float(now) * scale
    before = float(before) * scale
    p = delayed(now, before, angle, step)
    q = delayed(now, before, angle + math.pi / 2, step)
    return round(p), round(q)
