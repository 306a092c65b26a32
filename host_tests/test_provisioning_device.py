"""Provisioning and connectivity of the whole device on the simulated board, in real time."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import dns.message
import dns.query
import pytest

from device.storage import Record
from sim.air import Air
from sim.device import SimulatedDevice
from sim.options import parse
from sim.plant import Plant
from tools.simulate import factory_file

pytestmark = pytest.mark.whole_device

HOME = ("Hallonstigen 7", "smultron-och-mjolk")
PATIENCE_S = 90


class Site:
    """A powered device and the phone of somebody who has joined its access point."""

    def __init__(self, device: SimulatedDevice, air: Air) -> None:
        self.device, self.air = device, air

    def _request(self, method: str, path: str, body: str | None) -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", self.device.portal_port, timeout=60)
        with contextlib.closing(connection):
            headers = {"Content-Type": "application/x-www-form-urlencoded"} if body else {}
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()

    async def ask(self, method: str, path: str, body: str | None = None) -> str:
        """An answer, once somebody listens: nobody does while the radio is on another channel."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                status, text = await asyncio.to_thread(self._request, method, path, body)
            except (ConnectionRefusedError, ConnectionResetError):
                if time.monotonic() > deadline:
                    raise
                await asyncio.sleep(0.1)
                continue
            assert status == 200
            return text

    async def get(self, path: str) -> str:
        return await self.ask("GET", path)

    async def submit(self, ssid: str, password: str) -> None:
        body = urlencode({"ssid": ssid, "password": password})
        await self.ask("POST", "/connect", body)

    async def status(self) -> dict[str, Any]:
        return json.loads(await self.get("/status.json"))

    async def until(
        self, holds: Callable[[dict[str, Any]], bool], path: str = "/status.json"
    ) -> None:
        """Waits for a status. How long it takes: docs/bench/network.md."""
        last: object = None

        async def asked() -> bool:
            nonlocal last
            with contextlib.suppress(OSError, http.client.HTTPException):
                last = json.loads(await self.get(path))
                return holds(last)
            return False

        await self._until(asked, lambda: last)

    async def said(self, words: str) -> None:
        async def found() -> bool:
            return any(words in line for line in self.device.console)

        await self._until(found, lambda: f"not said: {words}")

    async def open(self) -> None:
        async def listens() -> bool:
            return any(e["ev"] == "listen" and e["port"] == 80 for e in self.device.events)

        await self._until(listens, lambda: "nobody listens")

    async def _until(
        self, holds: Callable[[], Awaitable[bool]], else_: Callable[[], object]
    ) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not await holds():
            if time.monotonic() > deadline:
                raise AssertionError(f"{else_()}\n{self.device.console[-15:]}")
            await asyncio.sleep(0.1)


@pytest.fixture(params=["1.29.0", "1.23.0"])
def board(request: pytest.FixtureRequest) -> str:
    return request.param


@contextlib.asynccontextmanager
async def powered(flash: Path, board: str) -> AsyncIterator[Site]:
    air = Air()
    device = SimulatedDevice(
        flash, air, Plant(), factory=factory_file(parse([])), board={"image": board}
    )
    await device.start()
    try:
        yield Site(device, air)
    finally:
        await device.stop()


@pytest.mark.quiet
def test_two_minutes_on_a_ladder(tmp_path: Path, board: str) -> None:
    async def story() -> None:
        async with powered(tmp_path / "flash", board) as site:
            await site.open()
            query = dns.message.make_query("captive.apple.com", "A")
            reply = await asyncio.to_thread(
                dns.query.udp, query, "127.0.0.1", 5, site.device.dns_port
            )
            assert reply.answer[0][0].address == "192.168.251.1"
            assert "Hallonstigen 7" in await site.get("/")
            assert (await site.status())["state"] == "idle"

            await site.submit(HOME[0], "fel-losenord")
            await site.until(lambda now: now["state"] == "failed")
            assert "password is wrong" in (await site.status())["reason"]

            await site.submit(*HOME)
            await site.until(lambda now: now["state"] == "online")
            assert (await site.status())["ip"] == "192.168.1.57"
            await site.until(lambda live: live["measurement"]["cov"] > 0.9, "/live.json")

            points = [e for e in site.device.events if e["ev"] == "ap" and e["active"]]
            assert {(e["ssid"], e["key"], e["security"]) for e in points} == {
                ("Amp Guard_42317", "K7M3XQ9A", 3)
            }
            assert points[-1]["ip"] == "192.168.251.1"
            assert points[-1]["max_clients"] == 4
            # On the building's network it listens on nothing.
            assert {e["ip"] for e in site.device.events if e["ev"] == "listen"} == {
                "192.168.251.1"
            }
            console = "\n".join(site.device.console)
            assert not [secret for secret in (HOME[1], "fel-losenord", "K7M3XQ9A")
                        if secret in console]  # fmt: skip

    asyncio.run(story())


def test_cable_and_router_come_and_go_without_a_reboot(tmp_path: Path) -> None:
    async def story() -> None:
        async with powered(tmp_path / "flash", "1.29.0") as site:
            await site.open()
            await site.submit(*HOME)
            await site.until(lambda now: now["ip"] == "192.168.1.57")

            site.air.set(button="pressed")
            await asyncio.sleep(0.5)
            site.air.set(button="up")
            await site.said("button: access point")

            site.air.set(lan="up")
            await site.until(lambda now: now["ip"] == "192.168.1.58")
            site.air.set(lan="down")
            await site.until(lambda now: now["ip"] == "192.168.1.57")

            site.air.set(wifi="down")
            await site.until(lambda now: now["state"] == "connecting")
            await asyncio.sleep(6)
            site.air.set(wifi="up")
            await site.until(lambda now: now["state"] == "online")
            ends = [e for e in site.device.events if e["ev"] in ("reset", "died", "crash")]
            assert not ends, site.device.console

    asyncio.run(story())


def test_a_device_that_knows_its_network_opens_nothing_and_listens_on_nothing(tmp_path: Path):
    async def story() -> None:
        (tmp_path / "flash").mkdir()
        saved = {"wifi_ssid": HOME[0], "wifi_password": HOME[1]}
        Record(str(tmp_path / "flash" / "settings")).save(saved)
        async with powered(tmp_path / "flash", "1.29.0") as site:
            await site.device.until(lambda e: e["ev"] == "sta" and e.get("ip"))
            await asyncio.sleep(1.5)
            assert not [e for e in site.device.events if e["ev"] in ("listen", "ap")]
            with pytest.raises(ConnectionRefusedError):
                site._request("GET", "/", None)

    asyncio.run(story())
