"""What the access point says while the heap has no room for pages."""

from __future__ import annotations

import contextlib
import json
import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest
from whole_device import WholeDevice

from provisioning.brief import Brief
from sim.air import BUILDING
from sim.ports import free_port


class Part:
    def __init__(self, **values: Any) -> None:
        self.__dict__.update(values)


class Clock:
    now_ms = 0

    def ticks_ms(self) -> int:
        return self.now_ms

    @staticmethod
    def ticks_diff(end: int, start: int) -> int:
        return end - start


class Board(socket.socket):
    """A socket as the board has it."""

    def accept(self) -> tuple[Board, Any]:
        handle, address = self._accept()  # type: ignore[attr-defined]
        return Board(fileno=handle), address

    def readinto(self, into: memoryview) -> int | None:
        try:
            return self.recv_into(into)
        except BlockingIOError:
            return None


class Table:
    """A Brief on a port of the host, and the phones that come to it."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.link = Part(
            trial=("online", None, "192.168.1.57"), trial_ssid="a<b", interface="wifi"
        )
        self.uplink = Part(state="online")
        self.settings = Part(wifi_ssid="a<b")
        self.port = free_port()
        self.brief = Brief(
            Part(socket=Board, SOL_SOCKET=socket.SOL_SOCKET, SO_REUSEADDR=socket.SO_REUSEADDR),
            self.clock,
            ("127.0.0.1", self.port),
            bytearray(1440),
            link=self.link,
            uplink=self.uplink,
            settings=self.settings,
            meter=None,
        )

    def phone(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=60)

    def steps(self, count: int = 3) -> None:
        for _ in range(count):
            time.sleep(0.01)
            self.brief.step()

    def ask(self, path: str, *headers: str) -> str:
        with self.phone() as phone:
            lines = [f"GET {path} HTTP/1.1", "Host: 192.168.251.1", *headers, "", ""]
            phone.sendall("\r\n".join(lines).encode())
            self.steps()
            return heard(phone)


def heard(phone: socket.socket) -> str:
    """All that comes until the connection ends."""
    got = b""
    while piece := phone.recv(4096):
        got += piece
    return got.decode()


@pytest.fixture
def table() -> Iterator[Table]:
    table = Table()
    yield table
    table.brief.close()


def news(answer: str) -> Any:
    head, _, body = answer.partition("\r\n\r\n")
    assert head.startswith("HTTP/1.0 200 OK\r\n")
    assert "Content-Type: application/json" in head
    return json.loads(body)


def test_the_script_of_the_page_hears_what_the_portal_would_say(table: Table) -> None:
    assert news(table.ask("/status.json")) == {
        "state": "online", "reason": None, "ip": "192.168.1.57", "cloud": "online",
    }  # fmt: skip
    table.link.trial = ("failed", "wrong_password", None)
    table.uplink.state = "off"
    told = news(table.ask("/status.json", "Accept-Language: fr-CH, fr;q=0.9, en;q=0.8"))
    assert (told["state"], told["cloud"]) == ("failed", "off")
    assert told["reason"] == "Mot de passe incorrect"


def test_every_other_path_is_a_page_in_the_language_of_the_reader(table: Table) -> None:
    page = table.ask("/generate_204")
    assert "<h1>Online on a&lt;b</h1>" in page
    assert "Address 192.168.1.57" in page
    assert "The load balancer answers" in page
    assert 'http-equiv="refresh" content="3;url=/status"' in page
    page = table.ask("/", "Cookie: a=b; lang=sv", "Accept-Language: de")
    assert '<html lang="sv">' in page
    assert "Adress 192.168.1.57" in page
    assert '<html lang="de">' in table.ask("/", "accept-language: de-AT")
    table.link.interface = "lan"
    table.uplink.state = "failed: refused"
    page = table.ask("/")
    assert "Online by network cable" in page
    assert "keeps trying" in page
    table.link.trial = ("connecting", None, None)
    assert "Connecting to a&lt;b" in table.ask("/status")
    table.link.trial = ("failed", "not_found", None)
    assert "<h1>" in table.ask("/status")
    table.link.trial = ("idle", None, None)
    assert "Not connected" in table.ask("/status")


def test_a_request_may_come_in_pieces_and_one_phone_waits_for_the_other(table: Table) -> None:
    first, second = table.phone(), table.phone()
    with first, second:
        first.sendall(b"GET /status.json HTTP/1.1\r\nHost: x\r")
        second.sendall(b"GET /status.json HTTP/1.1\r\n\r\n")
        table.steps()
        first.sendall(b"\n\r\n")
        table.steps()
        assert news(heard(first))["state"] == "online"
        table.steps()
        assert news(heard(second))["state"] == "online"


@pytest.mark.parametrize(
    "nonsense",
    [b"GET / HTTP/1.1\r\nCookie: \xff\xfe\r\n\r\n", b"x" * 5000],
    ids=["no text", "endless"],
)
def test_nonsense_is_hung_up_on_and_the_next_is_served(table: Table, nonsense: bytes) -> None:
    with table.phone() as phone:
        phone.sendall(nonsense)
        table.steps(12)
        with contextlib.suppress(ConnectionResetError):  # it had more to say
            assert heard(phone).split("\r\n\r\n")[-1] == ""
    assert news(table.ask("/status.json"))["state"] == "online"


def test_who_says_nothing_keeps_nobody_waiting_for_long(table: Table) -> None:
    with table.phone() as silent, table.phone() as phone:
        phone.sendall(b"GET /status.json HTTP/1.1\r\n\r\n")
        table.steps()
        table.clock.now_ms += 2001
        table.steps(6)
        assert heard(silent) == ""
        assert news(heard(phone))["state"] == "online"


@pytest.mark.whole_device
def test_where_the_heap_is_too_small_for_pages_beside_the_broker_the_phone_still_sees_online():
    """78wk is a fifth less than the board has: the form fits, but no page once it is online."""
    with WholeDevice("--no-provision", "--heap=78wk") as device:
        device.hear("opens its access point")
        assert 'name="password"' in device.page("/")[1]
        device.page("/connect", {"ssid": BUILDING.ssid, "password": BUILDING.password or ""})
        deadline = time.monotonic() + 120
        while True:
            told = json.loads(device.page("/status.json")[1])
            if told["cloud"] == "online":
                break
            assert time.monotonic() < deadline, told
            time.sleep(0.5)
        assert (told["state"], told["ip"]) == ("online", "192.168.1.57")
        assert f"Online on {BUILDING.ssid}" in device.page("/status")[1]
        since = len(device.lines)
        device.until("measurement", lambda m: m["seq"] > 0, since=since)
        assert device.until("info")["payload"]["boot_count"] == 1
    assert not [line for line in device.words if "crashed" in line]
