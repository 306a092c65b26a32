"""The whole device under network faults: coverage in any 10 s, a phase's step to the broker.

tools/simulate.py's own simulation runs the unchanged firmware; a boot.py of ours only adds a line
on the console for each measurement, so that those are counted too that no broker ever gets.
"""

from __future__ import annotations

import asyncio
import json
import random
import socket
import tempfile
import time
import urllib.request
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from sim.device import free_port
from sim.message import Message
from sim.options import parse
from tools.benches.report import Report, judged
from tools.simulate import Simulation

ROOT = Path(__file__).resolve().parents[2]
PROBE = """
import time
from metering.meter import Meter

_measure = Meter._measure

def measure(self, sums):
    m = _measure(self, sums)
    print("probe", m.seq, m.cov_permille, time.ticks_ms())
    return m

Meter._measure = measure
"""
FAULTS: dict[str, dict[str, str]] = {
    "none": {},
    "internet refused": {"internet": "refused"},
    "internet a black hole": {"internet": "blackhole"},
    "DNS dead": {"dns": "dead"},
    "Wi-Fi down (access point opens)": {"wifi": "down"},
}
HEALTHY = {"internet": "up", "dns": "up", "wifi": "up"}
FAULT_S = 16.0


@dataclass
class Told:
    """One measurement as the meter made it: its end and its coverage."""

    at_ms: int
    cov: float
    heard: float


class Bench(Simulation):
    """A simulation that keeps what it hears, and when."""

    def __init__(self, folder: Path) -> None:
        options = parse(
            [
                "--json",
                f"--portal={free_port()}",
                f"--dns={free_port(socket.SOCK_DGRAM)}",
                f"--control={free_port()}",
            ]
        )
        super().__init__(options, None, folder)
        boot = (ROOT / "firmware" / "boot.py").read_text()
        self.device._files = {"boot.py": boot + PROBE}
        self.device._on_console = self._console
        self.told: list[Told] = []
        self.heard: list[tuple[float, dict[str, Any]]] = []
        self.words: list[str] = []
        self.view = Silent(self.words)  # type: ignore[assignment]

    def _console(self, line: str) -> None:
        parts = line.split()
        if len(parts) == 4 and parts[0] == "probe":
            self.told.append(Told(int(parts[3]), int(parts[2]) / 1000, time.monotonic()))
        else:
            self.words.append(line)

    def _message(self, message: Message) -> None:
        self.story.message(message)
        if message.topic.endswith("/measurement"):
            self.heard.append((time.monotonic(), message.payload))

    async def until(self, wanted: Callable[[], Any], seconds: float = 40) -> None:
        deadline = time.monotonic() + seconds
        while not wanted():
            if time.monotonic() > deadline:
                raise TimeoutError("the device did not do it; it said: " + str(self.words[-8:]))
            await asyncio.sleep(0.02)

    async def told_of(self, since: int, amperes: float) -> float:
        """When the first message from `since` on came that has L1 at `amperes`."""

        def found() -> list[float]:
            return [t for t, m in self.heard[since:] if abs(m["i"][0] - amperes) < 1.5]

        await self.until(found)
        return found()[0]

    async def put(self, path: str, fields: dict[str, Any]) -> None:
        """Through the control server, as people do."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.options.control}{path}",
            json.dumps(fields).encode(),
            method="PUT",
        )
        await asyncio.to_thread(lambda: urllib.request.urlopen(request, timeout=20).read())


class Silent:
    """A view that shows nothing and keeps the words."""

    broker = ""

    def __init__(self, words: list[str]) -> None:
        self._words = words

    def __enter__(self) -> Silent:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def say(self, who: str, words: str) -> None:
        self._words.append(f"{who}: {words}")

    def console(self, line: str) -> None:
        self._words.append(line)

    def message(self, _: Message) -> None:
        pass

    def refresh(self) -> None:
        pass


def worst_10_s(told: list[Told]) -> float:
    """The lowest share of time measured in any 10 s that begins with a message."""
    worst = 1.0
    ends = [t.at_ms for t in told]
    for first in range(1, len(told)):
        covered = length = 0.0
        for n in range(first, len(told)):
            span = ends[n] - ends[n - 1]
            covered += told[n].cov * span
            length += span
            if length >= 9_900:
                worst = min(worst, covered / length)
                break
    return worst


async def _coverage(bench: Bench, name: str, fault: dict[str, str]) -> list[str]:
    first = len(bench.told)
    if fault:
        await bench.put("/net", fault)
    await asyncio.sleep(FAULT_S)
    since = len(bench.heard)
    healed = time.monotonic()
    if fault:
        await bench.put("/net", HEALTHY)
        await bench.until(lambda: len(bench.heard) > since + 1, 60)
    back = f"{bench.heard[since][0] - healed:.1f}" if fault else "-"
    told = bench.told[first:]
    lowest = min(t.cov for t in told)
    return [name, str(len(told)), judged(-worst_10_s(told), -0.95, 3)[1:].replace("<= -", ">= "),
            f"{lowest:.3f}", back]  # fmt: skip


async def _steps(bench: Bench, count: int) -> list[float]:
    """Milliseconds from a change of the plant to the first message that tells of it."""
    rng = random.Random(5)
    delays = []
    low, high = [8.0, 10.0, 6.0], [31.0, 10.0, 6.0]
    for n in range(count):
        await asyncio.sleep(rng.uniform(0.6, 1.6))
        wanted = high if n % 2 == 0 else low
        since = len(bench.heard)
        bench.plant.set(i=wanted)
        started = time.monotonic()
        bench.plant_changed()
        at = await bench.told_of(since, wanted[0])
        delays.append(1000 * (at - started))
    return delays


async def measure(quick: bool) -> tuple[list[list[str]], list[float]]:
    rows: list[list[str]] = []
    delays: list[float] = []

    async def work(bench: Bench) -> None:
        await bench.until(lambda: len(bench.heard) > 3)
        faults = dict(list(FAULTS.items())[:3]) if quick else FAULTS
        for name, fault in faults.items():
            rows.append(await _coverage(bench, name, fault))
            if not fault:
                delays.extend(await _steps(bench, 10 if quick else 50))

    with tempfile.TemporaryDirectory(prefix="ampguard-bench-") as folder:
        bench = Bench(Path(folder) / "flash")
        await _beside(bench.run(), work(bench), bench)
    return rows, delays


async def _beside(run: Awaitable[int], work: Awaitable[None], bench: Bench) -> None:
    running = asyncio.ensure_future(run)
    working = asyncio.ensure_future(work)
    await asyncio.wait({running, working}, return_when=asyncio.FIRST_COMPLETED)
    if not working.done():
        working.cancel()
        raise RuntimeError(f"the simulation ended: {bench.words[-5:]}")
    bench._finish(0, "")
    await running
    await working


def report(console: Console, quick: bool) -> None:
    page = Report("device", "The whole device under network faults", console)
    rows, delays = asyncio.run(measure(quick))
    page.words(
        f"The unchanged firmware in the simulator, each fault for {FAULT_S:.0f} s; what the meter "
        "made is counted on the device, so that what no broker gets is counted as well."
    )
    header = ["fault", "messages made", "coverage, worst 10 s", "worst message", "back after, s"]
    page.table("Coverage", header, rows)
    sizes = np.array(delays)
    page.table(
        f"From a load step to the broker, {len(delays)} steps, ms",
        ["median", "p95", "p99", "worst"],
        [[
            f"{np.median(sizes):.0f}",
            f"{np.percentile(sizes, 95):.0f}",
            judged(float(np.percentile(sizes, 99)), 300, 0),
            f"{sizes.max():.0f}",
        ]],
    )  # fmt: skip
    page.words("The host's own delays are part of these times; a real radio's are not.")
    page.save()
