"""The known faults of umqtt.simple, each shown on the library itself and gone from SafeClient.

The same few lines run in the VM with the one and with the other client against the same broker.
"""

import subprocess
import threading

import pytest
from cloud_bench import VMS, run_on_vm, vm_environment
from cloud_broker import PINGREQ, PUBLISH, Broker, wait_for

pytestmark = pytest.mark.parametrize("vm", VMS)

HANG_S = 2  # a call that takes 50 ms and is still not back is waiting for ever

PLAIN = """
import socket, time
from umqtt.simple import MQTTClient
client = MQTTClient("x", "127.0.0.1", {port}, keepalive=1)
client.connect()
def settle(): pass
def wait(ms): time.sleep_ms(ms)
"""

SAFE = """
import desk, time
from cloud.mqtt import SafeClient
from cloud.faults import Fault
from expect import Part
class Fast:
    def ticks_ms(self): return time.ticks_ms() * 10 & 0x3fffffff
    def ticks_diff(self, a, b): return time.ticks_diff(a, b)
    def sleep_ms(self, ms): time.sleep_us(ms * 100)
client = SafeClient("x", host="127.0.0.1", port={port}, user="u", password="p", keepalive_s=8,
    context=None, socket=desk, time=Fast())
client.connect()
def settle():
    while not client.ready:
        client.step()
        time.sleep_ms(1)
def wait(ms):
    for _ in range(ms):
        client.step()
        time.sleep_ms(1)
"""


def play(vm, client, lines, broker, folder, *, timeout_s=200):
    """What the lines printed, "hangs", or the last line of the traceback."""
    source = client.replace("{port}", str(broker.port)) + lines
    try:
        done = subprocess.run(
            [vm, "-c", source],
            cwd=folder,
            env=vm_environment(),
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return "hangs"
    return (done.stdout or done.stderr).strip().split("\n")[-1]


def good(connection):
    connection.serve()


def withholds_pubacks(connection):
    connection.accept()
    while True:
        packet = connection.receive()
        if packet.kind == PINGREQ:
            connection.answer(packet)


def test_a_lost_puback_hangs_the_library_and_is_a_fault_here(vm, tmp_path):
    with Broker(withholds_pubacks) as broker:
        alone = "client.publish('t', 'm', qos=1)"
        assert play(vm, PLAIN, alone, broker, tmp_path, timeout_s=HANG_S) == "hangs"
        said = play(
            vm,
            SAFE,
            "client.publish('t', 'm', qos=1)\n"
            "try:\n    settle()\nexcept Fault as f: print(f.kind, client.resent)",
            broker,
            tmp_path,
        )
    assert said == "silent 1"


def test_the_acknowledgement_of_another_message_is_none_of_this_one(vm, tmp_path):
    def answers_with_the_wrong_id(connection):
        connection.accept()
        while True:
            packet = connection.receive()
            if packet.kind == PUBLISH:
                connection.send(b"\x40\x02" + (packet.packet_id + 1).to_bytes(2, "big"))
            connection.answer(packet) if packet.kind == PINGREQ else None

    lines = "client.publish('t', 'm', qos=1)\ntry:\n    settle()\nexcept Fault as f: print(f.kind)"
    with Broker(answers_with_the_wrong_id) as broker:
        assert play(vm, SAFE, lines, broker, tmp_path) == "silent"


def test_the_packet_id_overflows_in_the_library_and_wraps_here(vm, tmp_path):
    lines = "client.pid = 65534\nfor n in range(3):\n    client.publish('t', str(n), qos=1)\n"
    with Broker(good, good) as broker:
        plain = lines + "print('done')"
        assert play(vm, PLAIN, plain, broker, tmp_path, timeout_s=HANG_S) != "done"
        assert play(vm, SAFE, lines + "    settle()\nprint('done')", broker, tmp_path) == "done"
        ids = [p.packet_id for p in broker.connections[1].packets if p.kind == PUBLISH]
    assert ids == [65535, 1, 2]


def test_a_kept_connection_is_pinged_here_and_not_by_the_library(vm, tmp_path):
    with Broker(good, good) as broker:
        assert play(vm, PLAIN, "wait(1000)\nprint('done')", broker, tmp_path) == "done"
        assert play(vm, SAFE, "wait(1000)\nprint('done')", broker, tmp_path) == "done"
        pings = [sum(p.kind == PINGREQ for p in c.packets) for c in broker.connections]
    assert pings[0] == 0
    assert pings[1] >= 2


# What setblocking(True) does on the ESP32 (_socket_settimeout in modsocket.c): it ends time-outs.
ESP32_SOCKET = """
class Esp32Socket:
    def __init__(self, inner):
        self.inner = inner
        self.read = inner.read
        self.write = inner.write
        self.settimeout = inner.settimeout
    def setblocking(self, flag):
        self.inner.settimeout(None if flag else 0)
"""


def test_the_library_cancels_a_time_out_and_nothing_here_can(vm, tmp_path):
    def says_one_thing(connection):
        connection.accept()
        connection.send(b"\xd0\x00")
        while True:
            connection.receive()

    plain = """
client.sock = Esp32Socket(client.sock)
client.sock.settimeout(0.1)
"""
    lines = """
try:
    for n in range(10000):
        client.wait_msg()
        time.sleep_ms(1)
except (OSError, Fault) as f:
    print("ends")
"""
    with Broker(says_one_thing) as broker:
        # Without the library's setblocking(True) the time-out ends the third read ...
        reads = (
            "for n in (2, 1):\n    try:\n        client.sock.read(n)\n    except OSError: pass\n"
        )
        reads += "print('ends')"
        assert play(vm, PLAIN + ESP32_SOCKET, plain + reads, broker, tmp_path) == "ends"
        # ... and with it nothing does.
        loop = plain + "Fault = OSError" + lines
        assert play(vm, PLAIN + ESP32_SOCKET, loop, broker, tmp_path, timeout_s=HANG_S) == "hangs"
        freeze = "client.sock.setblocking(True)"
        assert play(vm, SAFE, freeze + lines, broker, tmp_path) == "ends"


@pytest.mark.parametrize(
    ("answer", "crash"),
    [
        (b"\x20\x02", "IndexError"),
        (b"\x20", "IndexError"),
        (b"\x30\x02\x00\x00", "AssertionError"),
    ],
)
def test_a_bad_connack_crashes_the_library_and_is_a_fault_here(vm, tmp_path, answer, crash):
    def bad(connection):
        connection.receive()
        connection.send(answer)

    with Broker(bad) as broker:
        assert crash in play(vm, PLAIN, "", broker, tmp_path)
        safe = SAFE.replace("client.connect()", "")
        lines = "try:\n    client.connect()\nexcept Fault as f: print(f.kind)"
        assert play(vm, safe, lines, broker, tmp_path) in ("closed", "malformed")


def test_text_is_sized_in_bytes_here_and_in_letters_by_the_library(vm, tmp_path):
    lines = "client.publish('t', 'sm\\u00f6r')\nwait(50)\n"
    with Broker(good, good) as broker:
        play(vm, PLAIN, lines, broker, tmp_path)
        play(vm, SAFE, lines, broker, tmp_path)
        sent = wait_for(lambda: [p for p in broker.connections[1].packets if p.kind == PUBLISH])
    assert sent[0].body == "\x00\x01tsmör".encode()


def test_a_message_leaves_in_one_segment(vm, tmp_path):
    sizes = []
    written = threading.Event()

    def counts(connection):
        connection.accept()
        while not written.is_set():
            sizes.append(len(connection.sock.recv(4096)))
            written.set()

    with Broker(counts) as broker:
        play(vm, SAFE, "client.publish('topic', 'x' * 300)\ntime.sleep_ms(50)", broker, tmp_path)
        assert written.wait(10)
    assert sizes == [3 + 2 + 5 + 300]


@pytest.mark.parametrize("size", [0, 1, 127, 128, 900, 1000, 1001, 1024, 5000, 20000])
def test_messages_of_every_size_arrive_whole_both_ways(vm, tmp_path, size):
    got = []

    def echoes(connection):
        connection.accept()
        while True:
            packet = connection.receive()
            connection.answer(packet)
            if packet.kind == PUBLISH:
                got.append(packet)
                body = packet.body[:3] + packet.body[5:]
                header = bytearray((0x30,))
                left = len(body)
                while left > 127:
                    header.append(left & 127 | 128)
                    left >>= 7
                header.append(left)
                for at in range(0, len(body), 777):
                    connection.send((header if at == 0 else b"") + body[at : at + 777])

    lines = f"""
heard = []
client.on_message = lambda payload, retained: heard.append(payload)
client.publish('t', 'x' * {size}, qos=1)
while not heard:
    client.step()
settle()
client.publish('t', 'again', qos=1)
while len(heard) < 2:
    client.step()
print([(len(h[0]), h[1]) if type(h) is tuple else len(h) for h in heard], heard[1] == b"again")
"""
    with Broker(echoes) as broker:
        said = play(vm, SAFE, lines, broker, tmp_path)
        assert len(got[0].body) == 3 + 2 + size
    taken = (256, size) if size > 1000 else size  # of a longer one the head
    assert said == f"[{taken}, 5] True"


def test_a_broker_that_takes_nothing_any_more_is_a_fault(vm, tmp_path):
    done = threading.Event()

    def reads_no_more(connection):
        connection.accept()
        done.wait(60)

    lines = """
try:
    while True:
        client.publish('t', 'x' * 1000)
except Fault as f:
    print(f.kind, f)
"""
    with Broker(reads_no_more) as broker:
        said = play(vm, SAFE, lines, broker, tmp_path)
        done.set()
    assert said == "silent the broker took nothing for 5 s"


def test_a_denied_subscription_is_told(vm, tmp_path):
    def denies(connection):
        connection.accept()
        packet = connection.receive()
        connection.send(b"\x90\x03" + packet.body[:2] + b"\x80")
        connection.receive()

    lines = "client.subscribe('c', 1)\ntry:\n    wait(2000)\nexcept Fault as f: print(f.kind, f)"
    with Broker(denies) as broker:
        assert play(vm, SAFE, lines, broker, tmp_path) == (
            "rejected the broker denies the command topic"
        )


def test_every_packet_cut_anywhere_and_every_byte_changed_is_a_fault_or_nothing(vm, tmp_path):
    # Fed straight into the parser: what a broker, or somebody between, might send.
    lines = """
from cloud import mqtt
import time as real
import random
random.seed(4)
class Feed:
    def __init__(self, data): self.data = data
    def receive(self, into):
        n = min(len(into), len(self.data), 1 + random.getrandbits(5))
        into[:n] = self.data[:n]
        self.data = self.data[n:]
        return n
    def write(self, data, size=None): pass
    def flush(self, limit=0): pass
    def close(self): pass
class Time:
    def ticks_ms(self): return 0
    def ticks_diff(self, a, b): return 0
good = [b"\\xd0\\x00", b"\\x40\\x02\\x00\\x07", b"\\x30\\x07\\x00\\x03abcxy",
        b"\\x32\\x09\\x00\\x03abc\\x00\\x09xy", b"\\x90\\x03\\x00\\x08\\x01"]
outcomes = {}
kept = bytearray(mqtt.RECEIVE)  # what an earlier connection left in it says nothing
def feed(data):
    c = mqtt.SafeClient("x", host="h", port=1, user="u", password="p", keepalive_s=8,
                        context=None, socket=None, time=Time(), received=kept)
    c.connack = 0
    c.on_message = lambda payload, retained: None
    c.sock = Feed(data)
    try:
        for _ in range(len(data) + 3):
            c.step()
        how = "taken"
    except mqtt.Fault as f:
        how = f.kind
    outcomes[how] = outcomes.get(how, 0) + 1
for packet in good:
    for cut in range(len(packet)):
        feed(packet[:cut])
        for value in (0, 1, 2, 127, 128, 255):
            changed = bytearray(packet)
            changed[cut] = value
            feed(bytes(changed) + b"\\xd0\\x00")
for _ in range(1500):
    feed(bytes(random.getrandbits(8) for _ in range(random.getrandbits(5))))
print(sorted(outcomes))
outcomes.clear()
feed(b"\\xd0\\x80\\x80\\x80\\x80\\x00")  # a length of five bytes
feed(b"\\x30\\x04\\x00\\x09ab")  # a topic longer than its packet
feed(b"\\x32\\x04\\x00\\x02ab")  # no room for the packet id
print(sorted(outcomes))
"""
    source = SAFE.replace("{port}", "1").replace("client.connect()", "") + lines
    said = run_on_vm(vm, source, cwd=tmp_path)
    assert said.split("\n")[:2] == ["['malformed', 'taken']", "['malformed']"]


def test_more_qos_1_messages_than_there_are_packet_ids_in_one_connection(vm, tmp_path):
    # Its broker is a stream that acknowledges: with another process each turn may cost a slice.
    lines = """
class Acknowledges:
    answer = None
    messages = 0
    ids = bytearray(65536 // 8)  # a bit for each that was seen
    def write(self, data):
        if data[0] == 0xc0:
            self.answer = b"\\xd0\\x00"
        else:
            assert bytes(data[:5]) == b"\\x32\\x05\\x00\\x01t", bytes(data)
            number = data[5] << 8 | data[6]
            self.messages += 1
            self.ids[number >> 3] |= 1 << (number & 7)
            self.answer = b"\\x40\\x02" + bytes(data[5:7])
        return len(data)
    def readinto(self, into):
        answer, self.answer = self.answer, None
        if answer:
            into[: len(answer)] = answer
            return len(answer)
    def close(self):
        pass
heard = client.sock._stream = Acknowledges()
for n in range(65600):
    client.publish('t', '', qos=1)
    while not client.ready:
        client.step()
different = sum(byte >> bit & 1 for byte in heard.ids for bit in range(8))
print(client.pid, client.resent, heard.messages, different)
"""
    patient = SAFE.replace("ticks_ms() * 10", "ticks_ms()")  # it keeps a processor busy
    with Broker(good) as broker:
        assert play(vm, patient, lines, broker, tmp_path) == "65 0 65600 65535"
