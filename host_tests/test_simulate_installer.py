"""The installer that the simulator plays, against a small portal that can be made wrong."""

import asyncio
import json
import socket
import struct
import threading
import urllib.parse
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from sim.installer import AccessPoint, Installer
from sim.phone import Phone, PhoneError, read_form

GOOD = AccessPoint("Amp Guard_42317", "WPA2", "K7M3XQ9A")
NETWORK = ("Hallonstigen 7", "smultron-och-mjölk & grädde+")
FORM = """<title>Amp Guard</title><form action=/connect method=post>
<input type=hidden name=token value="a&quot;1"><input name=ssid list=seen>
<input name=password type=password maxlength=30><input type=checkbox name=lan value=1>
<button>Submit</button></form>"""


class Portal:
    """Port 80 and 53 of a device; what a test sets here is what the phone finds."""

    def __init__(self) -> None:
        self.page = FORM
        self.probe: tuple[int, str] = (302, "http://192.168.251.1/")
        self.statuses: list[Any] = [
            {"state": "connecting", "reason": None, "ip": None},
            {"state": "online", "reason": None, "ip": "192.168.1.57"},
        ]
        self.address = "192.168.251.1"
        self.refusal: tuple[int, str] | None = None
        self.posted: dict[str, str] = {}
        self.headers: dict[str, str] = {}
        self.http = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.dns = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.dns.bind(("127.0.0.1", 0))
        for serve in (lambda: self.http.serve_forever(0.01), self._serve_dns):
            threading.Thread(target=serve, daemon=True).start()

    def close(self) -> None:
        self.http.shutdown()
        self.http.server_close()
        self.dns.close()

    def _serve_dns(self) -> None:
        while True:
            try:
                query, peer = self.dns.recvfrom(512)
            except OSError:
                return
            head = query[:2] + struct.pack("!5H", 0x8580, 1, 1, 0, 0)
            record = b"\xc0\x0c" + struct.pack("!2HIH", 1, 1, 0, 4)
            self.dns.sendto(head + query[12:] + record + socket.inet_aton(self.address), peer)

    def _handler(portal) -> type[BaseHTTPRequestHandler]:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if self.path == "/generate_204":
                    self.reply(portal.probe[0], "", portal.probe[1])
                elif self.path == "/status.json":
                    status = portal.statuses.pop(0)
                    self.reply(200, status if isinstance(status, str) else json.dumps(status))
                else:
                    self.reply(200, portal.page)

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"])).decode()
                portal.posted = dict(urllib.parse.parse_qsl(body, keep_blank_values=True))
                portal.headers = {"path": self.path} | {
                    k.lower(): v for k, v in self.headers.items()
                }
                self.reply(*(portal.refusal or (200, "<p>Trying it</p>")))

            def reply(self, status: int, body: str, location: str = "") -> None:
                self.send_response(status)
                if location:
                    self.send_header("Location", location)
                self.end_headers()
                self.wfile.write(body.encode())

            def log_message(self, *_: Any) -> None:
                pass

        return Handler


@pytest.fixture
def portal(monkeypatch: pytest.MonkeyPatch) -> Iterator[Portal]:
    monkeypatch.setattr("sim.installer._LOOK_S", 0.01)
    portal = Portal()
    yield portal
    portal.close()


def install(portal: Portal, access_point: AccessPoint = GOOD) -> list[str]:
    """Plays the installer; returns what it said."""
    said: list[str] = []
    phone = Phone(portal.http.server_port, portal.dns.getsockname()[1])
    installer = Installer("K7M3XQ9A", NETWORK, phone, said.append)
    installer.join(access_point)
    assert asyncio.run(installer.install()) == "192.168.1.57"
    return said


def test_the_installer_brings_the_device_online_through_its_page(portal: Portal) -> None:
    said = install(portal)
    assert portal.posted == {"token": 'a"1', "ssid": NETWORK[0], "password": NETWORK[1]}
    assert portal.headers["path"] == "/connect"
    assert portal.headers["host"] == "192.168.251.1"
    assert portal.headers["origin"] == "http://192.168.251.1"
    assert portal.headers["content-type"] == "application/x-www-form-urlencoded"
    assert len(said) >= 5
    assert "192.168.1.57" in said[-1]


def test_the_password_is_never_told(portal: Portal) -> None:
    assert NETWORK[1] not in " ".join(install(portal))


def test_a_phone_that_sees_no_sign_in_page_opens_the_address_by_hand(portal: Portal) -> None:
    portal.probe = (204, "")
    assert any("by hand" in step for step in install(portal))


@pytest.mark.parametrize(
    ("access_point", "words"),
    [
        (AccessPoint("Amp Guard_4231", "WPA2", "K7M3XQ9A"), "five digits"),
        (AccessPoint("Amp Guard_42317", "open", ""), "open"),
        (AccessPoint("Amp Guard_42317", "WPA2", "K7M3XQ9B"), "wrong password"),
    ],
)
def test_an_access_point_unlike_the_label_is_not_joined(
    portal: Portal, access_point: AccessPoint, words: str
) -> None:
    with pytest.raises(PhoneError, match=words):
        install(portal, access_point)
    assert not portal.posted


def test_a_failed_trial_is_told_in_the_pages_words(portal: Portal) -> None:
    portal.statuses = [{"state": "failed", "reason": "wrong password", "ip": None}]
    with pytest.raises(PhoneError, match="wrong password"):
        install(portal)


def test_a_page_without_the_form_stops_the_installer(portal: Portal) -> None:
    portal.page = "<form method=post action=/x><input name=ssid></form>"
    with pytest.raises(PhoneError, match="no form with ssid and password"):
        install(portal)


def test_a_form_that_would_show_the_password_is_not_sent(portal: Portal) -> None:
    portal.page = FORM.replace("method=post", "")
    with pytest.raises(PhoneError, match="address bar"):
        install(portal)


def test_a_form_with_no_room_for_the_password_is_not_sent(portal: Portal) -> None:
    portal.page = FORM.replace("maxlength=30", "maxlength=8")
    with pytest.raises(PhoneError, match="8 characters"):
        install(portal)


def test_a_refused_form_is_told_with_the_pages_words(portal: Portal) -> None:
    portal.refusal = (400, "<style>p{}</style><p>The name is missing</p>")
    with pytest.raises(PhoneError, match="400 The name is missing"):
        install(portal)


def test_a_dns_that_leads_elsewhere_stops_the_installer(portal: Portal) -> None:
    portal.address = "93.184.216.34"
    with pytest.raises(PhoneError, match=r"93\.184\.216\.34"):
        install(portal)


def test_a_probe_led_out_of_the_access_point_stops_the_installer(portal: Portal) -> None:
    portal.probe = (302, "https://example.com/")
    with pytest.raises(PhoneError, match=r"https://example\.com/"):
        install(portal)


def test_a_status_that_is_no_json_stops_the_installer(portal: Portal) -> None:
    portal.statuses = ["<p>sorry</p>"]
    with pytest.raises(PhoneError, match="sorry"):
        install(portal)


def test_the_form_sends_what_a_browser_would() -> None:
    page = """<form><input name=q></form><form method=POST action="connect?x=1">
    <select name=ssid><option value=a>A<option value=b selected>B</select>
    <input type=radio name=r value=1><input type=radio name=r value=2 checked>
    <input type=checkbox name=off><input type=submit name=go value=Go>
    <input name=dead value=1 disabled><input type=password name=password></form>"""
    form = read_form(page, "http://192.168.251.1/setup/")
    assert form.action == "http://192.168.251.1/setup/connect?x=1"
    assert form.method == "post"
    assert form.fields == {"ssid": "b", "r": "2", "password": ""}
