"""The one thread that may block: it brings every measurement to the broker while it is fresh.

In: Measurements through a LiveQueue, the link, the clock, the settings. Out: MQTT, as
docs/protocol.md has it. After an outage the newest measurement goes first, the others are
dropped and counted. `state` tells a person how it stands.
"""

import gc
import random
import sys

from micropython import const

from cloud import protocol, records, wire
from cloud.live_queue import LiveQueue
from cloud.mqtt import SafeClient
from cloud.password import mqtt_password
from cloud.retry import Retry
from cloud.wire import Fault

_KEEPALIVE_S = const(8)  # the broker publishes the last will after one and a half of these
_IDLE_MS = const(10)  # a measurement waits this long at most before it is seen
_HOUSEKEEPING_MS = const(2000)  # between looks at what rarely changes
_HELD_MS = const(30_000)  # a connection that lived this long was a good one
_RECORDS = const(16)  # between two looks of this thread: it may sit in a DNS query for long
_COMMANDS = const(4)
_TOO_MANY = '{"v":1,"id":null,"ok":false,"error":"too many commands at a time"}'
_RSSI_STEP = const(10)  # dB that make a new `info` worth its bytes


class Uplink:
    """`info()` returns the fields of the `info` message that others know; `link` has interface
    and ip; `ca_path` holds the provider's CA certificate (DER); `backlog` keeps records."""

    def __init__(
        self,
        *,
        queue,
        identity,
        settings,
        clock,
        link,
        info,
        socket,
        ssl,
        time,
        log,
        ca_path,
        backlog=None,
    ):
        self.state = "off"
        self.alive_ms = time.ticks_ms()
        self.fault = None  # the kind (cloud.wire's) of the last failure; the page has words for it
        self.crash = None
        self.published = 0  # measurements handed to the broker
        self.connections = 0
        self._queue = queue
        self._identity = identity
        self._settings = settings
        self._clock = clock
        self._link = link
        self._info = info
        self._socket = socket
        self._ssl = ssl
        self._time = time
        self._log = log
        self._ca_path = ca_path
        self._backlog = backlog
        self._records = LiveQueue(_RECORDS)
        self.commands = LiveQueue(_COMMANDS)  # (payload, retained) for the main thread to take
        self._responses = LiveQueue(_COMMANDS)
        self._refused = 0  # commands that found no room: they are answered, but not read
        self._report = False
        self._topics = protocol.Topics(identity.serial)
        self._password = mqtt_password(identity.pin, identity.serial)
        self._retry = Retry(lambda n: random.getrandbits(16) % n)
        self._stop_reason = None
        self._sent = None  # the newest measurement this connection carried
        self._sent_ms = 0
        self._announced = False  # to Home Assistant, over this connection
        self._value = None  # the next to be announced, or taken back
        self._shown_rssi = None

    def run(self):
        """The thread's body. Returns after stop(); a crash is kept for sign_of_life()."""
        try:
            while self._stop_reason is None:
                self._alive()
                way = self._way()
                if way is None:
                    self._enter("off")
                    self._collect(keep=True)
                    self._time.sleep_ms(_IDLE_MS)
                else:
                    self._connection(way)
            self._collect(keep=True)
            self._enter("off")
        except Exception as crash:
            self.crash = crash
            self._enter("failed: crashed")
            raise  # MicroPython prints what a thread died of

    def record(self, kind, data):
        """Main thread: hands over a record (cloud.records) that must reach the broker."""
        self._records.put((kind, data))

    def respond(self, payload):
        """Main thread: hands over the answer to a command."""
        self._responses.put(payload)

    @property
    def answering(self):
        """True while an answer has not left: do not hand over many more."""
        return len(self._responses) > 0

    def report(self):
        """Main thread: asks for `status` and `info` to be published anew."""
        self._report = True
        return {}

    def stop(self, reason):
        """Asks the thread to say goodbye, with a word of docs/protocol.md, and to end."""
        self._stop_reason = reason

    def sign_of_life(self):
        """ticks_ms() of the thread's last sign of life. Raises what the thread died of."""
        if self.crash is not None:
            raise self.crash
        return self.alive_ms

    # -- one connection, from the dial to its end

    def _way(self):
        """What a connection depends on; a change of it ends the connection. None = no way."""
        provider = self._settings.provider
        if provider is None or self._link.interface is None:
            return None
        return (self._link.interface, self._link.ip, provider)

    def _connection(self, way):
        started = self._time.ticks_ms()
        client = None
        if not self.state.startswith("failed"):
            self._enter("connecting")
        try:
            client = self._dial(way[2])
            self._enter("online")
            started = self._time.ticks_ms()
            self.connections += 1
            self._serve(client, way)
            client.disconnect()
            self._retry.reset()
            return
        except Fault as fault:
            kind = fault.kind
            words = str(fault)
        if client is not None:
            client.close()
        self._collect(keep=True)
        self.fault = kind
        took_ms = self._time.ticks_diff(self._time.ticks_ms(), started)
        if client is not None:
            if took_ms > _HELD_MS:
                self._retry.reset()
            took_ms = 0  # it was no attempt but a connection
        self._enter("failed: " + words)
        self._wait(self._retry.after(kind, took_ms), way)

    def _dial(self, provider):
        self._ask_time(provider["tls"], provider["host"])
        context = None
        if provider["tls"]:
            gc.collect()  # lets go of an old connection's TLS memory, which is not on our heap
            context = wire.tls_context(self._ssl, self._ca())
        client = SafeClient(
            "ampguard-" + self._identity.serial,
            host=provider["host"],
            port=provider["port"],
            user=self._identity.serial,
            password=self._password,
            keepalive_s=_KEEPALIVE_S,
            context=context,
            socket=self._socket,
            time=self._time,
        )
        client.alive = self._alive
        client.on_message = self._take_command
        client.set_last_will(self._topics.status, protocol.last_will_payload(), True, 1)
        client.connect()
        return client

    def _take_command(self, payload, retained):
        if len(self.commands) < _COMMANDS:
            self.commands.put((payload, retained))
        else:
            self._refused += 1

    def _serve(self, client, way):
        """Publishes until the way changes or stop() is called (returns) or a Fault ends it."""
        self._drop_old()
        self._report = False
        self._sent = None
        self._announced = False
        self._value = None
        self._publish_status(client, True, "connected")
        client.subscribe(self._topics.command, 1)
        told = None  # the `info` the broker has
        looked_ms = self._time.ticks_add(self._time.ticks_ms(), -_HOUSEKEEPING_MS)
        info = None
        doubted = False
        sending = False  # a record is under way
        allowed = True  # to send one: one for each live message, so that they never queue up
        while self._stop_reason is None:
            self._alive()
            measurement = None
            if client.doubtful:
                doubted = True  # what went out now would arrive late: it waits here, and ages out
            else:
                if doubted:
                    self._drop_old()
                    doubted = False
                measurement = self._queue.take()
            if measurement is not None and self._worth_sending(measurement):
                client.publish(self._topics.measurement, protocol.measurement_payload(measurement))
                self.published += 1
                self._sent = measurement
                self._sent_ms = self._time.ticks_ms()
            if measurement is not None:
                allowed = True
            client.step()
            self._collect(keep=False)
            if sending and client.ready:
                self._backlog.drop()
                sending = False
            if self._time.ticks_diff(self._time.ticks_ms(), looked_ms) >= _HOUSEKEEPING_MS:
                looked_ms = self._time.ticks_ms()
                if self._way() != way:
                    break
                info = self._info_payload()
            if not client.ready:
                pass
            elif self._report:
                self._report = False
                told = None
                self._publish_status(client, True, "connected")
            elif info is not None and info != told:
                client.publish(self._topics.info, info, True, 1)
                told = info
            elif self._responses:
                client.publish(self._topics.response, self._responses.take(), False, 1)
            elif self._refused:
                self._refused -= 1
                client.publish(self._topics.response, _TOO_MANY, False, 1)
            elif allowed and self._announce(client):
                allowed = False
            elif allowed and self._backlog is not None:
                sending = self._send_record(client)
                allowed = not sending
            if measurement is None:
                if self._clock.due():
                    self._clock.sync()
                self._time.sleep_ms(_IDLE_MS)
        self._say_goodbye(client)

    def _worth_sending(self, m):
        """Every `interval_s` one; between these only what a balancer must know at once: a step, a
        current above the main fuse or no longer so, another flag."""
        last = self._sent
        settings = self._settings
        if last is None or settings.interval_s == 1:
            return True
        if _lasting(m.flags) != _lasting(last.flags):
            return True
        passed_ms = self._time.ticks_diff(self._time.ticks_ms(), self._sent_ms)
        if passed_ms > settings.interval_s * 1000 - 500:
            return True
        fuse_ma = (settings.supply_max_a or 10_000) * 1000
        for now, before in zip(m.i_ma, last.i_ma):
            if now is None or before is None:
                if now is not before:
                    return True
            elif abs(now - before) > settings.step_a * 1000 or (now > fuse_ma) != (
                before > fuse_ma
            ):
                return True
        return False

    def _drop_old(self):
        dropped = self._queue.skip_to_newest()
        if dropped:
            self._log.info("cloud", "%d old measurements dropped" % dropped)

    def _publish_status(self, client, online, reason):
        status = protocol.status_payload(online, self._clock.unix_ms(), reason)
        client.publish(self._topics.status, status, True, 1)

    def _announce(self, client):
        """Publishes one message of Home Assistant's discovery, if one is due. Returns whether."""
        wanted = self._settings.home_assistant
        if wanted != self._announced:  # from the start, also when it changed half-way
            self._announced = wanted
            self._value = 0
        if self._value is None:
            return False
        try:
            from cloud import home_assistant  # noqa: PLC0415 (rarely needed)

            message = home_assistant.message(
                self._value, self._info(), self._settings.interval_s, wanted
            )
        except MemoryError:  # with the portal's pages in memory, say; the next connection tries
            self._log.warn("cloud", "no memory to tell Home Assistant")
            message = None
        if message is None:
            self._value = None
            sys.modules.pop("cloud.home_assistant", None)
            if hasattr(sys.modules["cloud"], "home_assistant"):
                del sys.modules["cloud"].home_assistant
            return False
        self._value += 1
        client.publish(message[0], message[1], True, 1)
        return True

    def _say_goodbye(self, client):
        """`status` offline in our own words, if the broker still listens."""
        reason = self._stop_reason or "moving"
        started = self._time.ticks_ms()
        try:
            said = False
            while self._time.ticks_diff(self._time.ticks_ms(), started) < 2000:
                if client.ready:
                    if said and not self._responses:
                        return
                    if self._responses:
                        client.publish(self._topics.response, self._responses.take(), False, 1)
                    else:
                        self._publish_status(client, False, reason)
                        said = True
                client.step()
                self._alive()
                self._time.sleep_ms(_IDLE_MS)
        except Fault:
            pass

    def _wait(self, wait_ms, way):
        """Waits before the next attempt, but not when there is another way to try."""
        started = self._time.ticks_ms()
        while self._stop_reason is None:
            if self._time.ticks_diff(self._time.ticks_ms(), started) >= wait_ms:
                return
            if self._way() != way:
                self._retry.reset()
                return
            self._alive()
            self._collect(keep=True)
            self._time.sleep_ms(_IDLE_MS)

    # -- records

    def _collect(self, keep):
        """Takes over what the main thread recorded; `keep`: onto flash, nobody takes it now."""
        if self._backlog is None:
            return
        item = self._records.take()
        while item is not None:
            self._backlog.put(*item)
            item = self._records.take()
        if keep and self._backlog.waiting:
            self._backlog.keep()
            if self._backlog.problem:
                self._log.error("cloud", self._backlog.problem)

    def _send_record(self, client):
        """Publishes the oldest record, if there is one. Returns whether."""
        entry = self._backlog.peek()
        if entry is None:
            return False
        name, payload = records.message(*entry)
        client.publish(self._topics.root + name, payload, False, 1)
        return True

    # -- what a connection needs

    def _ask_time(self, must, host):
        """Certificates have dates: TLS (`must`) waits for the time, plain text only tries.
        Behind a firewall that lets no public time server through, the broker's host may be one."""
        clock = self._clock
        if clock.is_set:
            return
        if clock.due():
            clock.resolve(host)
            self._alive()
            clock.sync()
            self._alive()
        if must and not clock.is_set:
            raise Fault(wire.SILENT, "the time is not known yet: " + clock.problem)

    def _ca(self):
        try:
            with open(self._ca_path, "rb") as file:
                return file.read()
        except OSError:
            raise Fault(wire.TLS, "the provider's CA certificate is missing")

    def _info_payload(self):
        info = self._info()
        info["tls"] = bool(self._settings.provider and self._settings.provider["tls"])
        rssi = info.get("rssi")
        shown = self._shown_rssi
        if rssi is None or shown is None or abs(rssi - shown) >= _RSSI_STEP:
            self._shown_rssi = rssi
        info["rssi"] = self._shown_rssi
        return protocol.info_payload(info)

    def _alive(self):
        self.alive_ms = self._time.ticks_ms()

    def _enter(self, state):
        if state != self.state:
            self.state = state
            self._log.info("cloud", state)


def _lasting(flags):
    """Without the one that comes and goes with every second."""
    return [flag for flag in flags if flag != "low_coverage"]
