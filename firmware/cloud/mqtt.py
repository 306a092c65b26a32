"""umqtt.simple made safe: the same packets, but nothing waits for ever and nothing is believed.

In: messages to publish. Out: calls of `on_message`, and a Fault when the connection is of no
use. step() is called all the time and never blocks: it reads what has arrived, sends pings and
watches for their answers, re-sends what was not acknowledged. Runs on the umqtt.simple of 2017
(1.3.4) as on that of today's images: of the library only what both have alike is used. The way to
a connection is in dialing.py.

A MemoryError out of publish() or step() has done nothing half: recover() and go on.
"""

from micropython import const
from umqtt.simple import MQTTClient

from cloud import faults
from cloud.faults import Fault

_SILENCE_MS = const(4000)  # without a word from the broker, then we ask
_ANSWER_MS = const(4000)  # for a PINGRESP; both together stay under 10 s
_DOUBT_MS = const(1500)  # a PINGRESP that takes longer is no steady second's
_RESEND_MS = const(4000)  # without a PUBACK
_PIECES_MS = const(5000)  # for a packet to arrive whole
_TAKEN = const(1000)  # bytes of the longest message taken
RECEIVE = const(1050)  # it in a packet, with the topic of the longest serial
_HEAD = const(256)  # of a longer one: its id may be there


class SafeClient(MQTTClient):
    """`on_message(payload, retained)` gets what is published to us, bytes, or (the first ones, how
    many there were) if it was longer than we take: there is one topic we subscribe to."""

    def __init__(
        self,
        client_id,
        *,
        host,
        port,
        user,
        password,
        keepalive_s,
        context,
        socket,
        time,
        received=None,
    ):
        """received: bytearray(RECEIVE) of an earlier one: later there may be no such piece."""
        super().__init__(
            _bytes(client_id), host, port, _bytes(user), _bytes(password), keepalive_s
        )
        self.alive = _nothing  # called in every wait, for the supervisor
        self.on_message = None
        self.resent = 0  # publishes repeated with DUP
        self._context = context
        self._socket = socket
        self._time = time
        self._received = received or bytearray(RECEIVE)
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
        self.connack = None  # None until CONNACK, then return code << 8 | session present
        self._flight = None  # (first byte, topic, message) not acknowledged yet, of QoS 1
        self._flight_pid = 0
        self._flight_ms = 0
        self._flight_resent = False
        self._subscribing = None  # (packet id, since)

    # -- connecting

    def connect(self, clean_session=True, timeout=None):
        """DNS, TCP, TLS, CONNECT, CONNACK. Raises Fault. Returns session present (0 or 1).

        `timeout` is the library's and not used: every step has its own deadline."""
        from cloud.dialing import dial, introduce  # noqa: PLC0415 (not needed once connected)

        self.close()
        self._reset()
        self.sock = dial(
            self.server,
            self.port,
            self._context,
            socket=self._socket,
            time=self._time,
            alive=self.alive,
        )
        try:
            introduce(self, clean_session, self._time)
        except (Fault, MemoryError):
            self.close()
            raise
        return self.connack & 1  # type: ignore[operator]

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
    def subscribed(self):
        """True once the broker has agreed to what was asked for."""
        return self._subscribing is None

    @property
    def doubtful(self):
        """True while a ping takes so long that what is sent now may lie about for a while."""
        if self._ping_ms is None:
            return False
        return self._time.ticks_diff(self._time.ticks_ms(), self._ping_ms) > _DOUBT_MS

    def publish(self, topic, msg, retain=False, qos=0):
        """QoS 0: sent when this returns. QoS 1: under way; `ready` turns true with its PUBACK.
        `msg`: text, bytes, or for QoS 1 a function that returns its pieces (text), always the
        same: what is long never needs to be in memory as one."""
        topic = _bytes(topic)
        if qos == 0:
            super().publish(topic, _bytes(msg), retain)
            self._flush()
            return
        if self._flight is not None:
            raise ValueError("a QoS 1 message is under way: wait until `ready`")
        self.pid = self.pid % 65535 + 1
        self._flight_pid = self.pid
        flight = (0x32 | (1 if retain else 0), topic, _bytes(msg))
        self._send_flight(flight, 0)
        self._flight = flight
        self._flight_resent = False

    def subscribe(self, topic, qos=0):
        """Asks for `topic`; step() raises a Fault if the broker denies it or does not answer."""
        topic = _bytes(topic)
        self.pid = self.pid % 65535 + 1
        if self.pid == self._flight_pid:
            self.pid = self.pid % 65535 + 1
        self.write_header(0x82, 5 + len(topic))
        self.sock.write(bytes((self.pid >> 8, self.pid & 255)))
        self._send_str(topic)
        self.sock.write(bytes((qos,)))
        self._flush()
        self._subscribing = (self.pid, self._time.ticks_ms())

    def ping(self):
        super().ping()
        self._flush()
        self._ping_ms = self._time.ticks_ms()

    def recover(self):
        """After a MemoryError: the connection goes on, unless a packet was torn (Fault)."""
        if not self.sock.take_back():
            raise Fault(faults.CLOSED, "out of memory in the middle of a message")

    def _send_flight(self, flight, dup):
        operation, topic, msg = flight
        pieces = msg if callable(msg) else None
        size = 4 + len(topic)
        if pieces is None:
            size += len(msg)
        else:
            for piece in pieces():
                size += len(piece.encode())
        self.write_header(operation | dup, size)
        self._send_str(topic)
        pid = self._flight_pid
        self.sock.write(bytes((pid >> 8, pid & 255)))
        if pieces is None:
            self.sock.write(msg)
        else:
            for piece in pieces():
                self.sock.write(piece)
        self._flush()
        self._flight_ms = self._time.ticks_ms()

    def write_header(self, operation, size):
        """Fixed header, MQTT 3.1.1, 2.2: operation and flags, then the remaining length."""
        header = bytearray((operation,))
        while size > 127:
            header.append(size & 127 | 128)
            size >>= 7
        header.append(size)
        self.sock.write(header)

    def _flush(self):
        self.sock.flush()
        self._sent_ms = self._time.ticks_ms()

    # -- receiving

    def step(self):
        """Reads what has arrived and keeps every deadline. Raises Fault; never waits."""
        self.take_in()
        self._watch()

    # The library's ways to wait, which would block or cancel our deadlines.
    check_msg = step
    wait_msg = step

    def heard(self):
        """The broker gave a sign of life."""
        self._heard_ms = self._time.ticks_ms()

    def take_in(self):
        """Reads and obeys what has arrived."""
        # One read a call: what came before the end of a connection is looked at before the end.
        size = 0
        if self._size < RECEIVE:
            size = self.sock.receive(self._view if self._size == 0 else self._view[self._size :])
        if size:
            self.heard()
            self._size += size
        if self._size:  # also what a MemoryError left
            while self._take_packet():
                pass

    def _take_packet(self):
        received = self._received
        if self._skip:
            self._drop(min(self._skip, self._size), skipped=True)
        if self.connack is None and self._size and received[0] != 0x20:
            raise Fault(faults.MALFORMED, "what answers there is no MQTT broker")
        if self._size < 2:
            return self._incomplete()
        body = 1
        length = 0
        while True:  # the remaining length: seven bits a byte, four bytes at most
            if body == 5:
                raise Fault(faults.MALFORMED, "the broker sent a packet without a length")
            if body == self._size:
                return self._incomplete()
            length |= (received[body] & 127) << 7 * (body - 1)
            body += 1
            if not received[body - 1] & 128:
                break
        end = body + length
        if end > RECEIVE:
            if self._size < RECEIVE:
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
        if self.connack is None:
            if size != 2:
                raise Fault(faults.MALFORMED, "what answers there is no MQTT broker")
            self.connack = self._received[body + 1] << 8 | self._received[body] & 1
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
                faults.MALFORMED, "the broker sent an unexpected packet (0x%02x)" % operation
            )

    def _handle_suback(self, body):
        if self._subscribing is not None and self._packet_id(body) == self._subscribing[0]:
            self._subscribing = None
            if self._received[body + 2] == 0x80:
                raise Fault(faults.REJECTED, "the broker denies the command topic")

    def _handle_publish(self, operation, body, end):
        qos = operation >> 1 & 3
        payload = body + 2 + (2 if qos else 0)
        if payload > end or qos > 1:
            raise Fault(faults.MALFORMED, "the broker sent a malformed message")
        topic_end = body + 2 + self._packet_id(body)
        payload += topic_end - body - 2
        if payload > min(end, RECEIVE):
            raise Fault(faults.MALFORMED, "the broker sent a malformed message")
        size = end - payload
        long = size > _TAKEN or end > RECEIVE
        message = bytes(self._view[payload : payload + (_HEAD if long else size)])
        if long:
            message = (message, size)  # type: ignore[assignment]
        if qos:
            self.sock.write(b"\x40\x02")
            self.sock.write(self._view[topic_end : topic_end + 2])
            self._flush()
        if self.on_message is not None:
            self.on_message(message, bool(operation & 1))

    def _packet_id(self, at):
        return self._received[at] << 8 | self._received[at + 1]

    def _watch(self):
        now = self._time.ticks_ms()
        diff = self._time.ticks_diff
        if self._piece_ms is not None and diff(now, self._piece_ms) > _PIECES_MS:
            raise Fault(faults.MALFORMED, "a packet of the broker did not arrive whole")
        if self._subscribing is not None and diff(now, self._subscribing[1]) > 2 * _RESEND_MS:
            raise Fault(faults.SILENT, "the broker does not answer a subscription")
        if self._flight is not None and diff(now, self._flight_ms) > _RESEND_MS:
            if self._flight_resent:
                raise Fault(faults.SILENT, "the broker does not acknowledge messages")
            self._send_flight(self._flight, 8)  # DUP
            self._flight_resent = True
            self.resent += 1
        if self._ping_ms is not None:
            if diff(now, self._ping_ms) > _ANSWER_MS:
                raise Fault(faults.SILENT, "the broker fell silent")
        elif diff(now, self._heard_ms) > _SILENCE_MS or diff(now, self._sent_ms) > _SILENCE_MS:
            self.ping()


def _bytes(text):
    """Text as bytes; what is no text stays what it is."""
    return text.encode() if isinstance(text, str) else text


def _nothing():
    pass
