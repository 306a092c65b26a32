"""However the simulator is ended, nothing it started outlives it."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from whole_device import ROOT, WholeDevice

from sim.ports import free_port

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


@contextlib.contextmanager
def started() -> Iterator[tuple[WholeDevice, set[int]]]:
    """A device whose VM is running, and every process that belongs to it."""
    with WholeDevice("--no-provision") as device:
        device.hear("opens its access point")
        below = descendants(device.process.pid)
        assert below, device.words
        yield device, below


@contextlib.contextmanager
def command(*words: str) -> Iterator[subprocess.Popen[str]]:
    """A process that is killed at the end, if it still runs."""
    process = subprocess.Popen(
        words,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def simulate(*options: str) -> list[str]:
    ports = [f"--{name}={free_port()}" for name in ("portal", "dns", "control")]
    return [sys.executable, str(ROOT / "tools" / "simulate.py"), *ports, *options]


def follow(process: subprocess.Popen[str], words: str) -> None:
    """Reads what it says up to a line with these words."""
    assert process.stderr is not None
    while words not in (line := process.stderr.readline()):
        assert line, f"ended without saying {words!r}"


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_it_and_all_it_started(number: int, code: int) -> None:
    with started() as (device, below):
        assert device.close(number) == code
        assert gone(below)
        assert not device.garbage


def test_all_it_started_ends_even_when_it_is_killed() -> None:
    with started() as (device, below):
        assert device.close(signal.SIGKILL) == -signal.SIGKILL
        assert gone(below)


def test_it_ends_when_whoever_started_it_is_gone() -> None:
    script = "import subprocess, sys; sys.exit(subprocess.call(sys.argv[1:]))"
    with command(sys.executable, "-c", script, *simulate("--no-provision")) as parent:
        follow(parent, "opens its access point")
        below = descendants(parent.pid)
        assert len(below) >= 2
        parent.kill()
        parent.wait()
        assert gone(below)


def test_it_ends_when_nobody_reads_its_messages() -> None:
    with command(*simulate("--json", "--for", "60")) as process:
        assert process.stdout is not None
        process.stdout.close()
        follow(process, "opens its access point")
        below = descendants(process.pid)
        follow(process, "nobody reads the messages")
        assert process.wait(20) == 1
        assert gone(below)
