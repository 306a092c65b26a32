"""The whole device under network faults: coverage in any 10 s, a phase's step to the broker.

tools/simulate.py's own simulation runs the unchanged firmware; a boot.py of ours only adds a line
on the console for each measurement, so that those are counted too that no broker ever gets.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import json
import os
import random
import socket
import ssl
import sys
import tempfile
import time
import urllib.request
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from sim.air import BUILDING
from sim.message import Message
from sim.options import parse
from sim.ports import free_port
from tools.benches.report import Report, judged
from tools.simulate import BROKER_PORT, Simulation, factory_file

ROOT = Path(__file__).resolve().parents[2]
for _folder in ("sim/cpython", "firmware", "host_tests"):
    if str(ROOT / _folder) not in sys.path:
        sys.path.insert(0, str(ROOT / _folder))

VM32 = "AMPGUARD_VM32"
PROBE = """
import time
from cloud.live_queue import LiveQueue

_put = LiveQueue.put

def put(self, item):
    try:  # a name in quotes would not be what it is called on the board
        print("probe", item.seq, item.cov_permille, time.ticks_ms())
    except AttributeError:
        pass
    return _put(self, item)

LiveQueue.put = put
"""
FAULTS: dict[str, dict[str, str]] = {
    "none": {},
    "broker gone (refused)": {"internet": "refused"},
    "SYN swallowed": {"internet": "blackhole"},
    "DNS dead": {"dns": "dead"},
    "Wi-Fi down": {"wifi": "down"},
}
IN_USE = "access point open, two phones at its pages"
PAGES = "the same, as fast as pages come"
TLS = "TLS handshakes, one after the other"
HEALTHY = {"internet": "up", "dns": "up", "wifi": "up"}
FAULT_S = 16.0
FUSE_A, STEP_A = 25, 5
STEPS = ((8.0, 20.0), (23.6, 26.4))  # a step below the fuse; across it by less than a step


@dataclass
class Told:
    """One measurement as the meter made it: its end and its coverage."""

    at_ms: int
    cov: float
    heard: float


class Bench(Simulation):
    """A simulation that keeps what it hears, and when. port: of a broker of ours, if it is not the
    simulator's."""

    def __init__(self, folder: Path, *more: str, port: int | None = None) -> None:
        options = parse(
            [
                "--json",
                f"--state={folder}",
                f"--portal={free_port()}",
                f"--dns={free_port(socket.SOCK_DGRAM)}",
                f"--control={free_port()}",
                *more,
            ]
        )
        super().__init__(options, None, folder)
        boot = (ROOT / "firmware" / "boot.py").read_text()
        self.device._files = {"boot.py": boot + PROBE}
        self.device._on_console = self._console
        self.told: list[Told] = []
        self.heard: list[tuple[float, dict[str, Any]]] = []
        self.events: list[tuple[float, dict[str, Any]]] = []
        self.words: list[str] = []
        self.view = Silent(self.words)  # type: ignore[assignment]
        self._broker_port = port

    async def _start_broker(self, stack: contextlib.AsyncExitStack) -> None:
        if self._broker_port is None:
            await super()._start_broker(stack)
        else:
            self.air.route("broker.lan", BROKER_PORT, "127.0.0.1", self._broker_port)

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
        elif message.topic.endswith("/event"):
            self.events.append((time.monotonic(), message.payload))

    async def until(self, wanted: Callable[[], Any], seconds: float = 40) -> None:
        deadline = time.monotonic() + seconds
        while not wanted():
            if time.monotonic() > deadline:
                raise TimeoutError("the device did not do it; it said: " + str(self.words[-8:]))
            await asyncio.sleep(0.02)

    async def told_of(self, since: int, amperes: float) -> float:
        """When the first message from `since` on came that has L1 at `amperes`."""

        def found() -> list[float]:
            return [t for t, m in self.heard[since:] if abs(m["i"][0] - amperes) < 1.0]

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
    if name == IN_USE:
        await _open(bench)
    first = len(bench.told)
    if fault:
        await bench.put("/net", fault)
    served = ""
    if name in (IN_USE, PAGES):
        served = f" ({await _load(bench, 1.0 if name == IN_USE else 0.05)} answers)"
    else:
        await asyncio.sleep(FAULT_S)
    since = len(bench.heard)
    healed = time.monotonic()
    if fault:
        await bench.put("/net", HEALTHY)
        await bench.until(lambda: len(bench.heard) > since + 1, 60)
    back = f"{bench.heard[since][0] - healed:.1f}" if fault else "-"
    return [name + served, *_worst(bench.told[first:]), back]


def _worst(told: list[Told]) -> list[str]:
    """Messages, coverage of the worst 10 s judged, of the worst message."""
    target = judged(-worst_10_s(told), -0.95, 3)[1:].replace("<= -", ">= ")
    return [str(len(told)), target, f"{min(t.cov for t in told):.3f}"]


async def _open(bench: Bench) -> None:
    """The access point, by the button: it begins with a search of all channels, which is a call
    of the image that blocks for two seconds."""
    bench.air.set(button="pressed")
    await asyncio.sleep(0.4)
    bench.air.set(button="up")
    await bench.until(lambda: bench.story.access_point is not None, 60)
    bench.air.set(stations=2)
    await asyncio.sleep(4)


async def _load(bench: Bench, pause_s: float) -> int:
    """Two phones that want one page after the other for FAULT_S. Returns the answers they got."""
    until = time.monotonic() + FAULT_S
    served = 0

    async def phone(number: int) -> None:
        nonlocal served
        pages = ("/", "/wiring", "/live.json", "/status", "/details", "/provider")
        while time.monotonic() < until:
            number += 1
            with contextlib.suppress(OSError, TimeoutError):
                reader, writer = await asyncio.open_connection("127.0.0.1", bench.options.portal)
                words = f"GET {pages[number % len(pages)]} HTTP/1.1\r\nHost: 192.168.251.1\r\n\r\n"
                writer.write(words.encode())
                async with asyncio.timeout(10):
                    served += b" 200 " in (await reader.read())[:20]
                writer.close()
            await asyncio.sleep(pause_s)

    await asyncio.gather(phone(0), phone(3))
    return served


@dataclass
class Delays:
    """Milliseconds from a change of the plant to the broker, and the device's own seconds between
    messages meanwhile."""

    steps: list[float] = field(default_factory=list)
    crossings: list[float] = field(default_factory=list)
    events: list[float] = field(default_factory=list)
    longest_gap: float = 0.0
    missing: int = 0


async def _steps(bench: Bench, count: int) -> Delays:
    """Steps and crossings of the fuse by turns, at any moment of a second."""
    rng = random.Random(5)
    delays = Delays()
    first, first_told = len(bench.heard), len(bench.told)
    for n in range(count):
        low, high = STEPS[n // 2 % 2]
        wanted = high if n % 2 == 0 else low
        if n % 2 == 0:  # to the foot of it, which is no step to measure
            bench.plant.set(i=[low, 10, 6])
            bench.plant_changed()
            await asyncio.sleep(1.15)
        await asyncio.sleep(rng.uniform(0.25, 0.9))
        since, since_event = len(bench.heard), len(bench.events)
        bench.plant.set(i=[wanted, 10, 6])
        started = time.monotonic()
        bench.plant_changed()
        at = await bench.told_of(since, wanted)
        if (low, high) == STEPS[0]:
            delays.steps.append(1000 * (at - started))
            continue
        delays.crossings.append(1000 * (at - started))
        if wanted == high:
            await bench.until(lambda since=since_event: len(bench.events) > since)  # type: ignore[misc]
            event = bench.events[since_event]
            if event[1]["kind"] != "overload":
                raise RuntimeError(f"expected an overload, heard {event[1]}")
            delays.events.append(1000 * (event[0] - started))
    numbers = [m["seq"] for _, m in bench.heard[first:]]
    delays.missing = numbers[-1] - numbers[0] + 1 - len(numbers)
    made = bench.told[first_told:]
    delays.longest_gap = max(b.at_ms - a.at_ms for a, b in pairwise(made)) / 1000
    return delays


async def measure(quick: bool, *more: str) -> tuple[list[list[str]], Delays]:
    rows: list[list[str]] = []
    delays: list[Delays] = []

    async def work(bench: Bench) -> None:
        await bench.until(lambda: len(bench.heard) > 3, 60)
        faults = dict(list(FAULTS.items())[:3]) if quick else FAULTS | {IN_USE: {}, PAGES: {}}
        for name, fault in faults.items():
            rows.append(await _coverage(bench, name, fault))
            print(rows[-1], file=sys.stderr, flush=True)  # minutes pass until the page is made
            await asyncio.sleep(4)
            if name == "none":
                delays.append(await _steps(bench, 16 if quick else 300))

    with tempfile.TemporaryDirectory(prefix="ampguard-bench-") as name:
        folder = Path(name) / "flash"
        _lay_out(folder)
        bench = Bench(folder, *more)
        await _beside(bench.run(), work(bench), bench)
    return rows, delays[0]


def _lay_out(folder: Path) -> None:
    """A device that knows the building's Wi-Fi and the fuse."""
    storage: Any = importlib.import_module("device.storage")
    folder.mkdir()
    storage.Record(str(folder / "settings")).save(
        {
            "wifi_ssid": BUILDING.ssid,
            "wifi_password": BUILDING.password,
            "supply_max_a": FUSE_A,
            "step_a": STEP_A,
        }
    )


async def handshakes() -> list[str]:
    """A broker that ends every connection once its TLS stands: handshake after handshake."""
    brokers: Any = importlib.import_module("cloud_broker")
    certificates: Any = importlib.import_module("test_cloud_mosquitto")
    with tempfile.TemporaryDirectory(prefix="ampguard-bench-") as name:
        folder = Path(name)
        authority = certificates.Authority()
        authority.issue(folder, "broker.lan")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(folder / "broker.pem", folder / "broker.key")
        shaken = [0]

        def behaviour(connection: Any) -> None:
            connection.sock = context.wrap_socket(connection.sock, server_side=True)
            shaken[0] += 1

        _lay_out(folder / "flash")
        authority.der(folder / "flash" / "ca.der")
        broker = brokers.Broker(behaviour)
        bench = Bench(folder / "flash", "--no-provision", port=broker.port)
        bench.device._factory = factory_file(bench.options, bench.plant, tls=True)
        told: list[Told] = []

        async def work(bench: Bench) -> None:
            await bench.until(lambda: shaken[0] > 1, 60)
            first = len(bench.told)
            await asyncio.sleep(FAULT_S)
            told.extend(bench.told[first:])

        await _beside(bench.run(), work(bench), bench)
        broker.close()
    return [f"{TLS} ({shaken[0]})", *_worst(told), "-"]


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
    page.words(
        f"The unchanged firmware in the simulator, each fault for {FAULT_S:.0f} s; what the meter "
        "made is counted on the device, so that what no broker gets is counted as well. More "
        "faults, of brokers: [../uplink.md](../uplink.md)."
    )
    vms: dict[str, tuple[str, ...]] = {"64-bit words, no GIL": ()}
    if os.environ.get(VM32):
        vms["32-bit words and a GIL, as the board"] = (f"--vm={os.environ[VM32]}",)
    for name, more in vms.items():
        rows, delays = asyncio.run(measure(quick, *more))
        if not more:  # the other VM at hand has no TLS
            rows.append(asyncio.run(handshakes()))
        header = ["fault", "messages made", "coverage, worst 10 s", "worst message", "back, s"]
        page.table(f"Coverage, {name}", header, rows)
        page.table(
            f"From a change of the current to the broker, ms, {name}",
            ["", "number", "median", "p95", "p99", "worst"],
            [
                _delay_row(f"a step of 12 A, limit {STEP_A} A", delays.steps),
                _delay_row(f"across the fuse of {FUSE_A} A by 1.4 A, up and down",
                           delays.crossings),
                _delay_row("its `event`", delays.events),
            ],
        )  # fmt: skip
        page.words(
            f"Meanwhile the longest time between two messages was {delays.longest_gap:.2f} s by "
            f"the device's clock; {delays.missing} of them did not reach the broker."
        )
    page.words(
        "Opening the access point, by the button or after ten minutes without a network, begins "
        "with a search of all channels, a call of the image that blocks for 2.4 s: the one gap "
        "that is longer, and flagged."
    )
    page.words("The host's own delays are part of these times; a real radio's are not.")
    page.save()


def _delay_row(name: str, delays: list[float]) -> list[str]:
    sizes = np.array(delays)
    return [
        name,
        str(len(sizes)),
        f"{np.median(sizes):.0f}",
        f"{np.percentile(sizes, 95):.0f}",
        judged(float(np.percentile(sizes, 99)), 300, 0),
        f"{sizes.max():.0f}",
    ]
