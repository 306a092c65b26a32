"""The true addresses: the board's 192.168.251.1:80 and :53 in a network namespace of its own, and
a phone in another.

A machine that allows no namespaces (an ordinary container, say) skips this and says why, also
with AMPGUARD_REQUIRE_ALL=1: it is the kernel's permission that is missing, which nothing that a
script installs can bring, not a program.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from programs import program

from sim.image import build, default_vm

pytestmark = pytest.mark.whole_device

STAGE = Path(__file__).with_name("namespace_stage.py")


@pytest.fixture
def namespace() -> list[str]:
    """The command that runs another one where it may lay cables and mount files."""
    for name in ("unshare", "nsenter", "ip"):
        program(name)
    tried = []
    for flags in ("-rnm", "-nm"):
        command = ["unshare", flags]
        cable = "ip link add name a type veth peer name b && unshare -nm true"
        done = subprocess.run(
            [*command, "sh", "-c", cable], capture_output=True, text=True, check=False
        )
        if done.returncode == 0:
            return command
        tried.append(f"unshare {flags}: {done.stderr.strip()}")
    pytest.skip("no network namespace on this machine: " + "; ".join(tried))


def test_a_phone_finds_the_page_at_the_boards_true_address(namespace, tmp_path: Path) -> None:
    chromium = program("chromium", "chromium-browser")
    build(default_vm())  # outside, where every file may be written
    done = subprocess.run(
        [*namespace, sys.executable, str(STAGE), str(tmp_path), chromium],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout)
    assert found["dnspython"] == ["192.168.251.1"]
    assert found["http"] == [200, "http://192.168.251.1/", True]
    assert found["probe"] == [200, "http://192.168.251.1/"]
    assert "<title>Connect to Wi-Fi · Amp Guard 42317</title>" in found["chromium"]
