"""From the sums of a window to amperes, volts and watts. Once a message, in exact integers first.

In: a set of sums (layout in kernels.py) over n scans of whole cycles. Out: integers in mA, mV, mW.
Offsets vanish by n * sum(xy) - sum(x) * sum(y), which is n^2 times the covariance; it is formed
in integers of any size, so nothing cancels. Floats only multiply and divide what is left, where
the 24 bits of the board's single precision give 1e-7.
"""

import math

from micropython import const

from metering import kernels as k

_MID = const(32768)


def root(square):
    """Square root of an integer of up to 60 bits, within 1; 0 for what is not positive.

    One step of Newton's iteration doubles the 24 bits that a float's root gives.
    """
    if square <= 0:
        return 0
    guess = int(math.sqrt(square)) or 1
    return (guess + square // guess) >> 1


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


def thousandths(root, n, gain):
    """`root` / n counts times `gain` in 1e-9 (nA, nV), in 1e-3, rounded."""
    return (root * gain + n * 500_000) // (n * 1_000_000)


def delayed(now, before, angle, step):
    """The product a voltage delayed by `angle` would have given; both angles in radians.

    now, before: products with the voltage undelayed and delayed by `step` (one scan). As phasors,
    a + b exp(-j step) = exp(-j angle) gives a = sin(step - angle) / sin(step),
    b = sin(angle) / sin(step): exact for the fundamental. A negative angle extrapolates.
    """
    return (math.sin(step - angle) * now + math.sin(angle) * before) / math.sin(step)


def products(total, u, i, angle, step):
    """Real and reactive power of current `i` with voltage `u` in counts^2.

    Real power is the mean of v * i with the sampled voltage delayed by `angle`, which undoes skew
    and leads; reactive power (inductive positive) the same with a quarter cycle more: that of the
    fundamental, IEEE 1459-2010, 3.1.1.3.
    """
    n = total[k.SCANS]
    now, before = covariances(total, u, i)
    now = float(now) / n / n
    before = float(before) / n / n
    real = delayed(now, before, angle, step)
    return real, delayed(now, before, angle + math.pi / 2, step)
