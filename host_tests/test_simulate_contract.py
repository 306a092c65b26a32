"""Every message of every run is held against docs/protocol.md and docs/schema."""

import json

import paho.mqtt.client as mqtt
import pytest
from whole_device import SERIAL, WholeDevice

from sim.contract import Contract
from sim.message import Message

TOPIC = f"ampguard/{SERIAL}"
STATUS = b'{"v": 1, "online": true, "ts": null, "reason": "connected"}'


def judged(name: str, payload: bytes, qos: int = 1, retain: bool = False) -> str:
    return Contract(TOPIC).fault(Message(0.0, f"{TOPIC}/{name}", payload, qos, retain))


def test_a_message_as_promised_passes() -> None:
    assert judged("status", STATUS, retain=True) == ""


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("no topic", ("weather", b"{}")),
        ("QoS 0", ("status", STATUS, 0, True)),
        ("retained", ("event", b"{}", 1, True)),
        ("'online' is a required", ("status", b'{"v":1,"ts":null,"reason":"lost"}')),
        ("status['ts']", ("status", STATUS.replace(b"null", b'"noon"'))),
        ("is not of type 'object'", ("status", b"no JSON")),
    ],
)
def test_what_was_not_promised_is_told(words: str, message: tuple[str, bytes]) -> None:
    assert words in judged(*message)


def test_others_topics_and_what_is_sent_to_the_device_are_none_of_its_business() -> None:
    contract = Contract(TOPIC)
    for topic in (f"{TOPIC}/command", "homeassistant/device/x/config", "ampguard/AG1G/status"):
        assert contract.fault(Message(0.0, topic, b"?", 0, True)) == ""
    assert contract.checked == 0


def say_something_wrong() -> None:
    with WholeDevice("--no-provision") as device:
        client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)
        client.connect(*device.broker)
        client.loop_start()
        client.publish(f"{TOPIC}/event", json.dumps({"v": 1}), 1).wait_for_publish(5)
        device.hear("breaks the contract")
        client.disconnect()
        client.loop_stop()


@pytest.mark.whole_device
def test_a_run_in_which_a_message_breaks_the_contract_fails() -> None:
    with pytest.raises(AssertionError, match="breaks the contract: event"):
        say_something_wrong()
