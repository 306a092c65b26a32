"""Watches a device's topics on a broker that is not ours, and outlives that broker's restarts.

In: a broker's address and the root of the topics. Out: each message with the publisher's QoS and
retain flag, on the asyncio loop. MQTT 5 keeps the retain flag of live messages (retain as
published); a broker that speaks only 3.1.1 hides it, which is said.
"""

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from sim.message import Message

_V5, _V3 = MQTTProtocolVersion.MQTTv5, MQTTProtocolVersion.MQTTv311
_RETRY_S = 0.3  # a device must not come back unseen
_POLL_S = 0.1
_CONNACK_S = 3
_KEEPALIVE_S = 10
_SEND_RETAINED, _DO_NOT_SEND_RETAINED = 0, 2
_CATCHING_UP, _LIVE = 1, 2  # subscription identifiers: what a message is sent for
_UNSUPPORTED_VERSION = 132


class Subscriber:
    """Calls `on_message(Message)`, and `say(words)` when the broker comes or goes."""

    def __init__(
        self,
        host: str,
        port: int,
        root: str,
        on_message: Callable[[Message], None],
        say: Callable[[str], None],
    ) -> None:
        self._host, self._port = host, port
        self._filter = f"{root}/#"
        self._on_message = on_message
        self._say = say
        self._loop = asyncio.get_running_loop()
        self._ready = asyncio.Event()
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="subscriber", daemon=True)
        self._protocol = _V5
        self._refused = 0  # connections that ended before a CONNACK, in a row
        self._served = False  # this protocol has worked
        self._away = False  # said that the broker is not there
        self._first = True  # what an earlier run left on the broker is no message of this one
        self._last: dict[str, bytes] = {}

    async def start(self, timeout_s: float) -> bool:
        """Begins to listen. False if the broker has not answered in time; it goes on trying."""
        self._thread.start()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._ready.wait(), timeout_s)
        self._first = False
        return self._ready.is_set()

    async def stop(self) -> None:
        self._ending.set()
        await asyncio.to_thread(self._thread.join, _CONNACK_S)

    # What follows runs in the subscriber's thread.

    def _run(self) -> None:
        while not self._ending.is_set():
            refusal = self._attend()
            if not self._away and not self._ending.is_set():
                self._away = True
                words = f"does not let the simulator listen: {refusal}; trying on"
                words = words if refusal else "does not answer; waiting"
                self._tell(self._say, f"{self._host}:{self._port} {words}")
            self._ending.wait(_RETRY_S)

    def _attend(self) -> str:
        """One connection from dialling to its end; why the broker refused it, if it said so."""
        client = mqtt.Client(
            CallbackAPIVersion.VERSION2, protocol=self._protocol, reconnect_on_failure=False
        )
        answer: list[ReasonCode] = []

        def on_connect(c: mqtt.Client, _: Any, __: Any, reason: ReasonCode, ___: Any) -> None:
            answer.append(reason)
            if not reason.is_failure:
                self._subscribe(c)

        client.on_connect = on_connect
        client.on_subscribe = lambda *_: self._welcomed()
        client.on_message = lambda _, __, m: self._heard(m)
        try:
            client.connect(self._host, self._port, keepalive=_KEEPALIVE_S)
        except (OSError, ValueError):
            return ""
        deadline = time.monotonic() + _CONNACK_S
        while client.loop(_POLL_S) == mqtt.MQTT_ERR_SUCCESS and not self._ending.is_set():
            if not answer and time.monotonic() > deadline:
                break
        client.disconnect()
        client.loop(0)
        refused = bool(answer) and answer[0].is_failure
        unsupported = refused and answer[0].value == _UNSUPPORTED_VERSION
        self._choose_protocol(bool(answer), unsupported)
        return str(answer[0]) if refused and not unsupported else ""

    def _choose_protocol(self, answered: bool, unsupported: bool) -> None:
        """Falls back to 3.1.1 when MQTT 5 is refused, or cut off twice before it ever worked."""
        self._refused = 0 if answered else self._refused + 1
        if self._protocol == _V5 and not self._served and (unsupported or self._refused > 1):
            self._protocol = _V3
            words = "speaks only MQTT 3.1.1: live messages show as not retained"
            self._tell(self._say, words)

    def _subscribe(self, client: mqtt.Client) -> None:
        """Asks for what is retained, but not the first time, and then for what is new."""
        if self._protocol == _V3:
            client.subscribe(self._filter, qos=2)
            return
        if not self._first:
            self._subscribe_for(client, _CATCHING_UP, _SEND_RETAINED)
        self._subscribe_for(client, _LIVE, _DO_NOT_SEND_RETAINED)

    def _subscribe_for(self, client: mqtt.Client, what: int, handling: int) -> None:
        properties = Properties(PacketTypes.SUBSCRIBE)
        properties.SubscriptionIdentifier = what
        options = SubscribeOptions(qos=2, retainAsPublished=True, retainHandling=handling)
        client.subscribe(self._filter, options=options, properties=properties)

    def _welcomed(self) -> None:
        self._served = True
        if self._away:
            self._away = False
            self._tell(self._say, f"{self._host}:{self._port} answers")
        self._tell(self._ready.set)

    def _heard(self, m: mqtt.MQTTMessage) -> None:
        if self._protocol == _V3:
            replayed = m.retain  # which live messages never are
        else:
            replayed = m.retain and _LIVE not in getattr(
                m.properties, "SubscriptionIdentifier", [_LIVE]
            )
        stale = self._first and self._protocol == _V3
        if replayed and (stale or self._last.get(m.topic) == m.payload):
            return  # not news
        self._last[m.topic] = bytes(m.payload)
        message = Message(time.time(), m.topic, bytes(m.payload), m.qos, bool(m.retain))
        self._tell(self._on_message, message)

    def _tell(self, call: Callable[..., Any], *arguments: Any) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(call, *arguments)
