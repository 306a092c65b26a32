"""Energy counters: what they count, and what power cuts and ten years do to them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from conftest import Run
from metering_bench import MeterBench

from metering.energy import Energy
from sim.cpython.virtual_time import VirtualTime
from sim.plant import Plant

RAM_DISK = (Path(__file__).resolve().parent / "metering_vm" / "ram_disk.py",)
MINUTE_US = 60_000_000


def minutes(energy: Energy, time: VirtualTime, p_mw: list[Any], count: int = 1) -> Any:
    """The record after `count` minutes of constant powers."""
    record = None
    for _ in range(count):
        time.sleep_ms(60_000)
        energy.add(p_mw, MINUTE_US, [1, 2, 3])
        record = energy.minute(1_800_000_000_000)
        assert record
    return record


def test_import_and_export_are_counted_apart_and_net_is_the_sum(tmp_path: Path) -> None:
    time = VirtualTime()
    energy = Energy(str(tmp_path / "energy"), time=time)
    record = minutes(energy, time, [6_000_000, -3_000_000, None], 10)
    assert record.imp_wh == [1000, 0, 0]
    assert record.exp_wh == [0, 500, 0]
    assert (record.net_imp_wh, record.net_exp_wh) == (500, 0)
    record = minutes(energy, time, [0, -6_000_000, 3_000_000], 10)
    assert (record.net_imp_wh, record.net_exp_wh) == (500, 500)


def test_small_powers_are_not_lost_to_rounding(tmp_path: Path) -> None:
    energy = Energy(str(tmp_path), time=VirtualTime())
    for _ in range(3600):
        energy.add([1_001, 0, 0], 1_000_000, [0, 0, 0])  # 1.001 W for an hour
    assert energy._mwh[0] == 1001


def test_a_record_comes_each_minute_with_the_highest_current(tmp_path: Path) -> None:
    time = VirtualTime()
    energy = Energy(str(tmp_path), time=time)
    for highest in (4000, 9000, 5000):
        energy.add([0, 0, None], 1_000_000, [highest, 100, None])
    assert energy.minute(None) is None
    time.sleep_ms(60_000)
    record = energy.minute(1_800_000_000_000)
    assert record.i_max_ma == [9000, 100, None]
    assert (record.from_s, record.to_s) == (None, 1_800_000_000)
    time.sleep_ms(60_000)
    record = energy.minute(1_800_000_060_000)
    assert record.i_max_ma == [None] * 3
    assert (record.from_s, record.to_s) == (1_800_000_000, 1_800_000_060)


def test_counts_and_numbers_go_on_after_a_restart(tmp_path: Path) -> None:
    time = VirtualTime()
    before = minutes(Energy(str(tmp_path), time=time), time, [6_000_000, 0, 0], 3)
    after = minutes(Energy(str(tmp_path), time=time), time, [6_000_000, 0, 0])
    assert after.imp_wh[0] == before.imp_wh[0] + 100
    assert after.seq == before.seq + 1


@pytest.mark.parametrize("rest", [b"", b"\xff", b"\x00"])
def test_a_slot_cut_at_any_byte_costs_one_minute_at_most(rest: bytes, tmp_path: Path) -> None:
    time = VirtualTime()
    record = minutes(Energy(str(tmp_path), time=time), time, [6_000_000, 0, 0], 4)
    older, newest = tmp_path / "a", tmp_path / "b"
    kept, whole = older.read_bytes(), newest.read_bytes()
    for cut in range(len(whole)):
        torn = whole[:cut] + rest * (len(whole) - cut)
        older.write_bytes(kept)
        newest.write_bytes(torn)
        energy = Energy(str(tmp_path), time=time)
        lost = 0 if torn == whole else 1
        assert energy._mwh[0] == record.imp_wh[0] * 1000 - 100_000 * lost
        assert energy.problem is None
        assert minutes(energy, time, [6_000_000, 0, 0]).imp_wh[0] == (5 - lost) * 100


def test_two_damaged_slots_are_said_and_counting_begins_anew(tmp_path: Path) -> None:
    time = VirtualTime()
    minutes(Energy(str(tmp_path), time=time), time, [6_000_000, 0, 0], 2)
    for slot in ("a", "b"):
        (tmp_path / slot).write_bytes(b"\x00" * 76)
    energy = Energy(str(tmp_path), time=time)
    assert "damaged" in str(energy.problem)
    assert minutes(energy, time, [6_000_000, 0, 0]).imp_wh == [100, 0, 0]


def test_while_flash_refuses_no_record_is_told_but_counting_goes_on(tmp_path: Path) -> None:
    time = VirtualTime()
    folder = tmp_path / "energy"
    energy = Energy(str(folder), time=time)
    folder.rmdir()
    time.sleep_ms(60_000)
    energy.add([6_000_000, 0, 0], MINUTE_US, [1, 1, 1])
    assert energy.minute(None) is None
    assert "not saved" in str(energy.problem)
    folder.mkdir()
    assert minutes(energy, time, [6_000_000, 0, 0]).imp_wh[0] == 200
    assert energy.problem is None


def test_the_meters_energy_is_the_plants(tmp_path: Path) -> None:
    energy = Energy(str(tmp_path), time=VirtualTime())
    plant = Plant(i=[16, -10, 6], phi=[0, 0, 60])
    bench = MeterBench(plant, energy=energy)
    bench.messages(2.0)
    plant.set(i=[30, -10, 6])  # a step: its message must not lose what came before it
    found = bench.messages(2.05)
    assert len(found) == 3
    mwh = [count + rest / 3.6e9 for count, rest in zip(energy._mwh, energy._rest_nj, strict=True)]
    joules = (16 * 2 + 30 * 2) * 230
    assert mwh[0] * 3.6 == pytest.approx(joules, rel=0.01)
    assert mwh[4] * 3.6 == pytest.approx(4 * 2300, rel=0.01)
    assert mwh[2] * 3.6 == pytest.approx(4 * 690, rel=0.015)
    assert mwh[1] == mwh[3] == mwh[5] == mwh[7] == 0
    assert mwh[6] * 3.6 == pytest.approx(joules - 4 * (2300 - 690), rel=0.01)


VM = """
from ram_disk import Flash, Minutes, PowerCut
from metering.energy import Energy
import os, vfs, json
"""


def test_on_littlefs_a_cut_at_any_operation_never_turns_a_counter_back(run_vm: Run) -> None:
    code = """
flash = Flash(16)
vfs.VfsLfs2.mkfs(flash)
told = 0
worst = cuts = 0
lasted = 0
for cut in list(range(30)) * 6:
    fs = vfs.VfsLfs2(flash)
    vfs.mount(fs, "/f")
    time = Minutes()
    energy = Energy("/f/energy", time=time)
    found = energy._mwh[0] // 1000
    assert found >= told, (cut, found, told)
    worst = max(worst, lasted - found)
    told = lasted = found
    flash.left = cut
    try:
        for n in range(12):
            time.ms += 60_000
            energy.add([6_000_000, 0, 0], 60_000_000, [1, 1, 1])
            lasted += 100
            record = energy.minute(None)
            if record:
                told = record.imp_wh[0]
    except (PowerCut, OSError):
        cuts += 1
    vfs.umount("/f")
    flash = flash.survivor()
print(json.dumps([cuts, worst, told]))
"""
    cuts, worst, told = json.loads(run_vm(VM + code, beside=RAM_DISK, heap="4m").splitlines()[-1])
    assert cuts > 60
    assert worst <= 100
    assert told > 20_000


def test_ten_years_of_saves_wear_flash_as_computed(run_vm: Run) -> None:
    code = """
flash = Flash(24)
vfs.VfsLfs2.mkfs(flash)
vfs.mount(vfs.VfsLfs2(flash), "/f")
time = Minutes()
energy = Energy("/f/energy", time=time)
before = sum(flash.erases)
for n in range(15_000):
    time.ms += 60_000
    energy.add([2_300_000, -100, 5], 60_000_000, [1, 2, 3])
    energy.minute(1000)
print(json.dumps([sum(flash.erases) - before, max(flash.erases)]))
"""
    erases, worst = json.loads(run_vm(VM + code, beside=RAM_DISK, heap="4m").splitlines()[-1])
    assert erases / 15_000 < 0.034
    assert worst <= 102  # then LittleFS takes another block
