"""The broker inside the simulator, spoken to byte by byte as MQTT 3.1.1 has it."""

import asyncio
import contextlib
import struct
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from sim.broker import EmbeddedBroker
from sim.message import Message

CONNACK, PUBLISH, PUBACK, SUBACK, PINGRESP = 2, 3, 4, 9, 13


def text(words: str | bytes) -> bytes:
    raw = words.encode() if isinstance(words, str) else words
    return struct.pack("!H", len(raw)) + raw


class Client:
    """An MQTT client that does exactly what it is told."""

    def __init__(self, port: int) -> None:
        self.port = port

    async def connect(
        self,
        client_id: str,
        will: tuple[str, bytes, int, bool] | None = None,
        keepalive: int = 60,
        clean: bool = True,
    ) -> int:
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port)
        flags, tail = 2 * clean, text(client_id)
        if will:
            topic, data, qos, retain = will
            flags |= 4 | qos << 3 | retain << 5
            tail += text(topic) + text(data)
        self.send(0x10, text("MQTT") + bytes((4, flags)) + struct.pack("!H", keepalive) + tail)
        kind, body = await self.packet()
        assert kind >> 4 == CONNACK
        return body[1]

    def send(self, first: int, body: bytes) -> None:
        length, sizes = len(body), b""
        while length > 127:
            sizes += bytes((length & 127 | 128,))
            length >>= 7
        self.writer.write(bytes((first,)) + sizes + bytes((length,)) + body)

    def publish(
        self, topic: str, data: bytes, qos: int = 0, retain: bool = False, packet_id: int = 7
    ) -> None:
        number = struct.pack("!H", packet_id) if qos else b""
        self.send(PUBLISH << 4 | qos << 1 | retain, text(topic) + number + data)

    async def subscribe(self, topic: str, qos: int = 0) -> None:
        self.send(0x82, struct.pack("!H", 9) + text(topic) + bytes((qos,)))
        kind, _ = await self.packet()
        assert kind >> 4 == SUBACK

    async def packet(self) -> tuple[int, bytes]:
        first = (await asyncio.wait_for(self.reader.readexactly(1), 10))[0]
        length = shift = 0
        while True:
            byte = (await self.reader.readexactly(1))[0]
            length |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return first, await self.reader.readexactly(length)

    async def message(self) -> tuple[str, bytes, int, bool]:
        """The next PUBLISH from the broker: topic, data, QoS, retain."""
        first, body = await self.packet()
        assert first >> 4 == PUBLISH, first
        end = 2 + struct.unpack_from("!H", body)[0]
        qos = first >> 1 & 3
        if qos:
            self.send(PUBACK << 4, body[end : end + 2])
        return body[2:end].decode(), body[end + 2 * bool(qos) :], qos, bool(first & 1)

    async def pong(self) -> None:
        """A ping and its answer: nothing else was waiting for this client."""
        self.send(0xC0, b"")
        assert (await self.packet())[0] >> 4 == PINGRESP

    async def disconnect(self) -> None:
        self.send(0xE0, b"")
        await self.cut()

    async def cut(self) -> None:
        self.writer.close()
        with contextlib.suppress(OSError):
            await self.writer.wait_closed()


class Room:
    """A running broker and what it reported."""

    def __init__(self) -> None:
        self.heard: asyncio.Queue[Message] = asyncio.Queue()
        self.broker = EmbeddedBroker(0, self.heard.put_nowait)

    def client(self) -> Client:
        return Client(self.broker.port)

    async def next(self) -> tuple[str, bytes, int, bool]:
        m = await asyncio.wait_for(self.heard.get(), 10)
        return m.topic, m.data, m.qos, m.retain


@contextlib.asynccontextmanager
async def running() -> AsyncIterator[Room]:
    room = Room()
    await room.broker.start()
    try:
        yield room
    finally:
        await room.broker.stop()


def in_a_room(test: Callable[[Room], Awaitable[None]]) -> Callable[[], None]:
    async def run() -> None:
        async with running() as room:
            await test(room)

    def sync() -> None:
        asyncio.run(run())

    sync.__name__ = test.__name__
    return sync


STATUS = "ampguard/AG1/status"
WILL = (STATUS, b'{"online": false}', 1, True)


@in_a_room
async def test_a_message_is_reported_with_its_publishers_qos_and_retain_flag(room: Room) -> None:
    device = room.client()
    await device.connect("device")
    device.publish("a", b"1")
    device.publish("b", b"2", qos=1, retain=True)
    assert (await device.packet())[0] >> 4 == PUBACK
    assert await room.next() == ("a", b"1", 0, False)
    assert await room.next() == ("b", b"2", 1, True)


@in_a_room
async def test_the_last_will_of_a_cut_client_is_reported_and_retained(room: Room) -> None:
    device, late = room.client(), room.client()
    await device.connect("device", WILL)
    await device.cut()
    assert await room.next() == WILL
    await late.connect("late")
    await late.subscribe("ampguard/+/status", qos=1)
    assert await late.message() == WILL


@in_a_room
async def test_a_client_that_takes_its_leave_has_no_last_will(room: Room) -> None:
    device = room.client()
    await device.connect("device", WILL)
    await device.disconnect()
    other = room.client()
    await other.connect("other")
    other.publish("after", b"")
    assert (await room.next())[0] == "after"


@pytest.mark.parametrize("clean", [True, False])
def test_a_reconnecting_client_replaces_its_old_connection_and_keeps_its_status(
    clean: bool,
) -> None:
    @in_a_room
    async def story(room: Room) -> None:
        old, new, late = room.client(), room.client(), room.client()
        await old.connect("device", WILL, clean=clean)
        await new.connect("device", WILL, clean=clean)
        new.publish(STATUS, b'{"online": true}', 1, retain=True)
        assert await room.next() == WILL
        assert await room.next() == (STATUS, b'{"online": true}', 1, True)
        assert await asyncio.wait_for(old.reader.read(), 10) == b""
        await late.connect("late")
        await late.subscribe("#", qos=1)
        assert (await late.message())[1] == b'{"online": true}'

    story()


@in_a_room
async def test_a_client_that_falls_silent_is_given_up_after_its_keepalive(room: Room) -> None:
    device = room.client()
    await device.connect("device", WILL, keepalive=1)
    assert await room.next() == WILL
    assert await asyncio.wait_for(device.reader.read(), 10) == b""


@in_a_room
async def test_a_newcomer_hears_only_what_it_subscribed_to(room: Room) -> None:
    listener, device = room.client(), room.client()
    await listener.connect("listener")
    await listener.subscribe("#")
    listener.publish("kept", b"x", retain=True)
    assert (await listener.message())[0] == "kept"
    await device.connect("device")
    await device.pong()
    await device.subscribe("other")
    await device.pong()


@in_a_room
async def test_what_a_client_sent_before_it_left_is_reported_in_order(room: Room) -> None:
    device = room.client()
    await device.connect("device", WILL)
    for n in range(50):
        device.publish("n", b"%d" % n)
    await device.writer.drain()
    await device.disconnect()
    assert [(await room.next())[1] for _ in range(50)] == [b"%d" % n for n in range(50)]


@in_a_room
async def test_what_piled_up_before_a_client_left_is_reported_too(room: Room) -> None:
    other, device = room.client(), room.client()
    await other.connect("other")
    other.publish("kept", b"x", qos=1, retain=True)
    await room.next()
    await device.connect("device", WILL)
    await device.subscribe("kept", qos=1)  # its retained message is never acknowledged
    for n in range(50):
        device.publish("n", b"%d" % n)
    await device.writer.drain()
    await device.cut()
    assert [(await room.next())[1] for _ in range(50)] == [b"%d" % n for n in range(50)]
    assert await room.next() == WILL


@in_a_room
async def test_a_subscriber_gets_a_message_at_the_lower_of_both_qos(room: Room) -> None:
    listener, device = room.client(), room.client()
    await listener.connect("listener")
    await listener.subscribe("q1/#", qos=1)
    await device.connect("device", ("q1/will", b"gone", 0, False))
    device.publish("q1/a", b"", qos=0)
    assert await listener.message() == ("q1/a", b"", 0, False)
    device.publish("q1/b", b"", qos=1)
    assert await listener.message() == ("q1/b", b"", 1, False)
    await device.cut()
    assert await listener.message() == ("q1/will", b"gone", 0, False)


@in_a_room
async def test_a_lasting_session_gets_later_what_it_missed(room: Room) -> None:
    device, other = room.client(), room.client()
    assert await device.connect("device", clean=False) == 0
    await device.subscribe("command", qos=1)
    await device.disconnect()
    await other.connect("other")
    await asyncio.wait_for(device.reader.read(), 10)
    other.publish("command", b"do", qos=1)
    await room.next()
    again = room.client()
    await again.connect("device", clean=False)
    assert (await again.message())[:3] == ("command", b"do", 1)


@in_a_room
async def test_what_is_no_mqtt_is_shown_the_door(room: Room) -> None:
    device = room.client()
    reader, writer = await asyncio.open_connection("127.0.0.1", room.broker.port)
    writer.write(b"\x16\x03" + bytes(200))
    with contextlib.suppress(ConnectionResetError):
        assert await asyncio.wait_for(reader.read(), 10) == b""
    writer.close()
    await device.connect("device")
    await device.pong()


def test_a_taken_port_is_an_error() -> None:
    async def story() -> None:
        async with running() as room:
            with pytest.raises(OSError, match=str(room.broker.port)):
                await EmbeddedBroker(room.broker.port, print).start()

    asyncio.run(story())
