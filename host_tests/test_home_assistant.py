"""What Home Assistant is told, against what it documents for devices, MQTT sensors and classes.

docs/home-assistant.md says how the same message was put before Home Assistant's own schemas.
"""

import json
import re

import pytest
from cloud_bench import ROOT, VMS
from cloud_broker import Broker, UplinkDevice, wait_for

from cloud import home_assistant

SERIAL = "AG100042317G"
INFO = {"serial": SERIAL, "variant": "home", "phases": 3, "firmware": "0.1.0"}
TOPIC = f"homeassistant/device/{SERIAL}/config"
# https://www.home-assistant.io/integrations/sensor#device-class
UNITS = {
    "current": {"A", "mA"},
    "voltage": {"V", "mV", "kV"},
    "power": {"W", "kW"},
    "power_factor": {None, "%"},
    "frequency": {"Hz", "kHz"},
    "energy": {"Wh", "kWh", "MWh"},
}
# abbreviations.py of Home Assistant's MQTT integration: those of each part that we use.
ROOT_FIELDS = {"dev", "o", "cmps", "stat_t", "avty_t", "avty_tpl"}
DEVICE_FIELDS = {"ids", "name", "mf", "mdl", "sn", "sw"}
FIELDS = {
    *("p", "name", "uniq_id", "stat_t", "val_tpl", "dev_cla", "stat_cla", "unit_of_meas"),
    *("exp_aft", "sug_dsp_prc"),
}
VALUES = 4 + 3 * 6


def announced(info=INFO, interval_s=1):
    topic, message = home_assistant.announcement(info, interval_s, True)
    assert topic == TOPIC
    assert list(message()) == list(message())  # sent twice: for its length, and to be sent
    return json.loads("".join(message()))


def test_the_device_and_every_value_are_what_home_assistant_documents():
    config = announced()
    assert set(config) == ROOT_FIELDS
    assert set(config["dev"]) == DEVICE_FIELDS
    assert config["dev"]["ids"] == [f"ampguard_{SERIAL}"]
    assert config["o"] == {"name": "Amp Guard", "sw": "0.1.0"}
    assert config["avty_t"] == f"ampguard/{SERIAL}/status"
    values = config["cmps"]
    assert len(values) == VALUES
    assert {value["uniq_id"] for value in values.values()} == {
        f"ampguard_{SERIAL}_{name}" for name in values
    }
    assert len({value["name"] for value in values.values()}) == VALUES
    for value in values.values():
        assert set(value) <= FIELDS
        assert value["p"] == "sensor"
        assert value["sug_dsp_prc"] in (0, 1, 2)
        assert value.get("unit_of_meas") in UNITS[value["dev_cla"]]
        energy = value["dev_cla"] == "energy"
        assert value["stat_cla"] == ("total_increasing" if energy else "measurement")
        assert ("exp_aft" in value) != energy


def test_every_template_finds_its_value_in_the_contracts_own_examples():
    contract = (ROOT / "docs" / "protocol.md").read_text()
    config = announced()
    for value in config["cmps"].values():
        name = value.get("stat_t", config["stat_t"]).rsplit("/", 1)[1]
        example = json.loads(re.search(rf"```json {name}\n(.*?)```", contract, re.DOTALL)[1])
        found = re.fullmatch(r"{{ value_json\.(\w+)(?:\[(\d)\])? }}", value["val_tpl"])
        number = example[found[1]]
        assert isinstance(number[int(found[2])] if found[2] else number, int | float)


def test_no_piece_of_the_message_needs_much_heap():
    _, message = home_assistant.announcement(INFO, 1, True)
    assert max(len(piece) for piece in message()) < 300


def test_a_site_with_one_phase_has_no_values_of_the_others():
    values = announced({**INFO, "phases": 1})["cmps"]
    assert len(values) == VALUES
    gone = {name for name, value in values.items() if value == {"p": "sensor"}}
    assert gone == {name for name in values if name[-3:] in ("_l2", "_l3")}
    assert len(gone) == 12


def test_a_longer_interval_lets_values_live_longer():
    assert announced(interval_s=60)["cmps"]["i_l1"]["exp_aft"] == 180


@pytest.mark.parametrize("vm", VMS)
def test_it_is_off_until_it_is_turned_on_and_turned_off_it_takes_the_device_back(vm, tmp_path):
    def told():
        packets = [p for c in broker.connections for p in c.packets if p.kind == 3]
        return [p for p in packets if p.topic.startswith("homeassistant/")]

    with (
        Broker(lambda connection: connection.serve()) as broker,
        UplinkDevice(vm, tmp_path, port=broker.port, speed=20) as device,
    ):
        wait_for(lambda: [p for c in broker.connections for p in c.packets if p.kind == 12])
        assert not told()
        device.order(home_assistant=True)
        wait_for(lambda: len(told()) == 1)
        (packet,) = told()
        assert (packet.topic, packet.qos, packet.operation & 1) == (TOPIC, 1, 1)
        assert packet.payload == announced({**INFO, "variant": "home"})
        device.order(interval_s=10)
        wait_for(lambda: len(told()) == 2)
        assert told()[1].payload == announced(interval_s=10)
        device.order(link="lan")  # a new connection: perhaps to a broker that has forgotten
        wait_for(lambda: len(told()) == 3)
        device.order(home_assistant=False)
        wait_for(lambda: len(told()) == 4)
        assert told()[3].operation & 1
        assert len(told()[3].body) == 4 + len(TOPIC)  # empty
        device.order(link="wifi")
        wait_for(lambda: len(told()) == 5 or len(broker.connections) == 3)
        assert device.end()["crash"] is None
