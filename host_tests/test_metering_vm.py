"""The same meter on CPython and on the VMs: the same numbers, and no heap while it measures."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path

import pytest
from conftest import Run

FOLDER = Path(__file__).parent / "metering_vm"
TABLE = [round(32767 * math.sin(2 * math.pi * n / 1024)) for n in range(1024)]
SCENARIO = (FOLDER / "scenario.py",)
PRELUDE = f"import sys\ntable = {TABLE}\nimport scenario\n"


def test_the_vms_measure_what_cpython_measures(run_vm: Run) -> None:
    sys.path.insert(0, str(FOLDER))
    import scenario

    mine = scenario.run(TABLE, 7)
    code = PRELUDE + "import json\nprint(json.dumps(scenario.run(table, 7)))"
    theirs = json.loads(run_vm(code, beside=SCENARIO))
    assert [m[0] for m in theirs] == list(range(1, len(mine) + 1))
    for here, there in zip(mine, theirs, strict=True):
        assert here[1:3] == there[1:3]  # currents and voltages: integers throughout
        assert here[5:] == there[5:]
        for quantity in (3, 4):  # powers pass through floats, single precision on the board
            for a, b in zip(here[quantity], there[quantity], strict=True):
                assert b == (a if a is None else pytest.approx(a, rel=2e-6, abs=5000))


def test_the_vms_find_out_about_the_wiring_what_cpython_finds_out(run_vm: Run) -> None:
    sys.path.insert(0, str(FOLDER))
    import scenario

    state, findings, told = scenario.wired(TABLE)
    assert state["clamps"] == ["L1", "-L3", "L2"]
    assert state["sequence"] == "123"
    assert told == state["findings"]
    code = PRELUDE + "import json\nprint(json.dumps(scenario.wired(table)))"
    theirs = json.loads(run_vm(code, beside=SCENARIO))
    assert theirs[0].pop("confidence") == pytest.approx(state.pop("confidence"), abs=0.05)
    assert theirs == json.loads(json.dumps([state, findings, told]))


def test_judging_leaves_no_code_on_the_heap(run_vm: Run) -> None:
    code = """
import gc
scenario.wired(table)
gc.collect()
before = gc.mem_alloc()
scenario.wired(table)
gc.collect()
print(gc.mem_alloc() - before)
print(any("metering.wiring_" in name for name in sys.modules))
"""
    left, there = run_vm(PRELUDE + code, beside=SCENARIO).split()
    assert int(left) < 1000
    assert there == "False"


@pytest.mark.parametrize(
    "amplitude",
    [
        "[1900, 1200, 700, 8800, 8700, 8600]",
        "[1900, 1200, 700, 8800, 0, 0]",
        "[900] * 3 + [0] * 3",
    ],
)
def test_a_slice_takes_no_heap(run_vm: Run, amplitude: str) -> None:
    code = f"""
import micropython

def locked(mains, meter):
    slices = 0
    told_ms = mains.time.ticks_ms()
    while slices < 120:
        if mains.time.ticks_ms() - told_ms > 900:
            while meter.slice() is None:
                pass
            told_ms = mains.time.ticks_ms()
        micropython.heap_lock()
        try:
            meter.slice()
        finally:
            micropython.heap_unlock()
        slices += 1
        mains.time.us += 300
    return slices

mains = scenario.Mains(table)
mains.amplitude = {amplitude}
from metering.wiring import Wiring
meter = scenario.meter_on(mains, wiring=Wiring(scenario.load("home"), 3, lambda: 0))
while meter.slice() is None:
    pass
print(locked(mains, meter))
"""
    assert int(run_vm(PRELUDE + code, beside=SCENARIO)) == 120


def test_a_message_costs_less_than_ten_kilobytes_of_heap(run_vm: Run) -> None:
    code = """
import gc
mains = scenario.Mains(table)
meter = scenario.meter_on(mains)
while meter.slice() is None:
    pass
while meter.slice() is None:
    pass
told_ms = mains.time.ticks_ms()
while mains.time.ticks_ms() - told_ms < 950:
    assert meter.slice() is None
gc.collect()
gc.disable()
before = gc.mem_alloc()
while meter.slice() is None:
    pass
print(gc.mem_alloc() - before)
"""
    assert int(run_vm(PRELUDE + code, beside=SCENARIO)) < 10_240
