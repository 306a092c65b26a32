"""Which analog channels of a recording are the three voltages and the three currents.

In: the channel descriptions of a COMTRADE configuration (anything with name, ph, uu, primary,
secondary, pors). Out: for each of L1, L2, L3 the channels to add up and by what factor, in
primary V and A.

A unit says volts or amperes; without one the name's first letter does (U, V, E or I). The phase
comes from the phase field, else from the name, in whatever letters all three share; channels of
the neutral and residuals are left out; of several sets the first in the file counts. Voltages
between the lines alone (U12 and U23 say it all, Schneider's relays write U21 and U32) give phase
voltages under the assumption that these add up to zero. Without any letters the first three of
a kind are taken in their order.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

_ALPHABETS = (
    ("A", "B", "C"),
    ("L1", "L2", "L3"),
    ("R", "S", "T"),
    ("1", "2", "3"),
    ("U", "V", "W"),
)
_NEUTRAL = {"N", "G", "E", "0", "NE", "NG", "RES", "3I0", "3U0", "3V0"}
_PREFIX = {"": 1.0, "k": 1e3, "K": 1e3, "M": 1e6, "m": 1e-3, "u": 1e-6, "µ": 1e-6}
_UNIT = re.compile(r"([kKMmuµ]?)([vVaA])$")
_KIND_LETTERS = {"V": "UVE", "A": "I"}
_KIND_WORDS = {"V": "voltages", "A": "currents"}


@dataclass(frozen=True)
class Channel:
    """One usable analog channel: its place in the file, and what turns it into primary V or A."""

    index: int
    kind: str  # "V" or "A"
    name: str
    phase: str
    factor: float


Sum = list[tuple[int, float]]  # channels to add up, each with its factor


def three_phases(analog: Sequence[Any], kind: str) -> list[Sum]:
    """The channels of L1, L2 and L3 for kind "V" or "A"; ValueError if there are too few."""
    usable = [c for c in (_channel(k, entry) for k, entry in enumerate(analog)) if c]
    usable = [c for c in usable if c.kind == kind]
    # A phase field that tells no phases apart (a feeder's number, say) is passed over for names.
    for each in (usable, [replace(c, phase="") for c in usable]):
        for letters in _ALPHABETS:
            found = [_first(each, [letter], kind) for letter in letters]
            if all(found):
                return [[(c.index, c.factor)] for c in found if c]
        for one, two, three in _ALPHABETS if kind == "V" else ():
            first = _first(each, [one + two, two + one], kind)
            second = _first(each, [two + three, three + two], kind)
            if first and second:
                return _from_lines(first, second)
    unnamed = [c for c in usable if not _is_neutral(c, kind)]
    if len(unnamed) < 3:
        names = ", ".join(entry.name or "?" for entry in analog) or "none"
        raise ValueError(
            f"expected three {_KIND_WORDS[kind]}, found {len(unnamed)} among its analog channels "
            f"({names}); choose a recording of a whole three-phase feeder"
        )
    return [[(c.index, c.factor)] for c in unnamed[:3]]


def _channel(index: int, entry: Any) -> Channel | None:
    unit = _UNIT.match(entry.uu.strip())
    name = entry.name.strip()
    letter = name[:1].upper()
    if unit:
        kind, factor = unit[2].upper(), _PREFIX[unit[1]]
    else:
        kind = next((k for k, letters in _KIND_LETTERS.items() if letter in letters), "")
        factor = 1.0
        if entry.uu.strip()[-1:].lower() in {"w", "r", "z", "°", "%"}:
            return None  # power, reactive power, frequency, angle
    if not kind or not (name or entry.ph):
        return None
    if entry.pors.strip().upper() == "S" and entry.primary > 0 and entry.secondary > 0:
        factor *= entry.primary / entry.secondary
    return Channel(index, kind, name, _letters(entry.ph), factor)


def _letters(text: str) -> str:
    return re.sub(r"[^A-Z0-9]", "", text.upper())


def _first(usable: list[Channel], letters: list[str], kind: str) -> Channel | None:
    return next((c for c in usable if any(_has_phase(c, x, kind) for x in letters)), None)


def _has_phase(channel: Channel, letter: str, kind: str) -> bool:
    """By the phase field (A, AN, L1-N ...); without one by a word of the name (UA, I_L1 ...)."""
    if channel.phase:
        return channel.phase in (letter, letter + "N", letter + "G")
    kinds = f"(?:[{_KIND_LETTERS[kind]}]|PH|PHASE)"
    word = re.compile(rf"{kinds}?L?{letter}N?|.*{kinds}L?{letter}N?")
    words = re.split(r"[^A-Z0-9]+", channel.name.upper())
    return any(word.fullmatch(w) for w in (*words, "".join(words)))


def _from_lines(u12: Channel, u23: Channel) -> list[Sum]:
    """u1 = (2 u12 + u23) / 3, u2 = (u23 - u12) / 3, u3 = -(u12 + 2 u23) / 3."""
    return [
        [(u12.index, a * u12.factor / 3), (u23.index, b * u23.factor / 3)]
        for a, b in ((2, 1), (-1, 1), (-1, -2))
    ]


def _is_neutral(channel: Channel, kind: str) -> bool:
    if channel.phase:
        return channel.phase in _NEUTRAL
    name = _letters(channel.name)
    return name in _NEUTRAL or name.lstrip(_KIND_LETTERS[kind]) in _NEUTRAL
