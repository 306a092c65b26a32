"""What was found about the clamps, in words. Imported for a moment only.

In: a metering.wiring.Wiring that has found the same often enough. Out: its `state` and `findings`.
"""

_NAMES = ("L1", "L2", "L3", "-L1", "-L2", "-L3")


def tell(w):
    """Returns the findings that are new, in words."""
    claims, sequence, outward, silent = w.found
    if w.seen == [None] * 3:  # nothing is switched on
        silent = tuple(quiet if quiet == 2 else 0 for quiet in silent)
    w.findings = findings(w, claims, sequence=sequence, outward=outward, silent=silent)
    clamps = [None] * 3  # type: list
    for j in range(3):
        if claims[j] is not None:
            clamps[w.clamp_of[j]] = _NAMES[claims[j]]
    before = w.state["findings"] or ()
    words = [WORDS[key] % arguments for key, arguments in w.findings]
    confidence = _stated(w.percent)
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
    "unplugged": "Clamp %d is not plugged in, or its cable is broken: push its plug in.",
    "silent": "Clamp %d sees no current: close it around %s, plug it in, or switch a load on.",
    "neutral": "Clamp %d sees the loads of both others: it is around N, or around several wires. "
    "Move it to %s.",
    "sequence": "The phases turn 1-3-2: if that is not wanted, exchange two voltage wires.",
    "both_ways": "Power has flown in and out through one clamp: if the building exports, say so "
    "on the wiring page.",
    "untold": "Power seems to flow out on %s. Only one voltage is wired: export can't be told "
    "from a clamp that is the wrong way round.",
    "outflow": "Power flows out on every clamp that sees current: either the building exports "
    "now, or all of them are the wrong way round.",
}


def findings(w, claims, *, sequence, outward, silent):
    """Pairs of key and arguments. claims, silent: by channel."""
    expected, clamp_of = w.expected, w.clamp_of
    found = []  # type: list
    for j, h in enumerate(claims):
        if h is None or h == expected[j]:
            continue
        clamp, own = clamp_of[j] + 1, expected[j]
        turned = h // 3 != own // 3
        target = _NAMES[own % 3]
        if h % 3 == own % 3:
            found.append(("reversed", (clamp, target)))
            continue
        there = _NAMES[h % 3]
        for other, g in enumerate(claims):
            if other != j and g is not None and g % 3 == h % 3:
                key = "doubled_reversed" if turned else "doubled"
                pair = (min(clamp, clamp_of[other] + 1), max(clamp, clamp_of[other] + 1))
                found.append((key, pair + (there, clamp, target)))
                break
        else:
            found.append(("moved_reversed" if turned else "moved", (clamp, there, target)))
    for j, quiet in enumerate(silent):
        if quiet == 2:
            found.append(("unplugged", (clamp_of[j] + 1,)))
        elif quiet:
            key = "neutral" if quiet == 3 else "silent"
            found.append((key, (clamp_of[j] + 1, _NAMES[expected[j] % 3])))
    if outward == "all":
        found.append(("outflow", ()))
    elif outward == "both":
        found.append(("both_ways", ()))
    elif outward:
        found.append(("untold", (outward,)))
    if sequence == "132":
        found.append(("sequence", ()))
    return found


def _stated(percent):
    """A confidence that does not change with every flicker: rounded down, and with up to
    twice the doubt, for nobody knows how frequent faults are. None without claims.
    """
    if percent:
        percent = max(50, percent - min(100 - percent, 5))
    for step in (99, 98, 95, 90, 80, 70, 60, 50):
        if percent >= step:
            return step / 100
    return None
