"""The factory's calibration: taken over exactly, or refused in words."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from metering.adc import InternalAdc
from metering.calibration import load
from metering.meter import Meter
from sim.cpython.virtual_time import VirtualTime
from sim.front_end import FrontEnd
from sim.plant import Plant

GOOD: dict[str, Any] = {
    "v": 1,
    "by": "bench",
    "at": 1_767_225_600,
    "gain_i_na": [8_100_000, 8_200_000, 8_300_000],
    "gain_u_nv": [25_100_000, 25_200_000, 25_300_000],
    "phase_i_mdeg": [900, 1000, -1100],
    "phase_u_mdeg": [190, 0, -210],
}


def test_every_field_of_a_bench_is_taken_over() -> None:
    calibration = load("home", GOOD)
    for name in ("gain_i_na", "gain_u_nv", "phase_i_mdeg", "phase_u_mdeg"):
        assert list(getattr(calibration, name)) == GOOD[name]
    assert (calibration.by, calibration.at) == ("bench", 1_767_225_600)
    assert calibration.calibrated


@pytest.mark.parametrize(("variant", "range_ma"), [("home", 100_000), ("public", 400_000)])
def test_without_a_bench_the_printed_values_of_the_variant_hold(
    variant: str, range_ma: int
) -> None:
    calibration = load(variant)
    gains = FrontEnd.nominal(variant).gains() * 1e9
    assert calibration.range_ma == range_ma
    assert list(calibration.gain_i_na) == pytest.approx(gains[:3], rel=2e-3)
    assert list(calibration.gain_u_nv) == pytest.approx(gains[3:], rel=2e-3)
    leads = FrontEnd.nominal(variant).lead_deg * 1e3
    assert list(calibration.phase_i_mdeg) == pytest.approx(leads[:3])
    assert list(calibration.phase_u_mdeg) == pytest.approx(leads[3:])
    assert not calibration.calibrated


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("v", 2, "v: expected 1, got 2"),
        ("gain_i_na", [8_100_000, 8_200_000], "gain_i_na: expected three integers"),
        ("gain_i_na", None, "gain_i_na: expected three integers, got None"),
        ("gain_i_na", [8_100_000, 0, 8_300_000], "gain_i_na: expected 2097425..33558800, got 0"),
        ("gain_u_nv", [25.1, 25.2, 25.3], "gain_u_nv: expected integers, got 25.1"),
        ("gain_u_nv", [True, True, True], "gain_u_nv: expected integers, got True"),
        ("phase_i_mdeg", [0, 0, 15_001], "phase_i_mdeg: expected -15000..15000, got 15001"),
        ("phase_u_mdeg", "120", "phase_u_mdeg: expected three integers, got '120'"),
    ],
)
def test_a_field_that_cannot_be_is_named_with_what_was_expected(
    field: str, value: Any, words: str
) -> None:
    found = copy.deepcopy(GOOD)
    found[field] = value
    with pytest.raises(ValueError, match=words):
        load("home", found)


def test_a_calibration_that_is_no_object_or_variant_is_refused() -> None:
    with pytest.raises(ValueError, match="expected an object"):
        load("home", [])  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="expected home or public, got 'office'"):
        load("office", None)


@pytest.mark.parametrize("readers", [[], [len] * 5, [len] * 7, [len] * 5 + [36]])
def test_a_wrong_set_of_channels_is_refused_at_start(readers: list[Any]) -> None:
    with pytest.raises(ValueError, match="ADC"):
        InternalAdc(readers)


def test_a_site_of_two_phases_is_refused_at_start() -> None:
    time = VirtualTime()
    adc = InternalAdc([reader.read_u16 for reader in Plant().readers(time)])
    with pytest.raises(ValueError, match="phases: expected 1 or 3, got 2"):
        Meter(adc, load("home"), time=time, phases=2)
