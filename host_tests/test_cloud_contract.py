"""docs/protocol.md, docs/schema/ and what cloud/protocol.py writes say the same."""

import hmac
import json
import random
import re
from types import SimpleNamespace

import pytest
from cloud_bench import ROOT
from jsonschema import Draft202012Validator

from cloud import protocol, records

SCHEMAS = {
    path.stem: json.loads(path.read_text()) for path in (ROOT / "docs" / "schema").glob("*.json")
}
CONTRACT = (ROOT / "docs" / "protocol.md").read_text()
EXAMPLES = re.findall(r"```json (\w+)\n(.*?)```", CONTRACT, re.DOTALL)


def check(name: str, text: str) -> dict:
    message = json.loads(text)
    Draft202012Validator(SCHEMAS[name]).validate(message)
    return message


def examples(name: str) -> list[dict]:
    return [json.loads(text) for kind, text in EXAMPLES if kind == name]


@pytest.mark.parametrize("name", sorted(SCHEMAS))
def test_every_message_has_an_example_in_the_contract_and_it_is_valid(name):
    Draft202012Validator.check_schema(SCHEMAS[name])
    assert examples(name)
    for kind, text in EXAMPLES:
        if kind == name:
            check(name, text)


def test_every_schema_has_a_row_in_the_contract():
    for name in SCHEMAS:
        assert re.search(rf"^\| .*`{name}`.*\|", CONTRACT, re.MULTILINE), name


def random_number(generator, low, high):
    return generator.choice([None, 0, low, high, generator.randint(low, high)])


def random_phases(generator, low, high):
    return [random_number(generator, low, high) for _ in range(3)]


def test_every_measurement_that_can_be_made_is_valid_and_exact():
    generator = random.Random(20260101)
    for _ in range(500):
        m = SimpleNamespace(
            seq=generator.randint(0, 2**40),
            ts_ms=generator.choice([None, generator.randint(1735689600000, 4102444800000)]),
            i_ma=random_phases(generator, 0, 800_000),
            u_mv=random_phases(generator, 0, 500_000),
            p_mw=random_phases(generator, -400_000_000, 400_000_000),
            q_mvar=random_phases(generator, -400_000_000, 400_000_000),
            pf_milli=random_phases(generator, -1000, 1000),
            f_mhz=random_number(generator, 45_000, 65_000) or None,
            cov_permille=generator.randint(0, 1000),
            flags=generator.sample(["clipped_l1", "estimated_l2", "no_voltage"], 2),
        )
        message = check("measurement", protocol.measurement_payload(m))
        for field, exact in (("i", m.i_ma), ("u", m.u_mv), ("p", m.p_mw), ("pf", m.pf_milli)):
            back = [None if x is None else round(x * 1000) for x in message[field]]
            assert back == exact
        assert message["seq"] == m.seq
        assert message["ts"] == m.ts_ms


def test_the_examples_are_what_the_firmware_writes():
    for example in examples("measurement"):
        m = SimpleNamespace(
            seq=example["seq"],
            ts_ms=example["ts"],
            i_ma=[round(x * 1000) for x in example["i"]],
            u_mv=[round(x * 1000) for x in example["u"]],
            p_mw=[round(x * 1000) for x in example["p"]],
            q_mvar=[round(x * 1000) for x in example["q"]],
            pf_milli=[round(x * 1000) for x in example["pf"]],
            f_mhz=round(example["f"] * 1000),
            cov_permille=round(example["cov"] * 1000),
            flags=example["flags"],
        )
        assert json.loads(protocol.measurement_payload(m)) == example
    online, will = examples("status")
    assert json.loads(protocol.status_payload(True, 1767225600123, "connected")) == online
    assert json.loads(protocol.last_will_payload()) == will
    (info,) = examples("info")
    assert json.loads(protocol.info_payload(info)) == info
    (energy,) = examples("energy")
    record = SimpleNamespace(
        seq=energy["seq"],
        from_s=energy["from"],
        to_s=energy["to"],
        imp_wh=energy["imp"],
        exp_wh=energy["exp"],
        net_imp_wh=energy["net_imp"],
        net_exp_wh=energy["net_exp"],
        i_max_ma=[round(x * 1000) for x in energy["i_max"]],
    )
    payload = protocol.energy_payload(record, late=True)
    assert json.loads(payload) == energy


def test_the_password_in_the_contract_is_the_one_a_broker_computes():
    password = hmac.new(b"K7M3XQ9A", b"mqtt:AG100042317G", "sha256").hexdigest()
    assert f"`{password}`" in CONTRACT


def test_every_flag_of_the_meter_is_explained():
    source = "".join(path.read_text() for path in (ROOT / "firmware" / "metering").glob("*.py"))
    flags = re.findall(r'flags\.append\("(\w+)"', source)
    assert flags
    for flag in flags:
        assert re.search(rf"^\| `{flag}(_l\d)?` \|", CONTRACT, re.MULTILINE), flag


def test_every_reason_of_the_uplink_is_explained():
    source = (ROOT / "firmware" / "cloud" / "uplink.py").read_text()
    reasons = {"lost", *re.findall(r'"(connected|moving|restart)"', source)}
    for reason in reasons:
        assert re.search(rf"^\| `{reason}` \|", CONTRACT, re.MULTILINE), reason


def test_a_record_reads_the_same_after_it_waited_on_flash():
    for absent in (False, True):
        record = SimpleNamespace(
            seq=4711,
            from_s=None if absent else 1767225600,
            to_s=None if absent else 1767225660,
            imp_wh=[4_000_000_000, 1, 2],
            exp_wh=[3, 4, 5],
            net_imp_wh=6,
            net_exp_wh=7,
            i_max_ma=[None if absent else 800_000, 0, 16012],
        )
        for late in (False, True):
            name, payload = records.message(*records.energy(record), late)
            assert name == "energy"
            assert payload == protocol.energy_payload(record, late)
            check("energy", payload)


def test_an_event_that_waited_says_so():
    payload = '{"v":1,"seq":7,"ts":1767225600123,"kind":"overload","words":"L2 \u00e5"}'
    assert records.message(*records.event(payload), False) == ("event", payload)
    _, late = records.message(*records.event(payload), True)
    assert check("event", late) == {**json.loads(payload), "late": True}
