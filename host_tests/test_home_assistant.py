"""What Home Assistant is told, against what it documents for MQTT sensors and device classes."""

import json
import re

import pytest
from cloud_bench import ROOT, VMS
from cloud_broker import Broker, UplinkDevice, wait_for

from cloud import home_assistant

INFO = {"serial": "AG100042317G", "variant": "home", "phases": 3, "firmware": "0.1.0"}
# https://www.home-assistant.io/integrations/sensor#device-class
UNITS = {
    "current": {"A", "mA"},
    "voltage": {"V", "mV", "kV"},
    "power": {"W", "kW"},
    "power_factor": {None, "%"},
    "frequency": {"Hz", "kHz"},
    "energy": {"Wh", "kWh", "MWh"},
}
STATE_CLASSES = {"measurement", "total", "total_increasing"}
# abbreviations.py of Home Assistant's MQTT integration: those a sensor may have, that we use.
FIELDS = {
    *("name", "uniq_id", "stat_t", "val_tpl", "dev_cla", "stat_cla", "unit_of_meas"),
    *("avty_t", "avty_tpl", "exp_aft", "dev"),
}
DEVICE_FIELDS = {"ids", "name", "mf", "mdl", "sn", "sw"}


def messages(info=INFO, interval_s=1, wanted=True):
    number = 0
    while (message := home_assistant.message(number, info, interval_s, wanted)) is not None:
        yield message
        number += 1


def test_every_value_is_one_that_home_assistant_documents():
    told = [(topic, json.loads(payload)) for topic, payload in messages()]
    assert len(told) == 21
    assert len({config["uniq_id"] for _, config in told}) == 21
    for topic, config in told:
        assert re.fullmatch(r"homeassistant/sensor/[\w-]+/[\w-]+/config", topic)
        assert set(config) <= FIELDS
        assert set(config["dev"]) <= DEVICE_FIELDS
        assert config["dev"]["ids"] == ["ampguard_AG100042317G"]
        assert config.get("unit_of_meas") in UNITS[config["dev_cla"]]
        assert config["stat_cla"] in STATE_CLASSES
        energy = config["dev_cla"] == "energy"
        assert (config["stat_cla"] == "total_increasing") == energy
        assert ("exp_aft" in config) != energy
        assert config["avty_t"] == "ampguard/AG100042317G/status"


def test_every_template_finds_its_value_in_the_contracts_own_examples():
    contract = (ROOT / "docs" / "protocol.md").read_text()
    for _, payload in messages():
        config = json.loads(payload)
        name = config["stat_t"].rsplit("/", 1)[1]
        example = json.loads(re.search(rf"```json {name}\n(.*?)```", contract, re.DOTALL)[1])
        found = re.fullmatch(r"{{ value_json\.(\w+)(?:\[(\d)\])? }}", config["val_tpl"])
        value = example[found[1]]
        assert isinstance(value[int(found[2])] if found[2] else value, int | float)


def test_no_message_needs_much_heap():
    assert max(len(payload) for _, payload in messages()) < 700


def test_a_site_with_one_phase_has_no_values_of_the_others():
    told = dict(messages({**INFO, "phases": 1}))
    assert [topic.split("/")[3] for topic in told if told[topic]] == [
        *("i_l1", "u_l1", "p_l1", "pf_l1", "imp_l1", "exp_l1", "f", "net_imp", "net_exp")
    ]
    assert len(told) == 21


def test_a_longer_interval_lets_values_live_longer():
    (_, payload), *_ = messages(interval_s=60)
    assert json.loads(payload)["exp_aft"] == 180


@pytest.mark.parametrize("vm", VMS)
def test_it_is_off_until_it_is_turned_on_and_turned_off_it_takes_everything_back(vm, tmp_path):
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
        wait_for(lambda: len(told()) == 21)
        assert {p.topic for p in told()} == {topic for topic, _ in messages()}
        assert all(p.operation & 1 and p.qos == 1 and p.payload["uniq_id"] for p in told())
        device.order(home_assistant=False)
        wait_for(lambda: len(told()) == 42)
        device.order(home_assistant=True)
        wait_for(lambda: len(told()) >= 45)
        device.order(home_assistant=False)  # half-way
        wait_for(
            lambda: len(told()) >= 45 + 21 and not any(p.body[-1:] == b"}" for p in told()[-21:])
        )
        assert all(len(p.body) == 4 + len(p.topic) and p.operation & 1 for p in told()[21:42])
        assert device.end()["crash"] is None
