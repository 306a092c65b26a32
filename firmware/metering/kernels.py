"""The arithmetic that runs once per sample: scans, sums, differences. Viper, integers, no heap.

In: six bound ADC readers (i1 i2 i3 u1 u2 u3, 16-bit counts) and the clock. Out: words in an
array('i'). No function here leaves 32 bits; the bound stands beside the code and
host_tests/test_metering_bounds.py proves it with 32-bit words at the extremes.

Bounds. A count is 0..65535, so a sample centred on 32768 is -32768..32767 and a product of two
lies within +-2^30: one product fits a word, a sum of two does not. Products are therefore summed
in two halves, p = (p >> 16) * 65536 + (p & 0xffff), exact for negative p as well. Over n scans
    low half   <= n * 65535   < 2^31   while n <= 32767
    high half  |.| <= n * 2^14 < 2^31  while n <= 131071
    sum of raw <= n * 65535   < 2^31   while n <= 32767
so 32767 scans may share one accumulator: a cycle holds at most MAX_SCANS, a second about 4,700
(35 us a conversion) to 17,000 (10 us).
"""

# ruff: noqa: F821, PLR0917, SIM102 (viper: pointer types, no min() or max())

import micropython
from micropython import const

MAX_SCANS = const(512)  # per cycle; the caller's raw buffer holds 6 * MAX_SCANS counts at most

# A set of sums. X: raw counts. SQ: x * x. VI: v * i. WI: the voltage one scan earlier * i.
X = const(0)  # 6 words, channels in order
SQ_LOW = const(6)  # 6
SQ_HIGH = const(12)  # 6
VI_LOW = const(18)  # 3, one per phase
VI_HIGH = const(21)  # 3
WI_LOW = const(24)  # 3
WI_HIGH = const(27)  # 3
SCANS = const(30)  # how many scans the sums hold
CYCLES = const(31)  # and how many cycles
BUSY_US = const(32)  # time the scans took, waiting left out
READ_US = const(33)  # time of the six conversions, once per cycle
CLIPPED = const(34)  # 6, cycles in which the channel was
SUMMED = const(40)  # words that `add` adds up
MIN = const(40)  # 6, raw counts
MAX = const(46)  # 6
TOTAL_WORDS = const(52)
# What follows describes one cycle.
START = const(52)  # ticks_us of the first scan
FIRST_US = const(53)  # first and last rising zero crossing of the reference, after START
LAST_US = const(54)
CROSSINGS = const(55)
CYCLE_WORDS = const(56)

_TICKS = const(0x3FFFFFFF)  # ticks_us wraps at 2^30
_MID = const(32768)


@micropython.viper
def scan_cycle(
    readers,
    ticks_us,
    sleep_us,
    period_us: int,
    scans: int,
    ref: int,
    zero: int,
    band: int,
    late_us: int,
    sums,
    samples,
) -> int:
    """Sample one period on an even grid of `scans` scans and sum as it goes.

    Scan k starts at k * period_us / scans, so the rectangle rule over the cycle is exact for every
    harmonic product below `scans`, whatever the phase it starts at. `ref` 0..2 names the voltage
    whose rising crossings of `zero` are timed (armed `band` below it), -1 none. Returns the scans
    done; -1 if one began more than `late_us` behind the grid: the sums are void then.
    """
    s = ptr32(sums)
    at = ptr16(samples)
    r1 = readers[0]
    r2 = readers[1]
    r3 = readers[2]
    r4 = readers[3]
    r5 = readers[4]
    r6 = readers[5]
    k = 0
    while k < CYCLE_WORDS:
        s[k] = 0
        k += 1
    k = 0
    while k < 6:
        s[MIN + k] = 65535
        k += 1
    f1 = 0  # the first scan's currents wait for the last scan's voltages
    f2 = 0
    f3 = 0
    w1 = 0  # voltages one scan ago
    w2 = 0
    w3 = 0
    armed = 0
    crossings = 0
    before = 0
    before_us = 0
    began = 0
    busy = 0
    share = period_us // scans  # scan k is due at k * period_us // scans, without dividing again
    rest = period_us - share * scans
    due = 0
    owed = 0
    start = int(ticks_us())
    s[START] = start
    scan = 0
    while scan < scans:
        now = (int(ticks_us()) - start) & _TICKS
        busy += now - began
        if now - due > late_us:
            s[SCANS] = scan
            s[BUSY_US] = busy
            return -1
        while now < due:
            sleep_us(due - now)
            now = (int(ticks_us()) - start) & _TICKS
        began = now

        i1 = int(r1())
        i2 = int(r2())
        i3 = int(r3())
        u1 = int(r4())
        u2 = int(r5())
        u3 = int(r6())
        if scan == 0:
            s[READ_US] = (int(ticks_us()) - start - now) & _TICKS

        k = scan * 6
        at[k] = i1
        at[k + 1] = i2
        at[k + 2] = i3
        at[k + 3] = u1
        at[k + 4] = u2
        at[k + 5] = u3

        if ref >= 0:
            v = u1 - zero
            if ref == 1:
                v = u2 - zero
            elif ref == 2:
                v = u3 - zero
            if v < 0 - band:
                armed = 1
            elif v >= 0:
                if armed:
                    # straight line through the two samples; 65535 * 32767 us at most
                    k = before_us + (now - before_us) * (0 - before) // (v - before)
                    if crossings == 0:
                        s[FIRST_US] = k
                    s[LAST_US] = k
                    crossings += 1
                    armed = 0
            before = v
            before_us = now

        if i1 < s[MIN]:
            s[MIN] = i1
        if i1 > s[MAX]:
            s[MAX] = i1
        if i2 < s[MIN + 1]:
            s[MIN + 1] = i2
        if i2 > s[MAX + 1]:
            s[MAX + 1] = i2
        if i3 < s[MIN + 2]:
            s[MIN + 2] = i3
        if i3 > s[MAX + 2]:
            s[MAX + 2] = i3
        if u1 < s[MIN + 3]:
            s[MIN + 3] = u1
        if u1 > s[MAX + 3]:
            s[MAX + 3] = u1
        if u2 < s[MIN + 4]:
            s[MIN + 4] = u2
        if u2 > s[MAX + 4]:
            s[MAX + 4] = u2
        if u3 < s[MIN + 5]:
            s[MIN + 5] = u3
        if u3 > s[MAX + 5]:
            s[MAX + 5] = u3

        s[X] += i1
        s[X + 1] += i2
        s[X + 2] += i3
        s[X + 3] += u1
        s[X + 4] += u2
        s[X + 5] += u3
        i1 -= _MID
        i2 -= _MID
        i3 -= _MID
        u1 -= _MID
        u2 -= _MID
        u3 -= _MID
        p = i1 * i1
        s[SQ_LOW] += p & 0xFFFF
        s[SQ_HIGH] += p >> 16
        p = i2 * i2
        s[SQ_LOW + 1] += p & 0xFFFF
        s[SQ_HIGH + 1] += p >> 16
        p = i3 * i3
        s[SQ_LOW + 2] += p & 0xFFFF
        s[SQ_HIGH + 2] += p >> 16
        p = u1 * u1
        s[SQ_LOW + 3] += p & 0xFFFF
        s[SQ_HIGH + 3] += p >> 16
        p = u2 * u2
        s[SQ_LOW + 4] += p & 0xFFFF
        s[SQ_HIGH + 4] += p >> 16
        p = u3 * u3
        s[SQ_LOW + 5] += p & 0xFFFF
        s[SQ_HIGH + 5] += p >> 16
        p = u1 * i1
        s[VI_LOW] += p & 0xFFFF
        s[VI_HIGH] += p >> 16
        p = u2 * i2
        s[VI_LOW + 1] += p & 0xFFFF
        s[VI_HIGH + 1] += p >> 16
        p = u3 * i3
        s[VI_LOW + 2] += p & 0xFFFF
        s[VI_HIGH + 2] += p >> 16
        p = w1 * i1
        s[WI_LOW] += p & 0xFFFF
        s[WI_HIGH] += p >> 16
        p = w2 * i2
        s[WI_LOW + 1] += p & 0xFFFF
        s[WI_HIGH + 1] += p >> 16
        p = w3 * i3
        s[WI_LOW + 2] += p & 0xFFFF
        s[WI_HIGH + 2] += p >> 16
        if scan == 0:
            f1 = i1
            f2 = i2
            f3 = i3
        w1 = u1
        w2 = u2
        w3 = u3
        scan += 1
        due += share
        owed += rest
        if owed >= scans:
            owed -= scans
            due += 1

    # A cycle is a ring: one scan before the first lies where the last one is.
    p = w1 * f1
    s[WI_LOW] += p & 0xFFFF
    s[WI_HIGH] += p >> 16
    p = w2 * f2
    s[WI_LOW + 1] += p & 0xFFFF
    s[WI_HIGH + 1] += p >> 16
    p = w3 * f3
    s[WI_LOW + 2] += p & 0xFFFF
    s[WI_HIGH + 2] += p >> 16
    s[SCANS] = scan
    s[BUSY_US] = busy + ((int(ticks_us()) - start) & _TICKS) - began
    s[CROSSINGS] = crossings
    s[CYCLES] = 1
    return scan


@micropython.viper
def turned(samples, scans: int, u: int, i: int, shift: int, sums):
    """Replace phase `i`'s products by those with voltage `u` delayed by `shift` scans.

    A third of the scans turns the voltage by a third of the cycle, harmonics included; the cycle
    is a ring. Both sums are replaced: v * i, and v one further scan earlier * i.
    0 <= shift < scans.
    """
    raw = ptr16(samples)
    s = ptr32(sums)
    low = 0
    high = 0
    low_w = 0
    high_w = 0
    k = 0
    j = scans - shift
    if j >= scans:
        j -= scans
    w = j - 1
    if w < 0:
        w += scans
    before = int(raw[w * 6 + 3 + u]) - _MID
    while k < scans:
        v = int(raw[j * 6 + 3 + u]) - _MID
        x = int(raw[k * 6 + i]) - _MID
        p = v * x
        low += p & 0xFFFF
        high += p >> 16
        p = before * x
        low_w += p & 0xFFFF
        high_w += p >> 16
        before = v
        k += 1
        j += 1
        if j == scans:
            j = 0
    s[VI_LOW + i] = low
    s[VI_HIGH + i] = high
    s[WI_LOW + i] = low_w
    s[WI_HIGH + i] = high_w


@micropython.viper
def add(into, sums):
    """into += sums, and the extremes of both. The caller keeps SCANS <= 32767."""
    total = ptr32(into)
    s = ptr32(sums)
    k = 0
    while k < SUMMED:
        total[k] += s[k]
        k += 1
    k = 0
    while k < 6:
        if s[MIN + k] < total[MIN + k]:
            total[MIN + k] = s[MIN + k]
        if s[MAX + k] > total[MAX + k]:
            total[MAX + k] = s[MAX + k]
        k += 1


@micropython.viper
def clear(sums):
    """Empty a set of sums."""
    total = ptr32(sums)
    k = 0
    while k < TOTAL_WORDS:
        total[k] = 0
        k += 1
    k = 0
    while k < 6:
        total[MIN + k] = 65535
        k += 1


@micropython.viper
def judge(sums, rms, top: int):
    """RMS of all six channels over one cycle in whole counts, offset removed, into rms[0..5].

    variance = mean(x^2) - mean(x)^2, mean(x) = m + r / n kept apart so that nothing is rounded
    before it is squared. n <= 512: r * 65536 + low <= 2^26, 2 * m * r <= 2^25, m * m <= 2^30.
    The root is taken bit by bit. Also marks what is CLIPPED: at 0, or above `top` counts.
    """
    s = ptr32(sums)
    out = ptr32(rms)
    n = s[SCANS]
    c = 0
    while c < 6:
        if s[MIN + c] == 0 or s[MAX + c] > top:
            s[CLIPPED + c] = 1
        high = s[SQ_HIGH + c]
        q = high // n
        square = (q << 16) + ((high - q * n) * 65536 + s[SQ_LOW + c]) // n
        x = s[X + c] - n * _MID
        m = x // n
        square -= m * m + 2 * m * (x - m * n) // n
        root = 0
        bit = 0x8000
        while bit:
            trial = root + bit
            if trial * trial <= square:
                root = trial
            bit >>= 1
        out[c] = root
        c += 1


@micropython.viper
def moved(rms, told, step, fuse, peak, phases: int, was_over: int) -> int:
    """Whether the currents of a cycle call for a message at once. All five are arrays of counts.

    1 where one is more than `step` from what was `told`, 2 where one is above its `fuse` (once
    above, it counts as such down to 1/32 below); 3 is both. Keeps the highest in `peak`.
    """
    now = ptr32(rms)
    last = ptr32(told)
    most = ptr32(step)
    limit = ptr32(fuse)
    highest = ptr32(peak)
    found = 0
    i = 0
    while i < phases:
        change = now[i] - last[i]
        if change < 0:
            change = 0 - change
        if change > most[i]:
            found |= 1
        if now[i] > highest[i]:
            highest[i] = now[i]
        edge = limit[i]
        if was_over:
            edge -= edge >> 5
        if now[i] > edge:
            found |= 2
        i += 1
    return found


@micropython.viper
def roughness(samples, scans: int, channel: int) -> int:
    """Variance of a channel's white noise in counts^2: mean square of the third difference / 20.

    Noise of variance s^2 gives s^2 (1 + 9 + 9 + 1); a fundamental sampled 95 times a cycle keeps
    4e-9 of its square, its fifth harmonic 6e-5. Over the ring of one cycle. Differences are held
    to +-2047 counts, far above any noise, so that 512 * 2047^2 < 2^31.
    """
    raw = ptr16(samples)
    total = 0
    a = int(raw[(scans - 3) * 6 + channel])
    b = int(raw[(scans - 2) * 6 + channel])
    c = int(raw[(scans - 1) * 6 + channel])
    k = 0
    while k < scans:
        e = int(raw[k * 6 + channel])
        d = e - a + 3 * (b - c)
        if d > 2047:
            d = 2047
        elif d < -2047:
            d = -2047
        total += d * d
        a = b
        b = c
        c = e
        k += 1
    return total // (scans * 20)


# What `crossed` sums: 4 words for each of the six channels, then how many cycles each has.
CROSS_CYCLES = const(24)
CROSS_WORDS = const(30)


@micropython.viper
def crossed(samples, scans: int, u: int, zero_u: int, c: int, zero_c: int, sums):
    """Add one cycle of channel `c` times voltage `u` to sums[4c], [4c + 1], and times the same
    voltage a third of a cycle earlier to [4c + 2], [4c + 3] (low and high halves). The two say
    how far `c` lags `u`. Counts less their zero are halved, so that a product of two lies within
    +-2^30; the caller adds 63 cycles at most: 63 * 512 * 65535 < 2^31. scans: a multiple of 3.
    """
    raw = ptr16(samples)
    s = ptr32(sums)
    low = 0
    high = 0
    low_3 = 0
    high_3 = 0
    k = 0
    j = scans - scans // 3
    while k < scans:
        x = (int(raw[k * 6 + c]) - zero_c) >> 1
        p = ((int(raw[k * 6 + 3 + u]) - zero_u) >> 1) * x
        low += p & 0xFFFF
        high += p >> 16
        p = ((int(raw[j * 6 + 3 + u]) - zero_u) >> 1) * x
        low_3 += p & 0xFFFF
        high_3 += p >> 16
        k += 1
        j += 1
        if j == scans:
            j = 0
    c *= 4
    s[c] += low
    s[c + 1] += high
    s[c + 2] += low_3
    s[c + 3] += high_3
    s[CROSS_CYCLES + (c >> 2)] += 1
