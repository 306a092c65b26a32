"""The network's faults and the time to be back, and the portal under load and under attack.

tools/simulate.py's own simulation runs the unchanged firmware; measurements count when a broker
has them. Air: joining takes 1.5 s, DHCP 0.5 s, a search of all channels 2.4 s.
"""

from __future__ import annotations

import asyncio
import os
import random
import socket
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from sim.air import BUILDING, NEIGHBOURS
from sim.message import Message
from sim.options import parse
from sim.ports import free_port
from tools.benches.device import Silent
from tools.benches.report import Report, judged
from tools.simulate import Simulation

BACK_S, CABLE_S, SUBMIT_S, PORTAL_MS = 10.0, 5.0, 15.0, 300.0
PAGES = ("/", "/wiring", "/status", "/details", "/provider", "/portal.js", "/live.json",
         "/status.json", "/scan.json")  # fmt: skip
SEEDS = (
    b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    b"GET /wiring HTTP/1.1\r\nHost: 192.168.251.1\r\nCookie: lang=sv\r\n\r\n",
    b"POST /connect HTTP/1.1\r\nContent-Length: 30\r\n\r\nssid=abc&password=12345",
    b"POST /ca HTTP/1.1\r\nContent-Length: 40\r\n\r\n--x\r\n\r\n0\x82\x01\x00abc\r\n--x--\r\n",
    b"POST /wiring HTTP/1.1\r\nContent-Length: 24\r\n\r\nclamps=L1%2CL2%2C-L1&a=b",
)


class _Notes(Silent):
    """A view that shows nothing and keeps what is said, and when."""

    def __init__(self, words: list[str], said: list[tuple[float, str]]) -> None:
        super().__init__(words)
        self._said = said

    def say(self, who: str, words: str) -> None:
        super().say(who, words)
        self._said.append((time.monotonic(), words))


class Site(Simulation):
    """A simulation that keeps what was heard and said, and when."""

    def __init__(self, folder: Path, *options: str) -> None:
        super().__init__(
            parse(
                [
                    "--json",
                    f"--portal={free_port()}",
                    f"--dns={free_port(socket.SOCK_DGRAM)}",
                    f"--control={free_port()}",
                    *options,
                ]
            ),
            None,
            folder,
        )
        self.heard: list[tuple[float, dict[str, Any]]] = []
        self.words: list[str] = []
        self.said: list[tuple[float, str]] = []
        self.view = _Notes(self.words, self.said)  # type: ignore[assignment]
        self.device._on_console = self.words.append

    def _message(self, message: Message) -> None:
        self.story.message(message)
        if message.topic.endswith("/measurement"):
            self.heard.append((time.monotonic(), message.payload))

    async def until(self, wanted: Callable[[], Any], seconds: float = 60) -> Any:
        deadline = time.monotonic() + seconds
        while not (found := wanted()):
            if time.monotonic() > deadline:
                raise TimeoutError("the device did not do it; it said: " + str(self.words[-9:]))
            await asyncio.sleep(0.02)
        return found

    async def back(self, heal: Callable[[], None], seconds: float = 60) -> float:
        """Seconds from `heal()` to the first measurement at the broker."""
        await asyncio.sleep(0.05)
        heal()
        since, began = len(self.heard), time.monotonic()
        await self.until(lambda: len(self.heard) > since, seconds)
        return self.heard[since][0] - began

    async def steady(self) -> None:
        """Until measurements have come for three seconds without a gap."""

        def found() -> bool:
            recent = [t for t, _ in self.heard if t > time.monotonic() - 3.2]
            return len(recent) >= 3

        await self.until(found)

    def longest_gap(self, since: float) -> float:
        times = [since, *(t for t, _ in self.heard if t > since)]
        return max(b - a for a, b in pairwise(times))

    async def press(self) -> None:
        """The button: the access point."""
        self.air.set(button="pressed")
        await asyncio.sleep(0.3)
        self.air.set(button="up")
        await self.until(lambda: self.story.access_point, 15)
        await asyncio.sleep(1)


async def faults(site: Site, quick: bool) -> list[list[str]]:
    rows: list[list[str]] = []
    air = site.air

    def row(name: str, seconds: float, most: float) -> None:
        rows.append([name, judged(seconds, most, 1)])

    await site.until(lambda: site.heard)
    submit = next(t for t, words in site.said if words.startswith("submits the form"))
    row("Submit to the first measurement, new device", site.heard[0][0] - submit, SUBMIT_S)
    online = await site.until(lambda: [t for t, words in site.said if "sees it online" in words])
    row("Submit to “online” on the page", online[0] - submit, SUBMIT_S)

    async def hold(name: str, fault: dict[str, Any], seconds: float, **healed: Any) -> None:
        await site.steady()
        air.set(**fault)
        await asyncio.sleep(seconds)
        row(name, await site.back(lambda: air.set(**healed)), BACK_S)

    await hold("router off for 8 s", {"wifi": "down"}, 8, wifi="up")
    if not quick:
        air.set(stations=1)
        await hold("router off for 60 s, a phone on the access point", {"wifi": "down"}, 60,
                   wifi="up")  # fmt: skip
        air.set(stations=0)
    moved = (replace(BUILDING, channel=11), *NEIGHBOURS)
    await hold("router back on another channel", {"wifi": "down"}, 4, wifi="up", networks=moved)
    await hold("router back with another lease", {"wifi": "down"}, 4, wifi="up",
               wifi_ip="192.168.1.99")  # fmt: skip
    rng = random.Random(4)
    for seconds in (9.0,) if quick else (5.0, 20 + rng.uniform(0, 9), 40 + rng.uniform(0, 9)):
        await hold(f"DHCP gone for {seconds:.0f} s, leases run out", {"dhcp": "dead"}, seconds,
                   dhcp="up")  # fmt: skip
    await hold("internet a black hole for 20 s", {"internet": "blackhole"}, 20, internet="up")
    await hold("broker refused for 20 s", {"internet": "refused"}, 20, internet="up")
    await hold("name server dead while the router was off", {"wifi": "down", "dns": "dead"}, 5,
               wifi="up", dns="up")  # fmt: skip

    for name, change in (
        ("cable in beside working Wi-Fi: longest gap", {"lan": "up"}),
        ("cable out, Wi-Fi takes over: longest gap", {"lan": "down"}),
    ):
        await site.steady()
        began = time.monotonic()
        air.set(**change)
        await asyncio.sleep(7)
        row(name, site.longest_gap(began), CABLE_S)
    await site.steady()
    began = time.monotonic()
    for _ in range(6):
        air.set(lan="up")
        await asyncio.sleep(2)
        air.set(lan="down")
        await asyncio.sleep(2)
    await asyncio.sleep(4)
    row("cable flapping, six times in 24 s: longest gap", site.longest_gap(began), CABLE_S)

    air.set(wifi="down", lan="up")
    await hold("cable alone: pulled for 8 s", {"lan": "down"}, 8, lan="up")
    await hold("cable alone: DHCP gone for 45 s", {"dhcp": "dead"}, 45, dhcp="up")
    air.set(wifi="up", lan="down")

    await site.steady()
    await site.cut()
    air.set(clock_offset_s=180 * 24 * 3600)
    since = len(site.heard)
    began = time.monotonic()
    await site.power_on()
    await site.until(lambda: len(site.heard) > since)
    row("power cut; time servers half a year off: measurements", site.heard[since][0] - began,
        BACK_S)  # fmt: skip
    air.set(clock_offset_s=0)

    await site.steady()
    await site.press()
    left = [await _half(site) for _ in range(5)]
    began = time.monotonic()
    status, _ = await _get(site, "/", patience=20)
    row(f"portal abandoned half-way by five phones: the next one's page ({status})",
        time.monotonic() - began, BACK_S)  # fmt: skip
    for writer in left:
        writer.close()
    resets = [e for e in site.device.events if e["ev"] in ("reset", "died", "crash")]
    rows.append(["restarts, crashes, resets meanwhile", judged(len(resets), 0, 0)])
    return rows


async def _half(site: Site) -> asyncio.StreamWriter:
    _, writer = await asyncio.open_connection("127.0.0.1", site.options.portal)
    writer.write(b"POST /connect HTTP/1.1\r\nHost: 192.168.251.1\r\nContent-Length: 60\r\n\r\nss")
    await writer.drain()
    return writer


async def _get(site: Site, path: str, patience: float = 8) -> tuple[int, float]:
    """(status, ms) of one request; a refused connection is tried again, as browsers do."""
    began = time.monotonic()
    while True:
        try:
            async with asyncio.timeout(patience):
                reader, writer = await asyncio.open_connection("127.0.0.1", site.options.portal)
                writer.write(f"GET {path} HTTP/1.1\r\nHost: 192.168.251.1\r\n\r\n".encode())
                data = await reader.read(-1)
                writer.close()
            if data:
                return int(data[9:12]), 1000 * (time.monotonic() - began)
        except OSError:
            pass
        if time.monotonic() - began > patience:
            return 0, 1000 * (time.monotonic() - began)
        await asyncio.sleep(0.05)


async def _attack(site: Site, dice: random.Random) -> None:
    data = bytearray(dice.choice(SEEDS))
    if dice.random() < 0.4:
        data = bytearray(dice.randbytes(dice.randrange(1, 900)))
    for _ in range(dice.randrange(1, 6)):
        data[dice.randrange(len(data))] = dice.randrange(256)
    try:
        async with asyncio.timeout(12):
            reader, writer = await asyncio.open_connection("127.0.0.1", site.options.portal)
            writer.write(data)
            writer.write_eof()
            await reader.read(-1)
            writer.close()
    except (OSError, TimeoutError):
        pass


def worst_10_s(heard: list[tuple[float, dict[str, Any]]]) -> float:
    """The lowest mean coverage of any ten seconds."""
    worst = 1.0
    for n in range(1, len(heard)):
        part = length = 0.0
        for at in range(n, len(heard)):
            span = heard[at][0] - heard[at - 1][0]
            part += heard[at][1]["cov"] * span
            length += span
            if length >= 9.9:
                worst = min(worst, part / length)
                break
    return worst


async def portal(site: Site, hostile: int) -> list[list[str]]:
    """One row for each kind of traffic; the device is online and measures meanwhile."""
    rows: list[list[str]] = []
    await site.until(lambda: site.heard)
    await site.steady()
    await _get(site, "/")
    await asyncio.sleep(2)
    before = site.device.heap["in_use"]

    async def during(name: str, traffic: Awaitable[list[tuple[int, float]]]) -> None:
        since = len(site.heard)
        answers = await traffic
        await asyncio.sleep(1.5)
        heard = site.heard[max(0, since - 1) :]
        times = [ms for status, ms in answers if status == 200]
        busy = sum(status == 503 for status, _ in answers)
        lost = sum(status not in (200, 503) for status, _ in answers)
        rows.append([
            name,
            str(len(answers)),
            f"{np.median(times):.0f}" if times else "-",
            judged(float(np.percentile(times, 95)), PORTAL_MS, 0) if times else "-",
            str(busy),
            str(lost),
            judged(-worst_10_s(heard), -0.95, 3)[1:].replace("<= -", ">= "),
            f"{site.longest_gap(heard[0][0]):.1f}",
        ])  # fmt: skip

    async def visitor(count: int) -> list[tuple[int, float]]:
        answers = []
        for n in range(count):
            answers.append(await _get(site, PAGES[n % len(PAGES)]))
            await asyncio.sleep(0.15)
        return answers

    async def visitors(many: int, count: int) -> list[tuple[int, float]]:
        parts = await asyncio.gather(*[visitor(count) for _ in range(many)])
        return [answer for part in parts for answer in part]

    async def under_attack() -> list[tuple[int, float]]:
        dice = random.Random(42)
        left = hostile

        async def attacker() -> None:
            nonlocal left
            while left > 0:
                left -= 1
                await _attack(site, dice)

        attackers = asyncio.gather(*[attacker() for _ in range(3)])
        answers: list[tuple[int, float]] = []
        while not attackers.done():
            answers.append(await _get(site, PAGES[len(answers) % len(PAGES)]))
            await asyncio.sleep(0.5)
        await attackers
        return answers

    async def nobody() -> list[tuple[int, float]]:
        await asyncio.sleep(20)
        return []

    await during("nobody: what this machine alone does", nobody())
    await during("one phone, every page in turn", visitor(180))
    await during("four phones at a time", visitors(4, 45))
    await during(f"one phone beside {hostile:,} hostile requests", under_attack())
    await asyncio.sleep(4)
    grown = site.device.heap["in_use"] - before
    resets = [e for e in site.device.events if e["ev"] in ("reset", "died", "crash")]
    told = [line for line in site.words if "portal: /" in line or "MemoryError" in line]
    rows.append([f"afterwards: heap {grown:+,} B, {len(resets)} restarts, "
                 f"{len(told)} complaints", *[""] * 7])  # fmt: skip
    return rows


async def _run(work: Callable[[Site], Awaitable[Any]], *options: str) -> Any:
    with tempfile.TemporaryDirectory(prefix="ampguard-bench-") as folder:
        site = Site(Path(folder) / "flash", *options)
        running = asyncio.ensure_future(site.run())
        working = asyncio.ensure_future(work(site))
        await asyncio.wait({running, working}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            working.cancel()
            raise RuntimeError(f"the simulation ended: {site.words[-5:]}")
        site._finish(0, "")
        await running
        return working.result()


def report(console: Console, quick: bool) -> None:
    page = Report("network", "Faults of the network, and the portal under load", console)
    page.words(
        "The unchanged firmware in the simulator (joining 1.5 s, DHCP 0.5 s and asked again after "
        "2, 4, 8 ... s); from the moment a fault ends to the first measurement at the broker. "
        "An hour without a router is proven in virtual time (test_link_policy.py)."
    )
    rows = asyncio.run(_run(lambda site: faults(site, quick)))
    page.table("Back after a fault", ["fault", "s"], rows)
    hostile = 500 if quick else int(os.environ.get("AMPGUARD_HOSTILE", "10000"))
    vms = [("64-bit words, doubles, no GIL", ["--heap=100wk"])]
    if os.environ.get("AMPGUARD_VM32"):
        heap = os.environ.get("AMPGUARD_HEAP32", "140wk")
        vms.append(
            (f"32-bit words, single floats, GIL, heap {heap}",
             [f"--vm={os.environ['AMPGUARD_VM32']}", f"--heap={heap}"])
        )  # fmt: skip
    header = ["traffic", "answers", "median, ms", "p95, ms", "busy", "lost",
              "coverage, worst 10 s", "longest gap, s"]  # fmt: skip
    for name, options in vms:
        page.table(
            f"The portal of a device that is online: {name}",
            header,
            asyncio.run(_run(lambda site: portal(site, hostile), "--load=16,10,6", *options)),
        )
    page.save()
