"""Sites with one voltage, one phase, or none; voltages that fail; and what the flags say."""

from __future__ import annotations

import json
from typing import Any

import pytest
from metering_bench import MeterBench

from cloud import protocol
from sim.plant import Plant


def test_with_only_l1_wired_the_others_are_estimated_and_flagged() -> None:
    plant = Plant(u=[230, 0, 0], i=[16, 10, 6], phi=[0, 60, -60])
    told = MeterBench(plant).after(2)
    assert told.i_ma == pytest.approx([16_000, 10_000, 6_000], rel=0.01)
    assert told.u_mv == pytest.approx([230_000] * 3, rel=0.01)
    assert told.p_mw == pytest.approx([3_680_000, 1_150_000, 690_000], rel=0.015)
    assert told.q_mvar[1] == pytest.approx(1_992_000, rel=0.015)
    assert told.q_mvar[2] == pytest.approx(-1_195_000, rel=0.015)
    assert "estimated_l2" in told.flags
    assert "estimated_l3" in told.flags
    assert "estimated_l1" not in told.flags


def test_a_site_that_a_person_marks_as_n_and_l1_is_measured_as_such_at_once() -> None:
    plant = Plant(u=[230, 0, 230], i=[16, 10, 6])
    bench = MeterBench(plant)
    bench.after(1.1)
    plant.set(u=[230, 0, 0])
    told = bench.after(2)
    assert "voltage_lost_l3" in told.flags
    bench.meter.wire({"voltages": 1})
    told = bench.after(2)
    assert {"estimated_l2", "estimated_l3"} <= set(told.flags)
    assert "voltage_lost_l3" not in told.flags
    assert told.p_mw[2] == pytest.approx(1_380_000, rel=0.015)
    plant.set(u=[230, 0, 230])
    assert "estimated_l3" not in bench.after(2).flags


def test_a_distorted_l1_is_turned_with_its_harmonics() -> None:
    shape = {"3": 0.3, "5": [0.2, 180], "7": 0.1}
    plant = Plant(u=[230, 230, 230], i=[16, 10, 6], harmonics={"u": {"5": 0.05}, "i": shape})
    truth = plant.truth()
    plant.set(u=[230, 0, 0])
    told = MeterBench(plant).after(2)
    for phase in range(3):
        assert told.p_mw[phase] == pytest.approx(truth["p"][phase] * 1e3, rel=0.01)


def test_a_single_phase_site_leaves_the_others_out() -> None:
    told = MeterBench(Plant(phases=1)).after(2)
    for name in ("i_ma", "u_mv", "p_mw", "q_mvar", "pf_milli"):
        assert getattr(told, name)[0] is not None
        assert getattr(told, name)[1:] == [None, None]
    assert told.flags == []


def test_without_any_voltage_currents_stay_and_powers_are_absent() -> None:
    told = MeterBench(Plant(u=[0, 0, 0], i=[16, 10, 6])).after(2)
    assert told.i_ma == pytest.approx([16_000, 10_000, 6_000], rel=0.01)
    assert told.p_mw == told.q_mvar == told.pf_milli == [None] * 3
    assert told.f_mhz is None
    assert "no_voltage" in told.flags


def test_when_all_voltages_fail_power_and_frequency_go_with_them() -> None:
    plant = Plant(i=[16, 10, 6])
    bench = MeterBench(plant)
    assert bench.after(1.5).f_mhz == pytest.approx(50_000, abs=20)
    plant.set(u=[0, 0, 0])
    told = bench.messages(2.5)[-1][1]
    assert told.i_ma == pytest.approx([16_000, 10_000, 6_000], rel=0.01)
    assert told.p_mw == told.pf_milli == [None] * 3
    assert told.f_mhz is None
    assert told.flags == ["no_voltage"]


@pytest.mark.parametrize("f", [45.0, 60.0, 65.0])
def test_currents_without_voltage_are_right_at_any_frequency(f: float) -> None:
    messages = MeterBench(Plant(u=[0, 0, 0], i=[16, 10, 6], f=f)).messages(4)
    for _, told in messages[1:]:
        assert told.i_ma == pytest.approx([16_000, 10_000, 6_000], rel=0.01)


def test_a_voltage_that_fails_and_returns_is_not_mistaken_for_an_unwired_one() -> None:
    plant = Plant(i=[16, 10, 6])
    bench = MeterBench(plant)
    bench.messages(1.5)
    plant.set(u=[0, 230, 230])
    told = bench.messages(2.5)[-1][1]
    assert told.u_mv[0] < 2000
    assert told.u_mv[1:] == pytest.approx([230_000] * 2, rel=0.01)
    assert told.p_mw[1] == pytest.approx(2_300_000, rel=0.01)
    assert told.p_mw[0] is told.q_mvar[0] is told.pf_milli[0] is None  # the 16 A flow all the same
    assert told.i_ma[0] == pytest.approx(16_000, rel=0.01)
    assert told.flags == ["voltage_lost_l1"]
    assert told.f_mhz == pytest.approx(50_000, abs=20)
    plant.set(u=[230, 230, 230])
    told = bench.messages(2.5)[-1][1]
    assert told.p_mw == pytest.approx([3_680_000, 2_300_000, 1_380_000], rel=0.01)
    assert told.flags == []


def test_the_frequency_is_followed_after_a_change() -> None:
    plant = Plant(f=50.0)
    bench = MeterBench(plant)
    bench.messages(1.5)
    for f in (60.0, 45.0, 65.0, 49.95):
        plant.set(f=f)
        told = bench.messages(2)[-1][1]
        assert told.f_mhz == pytest.approx(f * 1e3, abs=20)
        assert told.p_mw == pytest.approx([3_680_000, 2_300_000, 1_380_000], rel=0.01)


def test_a_current_beyond_the_converter_is_flagged_as_clipped() -> None:
    told = MeterBench(Plant(i=[10, 170, 10])).after(2)
    assert told.flags == ["clipped_l2"]


def test_an_unplugged_clamp_is_a_fault_of_its_phase() -> None:
    told = MeterBench(Plant(ct=["L1", "L2", "unplugged"])).after(2)
    assert "adc_fault_l3" in told.flags
    assert "adc_fault_l1" not in told.flags


def test_a_stuck_converter_is_a_fault_of_its_phase() -> None:
    bench = MeterBench(Plant(noise_lsb=1.0))
    readers = list(bench.meter._readers)
    readers[1] = lambda: (readers[0](), 23_040)[1]
    bench.meter._readers = tuple(readers)
    assert "adc_fault_l2" in bench.after(2).flags


def test_a_board_without_calibration_says_so_and_is_roughly_right() -> None:
    told = MeterBench(Plant(seed=4), calibration=None).after(2)
    assert told.flags == ["uncalibrated"]
    assert told.i_ma == pytest.approx([16_000, 10_000, 6_000], rel=0.07)


def test_before_the_clock_is_set_there_is_no_timestamp() -> None:
    told = MeterBench(Plant(), unix_ms=lambda: None).after(2)
    assert told.ts_ms is None
    assert told.flags == ["clock_unset"]


def total(told: Any) -> float | None:
    return json.loads(protocol.measurement_payload(told))["p_total"]


def test_the_power_of_the_site_is_the_sum_of_its_phases_while_all_are_known() -> None:
    plant = Plant(i=[16, -10, 6], phi=[20, 0, -30])
    bench = MeterBench(plant)
    assert total(bench.after(2)) == pytest.approx(sum(plant.truth()["p"]), rel=0.01)
    plant.set(u=[230, 0, 230])  # a load nobody can weigh any more
    assert total(bench.after(2.5)) is None
    plant.set(u=[0, 0, 0])
    assert total(bench.after(2.5)) is None
    single = Plant(phases=1, i=[16, 0, 0])
    assert total(MeterBench(single).after(2)) == pytest.approx(single.truth()["p"][0], rel=0.01)


def test_a_converter_at_a_rail_is_a_fault_of_its_phase_and_is_forgiven_when_it_returns() -> None:
    bench = MeterBench(Plant())
    readers = list(bench.meter._readers)
    for channel, rail in ((1, 65535), (5, 0)):  # a clamp's and a voltage's
        broken = list(readers)
        broken[channel] = lambda rail=rail: (readers[0](), rail)[1]
        bench.meter._readers = tuple(broken)
        told = bench.messages(2.1)[-1][1]
        assert f"adc_fault_l{channel % 3 + 1}" in told.flags
        assert f"clipped_l{channel % 3 + 1}" not in told.flags  # nothing of it can be believed
        assert told.p_mw[0] == pytest.approx(3_680_000, rel=0.01)  # the others go on
    bench.meter._readers = tuple(readers)
    told = bench.messages(2.1)[-1][1]
    assert told.flags == []
    assert told.p_mw == pytest.approx([3_680_000, 2_300_000, 1_380_000], rel=0.01)
