"""What a technician files: one HTML page, printable, with everything that led to the constants.

In: a Session. Out: text; the plot is in it as SVG.
"""

from __future__ import annotations

import hashlib
import html
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from calibrating.readings import Reading

CONSTANTS = {
    "gain_i_na": "I, nA per count",
    "gain_u_nv": "U, nV per count",
    "phase_i_mdeg": "I leads, 0.001°",
    "phase_u_mdeg": "U leads, 0.001°",
}
_COLOURS = ("#1f6f8b", "#c8553d", "#588157")
_STYLE = """
body{font:14px/1.45 system-ui,sans-serif;max-width:52rem;margin:2rem auto;color:#222}
h1{font-size:1.5rem}table{border-collapse:collapse;width:100%;margin:.6rem 0 1.4rem}
th,td{border:1px solid #bbb;padding:.2rem .5rem;text-align:right}th:first-child,
td:first-child{text-align:left}th{background:#eee}td:last-child{white-space:nowrap}.bad{color:#b00020;font-weight:700}
.sign{margin-top:3rem;border-top:1px solid #222;width:18rem}@page{size:A4;margin:15mm}
"""


@dataclass
class Session:
    """One calibration. readings: pairs of the same reading before and with the new constants."""

    serial: str
    variant: str
    board: str
    firmware: str
    reference: str
    by: str
    at: int
    note: str
    old: dict[str, Any] | None
    new: dict[str, Any]
    readings: list[tuple[Reading, Reading]] = field(default_factory=list)

    @property
    def faults(self) -> list[str]:
        """The errors that are beyond their limits."""
        found = []
        for _, r in self.readings:
            for quantity, error in r.errors().items():
                if abs(error) > r.limit(quantity):
                    found.append(
                        f"{quantity} of L{r.phase + 1} at {r.point.words} is {error:+.2f} % off, "
                        f"allowed {r.limit(quantity):g} %"
                    )
        return found

    @property
    def fingerprint(self) -> str:
        """Of the constants: what stands on paper and on the board can be compared."""
        body = json.dumps(self.new, sort_keys=True).encode()
        return hashlib.sha256(body).hexdigest()[:16]


def moment(at: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(at))


def document(s: Session) -> str:
    about = [
        ("Serial number", s.serial),
        ("Variant", f"{s.variant}, {100 if s.variant == 'home' else 400} A clamps"),
        ("Board", s.board),
        ("Firmware", s.firmware),
        ("Reference", s.reference),
        ("By", s.by),
        ("At", moment(s.at)),
        ("Remarks", s.note or "none"),
        ("Calibration before", _before(s.old)),
        ("Fingerprint of the constants", s.fingerprint),
    ]
    faults = s.faults
    verdict = (
        "All errors are within their limits."
        if not faults
        else '<span class="bad">Not passed: ' + html.escape("; ".join(faults)) + "</span>"
    )
    return "\n".join(
        [
            '<!doctype html><html lang="en"><meta charset="utf-8">',
            f"<title>Calibration of {html.escape(s.serial)}</title><style>{_STYLE}</style>",
            "<h1>Calibration of an Amp Guard</h1>",
            _table((), about),
            f"<p><b>{verdict}</b></p>",
            "<h2>Constants</h2>",
            _table(("", "1", "2", "3", "1 before", "2 before", "3 before"), _constants(s)),
            "<h2>Errors</h2>",
            "<p>In percent of the reference, before and with the new constants. Points marked "
            "<i>check</i> did not take part in finding them.</p>",
            _table(
                ("point", "phase", "U", "I", "P", "U before", "I before", "P before", "limits"),
                [_row(old, new) for old, new in s.readings],
            ),
            plot([new for _, new in s.readings]),
            '<p class="sign">Signature</p></html>',
            "",
        ]
    )


def _before(old: dict[str, Any] | None) -> str:
    if not old:
        return "none, the variant's printed values"
    return f"by {old.get('by')} at {moment(int(old.get('at') or 0))}"


def _constants(s: Session) -> list[tuple[str, ...]]:
    old = s.old or {}
    return [
        (words, *map(str, s.new[name]), *(map(str, old.get(name) or "---")))
        for name, words in CONSTANTS.items()
    ]


def _row(old: Reading, new: Reading) -> tuple[str, ...]:
    before, after = old.errors(), new.errors()
    cells = []
    for quantity in "UIP":
        if quantity not in after:
            cells.append("–")
            continue
        text = f"{after[quantity]:+.2f}"
        if abs(after[quantity]) > new.limit(quantity):
            text += " !"
        cells.append(text)
    cells += [f"{before[q]:+.2f}" if q in before else "–" for q in "UIP"]
    limits = " / ".join(f"{new.limit(q):g}" for q in "UIP")
    point = new.point.words + (", check" if new.point.check else "")
    return (point, f"L{new.phase + 1}", *cells, limits)


def _table(header: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    rows = ["<table>"]
    if header:
        rows.append("<tr>" + "".join(f"<th>{html.escape(c)}</th>" for c in header) + "</tr>")
    for row in body:
        rows.append("<tr>" + "".join(f"<td>{html.escape(str(c))}</td>" for c in row) + "</tr>")
    return "\n".join([*rows, "</table>"])


def plot(readings: Sequence[Reading]) -> str:
    """Error of the current and of the power over the current, as SVG."""
    width, height, left, low = 760, 280, 56, 240
    amperes = [r.reference.amperes for r in readings]
    most = max([1.0, *(abs(e) * 1.15 for r in readings for e in r.errors().values())])
    span = max(amperes) * 1.05

    def x(value: float) -> float:
        return left + (width - left - 16) * value / span

    def y(value: float) -> float:
        return 20 + (low - 20) * (1 - (value + most) / (2 * most))

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        'font-family="sans-serif" font-size="12">',
        f'<rect width="{width}" height="{height}" fill="#fff"/>',
        f'<rect x="{left}" y="{y(0.5):.1f}" width="{width - left - 16}" '
        f'height="{y(-0.5) - y(0.5):.1f}" fill="#e8f3ec"/>',
    ]
    for value in (-most / 1.15, -0.5, 0.0, 0.5, most / 1.15):
        parts.append(
            f'<line x1="{left}" x2="{width - 16}" y1="{y(value):.1f}" y2="{y(value):.1f}" '
            'stroke="#ccc"/>'
            f'<text x="{left - 6}" y="{y(value) + 4:.1f}" text-anchor="end">{value:+.1f}</text>'
        )
    for value in sorted(set(amperes)):
        parts.append(
            f'<text x="{x(value):.1f}" y="{low + 16}" text-anchor="middle">{value:g}</text>'
        )
    for r in readings:
        colour = _COLOURS[r.phase]
        for quantity, error in r.errors().items():
            at = f'{x(r.reference.amperes) + 5 * (r.phase - 1):.1f}" cy="{y(error):.1f}'
            if quantity == "I":
                parts.append(f'<circle cx="{at}" r="4" fill="{colour}"/>')
            elif quantity == "P":
                parts.append(f'<circle cx="{at}" r="4.5" fill="none" stroke="{colour}"/>')
    parts.append(
        f'<text x="{left}" y="{height - 6}">error in % over the reference in A; filled: current, '
        "open: power; "
        + " ".join(
            f'<tspan fill="{colour}">● L{n + 1}</tspan>' for n, colour in enumerate(_COLOURS)
        )
        + "; green: ±0.5 %</text></svg>"
    )
    return "\n".join(parts)


def bars(readings: Sequence[Reading], width: int = 41) -> list[str]:
    """The errors of current and power for a terminal: a mark on a scale of ±1 %."""
    middle = width // 2
    found = [" " * 34 + "-1 %" + "0".center(width - 8) + "+1 %"]
    for r in readings:
        scale = [" "] * width
        for at in (0, middle, width - 1):
            scale[at] = "│"
        for at in (middle // 2, middle + middle // 2 + 1):
            scale[at] = "┊"
        for quantity, error in r.errors().items():
            at = round(middle + middle * max(-1.0, min(1.0, error)))
            scale[at] = {"U": "u", "I": "●", "P": "○"}[quantity]
        found.append(f"L{r.phase + 1} {r.point.words:<30} " + "".join(scale))
    found.append(" " * 34 + "● current  ○ power  u voltage")
    return found
