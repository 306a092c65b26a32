"""The portal's server on cardboard connections: what one phone may cost another."""

from __future__ import annotations

import asyncio
import importlib
import sys
from collections.abc import Callable, Iterator
from types import SimpleNamespace as Part
from typing import Any

import pytest

from provisioning.web import Response, Server


class Clock:
    now_ms = 0

    def ticks_ms(self) -> int:
        return self.now_ms

    def ticks_diff(self, end: int, start: int) -> int:
        return end - start


class Phone:
    """Both ends of a connection; `reads` is False for a phone that has left in the middle."""

    def __init__(self, reads: bool = True) -> None:
        self.reads, self.got, self.closed = reads, b"", False

    async def read(self, size: int) -> bytes:
        return b"GET / HTTP/1.1\r\n\r\n"

    def write(self, data: bytes) -> None:
        self.got += bytes(data)

    async def drain(self) -> None:
        if not self.reads:
            await asyncio.Event().wait()

    def close(self) -> None:
        self.closed = True

    async def wait_closed(self) -> None:
        pass


async def until(holds: Callable[[], object]) -> None:
    async with asyncio.timeout(20):
        while not holds():  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(0.001)


def _page(request: object) -> Response:
    return Response("x" * 5000, 200, {}, "OK")


def test_a_phone_that_left_in_the_middle_of_a_page_keeps_nobody_waiting_for_long() -> None:
    async def story() -> None:
        idle = []
        server = Server(_page, clock := Clock(), lambda: idle.append(1))
        server.seconds_per_packet = 0.2
        left, waits = Phone(reads=False), Phone()
        tasks = [asyncio.create_task(server._connected(phone, phone)) for phone in (left, waits)]
        await until(lambda: left.got and len(server.connections) == 2)
        await asyncio.sleep(0.1)
        clock.now_ms += 100
        server.expire()
        assert not left.closed
        assert waits.got == b""
        clock.now_ms += 150
        server.expire()
        await asyncio.wait(tasks, timeout=60)
        assert left.closed
        assert waits.got.endswith(b"\r\n\r\n" + b"x" * 5000)
        assert idle == [1]
        assert server.connections == []

    asyncio.run(story())


def test_the_files_of_a_page_are_closed_when_its_phone_leaves() -> None:
    closed = []

    def body() -> Iterator[str]:
        try:
            while True:
                yield "x" * 500
        finally:
            closed.append(1)

    async def story() -> None:
        server = Server(lambda request: Response(body(), 200, {}, "OK"), clock := Clock())
        server.seconds_per_packet = 0
        left = Phone(reads=False)
        task = asyncio.create_task(server._connected(left, left))
        await until(lambda: left.got)
        assert not closed
        clock.now_ms += 50
        server.expire()
        await asyncio.wait([task], timeout=60)
        assert closed == [1]

    asyncio.run(story())


class Meter:
    def __init__(self, behind_us: int) -> None:
        self.behind_us = behind_us


class Vandal(Phone):
    async def read(self, size: int) -> bytes:
        return b"\x00\r\n\r\n"


def test_while_the_meter_is_behind_a_phone_waits_a_moment_and_nonsense_longer() -> None:
    async def story() -> None:
        meter = Meter(Server.behind_us + 1)
        server = Server(_page, clock := Clock(), meter=meter)
        phone, vandal = Phone(), Vandal()
        tasks = [asyncio.create_task(server._connected(who, who)) for who in (phone, vandal)]
        await until(lambda: len(server.connections) == 2)
        await asyncio.sleep(0.1)
        assert not phone.got
        clock.now_ms += int(server.seconds_of_rest * 1000) + 1
        await asyncio.wait(tasks[:1], timeout=60)
        assert phone.got.startswith(b"HTTP/1.0 200")
        await asyncio.sleep(0.1)
        assert not vandal.got
        meter.behind_us = Server.behind_us
        await asyncio.wait(tasks, timeout=60)
        assert vandal.got.startswith(b"HTTP/1.0 400")

    asyncio.run(story())


@pytest.mark.parametrize("catches_up", [True, False])
def test_while_the_meter_is_far_behind_nobody_is_answered_for_a_while(catches_up: bool) -> None:
    async def story() -> None:
        meter = Meter(Server.far_behind_us + 1)
        server = Server(_page, clock := Clock(), meter=meter)
        phone = Phone()
        task = asyncio.create_task(server._connected(phone, phone))
        await until(lambda: len(server.connections) == 1)
        clock.now_ms += int(server.seconds_of_rest * 1000) + 1
        await asyncio.sleep(0.2)
        server.expire()
        assert not phone.got
        if catches_up:
            meter.behind_us = Server.far_behind_us
        else:
            clock.now_ms += int(server.seconds_of_long_rest * 1000)
            server.expire()
        await asyncio.wait([task], timeout=60)
        assert phone.got.startswith(b"HTTP/1.0 200")

    asyncio.run(story())


def test_a_page_that_finds_no_heap_comes_again_by_itself() -> None:
    def full(request: object) -> Response:
        raise MemoryError

    async def story() -> None:
        phone = Phone()
        await Server(full, Clock())._connected(phone, phone)
        assert phone.got.startswith(b"HTTP/1.0 503 ")
        assert b"\r\nContent-Type: text/html\r\n" in phone.got
        assert b'\r\n\r\n<meta http-equiv="refresh" content="2">' in phone.got

    asyncio.run(story())


def test_nonsense_that_waits_gives_way_to_whoever_comes() -> None:
    async def story() -> None:
        meter = Meter(Server.behind_us + 1)
        server = Server(_page, Clock(), meter=meter)
        vandals = [Vandal() for _ in range(server.max_connections)]
        tasks = [asyncio.create_task(server._connected(v, v)) for v in vandals]
        await until(lambda: len(server.connections) == server.max_connections)
        await asyncio.sleep(0.05)
        phone = Phone()
        task = asyncio.create_task(server._connected(phone, phone))
        await until(lambda: any(v.closed for v in vandals))
        assert [v.closed for v in vandals] == [True] + [False] * (server.max_connections - 1)
        meter.behind_us = 0
        await asyncio.wait([task, *tasks], timeout=60)
        assert phone.got.startswith(b"HTTP/1.0 200")
        assert not vandals[0].got

    asyncio.run(story())


class Socket:
    AF_INET = SOCK_DGRAM = SOL_SOCKET = SO_REUSEADDR = 0

    def __init__(self) -> None:
        self.open = 0

    def socket(self, *_: object) -> Socket:
        self.open += 1
        return self

    def setsockopt(self, *_: object) -> None: ...
    def bind(self, *_: object) -> None: ...
    def setblocking(self, *_: object) -> None: ...
    def close(self) -> None:
        self.open -= 1


class Door:
    """Stands for web.Server: the test knocks."""

    made: list[Door] = []  # noqa: RUF012 (anew in each test)
    hungry = 0  # how many find no memory

    def __init__(self, respond: Any, time: Any, idle: Any, meter: Any, buffer: Any) -> None:
        self.respond = respond
        self.buffer = buffer
        self.connections: list[object] = []
        self.deaf = self.stopped = False
        self.made.append(self)

    async def start(self, address: object) -> None:
        if Door.hungry:
            Door.hungry -= 1
            raise MemoryError

    def stop(self) -> None:
        self.stopped = True

    def expire(self) -> None:
        if self.deaf:
            raise MemoryError


async def looks(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


@pytest.fixture
def portal(monkeypatch: pytest.MonkeyPatch) -> Any:
    """provisioning.portal with Doors, and no time between two looks."""
    from provisioning import dns, portal, web

    async def nobody(*_: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(portal, "_LOOK_S", 0)
    monkeypatch.setattr(portal, "_REST", 1)
    monkeypatch.setattr(Door, "made", [])
    monkeypatch.setattr(web, "Server", Door)
    monkeypatch.setattr(dns, "serve", nobody)
    monkeypatch.setitem(sys.modules, "provisioning.web", web)  # back after the test
    monkeypatch.setitem(sys.modules, "provisioning.dns", dns)
    for name in portal._TO_ANSWER:
        monkeypatch.setitem(sys.modules, name, importlib.import_module(name))
    return portal


def made(portal: Any, **parts: Any) -> Any:
    for name in ("link", "identity", "settings", "meter"):
        parts.setdefault(name, Part())
    parts.setdefault("uplink", Part(trial=None, starved_ms=None, unheard_ms=None, state="off"))
    parts.setdefault("time", Clock())
    return portal.Portal(**parts)


def test_what_answers_is_loaded_with_the_first_request_and_let_go_when_nobody_asks(portal) -> None:
    async def story() -> None:
        access_point, socket = Part(active=True), Socket()
        uplink = Part(trial=Part(state="failed"), starved_ms=None, unheard_ms=None)
        task = asyncio.create_task(
            made(portal, access_point=access_point, socket=socket, uplink=uplink).run()
        )
        await looks(5)
        portal.unload(*portal._TO_ANSWER)
        asked = Part(path="/x", method="GET", headers={}, args={})
        door = Door.made[0]
        assert door.respond(asked).status_code == 302
        assert "provisioning.routes" in sys.modules
        door.connections.append(object())
        await looks(5 * portal._QUIET)
        assert "provisioning.routes" in sys.modules  # somebody is there
        door.connections.clear()
        await looks(5 * portal._QUIET)
        assert not [name for name in portal._TO_ANSWER if name in sys.modules]
        assert door.respond(asked).status_code == 302
        uplink.starved_ms = 0  # reports go before pages
        with pytest.raises(MemoryError):
            door.respond(asked)
        assert not [name for name in portal._TO_ANSWER if name in sys.modules]
        uplink.starved_ms = None
        assert door.respond(asked).status_code == 302
        assert uplink.trial
        access_point.active = False
        await looks(5)
        assert not [name for name in portal._TO_ANSWER + portal._TO_LISTEN if name in sys.modules]
        assert (door.stopped, socket.open) == (True, 0)
        assert uplink.trial is None  # nobody is there to read of it
        task.cancel()

    asyncio.run(story())


def test_a_portal_that_finds_no_memory_opens_later_and_shows_no_life_meanwhile(
    portal, monkeypatch
) -> None:
    monkeypatch.setattr(portal, "_TO_LISTEN", ())  # or the next one would listen in earnest

    async def story() -> None:
        alive: list[int] = []
        socket = Socket()
        Door.hungry = 3
        task = asyncio.create_task(
            made(portal, access_point=Part(active=True), socket=socket).run(
                lambda: alive.append(len(Door.made))
            )
        )
        await looks(50)
        assert len(Door.made) == 4
        assert set(alive) == {4}
        assert [door.stopped for door in Door.made] == [True] * 3 + [False]
        assert socket.open == 1
        Door.made[-1].deaf = True
        await looks(20)
        assert len(Door.made) == 5
        assert (Door.made[3].stopped, socket.open) == (True, 1)
        task.cancel()

    asyncio.run(story())


def test_a_portal_closes_for_a_report_that_finds_no_memory_and_lets_an_online_device_live(
    portal, monkeypatch
) -> None:
    monkeypatch.setattr(portal, "_TO_LISTEN", ())

    async def story() -> None:
        alive: list[int] = []
        clock, socket = Clock(), Socket()
        uplink = Part(trial=None, starved_ms=None, unheard_ms=None, state="connecting")
        parts = {"socket": socket, "uplink": uplink, "time": clock}
        task = asyncio.create_task(
            made(portal, access_point=Part(active=True), **parts).run(lambda: alive.append(1))
        )
        await looks(5)
        uplink.starved_ms = clock.ticks_ms()
        await looks(5)
        assert (len(Door.made), Door.made[0].stopped) == (1, False)
        uplink.starved_ms = clock.ticks_ms() - portal._ASIDE_MS
        alive.clear()
        await looks(20)
        assert (len(Door.made), Door.made[0].stopped, socket.open) == (1, True, 0)
        assert alive
        uplink.starved_ms = None
        await looks(5)
        assert (len(Door.made), Door.made[1].stopped, socket.open) == (2, False, 1)
        assert Door.made[1].buffer is Door.made[0].buffer, "no such piece may be left"
        uplink.state = "online"
        Door.hungry = 1000
        Door.made[1].deaf = True
        alive.clear()
        await looks(20)
        assert alive, "a page is not worth a restart"
        Door.hungry = 0
        task.cancel()

    asyncio.run(story())


def test_a_portal_that_has_no_room_to_answer_is_brief_until_there_is(portal, monkeypatch) -> None:
    """Else a phone would be told to come again for ever."""
    monkeypatch.setattr(portal, "_TO_LISTEN", ())
    monkeypatch.setattr(portal, "_TO_BE_BRIEF", ())
    from provisioning import brief

    made_brief: list[Any] = []

    class Desk:
        def __init__(self, *_: object, **parts: Any) -> None:
            self.steps, self.closed = 0, False
            made_brief.append(self)

        def step(self) -> None:
            self.steps += 1

        def close(self) -> None:
            self.closed = True

    free = [portal._LISTEN]

    def room(size: int) -> None:
        if size > free[0]:
            raise MemoryError

    monkeypatch.setattr(brief, "Brief", Desk)
    monkeypatch.setattr(portal, "room", room)
    monkeypatch.setattr(portal, "is_free", lambda size: size <= free[0])

    async def story() -> None:
        clock = Clock()
        uplink = Part(trial=None, starved_ms=None, unheard_ms=None, state="online")
        parts = {"socket": Socket(), "uplink": uplink, "time": clock}
        task = asyncio.create_task(made(portal, access_point=Part(active=True), **parts).run())
        await looks(5)
        portal.unload(*portal._TO_ANSWER)
        asked = Part(path="/x", method="GET", headers={}, args={})
        door = Door.made[0]
        free[0] = portal._BRIEF
        for passed_ms in (portal._ASIDE_MS - 1, 1):
            assert not door.stopped
            with pytest.raises(MemoryError):
                door.respond(asked)
            clock.now_ms += passed_ms
            await looks(5)
        assert door.stopped
        await looks(40)
        (desk,) = made_brief
        assert desk.steps > 10
        uplink.starved_ms = clock.ticks_ms()  # by what can wait
        await looks(40)
        assert (desk.closed, len(made_brief)) == (False, 1)
        uplink.unheard_ms = clock.ticks_ms()  # not even a measurement: it needs this room too
        await looks(40)
        assert (desk.closed, len(made_brief)) == (True, 1)
        uplink.starved_ms = uplink.unheard_ms = None
        await looks(40)
        assert (len(made_brief), made_brief[1].closed, len(Door.made)) == (2, False, 1)
        free[0] = portal._LISTEN
        await looks(40)
        assert (made_brief[1].closed, len(Door.made)) == (True, 2)
        assert Door.made[1].respond(asked)
        task.cancel()

    asyncio.run(story())
