"""What the plant says a perfect meter should show, against formulas worked out by hand."""

import json
import math
from typing import Any

import numpy as np
import pytest

from sim.plant import Plant

SITE: dict[str, Any] = {"u": [230, 231, 229], "i": [16, 10, 6], "phi": [0, 60, -30]}


def test_powers_follow_from_voltage_current_and_angle() -> None:
    truth = Plant(**SITE).truth()
    for k in range(3):
        s, phi = SITE["u"][k] * SITE["i"][k], math.radians(SITE["phi"][k])
        assert truth["u"][k] == pytest.approx(SITE["u"][k])
        assert truth["i"][k] == pytest.approx(SITE["i"][k])
        assert truth["s"][k] == pytest.approx(s)
        assert truth["p"][k] == pytest.approx(s * math.cos(phi))
        assert truth["q"][k] == pytest.approx(s * math.sin(phi), abs=1e-6)
        assert truth["pf"][k] == pytest.approx(math.cos(phi))


@pytest.mark.parametrize("f", [45, 50, 50.37, 59.94, 65])
def test_frequency_is_true_to_two_millionths(f: float) -> None:
    assert Plant(f=f).truth()["f"] == pytest.approx(f, rel=2e-6)


def test_a_negative_current_flows_out_of_the_building() -> None:
    truth = Plant(i=[-16, 10, 6]).truth()
    assert truth["i"][0] == pytest.approx(16)
    assert truth["p"] == pytest.approx([-3680, 2300, 1380])


def test_a_clamp_put_on_backwards_turns_the_sign_of_its_power() -> None:
    truth = Plant(ct=["L1", "-L2", "L3"]).truth()
    assert truth["i"] == pytest.approx([16, 10, 6])
    assert truth["p"] == pytest.approx([3680, -2300, 1380])


def test_swapped_clamps_see_the_other_current_a_third_of_a_turn_away() -> None:
    truth = Plant(ct=["L2", "L1", "L3"]).truth()
    assert truth["i"] == pytest.approx([10, 16, 6])
    # I2 lags U1 by 120 degrees, I1 lags U2 by 240.
    assert truth["p"] == pytest.approx([-1150, -1840, 1380])
    assert truth["q"][:2] == pytest.approx([2300 * math.sqrt(0.75), -3680 * math.sqrt(0.75)])


def test_the_field_can_turn_the_other_way() -> None:
    truth = Plant(ct=["L2", "L1", "L3"], sequence="132").truth()
    assert truth["q"][:2] == pytest.approx([-2300 * math.sqrt(0.75), 3680 * math.sqrt(0.75)])


def test_a_clamp_on_no_conductor_reads_zero_and_an_unplugged_one_nothing() -> None:
    truth = Plant(ct=["L1", None, "unplugged"]).truth()
    assert truth["i"] == [pytest.approx(16), 0, None]
    assert truth["p"] == [pytest.approx(3680), 0, None]
    assert truth["pf"] == [pytest.approx(1), None, None]


@pytest.mark.parametrize("absent", [0, None])
def test_an_absent_phase_has_no_voltage_and_no_power_but_its_current(absent: int | None) -> None:
    truth = Plant(u=[230, absent, 230]).truth()
    assert truth["u"][1] is None
    assert truth["p"][1] is truth["q"][1] is truth["s"][1] is truth["pf"][1] is None
    assert truth["i"] == pytest.approx([16, 10, 6])
    assert truth["f"] == pytest.approx(50)


def test_without_any_voltage_there_is_no_frequency() -> None:
    truth = Plant(u=[0, 0, 0]).truth()
    assert truth["f"] is None
    assert truth["u"] == truth["p"] == [None] * 3
    assert truth["i"] == pytest.approx([16, 10, 6])


def test_harmonics_leave_the_rms_and_take_from_the_power_factor() -> None:
    plant = Plant(i=[16, 10, 6], harmonics={"i": {"3": 0.6, "5": [0.3, 180]}})
    truth = plant.truth()
    fundamental = 1 / math.sqrt(1 + 0.6**2 + 0.3**2)
    assert truth["i"] == pytest.approx([16, 10, 6])
    assert truth["p"] == pytest.approx(
        [3680 * fundamental, 2300 * fundamental, 1380 * fundamental]
    )
    assert truth["pf"] == pytest.approx([fundamental] * 3)
    assert truth["q"] == pytest.approx([0, 0, 0], abs=1e-6)


def test_a_harmonic_in_voltage_and_current_carries_power() -> None:
    share = {"5": [0.2, 0]}
    truth = Plant(u=[100, 0, 0], i=[10, 0, 0], harmonics={"u": share, "i": share}).truth()
    assert truth["p"][0] == pytest.approx(1000)
    opposed = Plant(u=[100, 0, 0], i=[10, 0, 0], harmonics={"u": share, "i": {"5": [0.2, 180]}})
    assert opposed.truth()["p"][0] == pytest.approx(1000 * (1 - 0.04) / (1 + 0.04))


def test_the_angle_of_a_harmonic_shapes_the_wave() -> None:
    flat = Plant(harmonics={"i": {"3": 0.2}}).wave().i[0]
    peaked = Plant(harmonics={"i": {"3": [0.2, 180]}}).wave().i[0]
    assert np.max(flat) < 16 * math.sqrt(2) < np.max(peaked)


def test_a_single_phase_site_knows_nothing_of_l2_and_l3() -> None:
    truth = Plant(phases=1).truth()
    assert truth["i"] == [pytest.approx(16), None, None]
    assert truth["p"] == [pytest.approx(3680), None, None]


def test_the_state_comes_back_as_it_was_set_and_fits_json() -> None:
    fields: dict[str, Any] = {
        "u": [230.0, 0.0, 229.5],
        "i": [16.0, -10.0, 0.0],
        "phi": [0.0, 30.0, -60.0],
        "f": 60.0,
        "sequence": "132",
        "ct": ["L1", "-L3", None],
        "harmonics": {"i": {"3": [0.2, 0.0], "5": [0.1, 180.0]}},
        "noise_lsb": 2.5,
        "spikes": 0.001,
    }
    plant = Plant(**fields)
    assert plant.state() == fields
    again = Plant()
    again.set(**json.loads(json.dumps(plant.state())))
    assert again.state() == fields
    assert again.truth() == plant.truth()


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"v": 230}, "v: no field of the plant; it has u, i, phi"),
        ({"u": 230}, "u: expected three numbers for L1, L2, L3, got 230"),
        ({"u": [230, 230]}, "u: expected three numbers"),
        ({"u": [230, 230, -1]}, "u: expected volts of 0..500, got -1"),
        ({"u": [230, 230, "230"]}, "u: expected volts of 0..500, got '230'"),
        ({"i": [None, 1, 1]}, "i: expected amperes of -10000..10000, got None"),
        ({"i": [True, 1, 1]}, "i: expected amperes"),
        ({"i": [float("nan"), 1, 1]}, "i: expected amperes of -10000..10000, got nan"),
        ({"phi": [0, 0, 181]}, "phi: expected degrees of -180..180, got 181"),
        ({"f": 40}, "f: expected Hz of 45..65, got 40"),
        ({"sequence": 123}, "sequence: expected 123 or 132 as text, got 123"),
        ({"ct": ["L1", "L4", None]}, "ct: expected .* got 'L4'"),
        ({"ct": ["L1", ["L2"], None]}, "ct: expected .* got \\['L2'\\]"),
        ({"ct": "L1"}, "ct: expected what each of three clamps grips, got 'L1'"),
        ({"noise_lsb": 51}, "noise_lsb: expected LSB of 0..50, got 51"),
        ({"spikes": 1}, "spikes: expected a share of 0..0.1, got 1"),
        ({"harmonics": {"p": {}}}, "harmonics: expected"),
        ({"harmonics": {"i": [3]}}, "harmonics: expected order -> share for i"),
        ({"harmonics": {"i": {"1": 0.1}}}, "harmonics: expected orders 2..40, got '1'"),
        ({"harmonics": {"i": {"3": 1.1}}}, "share of the fundamental of 0..1, got 1.1"),
        ({"harmonics": {"i": {"3": [0.1]}}}, "expected share or \\[share, degrees\\]"),
    ],
)
def test_a_wrong_field_is_told_and_changes_nothing(fields: dict[str, Any], words: str) -> None:
    plant = Plant()
    before, generation = plant.state(), plant.generation
    with pytest.raises(ValueError, match=words):
        plant.set(noise_lsb=3.0, **fields) if "noise_lsb" not in fields else plant.set(**fields)
    assert plant.state() == before
    assert plant.generation == generation


def test_a_single_phase_meter_takes_no_other_voltage() -> None:
    with pytest.raises(ValueError, match="u: a single-phase meter"):
        Plant(phases=1, u=[230, 230, 0])


@pytest.mark.parametrize("wrong", [{"variant": "office"}, {"phases": 2}])
def test_an_unknown_kind_of_board_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="expected"):
        Plant(**wrong)
