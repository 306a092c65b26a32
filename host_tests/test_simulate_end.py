"""However the simulator is ended, nothing it started outlives it."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from whole_device import ROOT, WholeDevice, free_port

pytestmark = pytest.mark.whole_device


def descendants(pid: int) -> set[int]:
    """All processes below `pid` now."""
    parents: dict[int, int] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        parents[int(stat.parent.name)] = int(fields[1])
    found = {pid}
    while True:
        more = {child for child, parent in parents.items() if parent in found} - found
        if not more:
            return found - {pid}
        found |= more


def gone(pids: set[int], within: float = 10) -> bool:
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        if not any(alive(pid) for pid in pids):
            return True
        time.sleep(0.05)
    return False


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def started() -> tuple[WholeDevice, set[int]]:
    """A device whose VM is running, and every process that belongs to it."""
    device = WholeDevice("--no-provision")
    device.hear("opens its access point")
    below = descendants(device.process.pid)
    assert below
    return device, below


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_it_and_all_it_started(number: int, code: int) -> None:
    device, below = started()
    assert device.close(number) == code
    assert gone(below)
    assert not device.garbage


def test_all_it_started_ends_even_when_it_is_killed() -> None:
    device, below = started()
    assert device.close(signal.SIGKILL) == -signal.SIGKILL
    assert gone(below)


def test_it_ends_when_whoever_started_it_is_gone() -> None:
    script = "import subprocess, sys; sys.exit(subprocess.call(sys.argv[1:]))"
    ports = [f"--{name}={free_port()}" for name in ("portal", "dns", "control")]
    tool = (sys.executable, str(ROOT / "tools" / "simulate.py"))
    parent = subprocess.Popen(
        [sys.executable, "-c", script, *tool, "--no-provision", *ports],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    assert parent.stderr is not None
    while "opens its access point" not in parent.stderr.readline():
        assert parent.poll() is None
    below = descendants(parent.pid)
    assert len(below) >= 2
    parent.kill()
    parent.wait()
    assert gone(below)


def test_it_ends_when_nobody_reads_its_messages() -> None:
    device = WholeDevice()
    assert device.process.stdout is not None
    below = descendants(device.process.pid)
    device.hear("is led to the page")
    below |= descendants(device.process.pid)
    os.dup2(os.open(os.devnull, os.O_RDONLY), device.process.stdout.fileno())
    device.hear("nobody reads the messages")
    assert device.wait(20) == 1
    assert gone(below)
