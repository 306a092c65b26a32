"""The portal's server on cardboard connections: what one phone may cost another."""

from __future__ import annotations

import asyncio
import time

from microdot import Response

from provisioning.web import Server


class Clock:
    def ticks_ms(self) -> int:
        return int(time.monotonic() * 1000)

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


def _page(request: object) -> Response:
    return Response("x" * 5000, 200, {}, "OK")


def test_a_phone_that_left_in_the_middle_of_a_page_keeps_nobody_waiting_for_long() -> None:
    async def story() -> None:
        idle = []
        server = Server(_page, Clock(), lambda: idle.append(1))
        server.seconds_per_packet = 0.2
        left, waits = Phone(reads=False), Phone()
        tasks = [asyncio.create_task(server._connected(phone, phone)) for phone in (left, waits)]
        await asyncio.sleep(0.1)
        server.expire()
        assert not left.closed
        assert waits.got == b""
        await asyncio.sleep(0.15)
        server.expire()
        await asyncio.wait(tasks, timeout=2)
        assert left.closed
        assert waits.got.endswith(b"\r\n\r\n" + b"x" * 5000)
        assert idle == [1]
        assert server.connections == []

    asyncio.run(story())
