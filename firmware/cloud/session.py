"""One connection to the broker, from the first `status` to the goodbye: what goes out, and when.

In: a SafeClient that is connected, and the uplink whose queues it empties. Out: MQTT, as
docs/protocol.md has it: the newest measurement first, at most one record for each of them.
Loaded while there is a way to the broker.
"""

from binascii import crc32

from micropython import const

from cloud import protocol, records
from cloud.faults import Fault
from cloud.uplink import COMMANDS
from device.unloading import unload

_IDLE_MS = const(10)  # a measurement waits this long at most before it is seen
_HOUSEKEEPING_MS = const(2000)  # between looks at what rarely changes
_LEAN_MS = const(1000)  # after a message found no memory: live measurements only
_GOODBYE_MS = const(2000)
_SHORT = const(200)  # bytes; of what was longer than is taken, only the beginning waits
_TOO_MANY = '{"v":1,"id":null,"ok":false,"error":"too many commands at a time"}'
_RSSI_STEP = const(10)  # dB that make a new `info` worth its bytes
_UNKNOWN = const(-1)


class Session:
    """`uplink`: cloud.uplink.Uplink; what has no underscore there is meant for this class."""

    def __init__(self, uplink, client):
        self._uplink = uplink
        self._client = client
        self._time = uplink.time
        self._root = uplink.root
        self._refused = 0  # commands that found no room: they are answered, but not read
        self._sent = None  # the newest measurement this connection carried
        self._sent_ms = 0
        self._sending = False  # the oldest record is under way
        self._told = None  # CRC-32 of the `info` the broker has
        client.on_message = self._take_command

    def serve(self, way, trial):
        """Publishes until the way changes or uplink.stop() is called (returns) or a Fault ends
        it. trial: of a provider (cloud/provider_trial.py), or None."""
        uplink = self._uplink
        client = self._client
        ticks_ms, ticks_diff = self._time.ticks_ms, self._time.ticks_diff
        self._drop_old()
        self._begin()
        client.subscribe(self._root + "command", 1)
        looked_ms = self._time.ticks_add(ticks_ms(), -_HOUSEKEEPING_MS)
        lean_ms = None  # when a message found no memory
        info = None
        crc = 0
        doubted = False
        allowed = True  # to send a record: one for each live message, they never queue up
        while uplink.stop_reason is None:
            uplink.alive()
            measurement = None
            try:
                if client.doubtful:
                    doubted = True  # what went out now would arrive late: it waits, and ages out
                else:
                    if doubted:
                        self._drop_old()
                        doubted = False
                    measurement = uplink.queue.take()
                if measurement is not None:
                    self._publish_live(measurement)
                    allowed = True
                client.step()
                uplink.work()
                uplink.collect(keep=False)
                if trial is not None and client.ready and client.subscribed:
                    if trial.state == "connecting":
                        trial.state = "online"
                    trial = None
                if self._sending and client.ready:
                    uplink.backlog.drop()
                    self._sending = False
                now = ticks_ms()
                if lean_ms is not None and ticks_diff(now, lean_ms) > _LEAN_MS:
                    lean_ms = None
                if ticks_diff(now, looked_ms) >= _HOUSEKEEPING_MS:
                    looked_ms = now
                    if uplink.way() != way:
                        break
                    info = self._info_now(way[2])
                    crc = _crc(info)
                    if crc == self._told:
                        info = None
                if lean_ms is None and client.ready:
                    if uplink.wants_report:
                        self._begin()
                    elif info is not None:
                        self._publish("info", protocol.info_payload(info), True)
                        self._told = crc
                        info = None
                    elif self._publish_response():
                        pass
                    elif allowed:
                        allowed = not (self._announce() or self._publish_record())
                    uplink.fed()
            except MemoryError:
                if uplink.starve():
                    raise
                client.recover()
                lean_ms = ticks_ms()
            if measurement is None:
                if uplink.clock.due():
                    uplink.clock.sync()
                self._time.sleep_ms(_IDLE_MS)
        self._say_goodbye()

    def _begin(self):
        """All that is retained is to be told, beginning with the status."""
        self._publish_status(True, "connected")
        self._uplink.wants_report = False
        self._told = None
        if self._uplink.announced:
            self._uplink.announced = _UNKNOWN

    def _take_command(self, payload, retained):
        commands = self._uplink.commands
        waiting = len(commands)
        if waiting < COMMANDS // 2 or (waiting < COMMANDS and len(payload) <= _SHORT):
            commands.put((payload, retained))
        else:
            self._refused += 1

    def _publish(self, name, payload, retain=False):
        self._client.publish(self._root + name, payload, retain, 1)

    def _publish_live(self, measurement):
        uplink = self._uplink
        if uplink.settings.interval_s > 1 and self._sent is not None:
            from cloud import thinning  # noqa: PLC0415 (few want it)

            passed_ms = self._time.ticks_diff(self._time.ticks_ms(), self._sent_ms)
            if not thinning.worth_sending(measurement, self._sent, passed_ms, uplink.settings):
                return
        payload = protocol.measurement_payload(measurement)
        self._client.publish(self._root + "measurement", payload)
        uplink.published += 1
        self._sent = measurement
        self._sent_ms = self._time.ticks_ms()
        uplink.heard()

    def _publish_status(self, online, reason):
        status = protocol.status_payload(online, self._uplink.clock.unix_ms(), reason)
        self._publish("status", status, True)

    def _publish_response(self):
        """Publishes one answer, if there is one. Returns whether."""
        uplink = self._uplink
        if uplink.response is None:
            uplink.response = uplink.responses.take()
        if uplink.response is not None:
            self._publish("response", uplink.response)
            uplink.response = None
        elif self._refused:
            self._publish("response", _TOO_MANY)
            self._refused -= 1
        else:
            return False
        return True

    def _publish_record(self):
        """Publishes the oldest record, if there is one. Returns whether."""
        backlog = self._uplink.backlog
        entry = None if backlog is None else backlog.peek()
        if entry is None:
            return False
        self._publish(*records.message(*entry))
        self._sending = True
        return True

    def _announce(self):
        """Publishes what Home Assistant is to know, if that changed. Returns whether."""
        uplink = self._uplink
        interval_s = uplink.settings.interval_s if uplink.settings.home_assistant else 0
        if interval_s == uplink.announced:
            return False
        from cloud import home_assistant  # noqa: PLC0415 (rarely needed)

        topic, message = home_assistant.announcement(uplink.info(), interval_s, interval_s > 0)
        unload("cloud.home_assistant")
        self._client.publish(topic, message, True, 1)
        uplink.announced = interval_s
        return True

    def _say_goodbye(self):
        """`status` offline in our own words, if the broker still listens."""
        reason = self._uplink.stop_reason or "moving"
        started = self._time.ticks_ms()
        try:
            said = False
            while self._time.ticks_diff(self._time.ticks_ms(), started) < _GOODBYE_MS:
                if self._client.ready and not self._publish_response():
                    if said:
                        return
                    self._publish_status(False, reason)
                    said = True
                self._client.step()
                self._uplink.alive()
                self._time.sleep_ms(_IDLE_MS)
        except Fault:
            pass

    def _drop_old(self):
        uplink = self._uplink
        uplink.drop_old()
        if uplink.dropped:
            uplink.log.info("cloud", "%d old measurements dropped" % uplink.dropped)
            uplink.dropped = 0

    def _info_now(self, provider):
        uplink = self._uplink
        info = uplink.info()
        info["tls"] = provider["tls"]
        rssi = info.get("rssi")
        shown = uplink.shown_rssi
        if rssi is None or shown is None or abs(rssi - shown) >= _RSSI_STEP:
            uplink.shown_rssi = rssi
        info["rssi"] = uplink.shown_rssi
        return info


def _crc(info):
    """Tells two `info` apart without keeping either."""
    crc = 0
    for value in info.values():
        crc = crc32(repr(value).encode(), crc)
    return crc
