"""Which conductor each clamp is around, weighed. Imported for a moment only.

In: what wiring_angles.gather found. Out: claims, how sure they are, what flows out.

All joint hypotheses are weighed: how likely such load angles are, times how likely such faults
are (each an eighth); two clamps on one conductor must show one current. What is summed up over the
hypotheses is the confidence.

Three kinds of sites are thought of, or three phases that lead by 40 degrees would count as three
independent witnesses against the clamps: PF of 0.9 and more; any power factor (a quarter as
likely); any, but the same on all phases (a machine, rows of lamps; one in 32). Power that flows
out may do so because the building exports, unless a person has confirmed the clamps. That is one
cause for all phases: it costs little more to explain two of them than one, so that two clamps said
to be reversed are doubted more than one.
`make bench ARGS=wiring` measures whether the confidence is honest.
"""

from micropython import const

_PLACED = const(70)  # percent a conductor, either way round, must have for a claim
_NAMED = const(60)  # and percent for the conductor and the way
_ANY = const(2)  # a site of any power factor is one in 2^2
_ALIKE = const(5)
_NEAR = const(10)  # degrees between phases that are alike
_WIDEST = const(65)
_EXPORTS = (256, 6, 1, 1)  # how likely in 256: power flows out on so many of the phases seen


def weigh(w, evidence):
    """(clamps as hypotheses or None by channel, percent, what flows out). evidence: which phases
    have a voltage; whether the sequence is unknown; angles and weights by channel and hypothesis,
    None of a channel that was not seen; whether channels 0 and 1, 1 and 2, 0 and 2 show one
    current.
    """
    live, unknown, angles, weights, same = evidence
    others = _others(live) if unknown else None
    percent, best, likeliest = _weigh(w, angles, weights, same, others)
    claims = [None] * 3
    outward = None
    exports = w.export or w.both_ways
    flows_in = 0
    for j in range(3):
        h = best[j]
        if h is None or percent[j] < _NAMED:
            continue
        if h // 3 == w.expected[j] // 3:
            claims[j] = h
            flows_in += abs(angles[j][h]) <= 90
        elif not live[j]:  # a turned voltage knows no export
            outward = "L%d" % (j + 1)
        elif not exports:  # exporting or reversed: only the installer knows
            claims[j] = h
    if not flows_in and _outflow(w, angles):
        return (None,) * 3, 0, "all"
    if outward is None and w.both_ways and not w.export:
        outward = "both"
    if claims != best:  # the joint one is that of all channels
        told = [percent[j] for j in range(3) if claims[j] is not None]
        likeliest = max(0, 100 - sum(100 - p for p in told)) if told else 0
    return tuple(claims), likeliest, outward


def _others(live):
    """The two phases that nobody knows apart: those without a voltage, when two have none."""
    dead = [p for p in range(3) if not live[p]]
    return dead if len(dead) == 2 else None


def _outflow(w, angles):
    """Whether every clamp that sees a load sees it flow out of the conductor it should be on."""
    seen = [abs(row[w.expected[j]]) for j, row in enumerate(angles) if row]
    return bool(seen) and min(seen) > 180 - _WIDEST


def _weigh(w, angles, weights, same, others):
    """Percent of the likeliest hypothesis of each channel, 0 where even the conductor is open;
    which that is; percent of the likeliest joint one. `others`: two phases of which the sequence
    is not known: both are weighed, the unusual one as a fault. The loops make no object: on a
    small heap each would be swept up.
    """
    rows = [(None,) if row is None else _worth_it(row) for row in weights]
    swapped = [_swapped(h, others) for h in range(6)] if others else None
    sums = [[0] * 6, [0] * 6, [0] * 6]
    total = highest = 0
    hypothesis = [None] * 3  # type: list
    names = [None] * 3  # type: list
    for hypothesis[0] in rows[0]:
        for hypothesis[1] in rows[1]:
            for hypothesis[2] in rows[2]:
                likely = _likely(hypothesis, angles, weights)
                joint = (_prior(w, hypothesis, same) >> 6) * likely >> 6
                total += joint
                _add(sums, hypothesis, joint)
                if swapped:
                    for j in range(3):
                        names[j] = None if hypothesis[j] is None else swapped[hypothesis[j]]
                    other = (_prior(w, names, same) >> 6) * likely >> 6 + w.rare
                    total += other
                    _add(sums, names, other)
                    joint = joint + other if names == hypothesis else max(joint, other)
                highest = max(highest, joint)
    percent = [0] * 3
    best = [None] * 3  # type: list
    for j in range(3):
        if weights[j] and total:
            most = max(sums[j])
            best[j] = h = sums[j].index(most)
            if (most + sums[j][h - 3]) * 100 >= total * _PLACED:
                percent[j] = most * 100 // total
    return percent, best, highest * 100 // total if total else 0


def _worth_it(row):
    return [h for h in range(6) if row[0][h] > 1 or row[1][h] > 1]


def _add(sums, names, joint):
    for j in range(3):
        h = names[j]
        if h is not None:
            sums[j][h] += joint


def _swapped(h, others):
    if h % 3 not in others:
        return h
    return h - h % 3 + sum(others) - h % 3


def _likely(hypothesis, angles, weights):
    """How likely the angles of a joint hypothesis are, over the three kinds of sites."""
    first = second = third = 1 << 24
    least, most, several, out = 180, -180, 0, 0
    for j in range(3):
        h = hypothesis[j]
        if h is None:
            continue
        row = weights[j]
        first = (first >> 8) * row[0][h]
        second = (second >> 8) * row[1][h]
        third = (third >> 8) * row[2][h]
        angle = angles[j][h]
        if abs(angle) > 90:
            out += 1
            angle += -180 if angle > 0 else 180
        least = min(least, angle)
        most = max(most, angle)
        several += 1
    if several < 2 or most - least > _NEAR or max(most, -least) > _WIDEST:
        third = 0
    likely = first + (second >> _ANY) + (third >> _ALIKE) >> 10  # 14 bits, as _prior >> 6 has 15
    return likely * _EXPORTS[out] >> 8


def _prior(w, hypothesis, same):
    """Weight of a joint hypothesis before anything is seen: 1 / 2^rare for each fault."""
    prior = 1 << 21
    moved = 0
    doubled = False
    rare = w.rare
    for j in range(3):
        h = hypothesis[j]
        if h is None:
            continue
        own = w.expected[j]
        if h // 3 != own // 3:
            prior >>= rare
        if h % 3 != own % 3:
            moved += 1
        other = hypothesis[(j + 1) % 3]
        if other is None:
            continue
        if h % 3 == other % 3:
            doubled = True
            if not same[j]:  # one conductor with two currents
                prior >>= 7
        elif same[j]:  # two conductors whose currents agree to the degree
            prior >>= 5
    if moved:
        prior >>= rare
    if doubled and moved > 1:  # one exchange explains several clamps, but not these
        prior >>= rare * (moved - 1)
    return prior
