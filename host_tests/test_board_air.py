"""Links, sockets and the radio of the simulated board, in every state of the air."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from conftest import says

from sim.air import BUILDING, Air
from sim.device import SimulatedDevice

ONLINE = """
import errno, json, network, socket, sys, time
sta = network.WLAN(network.WLAN.IF_STA)
sta.active(True)
sta.connect("Hallonstigen 7", "smultron-och-mjolk")
while not sta.isconnected():
    time.sleep_ms(10)

def tell(name, f):
    start = time.ticks_ms()
    try:
        answer = f()
    except OSError as e:
        answer = "OSError %d" % e.errno
    print(json.dumps([name, answer, time.ticks_diff(time.ticks_ms(), start)]))

def dial(port=1883, timeout=3):
    s = socket.socket()
    s.settimeout(timeout)
    s.connect(socket.getaddrinfo("broker.lan", port)[0][-1])
    return s

def until(f):
    while not f():
        time.sleep_ms(10)
"""


@contextlib.asynccontextmanager
async def echo(air: Air, heard: bytearray | None = None) -> AsyncIterator[asyncio.Server]:
    """broker.lan:1883 answers everything with itself."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(4096):
            if heard is not None:
                heard.extend(data)
            writer.write(data)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    air.route("broker.lan", 1883, *server.sockets[0].getsockname()[:2])
    try:
        yield server
    finally:
        server.close()


async def told(device: SimulatedDevice, name: str) -> tuple[Any, int]:
    """(answer, ms it took) of what the board's `tell` was asked under this name."""
    async with asyncio.timeout(60):
        while True:
            for line in device.console:
                with contextlib.suppress(ValueError):
                    if line.startswith("[") and json.loads(line)[0] == name:
                        _, answer, ms = json.loads(line)
                        return answer, ms
            if any(event["ev"] == "crash" for event in device.events):
                raise AssertionError("\n".join(device.console))
            await asyncio.sleep(0.01)


TALK = (
    ONLINE
    + """
s = dial()
tell("echo", lambda: (s.send(b"hello\\n"), s.readline())[1].decode())
tell("silence", lambda: (s.settimeout(0.3), s.recv(1))[1])
tell("impatience", lambda: (s.setblocking(False), s.recv(1))[1])
tell("stream", lambda: s.read(1))
s.settimeout(2)
tell("all", lambda: (s.write(b"x" * 3000), s.read(3000) == b"x" * 3000)[1])
s.close()
tell("closed", lambda: s.send(b"x"))
tell("other port", lambda: dial(8883))
tell("unknown name", lambda: socket.getaddrinfo("nowhere.example", 80))
tell("address", lambda: socket.getaddrinfo("broker.lan", 1883)[0][-1])
tell("no such host", lambda: dial_ip("192.168.1.99"))
""".replace(
        'tell("no such',
        "def dial_ip(ip):\n    s = socket.socket()\n    s.settimeout(0.5)\n"
        '    s.connect((ip, 80))\n\ntell("no such',
    )
)


def test_a_connection_talks_times_out_and_closes_as_on_the_board(board) -> None:
    async def run() -> None:
        air = Air()
        async with echo(air), board(TALK, air=air) as device:
            assert (await told(device, "echo"))[0] == "hello\n"
            assert (await told(device, "silence"))[0] == "OSError 110"  # not EAGAIN: ETIMEDOUT
            assert (await told(device, "impatience"))[0] == "OSError 11"
            assert (await told(device, "stream"))[0] is None
            assert (await told(device, "all"))[0] is True
            assert (await told(device, "closed"))[0] == "OSError 9"
            assert (await told(device, "other port"))[0] == "OSError 111"
            assert (await told(device, "unknown name"))[0] == "OSError -202"
            assert (await told(device, "address"))[0] == ["192.168.1.10", 1883]
            assert (await told(device, "no such host"))[0] == "OSError 110"

    asyncio.run(run())


STATES = (
    ONLINE
    + """
s = dial()
tell("before", lambda: (s.send(b"a"), s.recv(1))[1].decode())
tell("live", lambda: read_until_told())
tell("again", lambda: s.recv(1))
tell("new", lambda: dial_ip())
tell("name", lambda: socket.getaddrinfo("broker.lan", 1883)[0][-1][0])
until(lambda: sta.isconnected() and reachable())
tell("after", lambda: (dial().send(b"b")))
""".replace(
        "s = dial()",
        """
def read_until_told():
    s.settimeout(1.5)
    return s.recv(1)

def dial_ip():
    s = socket.socket()
    s.settimeout(1)
    s.connect(("192.168.1.10", 1883))
    return s

def reachable():
    try:
        dial_ip().close()
        return True
    except OSError:
        return False

s = dial()""",
        1,
    )
)


@pytest.mark.parametrize(
    ("change", "back", "live", "again", "new", "name"),
    [
        ({"internet": "refused"}, {"internet": "up"}, 104, 107, 111, "192.168.1.10"),
        ({"wifi": "down"}, {"wifi": "up"}, 103, 107, 113, "OSError -202"),
        ({"internet": "blackhole"}, {"internet": "up"}, 110, 110, 110, "OSError -202"),
    ],
    ids=["refused", "link-lost", "blackhole"],
)
def test_a_live_connection_meets_the_air(  # noqa: PLR0917
    board, change, back, live, again, new, name
) -> None:
    async def run() -> None:
        air = Air()
        async with echo(air), board(STATES, air=air) as device:
            await told(device, "before")
            air.set(**change)
            assert (await told(device, "live"))[0] == f"OSError {live}"
            assert (await told(device, "again"))[0] == f"OSError {again}"
            assert (await told(device, "new"))[0] == f"OSError {new}"
            assert (await told(device, "name"))[0] == name
            air.set(**back)
            assert (await told(device, "after"))[0] == 1

    asyncio.run(run())


BLACKHOLE = (
    ONLINE
    + """
s = dial()
s.settimeout(1)
tell("before", lambda: (s.send(b"a"), s.recv(1))[1].decode())
import machine
button = machine.Pin(13)
until(lambda: not button.value())
tell("buffered", lambda: s.send(b"b" * 8000))
tell("buffer full", lambda: s.send(b"c"))
tell("nothing", lambda: s.recv(1))
until(button.value)
s.settimeout(10)
tell("through", lambda: s.read(5744) == b"b" * 5744)
"""
)


def test_what_is_sent_into_a_blackhole_arrives_when_it_ends(board) -> None:
    async def run() -> None:
        air, heard = Air(), bytearray()
        async with echo(air, heard), board(BLACKHOLE, air=air) as device:
            await told(device, "before")
            air.set(internet="blackhole", button="pressed")
            assert (await told(device, "buffered"))[0] == 5744  # lwIP's TCP_SND_BUF
            assert (await told(device, "buffer full"))[0] == "OSError 110"
            assert (await told(device, "nothing"))[0] == "OSError 110"
            assert heard == b"a"
            air.set(internet="up", button="up")
            assert (await told(device, "through"))[0] is True
            assert heard == b"a" + b"b" * 5744

    asyncio.run(run())


JOIN = """
import json, network, sys, time
sta = network.WLAN(network.WLAN.IF_STA)
sta.active(True)
sta.config(reconnects={reconnects})
sta.connect("{ssid}", "{key}")
seen = []
start = time.ticks_ms()
while time.ticks_diff(time.ticks_ms(), start) < {ms}:
    if sta.status() not in seen:
        seen.append(sta.status())
    time.sleep_ms(10)
print(json.dumps(["seen", seen, 0]))
"""


# (password, reason for a wrong one, reconnects, image) -> states seen in the first seconds
JOINS = {
    (BUILDING.password, 202, -1, "1.29.0"): [1001, 1010],
    ("hallon-och-fil", 202, 0, "1.29.0"): [1001, 202],
    ("hallon-och-fil", 202, -1, "1.29.0"): [1001, 202],  # known, though it tries again
    ("hallon-och-fil", 202, -1, "1.23.0"): [1001],
    ("hallon-och-fil", 15, -1, "1.29.0"): [1001],
    ("hallon-och-fil", 15, 0, "1.29.0"): [1001, 15],
    ("hallon-och-fil", 204, 0, "1.29.0"): [1001, 204],
    ("nowhere-to-go", 202, 0, "1.29.0"): [1001, 201],
    ("nowhere-to-go", 202, -1, "1.23.0"): [1001],
    ("nowhere-to-go", 202, 0, "1.23.0"): [1001, 201],
}


def test_joining_shows_the_states_of_the_real_station(board) -> None:
    async def join(password: str, reason: int, reconnects: int, version: str) -> list[int]:
        ssid = "Nowhere" if password == "nowhere-to-go" else BUILDING.ssid
        air = Air(networks=(replace(BUILDING, wrong_key_reason=reason),))
        main = JOIN.format(ssid=ssid, key=password, reconnects=reconnects, ms=3200)
        async with board(main, air=air, board={"image": version}) as device:
            return (await told(device, "seen"))[0]

    async def run() -> dict[tuple, list[int]]:
        seen = await asyncio.gather(*(join(*case) for case in JOINS))
        return dict(zip(JOINS, seen, strict=True))

    assert asyncio.run(run()) == JOINS


RADIO = """
import json, machine, network, socket, time
ap = network.WLAN(network.WLAN.IF_AP)
ap.config(ssid="Amp Guard_42317", key="K7M3XQ9A", security=network.WLAN.SEC_WPA2)
ap.active(True)
ap.ipconfig(addr4="192.168.251.1/24", gw4="192.168.251.1")
listener = socket.socket()
listener.bind(("192.168.251.1", 80))
listener.listen(2)
peer, address = listener.accept()
print(json.dumps(["from", address[0], 0]))
peer.send(b"hello")
ap.active(False)
button = machine.Pin(13)
while button.value():
    time.sleep_ms(5)
try:
    peer.send(b"x")
except OSError as e:
    print(json.dumps(["gone", e.errno, 0]))
ap.active(True)
listener.accept()[0].send(b"again")
"""


def test_the_access_point_is_reachable_while_it_is_up_and_never_open(board) -> None:
    async def run() -> None:
        air = Air()
        async with board(RADIO, air=air) as device:
            await device.until("listen")
            reader, _ = await asyncio.open_connection("127.0.0.1", device.portal_port)
            assert await reader.read(5) == b"hello"
            assert (await told(device, "from"))[0] == "192.168.251.2"
            assert await asyncio.wait_for(reader.read(), 10) == b""  # out of reach at once
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection("127.0.0.1", device.portal_port)
            seen = len(device.events)
            air.set(button="pressed")
            await device.until("listen", since=seen)
            assert (await told(device, "gone"))[0] == 103
            reader, _ = await asyncio.open_connection("127.0.0.1", device.portal_port)
            assert await reader.read(5) == b"again"
            radio = [event for event in device.events if event["ev"] == "ap"]
            assert {event["active"] for event in radio} == {True, False}
            assert {(event["security"], event["key"]) for event in radio} == {(3, "K7M3XQ9A")}

    asyncio.run(run())


LAN = """
import network, time, machine, json
lan = network.LAN(mdc=machine.Pin(23), mdio=machine.Pin(18), phy_addr=1,
                  phy_type=network.PHY_LAN8720, ref_clk=machine.Pin(17),
                  ref_clk_mode=machine.Pin.OUT)
lan.active(True)
seen = []
def see(ms):
    start = time.ticks_ms()
    while time.ticks_diff(time.ticks_ms(), start) < ms:
        if lan.status() not in seen[-1:]:
            seen.append(lan.status())
        time.sleep_ms(5)
see(100)
while not lan.isconnected():
    see(10)
see(10)
print(json.dumps(["up", [seen, lan.ipconfig("addr4")[0]], 0]))
while lan.isconnected():
    see(10)
see(20)
print(json.dumps(["down", seen, 0]))
"""


def test_a_cable_brings_the_lan_up_and_takes_it_down(board) -> None:
    async def run() -> None:
        air = Air()
        async with board(LAN, air=air) as device:
            await device.until("lan")
            air.set(lan="up")
            assert (await device.until(lambda e: e["ev"] == "lan" and e.get("ip")))["ip"] == (
                "192.168.1.58"
            )
            assert (await told(device, "up"))[0] == [[1, 3, 5], "192.168.1.58"]
            air.set(lan="down")
            assert (await told(device, "down"))[0] == [1, 3, 5, 4]

    asyncio.run(run())


SCAN = (
    ONLINE
    + """
start = time.ticks_ms()
found = sta.scan()
print(json.dumps(["scan", [[n[0].decode(), n[2], n[3], n[4]] for n in found],
                  time.ticks_diff(time.ticks_ms(), start)]))
"""
)


def test_a_scan_takes_its_time_and_sees_the_neighbours(board) -> None:
    async def run() -> None:
        async with board(SCAN) as device:
            found, ms = await told(device, "scan")
            assert found[0] == ["Hallonstigen 7", 6, -58, 3]
            assert ["Kiosken Gäst", 1, -71, 0] in found
            assert ["", 6, -86, 3] in found  # hidden: no name, but there
            assert ms >= 2000

    asyncio.run(run())


def test_the_air_takes_only_what_it_knows() -> None:
    air = Air()
    with pytest.raises(ValueError, match="wifi: expected down or up, got 'off'"):
        air.set(wifi="off")
    with pytest.raises(ValueError, match="moon"):
        air.set(dns="dead", moon="full")
    assert air.wifi == "up"
    assert air.dns == "up"


LEASES = """
import network, time
sta = network.WLAN(network.WLAN.IF_STA)
sta.active(True)
sta.connect("Hallonstigen 7", "smultron-och-mjolk")
was = None
while True:
    ip = sta.ifconfig()[0] if sta.isconnected() else None
    if ip != was:
        was = ip
        print(ip, sta.status("rssi"))
    time.sleep_ms(10)
"""


def test_without_dhcp_a_station_is_associated_and_asks_ever_more_rarely(board) -> None:
    async def run() -> None:
        air = Air(dhcp="dead")
        async with board(LEASES, air=air) as device:
            await device.until(lambda e: e["ev"] == "sta" and e.get("connecting"))
            await asyncio.sleep(2.5)  # joined after 1.5 s, asked in vain 0.5 s later
            assert device.console == []
            air.set(dhcp="up")
            got = await device.until(lambda e: e["ev"] == "sta" and e.get("ip"))
            air.set(dhcp="dead")
            await device.until(lambda e: e["ev"] == "sta" and not e.get("ip", "-"))
            air.set(dhcp="up")
            again = await device.until(
                lambda e: e["ev"] == "sta" and e.get("ip") and e["at"] > got["at"]
            )
            assert again["at"] - got["at"] < 2
            said = await says(device, 3)  # what it says of it follows the event
        # While it has none the port still takes itself for connected.
        assert said == ["192.168.1.57 -58", "0.0.0.0 -58", "192.168.1.57 -58"]

    asyncio.run(run())
