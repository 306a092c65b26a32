"""What happens becomes events that the contract knows."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema

from cloud import records
from cloud.events import Events

SCHEMA = json.loads((Path(__file__).parent.parent / "docs/schema/event.json").read_text())


def test_an_overload_is_told_with_its_phase_and_in_words() -> None:
    kept = []
    events = Events(lambda *record: kept.append(records.message(*record, False)), lambda: None)
    events.overload(1, 27_349, None, 25)
    events.overload(1, 28_100, 12, 25)
    events.say("wiring", 'Clamp 2 is on "L3".')
    payloads = [json.loads(payload) for _, payload in kept]
    for payload in payloads:
        jsonschema.validate(payload, SCHEMA)
    assert [name for name, _ in kept] == ["event"] * 3
    assert [payload["seq"] for payload in payloads] == [1, 2, 3]
    assert [payload["kind"] for payload in payloads] == ["overload", "overload_end", "wiring"]
    assert payloads[0]["phase"] == payloads[1]["phase"] == 2
    assert payloads[0]["words"] == "L2 carries 27.3 A, more than its fuse of 25 A"
    assert payloads[1]["words"] == "L2 carried up to 28.1 A for 12 s"
    assert payloads[2]["words"] == 'Clamp 2 is on "L3".'
    assert "phase" not in payloads[2]
    assert payloads[0]["ts"] is None
