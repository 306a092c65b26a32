"""The MQTT 3.1.1 broker inside the simulator: amqtt, with what it gets wrong put right.

In: clients on 127.0.0.1. Out: every message a client publishes, last wills included, with the
publisher's QoS and retain flag, handed to a callback before it is passed on.
"""

import asyncio
import contextlib
import logging
import math
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from amqtt.adapters import ReaderAdapter, WriterAdapter
from amqtt.broker import Broker
from amqtt.errors import BrokerError, MQTTError
from amqtt.mqtt.disconnect import DisconnectPacket
from amqtt.mqtt.protocol.broker_handler import BrokerProtocolHandler
from amqtt.session import Session

from sim.message import Message

_CONNECT_S = 10  # how long a connection may be silent before its CONNECT
_CLOSE_S = 5  # how long an old connection may take to end before its successor is let in
_OLD_SESSION = (
    "will_flag",
    "will_topic",
    "will_message",
    "will_qos",
    "will_retain",
    "keep_alive",
    "clean_session",
    "username",
    "password",
    "remote_address",
    "remote_port",
)


class EmbeddedBroker:
    """Serves on 127.0.0.1:`port`; 0 takes a free one, `port` tells which after `start`."""

    def __init__(self, port: int, on_message: Callable[[Message], None]) -> None:
        self.port = port
        self._on_message: Callable[[Message], None] | None = on_message
        self._broker: _Broker | None = None

    async def start(self) -> None:
        """Listens. OSError if the port is taken."""
        logging.getLogger("amqtt").setLevel(logging.CRITICAL + 1)
        logging.getLogger("transitions").setLevel(logging.CRITICAL + 1)
        broker = _Broker(self.port, self._received)
        try:
            await broker.start()
        except BrokerError as e:
            raise OSError(f"can't listen on 127.0.0.1:{self.port}: {e}") from e
        self._broker = broker
        self.port = broker.listening_port()

    async def stop(self) -> None:
        """Ends every connection; wills this causes are not reported."""
        self._on_message = None
        broker, self._broker = self._broker, None
        if broker is not None:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(broker.shutdown(), _CLOSE_S)

    def _received(self, topic: str, data: bytes, qos: int, retain: bool) -> None:
        if self._on_message is not None:
            self._on_message(Message(time.time(), topic, data, qos, retain))


class _Handler(BrokerProtocolHandler):
    def handle_read_timeout(self) -> None:
        # amqtt passes over a client that is silent for longer than its keepalive.
        self._closing = asyncio.ensure_future(self.handle_connection_closed())


class _Broker(Broker):
    def __init__(self, port: int, received: Callable[[str, bytes, int, bool], None]) -> None:
        listener = {"type": "tcp", "bind": f"127.0.0.1:{port}"}
        super().__init__({"listeners": {"default": listener}, "plugins": {}})
        self._received = received
        self._ended: dict[str, asyncio.Event] = {}  # by client id: its connection is over

    def listening_port(self) -> int:
        return int(self._servers["default"].instance.sockets[0].getsockname()[1])

    async def _authenticate(self, session: Session, _: Any) -> bool:
        # Without amqtt's anonymous plugin a client without a user name keeps its session.
        return True

    async def _initialize_client_session(
        self, reader: ReaderAdapter, writer: WriterAdapter, remote_address: str, remote_port: int
    ) -> tuple[BrokerProtocolHandler, Session]:
        """Reads CONNECT; a client id that is still connected loses its old connection first.

        amqtt lets both live: the old one's will, published when it times out, would then
        overwrite the new one's retained status [MQTT-3.1.4-2].
        """
        try:
            connecting = _Handler.init_from_connect(reader, writer, self.plugins_manager)
            handler, session = await asyncio.wait_for(connecting, _CONNECT_S)
        except Exception as e:  # amqtt's own errors, and what its parser lets through
            with contextlib.suppress(OSError):
                await writer.close()
            raise MQTTError(f"no CONNECT: {e!r}") from e
        client_id = str(session.client_id)
        await self._end_connection(client_id)
        old = self._sessions.get(client_id, (None, None))[0]
        session.keep_alive = math.ceil(1.5 * session.keep_alive)  # [MQTT-3.1.2-24]
        if session.clean_session or old is None:
            await self._delete_session(client_id)
            session.parent = 0
            return handler, session
        for name in _OLD_SESSION:  # amqtt forgets will_retain
            setattr(old, name, getattr(session, name))
        old.parent = 1
        return handler, old

    async def _end_connection(self, client_id: str) -> None:
        ended = self._ended.get(client_id)
        if ended is None:
            return
        handler = self._sessions.get(client_id, (None, None))[1]
        if handler is not None:
            await handler.handle_connection_closed()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(ended.wait(), _CLOSE_S)

    async def _client_message_loop(
        self, client_session: Session, handler: BrokerProtocolHandler
    ) -> None:
        """Serves a client until it goes. What it sent before going counts, in its order.

        amqtt drops what is still queued when the connection ends, and reports no will.
        """
        client_id = str(client_session.client_id)
        ended = self._ended[client_id] = asyncio.Event()
        incoming = client_session.delivered_message_queue
        gone = asyncio.ensure_future(handler.wait_disconnect())
        subscribe = asyncio.ensure_future(handler.get_next_pending_subscription())
        unsubscribe = asyncio.ensure_future(handler.get_next_pending_unsubscription())
        message = asyncio.ensure_future(incoming.get())
        lawful = True
        try:
            while lawful and not gone.done():
                waiters = [gone, subscribe, unsubscribe, message]
                await asyncio.wait(waiters, return_when=asyncio.FIRST_COMPLETED)
                if message.done():
                    lawful = await self._accept(client_session, message.result())
                    message = asyncio.ensure_future(incoming.get())
                if subscribe.done():
                    await self._handle_subscription(client_session, handler, subscribe)
                    subscribe = asyncio.ensure_future(handler.get_next_pending_subscription())
                if unsubscribe.done():
                    await self._handle_unsubscription(client_session, handler, unsubscribe)
                    unsubscribe = asyncio.ensure_future(handler.get_next_pending_unsubscription())
            if lawful and message.done():
                lawful = await self._accept(client_session, message.result())
            while lawful and not incoming.empty():
                lawful = await self._accept(client_session, incoming.get_nowait())
            left_politely = gone.done() and isinstance(gone.result(), DisconnectPacket)
            if client_session.will_flag and not (lawful and left_politely):
                await self._distribute(
                    client_session,
                    str(client_session.will_topic),
                    bytes(client_session.will_message or b""),
                    client_session.will_qos or 0,
                    bool(client_session.will_retain),
                )
        finally:
            for waiter in (gone, subscribe, unsubscribe, message):
                waiter.cancel()
            await self._stop_handler(handler)
            client_session.transitions.disconnect()
            if self._ended.get(client_id) is ended:
                del self._ended[client_id]
            ended.set()

    async def _accept(self, session: Session, message: Any) -> bool:
        """Takes a PUBLISH. False if its topic breaks the protocol."""
        if not message.topic or "#" in message.topic or "+" in message.topic:
            return False  # [MQTT-3.3.2-2]
        retain = bool(message.publish_packet and message.publish_packet.retain_flag)
        await self._distribute(session, message.topic, bytes(message.data), message.qos, retain)
        return True

    async def _distribute(
        self, session: Session, topic: str, data: bytes, qos: int, retain: bool
    ) -> None:
        self._received(topic, data, qos, retain)
        await self._broadcast_message(session, topic, data, qos)
        if retain:
            await self.retain_message(session, topic, data, qos)

    async def _run_broadcast(self, running_tasks: deque[asyncio.Task[Any]]) -> None:
        """Passes one message on at the lower of its QoS and the subscriber's [MQTT-3.8.4-6].

        amqtt forgets the publisher's QoS, for a will the subscriber's.
        """
        message = await self._broadcast_queue.get()
        topic, data, sent_qos = message["topic"], message["data"], message.get("qos", 2)
        granted: dict[str, tuple[Session, int]] = {}
        for pattern, subscriptions in self._subscriptions.items():
            if self._matches(topic, pattern):
                for session, qos in subscriptions:
                    known = granted.get(str(session.client_id))
                    granted[str(session.client_id)] = (session, max(qos, known[1] if known else 0))
        for session, maximum in granted.values():
            qos = min(sent_qos, maximum)
            if session.transitions.state == "connected":
                handler = self._get_handler(session)
                if handler is not None:
                    sending = handler.mqtt_publish(topic, data, qos, retain=False)
                    running_tasks.append(asyncio.ensure_future(sending))
            elif qos and not session.clean_session:
                await self._retain_broadcast_message(message, qos, session)

    async def _publish_retained_messages_for_subscription(
        self, subscription: tuple[str, int], session: Session
    ) -> None:
        # On each CONNECT amqtt sends the newcomer what *anyone's* filters match; retained
        # messages answer a SUBSCRIBE, which only a connection in its loop can have sent.
        if str(session.client_id) in self._ended:
            await super()._publish_retained_messages_for_subscription(subscription, session)
