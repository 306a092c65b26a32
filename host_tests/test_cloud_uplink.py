"""How the uplink finds its way: names, addresses, links, the clock, commands to come."""

import contextlib
import itertools
import json

import pytest
from cloud_bench import VMS
from cloud_broker import PUBLISH, SUBSCRIBE, Broker, Gone, UplinkDevice, wait_for

from sim.ports import free_port

pytestmark = pytest.mark.parametrize("vm", VMS)


def good(connection):
    connection.serve()


def named(broker, name):
    return [
        packet
        for connection in broker.connections
        for packet in connection.packets
        if packet.kind == 3 and packet.name == name
    ]


def test_the_introduction_has_everything_the_contract_says(vm, tmp_path):
    with Broker(good) as broker, UplinkDevice(vm, tmp_path, port=broker.port):
        wait_for(lambda: named(broker, "info"))
        (connection,) = broker.connections
        body = connection.packets[0].body
    assert body[:10] == b"\x00\x04MQTT\x04\xee\x00\x08"  # 3.1.1; clean, will QoS 1 kept; 8 s
    texts = []
    at = 10
    while at < len(body):
        size = int.from_bytes(body[at : at + 2], "big")
        texts.append(body[at + 2 : at + 2 + size].decode())
        at += 2 + size
    client_id, will_topic, will, user, password = texts
    assert client_id == "ampguard-AG100042317G"
    assert will_topic == "ampguard/AG100042317G/status"
    assert will == '{"v":1,"online":false,"ts":null,"reason":"lost"}'
    assert user == "AG100042317G"
    assert len(password) == 64
    assert [p.name for p in connection.packets[1:] if p.kind == 3 and p.qos] == ["status", "info"]


def test_all_addresses_of_a_name_are_tried(vm, tmp_path):
    hosts = {"broker.lan": ["127.0.0.9", "127.0.0.1"]}
    with (
        Broker(good) as broker,
        UplinkDevice(vm, tmp_path, port=broker.port, host="broker.lan", hosts=hosts) as device,
    ):
        device.wait_state("online")


def test_the_name_is_looked_up_anew_each_time(vm, tmp_path):
    hosts = {"broker.lan": ["127.0.0.9"]}
    with (
        Broker(good) as broker,
        UplinkDevice(vm, tmp_path, port=broker.port, host="broker.lan", hosts=hosts) as device,
    ):
        assert "127.0.0.9" in device.wait_state("failed")["state"]
        device.order(hosts={})
        device.wait_state("failed: the name broker.lan could not be looked up")
        device.order(hosts={"broker.lan": ["127.0.0.1"]})
        device.wait_state("online")


def test_plain_text_to_the_internet_is_refused_and_it_is_said(vm, tmp_path):
    with (
        Broker(good) as broker,
        UplinkDevice(
            vm,
            tmp_path,
            port=broker.port,
            host="broker.example",
            hosts={"broker.example": ["203.0.113.7"]},
            redirect={"203.0.113.7": "127.0.0.1"},
        ) as device,
    ):
        state = device.wait_state("failed")["state"]
        device.end()
        assert "plain text is refused" in state
        assert "203.0.113.7" in state
        assert not broker.connections


def test_without_a_network_nothing_is_tried_and_with_one_at_once(vm, tmp_path):
    with (
        Broker(good) as broker,
        UplinkDevice(vm, tmp_path, port=broker.port, link=None) as device,
    ):
        device.wait_state("off")
        assert not broker.connections
        device.order(link="lan")
        device.wait_state("online")
        had = len(device.events)
        device.order(link=None)
        device.wait_state("off", after=had)
        device.order(link="wifi")
        device.wait_state("online", after=had)
        assert device.end()["connections"] == 2


def test_what_needs_the_room_of_a_connection_has_it_and_measurements_go_on_after_it(vm, tmp_path):
    with Broker(good) as broker, UplinkDevice(vm, tmp_path, port=broker.port) as device:
        wait_for(lambda: named(broker, "measurement"))
        had = len(device.events)
        device.order(alone=True)
        device.wait_state("off", after=had)
        had = len(device.events)
        wait_for(lambda: [event for event in device.events if event.get("worked_alone")])
        offline = [p.payload for p in named(broker, "status") if not p.payload["online"]]
        assert [status["reason"] for status in offline] == ["moving"]
        device.order(alone=False)
        device.wait_state("online", after=had)
        wait_for(lambda: [p for p in broker.connections[1].packets if p.kind == 3 and not p.qos])
        assert device.end()["connections"] == 2


def test_another_address_of_the_device_means_another_connection(vm, tmp_path):
    with Broker(good) as broker, UplinkDevice(vm, tmp_path, port=broker.port) as device:
        wait_for(lambda: named(broker, "info"))
        device.order(ip="10.1.2.3")
        wait_for(lambda: len(broker.connections) == 2 and broker.connections[0].ended)
        offline = [p.payload for p in named(broker, "status") if not p.payload["online"]]
        assert [status["reason"] for status in offline] == ["moving"]


def test_another_broker_is_served_as_soon_as_it_is_set(vm, tmp_path):
    with (
        Broker(good) as first,
        Broker(good) as second,
        UplinkDevice(vm, tmp_path, port=first.port) as device,
    ):
        wait_for(lambda: named(first, "measurement"))
        device.order(provider={"host": "127.0.0.1", "port": second.port, "tls": False})
        wait_for(lambda: named(second, "measurement"))


def _tried(device, port):
    """How a trial of that broker ends: (state, fault)."""
    had = len(device.events)
    device.order(trial={"host": "127.0.0.1", "port": port, "tls": False})
    seen = wait_for(
        lambda: [
            event["trial"]
            for event in device.events[had:]
            if event.get("trial", ["connecting", None]) != ["connecting", None]
        ]
    )
    return tuple(seen[0])


def _denies_commands(connection):
    connection.accept()
    while True:
        packet = connection.receive()
        if packet.kind == SUBSCRIBE:
            connection.send(b"\x90\x03" + packet.body[:2] + b"\x80")
        else:
            connection.answer(packet)


def _says_no(connection):
    connection.receive()
    connection.send(b"\x20\x02\x00\x05")


def test_a_provider_on_trial_must_admit_the_device_or_the_one_before_goes_on(vm, tmp_path):
    with (
        Broker(good) as first,
        Broker(_says_no, _denies_commands, good) as second,
        UplinkDevice(vm, tmp_path, port=first.port) as device,
    ):
        wait_for(lambda: named(first, "measurement"))
        for n, (port, fault) in enumerate(
            ((1, "refused"), (second.port, "rejected"), (second.port, "rejected"))
        ):
            assert _tried(device, port) == ("connecting", fault)
            wait_for(lambda n=n: len(first.connections) == n + 2)
            wait_for(lambda: [p for p in first.connections[-1].packets if p.kind == PUBLISH])
        reasons = [p.payload["reason"] for p in named(first, "status")]
        assert reasons == ["connected", "moving"] * 3 + ["connected"]
        assert not any(state.startswith("failed") for state in device.states)

        # The one there is, with another certificate: it is called anew.
        assert _tried(device, first.port) == ("online", None)
        assert len(first.connections) == 5

        assert _tried(device, second.port) == ("online", None)
        wait_for(lambda: named(second, "measurement"))
        device.order(provider={"host": "127.0.0.1", "port": second.port, "tls": False})
        count = len(named(second, "measurement"))
        wait_for(lambda: len(named(second, "measurement")) > count + 15)  # looks, meanwhile
        assert (len(first.connections), len(second.connections)) == (5, 3)


def test_a_device_whose_broker_is_gone_tries_another_at_once_and_goes_on_as_before(vm, tmp_path):
    with Broker(_says_no) as broker, UplinkDevice(vm, tmp_path, port=broker.port) as device:
        device.wait_state("failed")
        assert _tried(device, 1) == ("connecting", "refused")
        wait_for(lambda: len(broker.connections) >= 2)
        wait_for(lambda: device.states[-1].startswith("failed: the broker has not authorised"))


def test_a_device_does_not_wait_out_its_patience_when_the_network_changes(vm, tmp_path):
    def rejects(connection):
        connection.receive()
        connection.send(b"\x20\x02\x00\x05")

    with (
        Broker(rejects, rejects, rejects, good) as broker,
        UplinkDevice(vm, tmp_path, port=broker.port, speed=1) as device,
    ):
        device.wait_state("failed")
        for n in range(3):
            device.order(ip=f"10.0.0.{n + 2}")
            wait_for(lambda n=n: len(broker.connections) == n + 2)
        device.wait_state("online")
        assert device.events[-1]["t"] < 5000


def test_plain_text_does_not_wait_for_the_time(vm, tmp_path):
    with (
        Broker(good) as broker,
        UplinkDevice(vm, tmp_path, port=broker.port, clock=False),
    ):
        assert wait_for(lambda: named(broker, "status"))[0].payload["ts"] is None


def test_a_clock_that_runs_through_a_restart_gets_its_servers_and_keeps_nobody_waiting(
    vm, tmp_path
):
    with (
        Broker(good) as broker,
        UplinkDevice(vm, tmp_path, port=broker.port, servers=False) as device,
    ):
        wait_for(lambda: named(broker, "measurement"))
        last = device.end()
        assert (last["resolved"], last["asked"]) == (["127.0.0.1"], 0)


def test_tls_waits_for_the_time_and_says_so(vm, tmp_path):
    with (
        Broker(good) as broker,
        UplinkDevice(vm, tmp_path, port=broker.port, clock=False, tls=True) as device,
    ):
        state = device.wait_state("failed")["state"]
        device.end()
        assert "time is not known" in state
        assert "nobody answers" in state
        assert not broker.connections


def test_info_is_told_again_when_something_changed_but_not_for_a_weaker_signal(vm, tmp_path):
    with Broker(good) as broker, UplinkDevice(vm, tmp_path, port=broker.port) as device:
        wait_for(lambda: named(broker, "info"))
        device.order(info={"rssi": -65})
        device.order(info={"firmware": "0.2.0"})
        wait_for(lambda: len(named(broker, "info")) == 2)
        device.order(info={"rssi": -75})
        wait_for(lambda: len(named(broker, "info")) == 3)
        had = len(named(broker, "measurement"))
        wait_for(lambda: len(named(broker, "measurement")) >= had + 5)  # two looks at it
        rssi = [packet.payload["rssi"] for packet in named(broker, "info")]
        assert rssi == [-60, -60, -75]


def test_an_unacknowledged_message_is_sent_again_with_dup_and_the_same_id(vm, tmp_path):
    def forgets_one(connection):
        connection.accept()
        while True:
            packet = connection.receive()
            if packet.kind == 3 and packet.qos and not packet.operation & 8:
                continue
            connection.answer(packet)

    with Broker(forgets_one) as broker, UplinkDevice(vm, tmp_path, port=broker.port) as device:
        wait_for(lambda: len(named(broker, "info")) == 2)
        first, second = named(broker, "status")
        assert device.end()["connections"] == 1
    assert (first.operation & 8, second.operation & 8) == (0, 8)
    assert first.body == second.body


def test_live_measurements_go_on_while_an_acknowledgement_is_missing(vm, tmp_path):
    def forgets_all(connection):
        connection.accept()
        while True:
            packet = connection.receive()
            if packet.kind == 12:
                connection.answer(packet)

    with (
        Broker(forgets_all, good) as broker,
        UplinkDevice(vm, tmp_path, port=broker.port) as device,
    ):
        device.wait_state("failed")
        sent = [p for p in broker.connections[0].packets if p.kind == 3 and not p.qos]
    assert len(sent) >= 6


def test_a_quiet_broker_is_asked_whether_it_lives(vm, tmp_path):
    with Broker(good) as broker, UplinkDevice(vm, tmp_path, port=broker.port) as device:
        wait_for(lambda: [p for c in broker.connections for p in c.packets if p.kind == 12][2:])
        assert device.end()["connections"] == 1


def test_measurements_are_held_back_while_the_broker_is_in_doubt_and_the_newest_goes_first(
    vm, tmp_path
):
    def hesitates(connection):
        connection.accept()
        while (ping := connection.receive()).kind != 12:
            connection.answer(ping)
        connection.sock.settimeout(1.8)
        with contextlib.suppress(Gone):  # until so long has passed without a measurement
            while True:
                connection.receive()
        connection.ended = None
        connection.sock.settimeout(None)
        connection.answer(ping)
        while True:
            connection.answer(connection.receive())

    with (
        Broker(hesitates) as broker,
        UplinkDevice(vm, tmp_path, port=broker.port, period_ms=250, speed=1) as device,
    ):
        wait_for(lambda: len(named(broker, "measurement")) >= 36)
        last = device.end()
    assert last["connections"] == 1
    seqs = [packet.payload["seq"] for packet in named(broker, "measurement")]
    gaps = [after - before for before, after in itertools.pairwise(seqs)]
    assert max(gaps) >= 2
    assert gaps.count(1) == len(gaps) - 1
    assert last["dropped"] == max(gaps) - 1


def test_a_longer_interval_thins_out_what_is_sent_but_a_step_and_an_overload_are_told_at_once(
    vm, tmp_path
):
    def seqs():
        return [packet.payload["seq"] for packet in named(broker, "measurement")]

    with (
        Broker(good) as broker,
        UplinkDevice(vm, tmp_path, port=broker.port, interval_s=5, speed=3) as device,
    ):
        wait_for(lambda: len(seqs()) >= 5)
        # The first may have waited for the connection, and the second counts from when it went.
        assert [after - before for before, after in itertools.pairwise(seqs()[1:5])] == [5] * 3
        for carried_ma in (19000, 24900, 25100, 24900):  # steps over 2 A; in and out of overload
            last = seqs()[-1]
            device.order(carried_ma=carried_ma)
            wait_for(lambda last=last: seqs()[-1] > last)
            assert named(broker, "measurement")[-1].payload["i"][0] == carried_ma / 1000
            assert seqs()[-1] - last < 5
        device.order(carried_ma=24000)  # no step: it has to wait
        before = seqs()[-1]
        wait_for(lambda: seqs()[-1] > before)
        assert seqs()[-1] - before == 5


def test_memory_does_not_grow_over_many_connections(vm, tmp_path):
    def short(connection):
        connection.serve(until=lambda: len(connection.packets) > 3)

    heaps = []
    for connections in (8, 56):
        with (
            Broker(short) as broker,
            UplinkDevice(vm, tmp_path, port=broker.port, speed=20) as device,
        ):
            wait_for(lambda b=broker, n=connections: len(b.connections) >= n)
            heaps.append(device.end("collected")["heap"])
    # 64 bytes a connection; the one at the end may be there still, with a buffer of 1 kB
    assert heaps[1] - heaps[0] < 48 * 64, heaps


# -- without memory


def test_a_measurement_that_finds_no_memory_is_dropped_and_counted_and_the_next_one_sent(
    vm, tmp_path
):
    def missing():
        seqs = [packet.payload["seq"] for packet in named(broker, "measurement")]
        return seqs[-1] - seqs[0] + 1 - len(seqs)

    with Broker(good) as broker, UplinkDevice(vm, tmp_path, port=broker.port, speed=20) as device:
        wait_for(lambda: len(named(broker, "measurement")) >= 2)
        device.order(hunger={"live": 3})
        wait_for(lambda: missing() >= 3)
        had = len(named(broker, "measurement"))
        wait_for(lambda: len(named(broker, "measurement")) >= had + 3)
        last = device.end()
    assert (last["starved"], last["connections"]) == (3, 1)
    assert missing() == 3


def test_only_when_nothing_finds_memory_for_half_a_minute_the_thread_ends(vm, tmp_path):
    with Broker(good) as broker, UplinkDevice(vm, tmp_path, port=broker.port, speed=20) as device:
        wait_for(lambda: len(named(broker, "measurement")) >= 2)
        had = len(device.events)
        device.order(hunger={"live": 10**6})
        began = device.events[-1]["t"]
        crashed = device.wait_state("failed: crashed", after=had)
    assert crashed["t"] - began >= 30_000


def test_a_message_torn_for_want_of_memory_costs_the_connection_and_is_sent_in_the_next(
    vm, tmp_path
):
    def told():
        packets = [p for c in broker.connections for p in c.packets if p.kind == 3]
        return [p for p in packets if p.topic.startswith("homeassistant/")]

    with Broker(good) as broker, UplinkDevice(vm, tmp_path, port=broker.port, speed=20) as device:
        wait_for(lambda: named(broker, "info"))
        device.order(hunger={"torn": 1}, home_assistant=True)  # longer than what leaves at once
        wait_for(told)
        last = device.end()
    assert (last["starved"], last["connections"]) == (1, 2)
    assert last["buffers"] == 1  # later there may be no such piece left
    assert told()[0].payload["cmps"]


def test_a_call_that_finds_no_memory_is_tried_again(vm, tmp_path):
    with Broker(good) as broker, UplinkDevice(vm, tmp_path, port=broker.port, link=None) as device:
        device.order(hunger={"will": 2}, link="wifi")
        wait_for(lambda: named(broker, "measurement"))
        last = device.end()
    assert (last["starved"], last["connections"]) == (2, 1)


def test_memory_is_short_until_all_that_waits_is_sent_and_measurements_alone_do_not_end_it(
    vm, tmp_path
):
    """The portal gives way as long as it is: it must not come back for the second between."""
    for left, short in ((10**6, True), (3, False)):
        with (
            Broker(good) as broker,
            UplinkDevice(vm, tmp_path, port=broker.port, speed=20) as device,
        ):
            wait_for(lambda b=broker: named(b, "info"))
            device.order(hunger={"info": left}, info={"ip": "192.168.1.99"})
            had = len(named(broker, "measurement"))
            wait_for(lambda b=broker, had=had: len(named(b, "measurement")) >= had + 6)
            if not short:
                wait_for(lambda b=broker: named(b, "info")[-1].payload["ip"] == "192.168.1.99")
                had = len(named(broker, "measurement"))
                wait_for(lambda b=broker, had=had: len(named(b, "measurement")) >= had + 2)
            last = device.end()
        assert (last["short"], last["connections"], last["crash"]) == (short, 1, None)


def test_a_broker_that_is_not_there_is_no_want_of_memory(vm, tmp_path):
    """Else the portal would stay away: nobody could correct the provider."""
    with UplinkDevice(vm, tmp_path, port=free_port(), link=None) as device:
        device.order(hunger={"will": 1}, link="wifi")
        device.wait_state("failed: ")
        last = device.end()
    assert (last["starved"], last["short"]) == (1, False)


# -- records: nothing of value lost


def record_seqs(broker):
    return [packet.payload["seq"] for packet in named(broker, "event")]


def test_a_record_reaches_a_present_broker_once_and_at_once(vm, tmp_path):
    with (
        Broker(good) as broker,
        UplinkDevice(vm, tmp_path, port=broker.port, backlog="b") as device,
    ):
        wait_for(lambda: named(broker, "info"))
        device.order(records=[1])
        wait_for(lambda: record_seqs(broker) == [1])
        device.order(records=[2, 3])
        wait_for(lambda: record_seqs(broker) == [1, 2, 3])
        device.end()
        assert record_seqs(broker) == [1, 2, 3]
        assert all("late" not in packet.payload for packet in named(broker, "event"))
        assert all(packet.qos == 1 for packet in named(broker, "event"))


def test_what_happens_in_an_outage_is_told_after_it_in_order_and_as_late(vm, tmp_path):
    with (
        Broker(good) as broker,
        UplinkDevice(vm, tmp_path, port=broker.port, backlog="b") as device,
    ):
        wait_for(lambda: named(broker, "info"))
        broker.close()
        device.wait_state("failed")
        had = len(device.events)
        device.order(records=list(range(12)))
        wait_for(lambda: list((tmp_path / "b").glob("*.seg")))
        with Broker(good, port=broker.port) as again:
            device.wait_state("online", after=had)
            wait_for(lambda: record_seqs(again)[11:])
            wait_for(lambda: not list((tmp_path / "b").glob("*.seg")), "for the acknowledgements")
            device.end()
            assert record_seqs(again) == list(range(12))
            assert all(packet.payload["late"] for packet in named(again, "event"))
            # They never push the live message aside: at most one record for each.
            packets = [p for p in again.connections[0].packets if p.kind == 3]
            between = 0
            for packet in packets:
                between = 0 if packet.name == "measurement" else between + (packet.name == "event")
                assert between <= 1
    assert not list((tmp_path / "b").glob("*.seg"))


def test_a_record_without_its_acknowledgement_is_sent_again_in_the_next_connection(vm, tmp_path):
    def takes_no_events(connection):
        connection.accept()
        while True:
            packet = connection.receive()
            if not (packet.kind == 3 and packet.name == "event"):
                connection.answer(packet)

    with (
        Broker(takes_no_events, good) as broker,
        UplinkDevice(vm, tmp_path, port=broker.port, backlog="b") as device,
    ):
        device.order(records=[1, 2])
        wait_for(lambda: record_seqs(broker)[3:])
        device.end()
        first, second = (
            [p for p in c.packets if p.kind == 3 and p.name == "event"] for c in broker.connections
        )
        assert [p.payload["seq"] for p in first] == [1, 1]
        assert [p.payload["seq"] for p in second] == [1, 2]


def test_records_of_an_outage_survive_a_power_cut(vm, tmp_path):
    with Broker(good) as broker:
        config = {"port": broker.port, "backlog": "b", "link": None}
        with UplinkDevice(vm, tmp_path, **config) as device:
            device.order(records=list(range(5)))
            wait_for(lambda: sum(f.stat().st_size for f in (tmp_path / "b").glob("*.seg")) > 300)
        with UplinkDevice(vm, tmp_path, **config) as device:
            device.order(records=[5], link="lan")
            wait_for(lambda: record_seqs(broker)[5:])
            device.end()
        assert record_seqs(broker) == list(range(6))


# -- commands


def sends(*commands, retain=False):
    """A good broker that publishes these commands once the device has subscribed."""

    def behaviour(connection):
        def subscribed():
            return connection.packets[-1].kind == 8

        connection.serve(until=subscribed)
        topic = b"ampguard/AG100042317G/command"
        for n, command in enumerate(commands):
            body = len(topic).to_bytes(2, "big") + topic + (n + 1).to_bytes(2, "big")
            body += command if isinstance(command, bytes) else json.dumps(command).encode()
            size = bytes((len(body) & 127 | 128, len(body) >> 7))
            connection.send(bytes((0x32 | retain,)) + size + body)
        while True:
            connection.answer(connection.receive())

    return behaviour


def responses(broker):
    return [packet.payload for packet in named(broker, "response")]


def test_commands_are_acknowledged_and_answered(vm, tmp_path):
    asked = (
        {"v": 1, "id": "1", "do": "ping"},
        {"v": 1, "id": "2", "do": "set", "interval_s": 90},
        b'{"v":1,"id":"3","do":"ping","x":"' + b"x" * 3000 + b'"}',
    )
    with Broker(sends(*asked)) as broker, UplinkDevice(vm, tmp_path, port=broker.port) as device:
        wait_for(lambda: len(responses(broker)) == 3)
        assert device.end()["connections"] == 1
        (connection,) = broker.connections
        assert [p.packet_id for p in connection.packets if p.kind == 4] == [1, 2, 3]
        first, second, third = responses(broker)
        assert first == {"v": 1, "id": "1", "ok": True, "result": {}}
        assert (second["id"], second["ok"]) == ("2", False)
        assert (third["id"], third["ok"]) == ("3", False)
        assert "too long: 3035 bytes" in third["error"]
        subscription = next(p for p in connection.packets if p.kind == 8)
        assert subscription.body[2:] == b"\x00\x1dampguard/AG100042317G/command\x01"


def test_a_report_publishes_what_is_retained_anew(vm, tmp_path):
    asked = {"v": 1, "id": "1", "do": "report"}
    with Broker(sends(asked)) as broker, UplinkDevice(vm, tmp_path, port=broker.port):
        wait_for(lambda: len(named(broker, "info")) + len(named(broker, "status")) >= 3)
        wait_for(lambda: responses(broker))


def test_a_restart_is_answered_before_it_happens(vm, tmp_path):
    asked = {"v": 1, "id": "1", "do": "restart"}
    with Broker(sends(asked)) as broker, UplinkDevice(vm, tmp_path, port=broker.port) as device:
        online = device.wait_state("online")
        device.wait_state("off", after=device.events.index(online))
        wait_for(lambda: broker.connections[0].ended)
        assert responses(broker)[0]["ok"]
        assert named(broker, "status")[-1].payload["reason"] == "restart"
        assert broker.connections[0].packets[-1].kind == 14


def test_of_more_commands_than_can_be_kept_each_is_answered(vm, tmp_path):
    asked = [{"v": 1, "id": str(n), "do": "ping"} for n in range(40)]
    with Broker(sends(*asked)) as broker, UplinkDevice(vm, tmp_path, port=broker.port) as device:
        wait_for(lambda: len(responses(broker)) == 40)
        device.end()
    obeyed = [response["id"] for response in responses(broker) if response["ok"]]
    assert obeyed == sorted(obeyed, key=int)
    assert all(
        "too many" in response["error"] for response in responses(broker) if not response["ok"]
    )


def test_a_burst_of_eight_commands_is_obeyed(vm, tmp_path):
    asked = [{"v": 1, "id": str(n), "do": "ping"} for n in range(8)]
    with Broker(sends(*asked)) as broker, UplinkDevice(vm, tmp_path, port=broker.port) as device:
        wait_for(lambda: len(responses(broker)) == 8)
        device.end()
    assert [(r["id"], r["ok"]) for r in responses(broker)] == [(str(n), True) for n in range(8)]


def test_a_retained_command_is_refused(vm, tmp_path):
    asked = {"v": 1, "id": "1", "do": "restart"}
    with (
        Broker(sends(asked, retain=True)) as broker,
        UplinkDevice(vm, tmp_path, port=broker.port) as device,
    ):
        wait_for(lambda: responses(broker))
        assert "retained" in responses(broker)[0]["error"]
        assert device.end()["connections"] == 1
