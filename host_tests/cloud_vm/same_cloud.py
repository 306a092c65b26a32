"""live_queue, protocol, retry, the password: sentences that hold on every interpreter."""

import hashlib
import json
from binascii import hexlify

from expect import Part

from cloud import dialing, faults, protocol, providers
from cloud.live_queue import LiveQueue
from cloud.password import mqtt_password
from cloud.retry import Retry
from device.identity import check_provider

# -- the queue between meter and uplink


def drain(queue):
    items = []
    while True:
        item = queue.take()
        if item is None:
            return items
        items.append(item)


def test_measurements_leave_the_queue_in_the_order_they_came():
    queue = LiveQueue(3)
    taken = []
    for n in range(100):
        queue.put(n)
        if n % 3 == 2:
            taken += drain(queue)
    assert taken == list(range(99))
    assert queue.dropped == 0
    assert len(queue) == 1


def test_a_full_queue_loses_its_oldest_and_counts():
    queue = LiveQueue(3)
    for n in range(10):
        queue.put(n)
    assert len(queue) == 3
    assert drain(queue) == [7, 8, 9]
    assert queue.dropped == 7
    assert len(queue) == 0


def test_after_an_outage_the_newest_goes_first_and_the_others_are_counted():
    queue = LiveQueue(5)
    assert queue.skip_to_newest() == 0
    assert queue.take() is None
    for n in range(12):
        queue.put(n)
    assert queue.skip_to_newest() == 11
    assert drain(queue) == [11]
    assert queue.dropped == 11
    queue.put(12)
    assert queue.skip_to_newest() == 0
    assert queue.take() == 12
    assert queue.dropped == 11


def test_what_was_taken_is_not_kept_alive_and_nothing_that_was_not_goes():
    # However reader and writer take turns, and however often the writer comes round.
    for puts in range(1, 12):
        for takes in range(5):
            queue = LiveQueue(3)
            last = 0
            for _ in range(6):
                for _ in range(puts):
                    queue.put(last)
                    last += 1
                for _ in range(takes):
                    queue.take()
            waiting = len(queue)
            queue.put(last)
            kept = [item for item in queue._slots if item is not None]
            assert len(kept) <= waiting + 2, "the one being overtaken, and the new one"
            assert drain(queue) == list(range(last + 1))[-min(waiting + 1, 3) :]


def test_a_queue_overtaken_while_it_is_read_gives_nothing_twice_and_nothing_torn():
    # The writer strikes in the middle of take(): where the slot is looked up.
    class Slots:
        def __init__(self, queue):
            self.queue = queue
            self.items = list(queue._slots)
            self.strikes = 0
            self.half = False

        def __len__(self):
            return len(self.items)

        def __getitem__(self, at):
            for _ in range(self.strikes):
                self.queue.put(self.next)
                self.next += 1
            self.strikes = 0
            if self.half:  # the writer is caught between its two statements
                self.items[self.queue._written % len(self.items)] = "half"
            return self.items[at]

        def __setitem__(self, at, item):
            self.items[at] = item

    for strikes in range(9):
        queue = LiveQueue(3)
        slots = queue._slots = Slots(queue)
        for n in range(3):
            queue.put(n)
        slots.next = 3
        slots.strikes = strikes
        taken = drain(queue)
        assert taken == sorted(set(taken))
        assert taken[-1] == 2 + strikes
        assert len(taken) + queue.dropped == 3 + strikes
        for n in range(3):
            queue.put(n)
        slots.half = True
        assert drain(queue) == [0, 1, 2]


# -- payloads


def test_decimals_are_written_from_integers():
    for number, text in (
        (0, "0.000"),
        (1, "0.001"),
        (-1, "-0.001"),
        (-999, "-0.999"),
        (-1000, "-1.000"),
        (16012, "16.012"),
        (1234567890, "1234567.890"),
        (-276000123, "-276000.123"),
        (None, "null"),
    ):
        assert protocol.thousandths(number) == text


def measurement(**changes):
    values = {
        "seq": 4711,
        "ts_ms": 1767225600123,
        "i_ma": [16012, 0, None],
        "u_mv": [230104, None, None],
        "p_mw": [3684000, None, None],
        "q_mvar": [-5, None, None],
        "pf_milli": [-998, None, None],
        "f_mhz": 50012,
        "cov_permille": 1000,
        "flags": ["step", "estimated_l2"],
    }
    values.update(changes)
    return Part(**values)


def test_a_measurement_reads_to_the_last_digit():
    assert protocol.measurement_payload(measurement()) == (
        '{"v":1,"seq":4711,"ts":1767225600123,"i":[16.012,0.000,null],"u":[230.104,null,null],'
        '"p":[3684.000,null,null],"p_total":null,"q":[-0.005,null,null],"pf":[-0.998,null,null],'
        '"f":50.012,"cov":1.000,"flags":["step","estimated_l2"]}'
    )


def test_what_is_not_known_is_null():
    none = [None, None, None]
    message = json.loads(
        protocol.measurement_payload(
            measurement(ts_ms=None, i_ma=none, f_mhz=None, cov_permille=None, flags=[])
        )
    )
    assert message["ts"] is None
    assert message["i"] == none
    assert message["f"] is None
    assert message["cov"] is None
    assert message["flags"] == []


def test_info_has_every_field_even_when_nothing_is_known():
    message = json.loads(protocol.info_payload({}))
    assert set(message) == set(protocol._INFO) | {"v"}
    assert message["wiring"] == {
        "clamps": None,
        "confidence": None,
        "sequence": None,
        "findings": None,
    }


def test_info_passes_on_what_is_known_and_nothing_else():
    message = json.loads(
        protocol.info_payload(
            {
                "serial": "AG100042317G",
                "range": 100,
                "rssi": -61,
                "tls": False,
                "pin": "K7M3XQ9A",
                "wiring": {"clamps": ["L1", "-L3", None], "findings": ['L3 "turned"']},
            }
        )
    )
    assert message["serial"] == "AG100042317G"
    assert message["rssi"] == -61
    assert message["tls"] is False
    assert message["wiring"]["clamps"] == ["L1", "-L3", None]
    assert message["wiring"]["findings"] == ['L3 "turned"']
    assert "pin" not in message


def test_the_last_will_claims_no_time():
    assert json.loads(protocol.last_will_payload()) == {
        "v": 1,
        "online": False,
        "ts": None,
        "reason": "lost",
    }


def test_the_password_is_an_hmac_of_the_serial_under_the_pin():
    # By Python's hmac.new(b"K7M3XQ9A", b"mqtt:AG100042317G", "sha256").
    assert mqtt_password("K7M3XQ9A", "AG100042317G") == (
        "9991955ad5f0e728f418eb297549c5825c3e09aaac9edc660d58a4480b6476e1"
    )


def test_the_certificate_that_is_bundled_is_the_one_it_says():
    from cloud import default_ca

    digest = hexlify(hashlib.sha256(default_ca.der()).digest()).decode()
    # As its owner publishes it: https://letsencrypt.org/certificates/
    assert digest == "96bcec06264976f37460779acf28c5a7cfe8a3c0aae11a8ffcee05c0bddf08c6"


def test_the_brokers_to_pick_from_begin_with_the_one_the_device_was_delivered_for():
    delivered = {"host": "mqtt.example", "port": 8883, "tls": True}
    found = providers.presets(Part(provider=delivered))
    assert found[0] == (None, "mqtt.example", 8883, True)
    assert found[1:] == providers.presets(Part(provider=None))
    for name, host, port, tls in found[1:]:
        assert name
        check_provider({"host": host, "port": port, "tls": tls})


# -- retry


def waits(retry, kind, took_ms, for_ms):
    """The waits of an outage that lasts `for_ms`."""
    passed = 0
    found = []
    while passed < for_ms:
        found.append(retry.after(kind, took_ms))
        passed += took_ms + found[-1]
    return found


def test_a_broker_that_restarts_is_tried_every_second_or_so_for_ten_minutes():
    for below in (lambda n: 0, lambda n: n - 1):
        for kind in (faults.REFUSED, faults.CLOSED, faults.DNS):
            found = waits(Retry(below), kind, 5, 600_000)
            assert min(found) >= 990
            assert max(found) <= 1500


def test_a_slow_attempt_counts_as_waiting():
    assert max(waits(Retry(lambda n: n - 1), faults.SILENT, 2500, 600_000)) == 250


def test_a_long_outage_is_tried_once_a_minute_in_the_end():
    found = waits(Retry(lambda n: n - 1), faults.REFUSED, 5, 7200_000)
    assert 59_000 <= found[-1] <= 60_000
    assert found == sorted(found)


def test_what_needs_a_person_is_tried_seldom():
    for kind in (faults.REJECTED, faults.TLS, faults.POLICY):
        found = waits(Retry(lambda n: 0), kind, 0, 600_000)
        assert found[:5] == [5000, 10000, 20000, 40000, 60000]
        assert max(found) == 60000


def test_another_way_to_the_network_starts_quickly_again():
    retry = Retry(lambda n: 0)
    waits(retry, faults.REFUSED, 5, 7200_000)
    waits(retry, faults.REJECTED, 5, 7200_000)
    retry.reset()
    assert retry.after(faults.REFUSED, 0) == 1000
    assert retry.after(faults.REJECTED, 0) == 5000


def test_devices_of_a_town_do_not_return_all_at_once():
    found = [Retry(lambda n, at=at: at * n // 10).after(faults.REFUSED, 0) for at in range(10)]
    assert len(set(found)) == 10


# -- which addresses may hear plain text


def test_plain_text_is_for_private_addresses_only():
    for ip in (
        "10.0.0.1",
        "172.16.0.1",
        "172.31.255.255",
        "192.168.1.10",
        "169.254.7.7",
        "127.0.0.1",
    ):
        assert dialing.is_private(ip), ip
    for ip in (
        "8.8.8.8",
        "172.15.0.1",
        "172.32.0.1",
        "192.169.0.1",
        "11.0.0.1",
        "100.64.0.1",
        "0.0.0.0",
        "10.0.0",
        "10.0.0.256",
        "10.0.0.-1",
        "fe80::1",
        "broker.lan",
        "",
    ):
        assert not dialing.is_private(ip), ip
