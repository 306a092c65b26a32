"""What the simulator's control port takes, gives and refuses, over real HTTP."""

import asyncio
import http.client
import json
from collections.abc import Callable
from typing import Any

import pytest

from sim.air import Air
from sim.control import Control
from sim.plant import Plant


class Simulation:
    """Stands where the simulator stands: notes what it is told."""

    def __init__(self) -> None:
        self.plant = Plant(i=[16, 10, 6])
        self.air = Air()
        self.network = ("Hallonstigen 7", "smultron-och-mjolk")
        self.powered = True
        self.told: list[str] = []

    def plant_changed(self) -> None:
        self.told.append("plant")

    async def cut(self) -> None:
        self.powered = False
        self.told.append("cut")

    async def power_on(self) -> None:
        self.powered = True
        self.told.append("on")


Ask = Callable[..., tuple[int, Any]]


def with_control(test: Callable[[Ask, Simulation], None]) -> None:
    """Runs a blocking test beside a served control port."""

    async def story() -> None:
        simulation = Simulation()
        control = Control(0, simulation, lambda _: None)
        await control.start()
        assert control._server is not None
        port = control._server.sockets[0].getsockname()[1]

        def ask(method: str, path: str, body: Any = None) -> tuple[int, Any]:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
            raw = body if isinstance(body, str | bytes | None) else json.dumps(body)
            connection.request(method, path, raw)
            answer = connection.getresponse()
            assert "json" in (answer.getheader("Content-Type") or "")
            found = answer.status, json.loads(answer.read())
            connection.close()
            return found

        await asyncio.to_thread(test, ask, simulation)
        await control.stop()

    asyncio.run(story())


def test_the_plant_is_shown_with_what_an_ideal_meter_would_say() -> None:
    def test(ask: Ask, _: Simulation) -> None:
        status, plant = ask("GET", "/plant")
        assert status == 200
        assert plant["i"] == [16, 10, 6]
        assert plant["truth"]["p"] == pytest.approx([3680, 2300, 1380])

    with_control(test)


def test_only_the_fields_named_change_and_the_answer_is_the_new_state() -> None:
    def test(ask: Ask, simulation: Simulation) -> None:
        status, plant = ask("PUT", "/plant", {"i": [1, -2, 3], "ct": ["L1", "-L3", None]})
        assert (status, plant["i"], plant["u"]) == (200, [1, -2, 3], [230, 230, 230])
        assert plant["ct"] == ["L1", "-L3", None]
        assert simulation.told == ["plant"]
        status, net = ask("PUT", "/net", {"internet": "blackhole"})
        assert (status, net["internet"], net["wifi"]) == (200, "blackhole", "up")
        assert ask("GET", "/net") == (200, net)

    with_control(test)


def test_a_person_finds_the_buildings_network_and_its_password() -> None:
    def test(ask: Ask, _: Simulation) -> None:
        net = ask("GET", "/net")[1]
        assert net == {
            **{"wifi": "up", "lan": "down", "internet": "up", "dns": "up"},
            **{"dhcp": "up", "ntp": "up", "button": "up"},
            **{"ssid": "Hallonstigen 7", "password": "smultron-och-mjolk"},
        }

    with_control(test)


@pytest.mark.parametrize(
    ("cut", "path"),
    [
        ("cut", "/power"),
        ('"cut"', "/power"),
        ({"do": "cut"}, "/power"),
        ({"power": "cut"}, "/power"),
        ("power=cut", "/power"),
        (None, "/power?do=cut"),
    ],
)
def test_the_power_is_cut_and_given_back_however_it_is_said(cut: Any, path: str) -> None:
    def test(ask: Ask, simulation: Simulation) -> None:
        assert ask("POST", path, cut) == (200, {"power": "cut"})
        assert ask("POST", path, cut) == (200, {"power": "cut"})
        assert ask("GET", "/power") == (200, {"power": "cut"})
        assert ask("POST", "/power", {"do": "on"}) == (200, {"power": "on"})
        assert simulation.told == ["cut", "on"]

    with_control(test)


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "words"),
    [
        ("PUT", "/plant", "not json", 400, "JSON object"),
        ("PUT", "/plant", "[1]", 400, "JSON object"),
        ("PUT", "/plant", None, 400, "JSON object"),
        ("PUT", "/plant", b"\xff\xfe\x00", 400, "JSON object"),
        ("PUT", "/plant", {"amps": 3}, 400, "amps"),
        ("PUT", "/plant", {"i": [1, 2]}, 400, "three numbers"),
        ("PUT", "/plant", {"f": "NaN"}, 400, "Hz"),
        ("PUT", "/plant", '{"f": NaN}', 400, "Hz"),
        ("PUT", "/net", {"wifi": "off"}, 400, "up or down"),
        ("PUT", "/net", {"wifi": ["up"]}, 400, "up or down"),
        ("PUT", "/net", {"ssid": "x"}, 400, "wifi, lan, internet, dns"),
        ("POST", "/power", "maybe", 400, "cut"),
        ("POST", "/power", None, 400, "cut"),
        ("POST", "/power", {"do": ["cut"]}, 400, "cut"),
        ("POST", "/power", "5", 400, "cut"),
        ("GET", "/nothing", None, 404, "/plant"),
        ("DELETE", "/plant", None, 405, "GET"),
        ("POST", "/net", {"wifi": "up"}, 405, "PUT"),
        ("PUT", "/plant", b"x" * 20000, 413, "much"),
    ],
)
def test_what_makes_no_sense_is_refused_with_words_and_changes_nothing(
    method: str, path: str, body: Any, status: int, words: str
) -> None:
    def test(ask: Ask, simulation: Simulation) -> None:
        before = ask("GET", "/plant"), ask("GET", "/net")
        answer = ask(method, path, body)
        assert answer[0] == status
        assert words in answer[1]["error"]
        assert (ask("GET", "/plant"), ask("GET", "/net")) == before
        assert not simulation.told

    with_control(test)


def test_a_partly_bad_change_of_the_network_changes_nothing() -> None:
    def test(ask: Ask, simulation: Simulation) -> None:
        assert ask("PUT", "/net", {"wifi": "down", "dns": "slow"})[0] == 400
        assert simulation.air.wifi == "up"

    with_control(test)
