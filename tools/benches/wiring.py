"""What is said of the clamps, on thousands of random sites: how often it is named, how often a
claim is wrong, and whether the stated confidence admits as much.

The firmware's wiring_judge, on CPython; host_tests/wiring_sites.py draws the sites.
"""

from __future__ import annotations

import gc
import importlib
import random
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console

from tools.benches.report import Report

ROOT = Path(__file__).resolve().parents[2]
for folder in ("sim/cpython", "firmware", "host_tests"):
    sys.path.insert(0, str(ROOT / folder))

STATED = (0.99, 0.98, 0.95, 0.9, 0.8, 0.7, 0.6, 0.5)
_LEAST_A = 2.1


@dataclass
class Tally:
    """How the sites of one kind were judged. By stated confidence: sites, sites with a wrong
    claim among theirs."""

    sites: int = 0
    named: int = 0
    by: dict[float, list[int]] = field(default_factory=lambda: {c: [0, 0] for c in STATED})

    @property
    def wrong(self) -> int:
        return sum(wrong for _, wrong in self.by.values())

    @property
    def admitted(self) -> float:
        """As many wrong ones as the stated confidences admit."""
        return sum((1 - stated) * sites for stated, (sites, _) in self.by.items())


Angles = Callable[[random.Random], list[float]]


def _each(low: float, high: float) -> Angles:
    return lambda rng: [rng.uniform(low, high) for _ in range(3)]


def _alike(low: float, high: float) -> Angles:
    """Three phases of one machine, or of one row of lamps."""

    def draw(rng: random.Random) -> list[float]:
        angle = rng.uniform(low, high)
        return [angle + rng.uniform(-5, 5) for _ in range(3)]

    return draw


SITES: dict[str, Angles] = {
    "PF >= 0.9": _each(-25.8, 25.8),
    "PF 0.5 to 1, inductive": _each(0, 60),
    "PF 0.5 to 1, capacitive": _each(-60, 0),
    "PF 0.5 to 1, either": _each(-60, 60),
    "all three alike, 30 to 60 degrees lagging": _alike(30, 60),
    "all three alike, 30 to 60 degrees leading": _alike(-60, -30),
}


def tallied(
    angles: Angles,
    faulty: float,
    count: int,
    seed: int,
    *,
    exporting: float = 0,
    switched: int = 0,
) -> Tally:
    """faulty: the share of sites with one of the single or double faults. exporting: the share of
    sites where each phase may give power, a coin's throw each. switched: loads that go on or off.
    """
    sites: Any = importlib.import_module("wiring_sites")
    rng = random.Random(seed)
    tally = Tally()
    for _ in range(count):
        site = sites.Site.draw(rng)
        site.phi = angles(rng)
        grips, sequence = sites.RIGHT, "123"
        if rng.random() < faulty:
            grips, sequence = rng.choice(sites.SINGLE + sites.DOUBLE)
        if rng.random() < exporting:
            site.i = [amperes * rng.choice((-1, 1)) for amperes in site.i]
        bench = sites.Bench(rng)
        site.mains_ohm = rng.uniform(0.1, 0.5) if switched else 0
        bench.show(site, grips, sequence)
        for n in range(switched):
            site.switch(n % 3, rng)
            bench.show(site, grips, sequence)
        tally.sites += 1
        state = bench.wiring.state
        claims = bench.clamps
        tally.named += claims == list(grips) and state["sequence"] == sequence
        if state["confidence"] is not None:
            entry = tally.by[state["confidence"]]
            entry[0] += 1
            pairs = zip(claims, grips, strict=True)
            entry[1] += any(claim not in (None, grip) for claim, grip in pairs)
    return tally


def report(console: Console, quick: bool) -> None:
    page = Report("wiring", "Which clamp is wrong", console)
    judge: Any = importlib.import_module("wiring_sites").wiring_judge
    judge.unload = lambda name: None  # a host has room for all of them: thirty times as fast
    gc.freeze()
    count = 400 if quick else 4000
    page.words(
        f"{count} random sites in each row: three loads of {_LEAST_A} to 80 A, the converter's "
        "noise. Named: every clamp and the sequence as they are. A wrong claim may be as frequent "
        "as the stated confidence admits; a clamp of which nothing is claimed is not wrong."
    )
    for title, faulty in (
        ("Every site with one or two faults", 1.0),
        ("A quarter of the sites with one or two faults", 0.25),
    ):
        rows = [
            _row(name, tallied(angles, faulty, count, n))
            for n, (name, angles) in enumerate(SITES.items())
        ]
        page.table(title, ["loads", *_HEADER], rows)
    page.words(
        "A phase that gives power looks like one with a reversed clamp. Each phase of an "
        "exporting site does so as a coin falls; the loads have PF 0.9 or more, a quarter of "
        "the sites has one or two faults. Switched: loads of 3 to 16 A that went on or off, on "
        "mains of 0.1 to 0.5 ohm."
    )
    rows = [
        _row(
            f"{share:.0%} export, {switched} switched",
            tallied(
                SITES["PF >= 0.9"],
                0.25,
                count // (1 + switched),
                n,
                exporting=share,
                switched=switched,
            ),
        )
        for n, (share, switched) in enumerate(((0.1, 0), (0.3, 0), (0.1, 9), (0.3, 9)))
    ]
    page.table("Sites that export and are not marked so", ["sites", *_HEADER], rows)
    page.save()


_HEADER = ("all named %", "any claim %", "wrong %", "admitted %",
           "stated confidence: wrong of claimed")  # fmt: skip


def _row(name: str, t: Tally) -> list[str]:
    return [
        name,
        f"{100 * t.named / t.sites:.1f}",
        f"{100 * sum(s for s, _ in t.by.values()) / t.sites:.1f}",
        f"{100 * t.wrong / t.sites:.2f}",
        f"{100 * t.admitted / t.sites:.2f}",
        " ".join(f"{c:.2f}: {w}/{s}" for c, (s, w) in t.by.items() if s),
    ]
