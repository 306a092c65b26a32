"""The uplink in a real VM against a broker that misbehaves: every fault is noticed in time, told
in words, and healed without help. Times are the device's own, which run faster."""

import re
import time

import pytest
from cloud_bench import VMS
from cloud_broker import Broker, UplinkDevice, wait_for

pytestmark = pytest.mark.parametrize("vm", VMS)

SPEED = 3  # more, and what is late on a busy host would count too much
NOTICED_MS = 10_000  # the longest a dead peer may go unnoticed
HEALED_MS = 3_000  # from the broker's return to a connection, on which a measurement waits


def good(connection):
    connection.serve()


def silent(connection):
    while True:
        connection.receive()


def closes_after_connect(connection):
    connection.receive()


def garbage(connection):
    connection.receive()
    connection.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    silent(connection)


def refuses(code):
    def behaviour(connection):
        connection.receive()
        connection.send(bytes((0x20, 2, 0, code)))
        silent(connection)

    return behaviour


def refuses_and_closes(connection):
    connection.receive()
    connection.send(b"\x20\x02\x00\x05")


def one_byte_a_second(connection):
    connection.receive()
    for byte in b"\x20\x02":
        connection.send(bytes((byte,)))
        time.sleep(1 / SPEED)  # a second of the device
    silent(connection)


def after_a_good_start(then):
    def behaviour(connection):
        connection.accept()
        while sum(p.kind == 3 and p.name == "measurement" for p in connection.packets) < 2:
            connection.answer(connection.receive())
        then(connection)

    return behaviour


def withholds_pubacks(connection):
    connection.accept()
    while True:
        packet = connection.receive()
        if packet.kind != 3:
            connection.answer(packet)


def half_a_packet(connection):
    connection.send(b"\x30\x20\x00")
    while True:
        connection.answer(connection.receive())


def endless_length(connection):
    connection.send(b"\x30\xff\xff\xff\xff\xff\xff")
    silent(connection)


def short_puback(connection):
    connection.send(b"\x40\x01\x00")
    silent(connection)


def unexpected(connection):
    connection.send(b"\xf0\x00")
    silent(connection)


def second_connack(connection):
    connection.send(b"\x20\x02\x00\x00")
    silent(connection)


FAULTS = {
    "accepts and stays silent": (silent, "says nothing"),
    "closes after CONNECT": (closes_after_connect, "closed"),
    "is no MQTT broker": (garbage, "no MQTT broker"),
    "sends one byte a second": (one_byte_a_second, "says nothing"),
    "speaks another version": (refuses(1), "version"),
    "rejects the client id": (refuses(2), "client id"),
    "is not available": (refuses(3), "not available"),
    "rejects the password": (refuses(4), "serial or the PIN"),
    "does not authorise": (refuses(5), "not authorised"),
    "does not authorise and closes": (refuses_and_closes, "not authorised"),
    "refuses with an unknown code": (refuses(99), "unknown code 99"),
    # Which it is depends on whether a message was on its way.
    "falls silent": (after_a_good_start(silent), r"fell silent|does not acknowledge"),
    "closes in the middle": (after_a_good_start(lambda c: None), "closed"),
    "resets in the middle": (after_a_good_start(lambda c: c.reset()), "reset"),
    "withholds PUBACKs": (withholds_pubacks, "acknowledge"),
    "sends half a packet": (after_a_good_start(half_a_packet), "did not arrive whole"),
    "sends a length without end": (after_a_good_start(endless_length), "without a length"),
    "sends a short PUBACK": (after_a_good_start(short_puback), "unexpected packet"),
    "sends a packet no broker sends": (after_a_good_start(unexpected), "unexpected packet"),
    "sends a second CONNACK": (after_a_good_start(second_connack), "unexpected packet"),
}


def measurements(connection):
    return [p for p in connection.packets if p.kind == 3 and p.name == "measurement"]


@pytest.mark.parametrize("fault", FAULTS)
def test_a_broker_that(fault, vm, tmp_path):
    behaviour, words = FAULTS[fault]
    with (
        Broker(behaviour, good) as broker,
        UplinkDevice(vm, tmp_path, port=broker.port, speed=SPEED) as device,
    ):
        failed = device.wait_state("failed")
        assert re.search(words, failed["state"])
        began = device.events[device.events.index(failed) - 1]
        assert failed["t"] - began["t"] <= NOTICED_MS + 2_000  # two good seconds may come first
        device.wait_state("online", after=device.events.index(failed))
        wait_for(lambda: len(measurements(broker.connections[-1])) >= 2)
        last = device.end()
    # Nobody was ever without a sign of life for longer than one wait.
    assert last["stalest_ms"] < 2_000
    assert last["made"] <= last["published"] + last["dropped"] + last["waiting"] + 1


def made(device):
    """The event that answers how many measurements there are by now."""
    had = len(device.events)
    device.order(made=True)
    return wait_for(lambda: next((e for e in device.events[had:] if "made" in e), None))


def test_after_an_outage_the_newest_measurement_goes_first_and_the_loss_is_counted(vm, tmp_path):
    with (
        Broker(good) as broker,
        UplinkDevice(vm, tmp_path, port=broker.port, speed=SPEED) as device,
    ):
        wait_for(lambda: broker.connections and len(measurements(broker.connections[0])) >= 3)
        broker.close()
        device.wait_state("failed")
        heard = measurements(broker.connections[0])[-1].payload["seq"]
        away = wait_for(lambda: (told := made(device))["made"] > heard + 5 and told)
        had = device.events.index(away)
        with Broker(good, port=broker.port) as again:
            online = device.wait_state("online", after=had)
            wait_for(lambda: len(measurements(again.connections[0])) >= 3)
            last = device.end()
    sent = measurements(again.connections[0])
    assert online["t"] - away["t"] <= HEALED_MS
    seqs = [packet.payload["seq"] for packet in sent]
    assert seqs == list(range(seqs[0], seqs[0] + len(seqs)))
    missed = seqs[0] - heard - 1
    assert missed >= 3
    assert missed - 1 <= last["dropped"] <= missed  # one may have gone into the broken pipe
