"""Judges what the clamps grip from one second's angles. Imported for a moment only.

In: a metering.wiring.Wiring with the sums of one message. Out: its claims, in fields and words.

Three rooms do it, of which one at a time is on the heap: wiring_angles.py (what each clamp shows),
wiring_weights.py (what that means), wiring_words.py (how to say it).
"""

import gc

from micropython import const

from device.unloading import unload

_AGREE = const(2)  # looks that must say the same before it is told
_SILENT = const(2)


def judge(w, m):
    """Takes in what `w` has seen since the last message, `m`. Returns new findings in words."""
    sequence, evidence = _gathered(w, m)
    gc.collect()  # from here: deeper down, what the stack still holds would keep the room
    claims, percent, outward = (None,) * 3, 0, None
    if evidence:
        claims, percent, outward = _weighed(w, evidence)
    evidence = None
    gc.collect()
    silent = tuple(
        (1 + (w.unbiased >> j & 1)) if quiet == _SILENT else 3 * (j == w.neutral)
        for j, quiet in enumerate(w.silent)
    )
    found = (claims, sequence, outward, silent)
    if found != w.found:
        w.found = found
        w.percent = percent
        w.agreed = 1
        return ()
    w.agreed = min(w.agreed + 1, _AGREE + 1)
    w.percent += (percent - w.percent) // 4
    if w.agreed < _AGREE:
        return ()
    return _told(w)


def settled(w):
    """Whether the same was found often enough to be told."""
    return w.agreed >= _AGREE


def _gathered(w, m):
    from metering import wiring_angles  # noqa: PLC0415 (each room for a moment)

    try:
        return wiring_angles.gather(w, m)
    finally:
        unload("metering.wiring_angles")


def _weighed(w, evidence):
    from metering import wiring_weights  # noqa: PLC0415

    try:
        return wiring_weights.weigh(w, evidence)
    finally:
        unload("metering.wiring_weights")


def _told(w):
    from metering import wiring_words  # noqa: PLC0415

    try:
        return wiring_words.tell(w)
    finally:
        unload("metering.wiring_words")
