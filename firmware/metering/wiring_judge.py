"""What the clamps grip, judged from one second's angles. Imported for a moment only.

In: a metering.wiring.Wiring with the sums of one message. Out: its claims, in fields and words.

A clamp on conductor p, right way round, shows p's voltage lagged by the load's angle; reversed,
180 degrees more: six hypotheses a clamp, 60 degrees apart. All 216 joint hypotheses are weighed:
how likely such load angles are, times how likely such faults are (each an eighth); two clamps on
one conductor must show one current. What is summed up over the hypotheses is the confidence. A
load switched on or off is judged by itself as well: its angle is near 0 where the sum of many
loads may be anywhere. Readings below 2 A say nothing.
"""

import math
import sys

from micropython import const

_GATE_MA = const(2000)
_NAMED = const(80)  # percent: a claim below it is not made
_AGREE = const(2)  # looks that must say the same before it is told
_SILENT = const(2)  # looks without current before a clamp is called silent

NAMES = ("L1", "L2", "L3", "-L1", "-L2", "-L3")

# Weight of a load's angle, degrees lagging (inductive) and leading; straight lines between.
_LAG = ((0, 250), (26, 250), (30, 60), (34, 30), (45, 22), (60, 14), (75, 6), (95, 1))
_LEAD = ((0, 250), (26, 250), (30, 40), (34, 4), (45, 3), (60, 2), (95, 1))


def weight(angle):
    """1..250: how likely a load lags its voltage by `angle` degrees."""
    points = _LAG if angle >= 0 else _LEAD
    angle = abs(angle)
    last = points[0]
    for point in points:
        if angle <= point[0]:
            if point[0] == last[0]:
                return point[1]
            share = (angle - last[0]) / (point[0] - last[0])
            return int(last[1] + (point[1] - last[1]) * share)
        last = point
    return 1


def wrapped(angle):
    """Degrees within -180..180."""
    return (angle + 180) % 360 - 180


def judge(w, m):
    """Takes in what `w` has seen since the last message, `m`. Returns new findings in words."""
    w.period_us = 1_000_000_000 // m.f_mhz
    lags = [_lag(w, c) for c in range(6)]
    live = [m.u_mv[p] is not None and m.u_mv[p] > 40_000 for p in range(3)]
    for p in range(3):
        live[p] = live[p] and "estimated_l%d" % (p + 1) not in m.flags
    for j in range(w.phases):
        _follow(w, j, lags[j], m.i_ma[j], lags[3:])
    silent = tuple(quiet == _SILENT for quiet in w.silent)
    claims, percent, sequence, outflow = _judge(w, lags[3:], live)
    found = (claims, sequence, outflow, silent)
    if found != w.found:
        w.found = found
        w.percent = percent
        w.agreed = 1
        return ()
    w.agreed = min(w.agreed + 1, _AGREE + 1)
    w.percent += (percent - w.percent) // 4
    if w.agreed < _AGREE:
        return ()
    return _tell(w)


def settled(w):
    """Whether the same was found often enough to be told."""
    return w.agreed >= _AGREE


def _lag(w, c):
    """Degrees that channel `c` lags the reference, skew and leads taken off."""
    s = w.sums
    now = s[4 * c + 1] * 65536 + s[4 * c]
    third = s[4 * c + 3] * 65536 + s[4 * c + 2]
    lag = math.degrees(math.atan2((third + now / 2) * 1.1547005, now))
    calibration = w.calibration
    leads = calibration.phase_i_mdeg + calibration.phase_u_mdeg
    per_us = 360 / w.period_us
    lag += (leads[c] - leads[3 + w.ref]) * w.period_us / 20_000_000
    return wrapped(lag - (3 + w.ref - c) * w.read_us * per_us / 6)


def _follow(w, j, lag, i_ma, voltages):
    """Keep what channel `j` shows; a load switched on or off is evidence of its own."""
    if i_ma is None or i_ma == 0:
        w.silent[j] = min(_SILENT, w.silent[j] + 1)
        if w.silent[j] == _SILENT:
            w.seen[j] = None
            w.steps[6 * j : 6 * j + 6] = b"\xff" * 6
        return
    w.silent[j] = 0
    if i_ma < _GATE_MA:
        return
    last, w.seen[j] = w.seen[j], (lag, i_ma)
    if last is None:
        return
    x = i_ma * math.cos(math.radians(lag)) - last[1] * math.cos(math.radians(last[0]))
    y = i_ma * math.sin(math.radians(lag)) - last[1] * math.sin(math.radians(last[0]))
    if x * x + y * y < _GATE_MA * _GATE_MA:
        return
    if i_ma < last[1]:  # switched off
        x, y = -x, -y
    lag = math.degrees(math.atan2(y, x))
    most = 1
    evidence = [0] * 6
    for h in range(6):
        fits = weight(wrapped(lag - voltages[h % 3] - (180 if h > 2 else 0)))
        evidence[h] = w.steps[6 * j + h] * fits
        most = max(most, evidence[h])
    for h in range(6):
        w.steps[6 * j + h] = max(1, evidence[h] * 255 // most)


def _judge(w, voltages, live):
    """(clamps as hypotheses or None by channel, percent, sequence, outflow)"""
    sequence = None
    if live == [True] * 3:
        turn = wrapped(voltages[1] - voltages[0])
        if 90 < abs(turn) < 150:
            sequence = "123" if turn > 0 else "132"
        else:
            return ((None,) * 3, 0, None, False)
    else:
        for p in range(3):  # as on a site of the usual sequence
            if not live[p]:
                voltages[p] = voltages[w.ref] + 120 * (p - w.ref)
    weights = [None] * 3  # type: list
    for j in range(3):
        if w.seen[j] is None:
            continue
        row = [0] * 6
        for h in range(6):
            angle = wrapped(w.seen[j][0] - voltages[h % 3] - (180 if h > 2 else 0))
            row[h] = max(1, weight(angle) * w.steps[6 * j + h] // 255)
        weights[j] = row
    percent, best = _weigh(w, weights)
    outflow = _outflow(w, best)
    claims = [None] * 3
    for j, h in enumerate(best):
        right = h == w.expected[j]
        if h is None or percent[j] < _NAMED or outflow:
            continue
        # Exporting or reversed: only the installer knows. A turned voltage knows neither the
        # sequence nor export.
        if right or (live[j] and not (w.export and h // 3 != w.expected[j] // 3)):
            claims[j] = h
    told = [percent[j] for j in range(3) if claims[j] is not None]
    sure = max(0, 100 - sum(100 - p for p in told)) if told else 0
    return tuple(claims), sure, sequence, outflow


def _outflow(w, best):
    reversed_, right = 0, 0
    for j, h in enumerate(best):
        if h is not None:
            if h // 3 != w.expected[j] // 3:
                reversed_ += 1
            else:
                right += 1
    return bool(reversed_ and not right)


def _weigh(w, weights):
    """Percent of the likeliest hypothesis of each channel, and which that is."""
    nothing = (None,)
    rows = [range(6) if row else nothing for row in weights]
    same = [_same(w, 0, 1), _same(w, 1, 2), _same(w, 0, 2)]
    sums = [[0] * 6, [0] * 6, [0] * 6]
    total = 0
    for a in rows[0]:
        for b in rows[1]:
            for c in rows[2]:
                joint = _prior(w, a, b, c, same)
                if a is not None:
                    joint = joint * weights[0][a] >> 8
                if b is not None:
                    joint = joint * weights[1][b] >> 8
                if c is not None:
                    joint = joint * weights[2][c] >> 8
                total += joint
                if a is not None:
                    sums[0][a] += joint
                if b is not None:
                    sums[1][b] += joint
                if c is not None:
                    sums[2][c] += joint
    percent = [0] * 3
    best = [None] * 3  # type: list
    for j in range(3):
        if weights[j] and total:
            most = max(sums[j])
            best[j] = sums[j].index(most)
            percent[j] = most * 100 // total
    return percent, best


def _prior(w, a, b, c, same):
    """Weight of a joint hypothesis before anything is seen: 1 / 2^rare for each fault."""
    prior = 1 << 21
    moved = 0
    for j, h in enumerate((a, b, c)):
        if h is None:
            continue
        own = w.expected[j]
        if h // 3 != own // 3:
            prior >>= w.rare
        if h % 3 != own % 3:
            moved += 1
    if moved:
        prior >>= w.rare
    doubled = False
    for one, x, y in ((same[0], a, b), (same[1], b, c), (same[2], a, c)):
        if x is None or y is None:
            continue
        if x % 3 == y % 3:
            doubled = True
            if not one:  # one conductor with two currents
                prior >>= 7
        elif one:  # two conductors whose currents agree to the degree
            prior >>= 5
    if doubled and moved > 1:  # one exchange explains several clamps, but not these
        prior >>= w.rare * (moved - 1)
    return prior


def _same(w, a, b):
    """Whether two channels show one current, in whatever direction."""
    if w.seen[a] is None or w.seen[b] is None:
        return False
    angle_a, ma_a = w.seen[a]
    angle_b, ma_b = w.seen[b]
    off = abs(wrapped(angle_a - angle_b))
    return abs(ma_a - ma_b) * 25 < ma_a + ma_b and min(off, 180 - off) < 5


def _tell(w):
    claims, sequence, outflow, silent = w.found
    if w.seen == [None] * 3:  # nothing is switched on
        silent = (False,) * 3
    w.findings = findings(w, claims, sequence=sequence, outflow=outflow, silent=silent)
    clamps = [None] * 3  # type: list
    for j in range(3):
        if claims[j] is not None:
            clamps[w.clamp_of[j]] = NAMES[claims[j]]
    before = w.state["findings"] or ()
    words = [WORDS[key] % arguments for key, arguments in w.findings]
    confidence = stated(w.percent)
    w.state = {
        "clamps": clamps,
        "confidence": confidence,
        "sequence": sequence,
        "findings": words,
    }
    return [sentence for sentence in words if sentence not in before]


WORDS = {
    "reversed": "Clamp %d is on %s the wrong way round: turn it.",
    "moved": "Clamp %d is on %s: move it to %s.",
    "moved_reversed": "Clamp %d is on %s, the wrong way round: move it to %s and turn it.",
    "doubled": "Clamps %d and %d are both on %s: move clamp %d to %s.",
    "doubled_reversed": "Clamps %d and %d are both on %s: move clamp %d to %s and turn it.",
    "silent": "Clamp %d sees no current: close it around %s, plug it in, or switch a load on.",
    "sequence": "The phases turn 1-3-2: if that is not wanted, exchange two voltage wires.",
    "outflow": "Power flows out on every clamp that sees current: either the building exports "
    "now, or all of them are the wrong way round.",
}


def findings(w, claims, *, sequence, outflow, silent):
    """Pairs of key and arguments. claims, silent: by channel."""
    expected, clamp_of = w.expected, w.clamp_of
    found = []  # type: list
    for j, h in enumerate(claims):
        if h is None or h == expected[j]:
            continue
        clamp, own = clamp_of[j] + 1, expected[j]
        turned = h // 3 != own // 3
        target = NAMES[own % 3]
        if h % 3 == own % 3:
            found.append(("reversed", (clamp, target)))
            continue
        there = NAMES[h % 3]
        for other, g in enumerate(claims):
            if other != j and g is not None and g % 3 == h % 3:
                key = "doubled_reversed" if turned else "doubled"
                pair = (min(clamp, clamp_of[other] + 1), max(clamp, clamp_of[other] + 1))
                found.append((key, pair + (there, clamp, target)))
                break
        else:
            found.append(("moved_reversed" if turned else "moved", (clamp, there, target)))
    for j, quiet in enumerate(silent):
        if quiet:
            found.append(("silent", (clamp_of[j] + 1, NAMES[expected[j] % 3])))
    if outflow:
        found.append(("outflow", ()))
    if sequence == "132":
        found.append(("sequence", ()))
    return found


def stated(percent):
    """A confidence that does not change with every flicker: rounded down. None without claims."""
    for step in (99, 98, 95, 90, 80, 70, 60, 50):
        if percent >= step:
            return step / 100
    return None


def forget():
    """Give the heap back."""
    sys.modules.pop("metering.wiring_judge", None)
    import metering  # noqa: PLC0415

    if hasattr(metering, "wiring_judge"):
        del metering.wiring_judge
