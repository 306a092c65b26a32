"""umqtt.simple made safe: the same packets, but nothing waits for ever and nothing is believed.

In: messages to publish. Out: calls of `on_message`, and a Fault when the connection is of no
use. step() is called all the time and never blocks: it reads what has arrived, sends pings and
watches for their answers, re-sends what was not acknowledged. Runs on the umqtt.simple of 2017
(1.3.4) as on that of today's images: of the library only what both have alike is used.
"""

from micropython import const
from umqtt.simple import MQTTClient

from cloud import wire
from cloud.wire import Fault

_CONNACK_MS = const(8000)  # TLS handshake and CONNECT; a slow chip needs 2 s for the handshake
_SILENCE_MS = const(4000)  # without a word from the broker, then we ask
_ANSWER_MS = const(4000)  # for a PINGRESP; both together stay under 10 s
_DOUBT_MS = const(1500)  # a PINGRESP that takes longer is no steady second's
_RESEND_MS = const(4000)  # without a PUBACK
_PIECES_MS = const(5000)  # for a packet to arrive whole
_POLL_MS = const(5)
_RECEIVE = const(1024)  # bytes of the longest packet taken

_REFUSALS = {
    1: (wire.REJECTED, "the broker speaks another version of MQTT"),
    2: (wire.REJECTED, "the broker rejects the client id"),
    3: (wire.CLOSED, "the broker is not available at the moment"),
    4: (wire.REJECTED, "the broker rejects the serial or the PIN"),
    5: (wire.REJECTED, "the broker has not authorised this device"),
}


class SafeClient(MQTTClient):
    """`on_message(payload, retained)` gets what is published to us, bytes, or None if it was
    longer than we take: there is one topic we subscribe to."""

    def __init__(
        self, client_id, *, host, port, user, password, keepalive_s, context, socket, time
    ):
        super().__init__(
            _bytes(client_id), host, port, _bytes(user), _bytes(password), keepalive_s
        )
        self.alive = _nothing  # called in every wait, for the supervisor
        self.on_message = None
        self.resent = 0  # publishes repeated with DUP
        self._context = context
        self._socket = socket
        self._time = time
        self._received = bytearray(_RECEIVE)
        self._view = memoryview(self._received)
        self._reset()

    def _reset(self):
        now = self._time.ticks_ms()
        self._size = 0  # bytes of _received in use
        self._skip = 0  # bytes still to come of a packet too long for us
        self._piece_ms = None  # when the first byte of an incomplete packet came
        self._heard_ms = now
        self._sent_ms = now
        self._ping_ms = None  # when the ping went that is not answered yet
        self._connected = None  # None until CONNACK, then its return code
        self._flight = None  # the QoS 1 packet not acknowledged yet
        self._flight_pid = 0
        self._flight_ms = 0
        self._flight_resent = False
        self._subscribing = None  # (packet id, since)

    # -- connecting

    def connect(self, clean_session=True, timeout=None):
        """DNS, TCP, TLS, CONNECT, CONNACK. Raises Fault. Returns session present (0 or 1).

        `timeout` is the library's and not used: every step has its own deadline."""
        self.close()
        self._reset()
        self.sock = wire.dial(
            self.server,
            self.port,
            self._context,
            socket=self._socket,
            time=self._time,
            alive=self.alive,
        )
        try:
            return self._introduce(clean_session)
        except Fault:
            self.close()
            raise

    def _introduce(self, clean_session):
        started = self._time.ticks_ms()
        self._write_connect(clean_session)
        self.sock.flush(_CONNACK_MS)
        self._heard_ms = self._time.ticks_ms()
        while self._connected is None:
            if self._time.ticks_diff(self._time.ticks_ms(), started) > _CONNACK_MS:
                raise Fault(wire.SILENT, "the broker accepts connections but says nothing")
            self._take_in()
            if self._connected is None:
                self.alive()
                self._time.sleep_ms(_POLL_MS)
        code = self._connected >> 8
        if code:
            kind, words = _REFUSALS.get(
                code, (wire.MALFORMED, "the broker refuses with the unknown code %d" % code)
            )
            raise Fault(kind, words)
        return self._connected & 1

    def _write_connect(self, clean_session):
        flags = 2 if clean_session else 0
        parts = [self.client_id]
        if self.lw_topic:
            flags |= 4 | self.lw_qos << 3 | (32 if self.lw_retain else 0)
            parts += [self.lw_topic, self.lw_msg]
        if self.user:
            flags |= 0xC0
            parts += [self.user, self.pswd]
        size = 10
        for part in parts:
            size += 2 + len(part)
        self._write_header(0x10, size)
        self.sock.write(b"\x00\x04MQTT\x04")
        self.sock.write(bytes((flags, self.keepalive >> 8, self.keepalive & 255)))
        for part in parts:
            self._send_str(part)

    def set_last_will(self, topic, msg, retain=False, qos=0):
        # Bytes: the library sizes text by its characters.
        super().set_last_will(_bytes(topic), _bytes(msg), retain, qos)

    def disconnect(self):
        """Says goodbye if that is still possible; the broker then drops the last will."""
        if self.sock is not None:
            try:
                self.sock.write(b"\xe0\x00")
                self.sock.flush()
            except Fault:
                pass
        self.close()

    def close(self):
        if self.sock is not None:
            self.sock.close()
            self.sock = None

    # -- sending

    @property
    def ready(self):
        """True when a QoS 1 message may be sent: the one before is acknowledged."""
        return self._flight is None

    @property
    def doubtful(self):
        """True while a ping takes so long that what is sent now may lie about for a while."""
        if self._ping_ms is None:
            return False
        return self._time.ticks_diff(self._time.ticks_ms(), self._ping_ms) > _DOUBT_MS

    def publish(self, topic, msg, retain=False, qos=0):
        """QoS 0: sent when this returns. QoS 1: under way; `ready` turns true with its PUBACK."""
        topic = _bytes(topic)
        msg = _bytes(msg)
        if qos == 0:
            super().publish(topic, msg, retain)
            self._flush()
            return
        if self._flight is not None:
            raise ValueError("a QoS 1 message is under way: wait until `ready`")
        self.pid = self.pid % 65535 + 1
        size = 4 + len(topic) + len(msg)
        packet = bytearray(_header(0x32 | (1 if retain else 0), size))
        packet += bytes((len(topic) >> 8, len(topic) & 255))
        packet += topic
        packet += bytes((self.pid >> 8, self.pid & 255))
        packet += msg
        self._flight = packet
        self._flight_pid = self.pid
        self._flight_resent = False
        self._send_flight()

    def subscribe(self, topic, qos=0):
        """Asks for `topic`; step() raises a Fault if the broker denies it or does not answer."""
        topic = _bytes(topic)
        self.pid = self.pid % 65535 + 1
        if self.pid == self._flight_pid:
            self.pid = self.pid % 65535 + 1
        self._write_header(0x82, 5 + len(topic))
        self.sock.write(bytes((self.pid >> 8, self.pid & 255)))
        self._send_str(topic)
        self.sock.write(bytes((qos,)))
        self._flush()
        self._subscribing = (self.pid, self._time.ticks_ms())

    def ping(self):
        super().ping()
        self._flush()
        self._ping_ms = self._time.ticks_ms()

    def _send_flight(self):
        self.sock.write(self._flight)
        self._flush()
        self._flight_ms = self._time.ticks_ms()

    def _write_header(self, operation, size):
        self.sock.write(_header(operation, size))

    def _flush(self):
        self.sock.flush()
        self._sent_ms = self._time.ticks_ms()

    # -- receiving

    def step(self):
        """Reads what has arrived and keeps every deadline. Raises Fault; never waits."""
        self._take_in()
        self._watch()

    # The library's ways to wait, which would block or cancel our deadlines.
    check_msg = step
    wait_msg = step

    def _take_in(self):
        # One read a call: what came before the end of a connection is looked at before the end.
        view = self._view if self._size == 0 else self._view[self._size :]
        size = self.sock.receive(view)
        if size:
            self._heard_ms = self._time.ticks_ms()
            self._size += size
            while self._take_packet():
                pass

    def _take_packet(self):
        received = self._received
        if self._skip:
            self._drop(min(self._skip, self._size), skipped=True)
        if self._connected is None and self._size and received[0] != 0x20:
            raise Fault(wire.MALFORMED, "what answers there is no MQTT broker")
        if self._size < 2:
            return self._incomplete()
        body = 1
        length = 0
        while True:  # the remaining length: seven bits a byte, four bytes at most
            if body == 5:
                raise Fault(wire.MALFORMED, "the broker sent a packet without a length")
            if body == self._size:
                return self._incomplete()
            length |= (received[body] & 127) << 7 * (body - 1)
            body += 1
            if not received[body - 1] & 128:
                break
        end = body + length
        if end > _RECEIVE:
            if self._size < _RECEIVE:
                return self._incomplete()
            self._handle(received[0], body, end)
            self._skip = end
            self._drop(self._size, skipped=True)
        elif self._size < end:
            return self._incomplete()
        else:
            self._handle(received[0], body, end)
            self._drop(end)
        return True

    def _incomplete(self):
        if self._size == 0 and not self._skip:
            self._piece_ms = None
        elif self._piece_ms is None:
            self._piece_ms = self._time.ticks_ms()
        return False

    def _drop(self, size, skipped=False):
        rest = self._size - size
        if rest:
            self._received[:rest] = self._received[size : self._size]
        self._size = rest
        self._piece_ms = None
        if skipped:
            self._skip -= size

    def _handle(self, operation, body, end):
        kind = operation >> 4
        size = end - body
        if self._connected is None:
            if size != 2:
                raise Fault(wire.MALFORMED, "what answers there is no MQTT broker")
            self._connected = self._received[body + 1] << 8 | self._received[body] & 1
        elif operation == 0x40 and size == 2:
            if self._flight is not None and self._packet_id(body) == self._flight_pid:
                self._flight = None
        elif operation == 0xD0 and size == 0:
            self._ping_ms = None
        elif operation == 0x90 and size == 3:
            self._handle_suback(body)
        elif kind == 3:
            self._handle_publish(operation, body, end)
        else:
            raise Fault(
                wire.MALFORMED, "the broker sent an unexpected packet (0x%02x)" % operation
            )

    def _handle_suback(self, body):
        if self._subscribing is not None and self._packet_id(body) == self._subscribing[0]:
            self._subscribing = None
            if self._received[body + 2] == 0x80:
                raise Fault(wire.REJECTED, "the broker denies the command topic")

    def _handle_publish(self, operation, body, end):
        qos = operation >> 1 & 3
        payload = body + 2 + (2 if qos else 0)
        if payload > end or qos > 1:
            raise Fault(wire.MALFORMED, "the broker sent a malformed message")
        topic_end = body + 2 + self._packet_id(body)
        payload += topic_end - body - 2
        if payload > min(end, _RECEIVE):
            raise Fault(wire.MALFORMED, "the broker sent a malformed message")
        if qos:
            self.sock.write(b"\x40\x02")
            self.sock.write(self._view[topic_end : topic_end + 2])
            self._flush()
        if self.on_message is not None:
            message = bytes(self._view[payload:end]) if end <= _RECEIVE else None
            self.on_message(message, bool(operation & 1))

    def _packet_id(self, at):
        return self._received[at] << 8 | self._received[at + 1]

    def _watch(self):
        now = self._time.ticks_ms()
        diff = self._time.ticks_diff
        if self._piece_ms is not None and diff(now, self._piece_ms) > _PIECES_MS:
            raise Fault(wire.MALFORMED, "a packet of the broker did not arrive whole")
        if self._subscribing is not None and diff(now, self._subscribing[1]) > 2 * _RESEND_MS:
            raise Fault(wire.SILENT, "the broker does not answer a subscription")
        if self._flight is not None and diff(now, self._flight_ms) > _RESEND_MS:
            if self._flight_resent:
                raise Fault(wire.SILENT, "the broker does not acknowledge messages")
            self._flight[0] |= 8  # DUP
            self._flight_resent = True
            self.resent += 1
            self._send_flight()
        if self._ping_ms is not None:
            if diff(now, self._ping_ms) > _ANSWER_MS:
                raise Fault(wire.SILENT, "the broker fell silent")
        elif diff(now, self._heard_ms) > _SILENCE_MS or diff(now, self._sent_ms) > _SILENCE_MS:
            self.ping()


def _header(operation, size):
    """Fixed header, MQTT 3.1.1, 2.2: operation and flags, then the remaining length."""
    header = bytearray((operation,))
    while size > 127:
        header.append(size & 127 | 128)
        size >>= 7
    header.append(size)
    return header


def _bytes(text):
    return text.encode() if isinstance(text, str) else text


def _nothing():
    pass
