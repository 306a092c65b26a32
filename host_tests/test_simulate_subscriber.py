"""The watcher of a foreign broker, against a real mosquitto and against one that speaks 3.1.1."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from programs import program

from sim.broker import EmbeddedBroker
from sim.message import Message
from sim.ports import free_port
from sim.subscriber import Subscriber

ROOT = "ampguard/AG1"


@contextlib.asynccontextmanager
async def mosquitto(port: int, *more: str) -> AsyncIterator[None]:
    process = await asyncio.create_subprocess_exec(
        *(program("mosquitto"), "-p", str(port), *more),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        for _ in range(200):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                break
            await asyncio.sleep(0.05)
        yield
    finally:
        process.kill()
        await process.wait()


class Watch:
    """A subscriber with what it heard and said."""

    def __init__(self, port: int) -> None:
        self.heard: asyncio.Queue[Message] = asyncio.Queue()
        self.said: asyncio.Queue[str] = asyncio.Queue()
        self.subscriber = Subscriber(
            "127.0.0.1", port, ROOT, self.heard.put_nowait, self.said.put_nowait
        )

    async def next(self) -> tuple[str, bytes, int, bool]:
        m = await asyncio.wait_for(self.heard.get(), 10)
        return m.topic.removeprefix(ROOT + "/"), m.data, m.qos, m.retain

    async def words(self) -> str:
        return await asyncio.wait_for(self.said.get(), 10)


async def publish(port: int, topic: str, data: bytes, qos: int, retain: bool) -> None:
    def send() -> None:
        client = mqtt.Client(CallbackAPIVersion.VERSION2)
        client.connect("127.0.0.1", port)
        client.loop_start()
        client.publish(f"{ROOT}/{topic}", data, qos, retain).wait_for_publish(10)
        client.disconnect()
        client.loop_stop()

    await asyncio.to_thread(send)


def run(story: Callable[[], object]) -> None:
    asyncio.run(asyncio.wait_for(story(), 60))  # type: ignore[arg-type]


def test_a_foreign_brokers_messages_come_with_their_publishers_qos_and_retain_flag() -> None:
    async def story() -> None:
        port = free_port()
        async with mosquitto(port):
            await publish(port, "status", b"of an earlier run", 1, True)
            watch = Watch(port)
            assert await watch.subscriber.start(10)
            await publish(port, "measurement", b"m", 0, False)
            await publish(port, "status", b"s", 1, True)
            await publish(port, "event", b"e", 2, False)
            assert await watch.next() == ("measurement", b"m", 0, False)
            assert await watch.next() == ("status", b"s", 1, True)
            assert await watch.next() == ("event", b"e", 2, False)
            await watch.subscriber.stop()
            assert watch.said.empty()

    run(story)


def test_a_broker_that_is_killed_and_comes_back_is_watched_again_and_both_are_said() -> None:
    async def story() -> None:
        port = free_port()
        watch = Watch(port)
        async with mosquitto(port):
            assert await watch.subscriber.start(10)
        assert "does not answer" in await watch.words()
        async with mosquitto(port):
            await publish(port, "status", b"s", 1, True)
            assert await watch.next() == ("status", b"s", 1, True)
            assert "answers" in await watch.words()
            await watch.subscriber.stop()

    run(story)


def test_a_broker_that_lets_nobody_listen_is_not_said_to_be_silent(tmp_path: Path) -> None:
    conf = tmp_path / "conf"

    async def story() -> None:
        port = free_port()
        conf.write_text(f"listener {port} 127.0.0.1\nallow_anonymous false\n")
        async with mosquitto(port, "-c", str(conf)):
            watch = Watch(port)
            assert not await watch.subscriber.start(2)
            words = (
                f"127.0.0.1:{port} does not let the simulator listen: Not authorized; trying on"
            )
            assert await watch.words() == words
            await watch.subscriber.stop()
        assert watch.said.empty()

    run(story)


def test_what_a_device_says_again_to_a_broker_that_came_back_is_no_old_news() -> None:
    async def story() -> None:
        port = free_port()
        watch = Watch(port)
        async with mosquitto(port):
            assert await watch.subscriber.start(10)
            await publish(port, "info", b"same", 1, True)
            assert await watch.next() == ("info", b"same", 1, True)
        await watch.words()
        async with mosquitto(port):
            assert "answers" in await watch.words()
            await publish(port, "info", b"same", 1, True)
            assert await watch.next() == ("info", b"same", 1, True)
            await watch.subscriber.stop()
            assert watch.heard.empty()

    run(story)


def test_a_broker_that_is_not_there_at_first_is_waited_for() -> None:
    async def story() -> None:
        port = free_port()
        watch = Watch(port)
        assert not await watch.subscriber.start(0.5)
        assert "does not answer" in await watch.words()
        async with mosquitto(port):
            assert "answers" in await watch.words()
            await publish(port, "measurement", b"m", 0, False)
            assert await watch.next() == ("measurement", b"m", 0, False)
            await watch.subscriber.stop()

    run(story)


def test_a_broker_that_speaks_only_mqtt_3_is_watched_too_and_that_is_said() -> None:
    async def story() -> None:
        broker = EmbeddedBroker(0, lambda _: None)
        await broker.start()
        watch = Watch(broker.port)
        assert await watch.subscriber.start(10)
        assert "3.1.1" in await watch.words()
        await publish(broker.port, "event", b"e", 1, False)
        assert await watch.next() == ("event", b"e", 1, False)
        await watch.subscriber.stop()
        await broker.stop()

    run(story)
