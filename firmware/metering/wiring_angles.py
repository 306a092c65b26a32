"""What one second of angles tells of each clamp. Imported for a moment only.

In: a metering.wiring.Wiring with the sums of one message. Out: for each channel the angle that its
load would have on each conductor, and how likely that is; what was seen is kept in the Wiring.

A clamp on conductor p, right way round, shows p's voltage lagged by the load's angle; reversed,
180 degrees more: six hypotheses a clamp, 60 degrees apart. A load switched on or off is judged by
itself as well, once: its angle is mostly near 0 where the sum of many loads may be anywhere.
Readings below 2 A say nothing.
"""

import math

from micropython import const

_GATE_MA = const(2000)
_TURNED = const(150)  # degrees, more than loads can differ by
_STEP_SAME = const(15)  # degrees: a load that was switched before
_LOADS = const(30)  # degrees that loads seldom move a phase by, and never several at once
_DIPS_MA = const(4000)
_DIP_MV = const(1000)  # more than mains vary by from look to look, mostly
_KNOWN = const(6)  # currents that are remembered, those of the last look among them


def _typical(angle):
    """1..250: how likely a load of PF 0.9 or more lags its voltage by `angle` degrees."""
    angle = abs(angle)
    if angle <= 27:
        return 250
    if angle <= 33:
        return 250 - (angle - 27) * 41
    return 3 if angle <= 70 else 1


def _any_at_all(angle):
    """1..110: the same for a load of any power factor."""
    angle = abs(angle)
    return 110 if angle <= 62 else max(1, (92 - angle) * 110 // 30)


def _wrapped(angle):
    """Degrees within -180..180."""
    return (angle + 180) % 360 - 180


def gather(w, m):
    """Takes in what `w` has seen since the last message, `m`. Returns the sequence of the
    voltages, and what wiring_weights.weigh takes, or None where the voltages make no field.
    """
    w.period_us = 1_000_000_000 // m.f_mhz
    live = [m.u_mv[p] is not None and m.u_mv[p] > 40_000 for p in range(3)]
    for p in range(3):
        live[p] = live[p] and "estimated_l%d" % (p + 1) not in m.flags
    voltages, sequence, lag = _field(w, live)
    if not voltages:
        return None, None
    now = [None] * 3  # type: list
    for j in range(w.phases):
        if m.i_ma[j] and m.i_ma[j] >= _GATE_MA:
            now[j] = (_wrapped(_lag(w, j) - lag), m.i_ma[j])
    if _touched(w, now):
        w.renew()
    for j in range(w.phases):
        if now[j] and j == w.neutral:
            w.seen[j] = now[j]
        elif now[j]:
            _follow(w, j, now[j], voltages, [m.u_mv[p] if live[p] else None for p in range(3)])
    if w.before:
        _share(w, now)
    w.before = (now, m.u_mv)
    angles = [None] * 3  # type: list
    weights = [None] * 3  # type: list
    for j in range(3):
        if w.seen[j] is not None and j != w.neutral:
            angles[j] = [_angle(w.seen[j][0], voltages, h) for h in range(6)]
            weights[j] = _rows(w, j, angles[j])
    same = [_same(w, 0, 1), _same(w, 1, 2), _same(w, 0, 2)]
    return sequence, (live, sequence is None, angles, weights, same)


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
    return _wrapped(lag - (3 + w.ref - c) * w.read_us * per_us / 6)


def _field(w, live):
    """Degrees that each phase lags L1, None if the voltages make no field; the sequence; and L1's
    own lag behind the reference. A phase without voltage is put where the others say, or, with
    one alone, where it is on a site of the usual sequence.
    """
    lags = [_lag(w, 3 + p) for p in range(3)]
    ref = w.ref
    turns = []
    for p in range(3):
        if live[p] and p != ref:
            turns.append(_wrapped(lags[p] - lags[ref]) * (1, 1, -1)[p - ref])
    sequence, third = None, 120
    if turns:
        low, high = min(turns), max(turns)
        if low > 90 and high < 150:
            sequence = "123"
        elif low > -150 and high < -90:
            sequence, third = "132", -120
        else:
            return None, None, 0
    for p in range(3):
        if not live[p]:
            lags[p] = lags[ref] + third * (p - ref)
    return [lag - lags[0] for lag in lags], sequence, lags[0]


def _touched(w, now):
    """Whether somebody was at the clamps since the last look: one sees what another one saw, or
    just the same turned round, which no load does; two no longer see the current of one
    conductor; or several show at once what loads show one at a time. `now`: angle and mA of each
    channel, or None. Keeps what was seen in w.known.
    """
    moved = turned = False
    strange = []  # type: list
    for j, new in enumerate(now):
        own = w.seen[j]
        if not new or (own and _alike(new, own)):
            continue
        far, other, back = not own, False, False
        for k, angle, ma in w.known:
            if k != j:
                other = other or _one(new, (angle, ma))
            elif _alike(new, (angle, ma)):
                break
            else:
                far = far or abs(_wrapped(new[0] - angle)) > _LOADS
                back = back or _alike(new, (angle + 180, ma), 3)
        else:
            for k in range(3):
                if own and k != j and now[k] and w.seen[k]:
                    other = other or (_one(own, w.seen[k]) and not _one(new, now[k]))
            if far and other:
                moved = True
            elif back:
                turned = True
            elif (
                own
                and abs(_wrapped(new[0] - own[0])) > _LOADS
                and not [1 for before in strange if _one(new, before)]
            ):
                strange.append(new)
    known = [(j, new[0], new[1]) for j, new in enumerate(now) if new]
    for old in w.known:
        if len(known) < _KNOWN and not [1 for new in now if new and _one(new, old[1:])]:
            known.append(old)
    w.known = known
    return moved or ((turned or len(strange) > 1) and not w.both_ways)


def _alike(a, b, times=1):
    """Whether two channels, or one at two times, show one current; `times` as exactly."""
    off = abs(_wrapped(a[0] - b[0]))
    return off * times < 5 and abs(a[1] - b[1]) * 25 * times < a[1] + b[1]


def _one(a, b):
    """The same, in whatever direction."""
    return _alike(a, b) or _alike(a, (b[0] + 180, b[1]))


def _same(w, a, b):
    """Whether two channels show one current, in whatever direction."""
    if w.seen[a] is None or w.seen[b] is None:
        return False
    return _one(w.seen[a], w.seen[b])


def _follow(w, j, now, voltages, u_mv):
    """Keep what channel `j` shows; a load switched on or off is evidence of its own."""
    lag, i_ma = now
    last, w.seen[j] = w.seen[j], now
    if last is None:
        w.first[j] = lag
        return
    if abs(_wrapped(lag - w.first[j])) > _TURNED:  # and nobody can have turned the clamp
        w.both_ways = True
    lag, step_ma = step = _step(last, now)
    if step_ma < _GATE_MA:
        return
    if w.before and last is w.before[0][j]:
        _dips(w, j, step, voltages, u_mv)
    if i_ma < last[1]:  # switched off
        lag = _wrapped(lag + 180)
    before, w.stepped[j] = w.stepped[j], (lag, step_ma)
    if (
        before
        and abs(_wrapped(lag - before[0])) < _STEP_SAME
        and (abs(step_ma - before[1]) * 4 < before[1])
    ):
        return
    fits = [0] * 6
    for h in range(6):
        angle = _angle(lag, voltages, h)
        fits[h] = _step_fits(angle)
        if _may_export(w, j, h):
            # Where power flows out now, a load going on looks like one going off elsewhere.
            flows_out = abs(_angle(w.seen[j][0], voltages, h)) > 90
            fits[h] += _step_fits(_wrapped(angle + 180)) // (1 if flows_out else 16)
        fits[h] *= w.steps[6 * j + h]
    most = max(fits)
    for h in range(6):
        w.steps[6 * j + h] = max(1, fits[h] * 255 // most)


def _share(w, now):
    """Which clamp is around N, where loads of both others are seen to be switched: w.neutral.

    A bit of w.shared says that clamp k saw what clamp j saw; it is taken back when j sees a load
    that k does not. What is between two phases shows on both as well, but 30 degrees off either
    unless it is inductive.
    """
    steps = [w.before[0][j] and now[j] and _step(w.before[0][j], now[j]) for j in range(3)]
    for j in range(3):
        for k in range(3):
            if j == k or not steps[j] or not steps[k] or _same(w, j, k):
                continue
            lag, step_ma = steps[j]
            bit = 1 << 3 * k + j
            if step_ma > _GATE_MA and _one(steps[j], steps[k]):
                if abs((lag + 30) % 60 - 30) < _STEP_SAME:
                    w.shared |= bit
            elif step_ma > max(_DIPS_MA, 4 * steps[k][1]):
                w.shared &= ~bit
    around = [k for k in range(3) if w.shared >> 3 * k & 7 == 7 - (1 << k)]
    neutral = around[0] if len(around) == 1 else -1
    for k in (w.neutral, neutral):
        if neutral != w.neutral and k >= 0:  # what it showed was, or is, not of its conductor
            w.steps[6 * k : 6 * k + 6] = b"\xff" * 6
            w.stepped[k] = None
            w.first[k] = now[k][0] if now[k] else w.first[k]
            w.both_ways = False
    w.neutral = neutral


def _step(before, now):
    """Angle and mA of the load that makes the difference."""
    x = now[1] * math.cos(math.radians(now[0])) - before[1] * math.cos(math.radians(before[0]))
    y = now[1] * math.sin(math.radians(now[0])) - before[1] * math.sin(math.radians(before[0]))
    return math.degrees(math.atan2(y, x)), int(math.sqrt(x * x + y * y))


def _dips(w, j, step, voltages, u_mv):
    """What the voltages say of a step of degrees and mA: more power into the building pulls its
    voltage down, as mains have 0.05 to 1 ohm. So it shows which way round a clamp is whether or
    not the building exports.
    """
    for p in range(3):
        before = w.before[1][p]
        if u_mv[p] is None or before is None:
            continue
        rise = u_mv[p] - before
        more_ma = step[1] * math.cos(math.radians(_angle(step[0], voltages, p)))
        off = abs(more_ma)
        if off >= _DIPS_MA and abs(rise) >= _DIP_MV and off > abs(rise) > off / 20:
            h = 6 * j + p + 3 * ((rise > 0) != (more_ma > 0))
            w.steps[h] = max(1, w.steps[h] // 6)


def _step_fits(angle):
    return 15 * _typical(angle) + _any_at_all(angle)


def _angle(lag, voltages, h):
    """The angle of the load that a lag means under hypothesis `h`."""
    return int(_wrapped(lag - voltages[h % 3] - (180 if h > 2 else 0)))


def _may_export(w, j, h):
    """Whether what shows the other direction may be export: a person who has confirmed the clamps
    has also said whether the building does.
    """
    return w.rare == 3 and h // 3 == w.expected[j] // 3


def _rows(w, j, angles):
    """Weights of a channel's hypotheses on a site of PF 0.9, of any, and what its steps say."""
    first, second, steps = [0] * 6, [0] * 6, [0] * 6
    for h in range(6):
        angle, said = angles[h], w.steps[6 * j + h]
        if abs(angle) > 90 and _may_export(w, j, h):
            angle = _wrapped(angle + 180)  # how rare that is, is for all clamps together
        first[h] = max(1, _typical(angle) * said // 255)
        second[h] = max(1, _any_at_all(angle) * said // 255)
        steps[h] = said
    return first, second, steps
