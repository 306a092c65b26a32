"""docs/consumers.md: what other programs are told to pick out of a message is there."""

import json
import re
import subprocess

import pytest
from cloud_bench import ROOT
from programs import program

WORDS = (ROOT / "docs" / "consumers.md").read_text()
CONTRACT = (ROOT / "docs" / "protocol.md").read_text()
PICKED = re.findall(r"topic: ampguard/\w+/(\w+)\n +jq: (.*)", WORDS)


def examples(name: str) -> list[str]:
    return re.findall(rf"```json {name}\n(.*?)```", CONTRACT, re.DOTALL)


def test_each_value_has_its_topic() -> None:
    assert len(PICKED) == 6
    assert len(re.findall("jq:", WORDS)) == 6


@pytest.mark.parametrize(("name", "query"), PICKED)
def test_evcc_finds_one_number_in_every_message(name: str, query: str) -> None:
    jq = program("jq")
    for message in examples(name):
        done = subprocess.run(
            [jq, query], input=message, capture_output=True, text=True, check=True
        )
        assert isinstance(json.loads(done.stdout), int | float)


def test_telegraf_finds_its_topics_and_its_time() -> None:
    topics = re.findall(r'topics = \["ampguard/\+/(\w+)"\]', WORDS)
    assert topics == ["measurement", "energy"]
    key = re.search(r'json_time_key = "(\w+)"', WORDS)[1]
    assert all(json.loads(message)[key] for message in examples("energy"))
