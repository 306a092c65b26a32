"""The factory's calibration: taken over exactly, or refused in words."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
from metering_bench import MeterBench

from metering.adc import InternalAdc
from metering.calibration import load
from metering.calibration_bench import calibrated
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


def readings_of(plant: Plant, calibration: dict | None, points: list[tuple]) -> list[dict]:
    """What a bench writes down: the meter beside the plant's truth at each (share, phi, f)."""
    readings = []
    for share, phi, f in points:
        plant.set(i=[share * 100] * 3, phi=[phi] * 3, f=f, u=[230] * 3)
        told = MeterBench(plant, calibration=calibration).after(2.05)
        for n in range(3):
            lag = math.degrees(math.atan2(told.q_mvar[n], told.p_mw[n]))
            readings += [
                {"channel": "u", "phase": n, "told": told.u_mv[n] / 1e3, "reference": 230.0},
                {
                    "channel": "i",
                    "phase": n,
                    "told": told.i_ma[n] / 1e3,
                    "reference": share * 100,
                    "told_deg": lag,
                    "reference_deg": phi,
                    "f": f,
                },
            ]
    return readings


def test_readings_beside_a_reference_calibrate_a_board() -> None:
    plant = Plant(seed=12, noise_lsb=2)
    found = readings_of(plant, None, [(0.5, 0, 50.0), (0.2, 60, 50.0), (0.5, 60, 60.0)])
    calibration = calibrated(load("home"), found, "bench 3", 1_800_000_000)
    assert load("home", calibration).by == "bench 3"
    exact = plant.calibration()
    for name in ("gain_i_na", "gain_u_nv"):
        assert calibration[name] == pytest.approx(exact[name], rel=0.003)
    plant.set(i=[30, 20, 10], phi=[60, -60, 0], f=50.0)
    told, truth = MeterBench(plant, calibration=calibration).after(2), plant.truth()
    for n in range(3):
        assert told.i_ma[n] == pytest.approx(truth["i"][n] * 1e3, rel=0.005)
        assert told.p_mw[n] == pytest.approx(truth["p"][n] * 1e3, rel=0.008)


def test_readings_that_contradict_each_other_or_are_missing_are_no_calibration() -> None:
    def row(channel: str, phase: int, told: float, reference: float, **more: float) -> dict:
        return {"channel": channel, "phase": phase, "told": told, "reference": reference, **more}

    sound = [row(c, n, x, 1.02 * x) for c in "iu" for n in range(3) for x in (10.0, 50.0)]
    used = load("home")
    assert (
        calibrated(used, sound, "x", 0)["gain_i_na"]
        == [pytest.approx(1.02 * used.gain_i_na[0], abs=1)] * 3
    )
    assert calibrated(used, sound, "x", 0)["phase_i_mdeg"] == list(used.phase_i_mdeg)
    with pytest.raises(ValueError, match="i2: expected 2 readings"):
        calibrated(used, [r for r in sound if (r["channel"], r["phase"]) != ("i", 1)], "x", 0)
    with pytest.raises(ValueError, match=r"u3: .* off the other readings"):
        calibrated(used, [*sound, row("u", 2, 30.0, 32.0)], "x", 0)
    with pytest.raises(ValueError, match="i1: a reading of 0"):
        calibrated(used, [*sound, row("i", 0, 0, 3.0)], "x", 0)
    angles = [row("i", 0, 10.0, 10.2, told_deg=60.0, reference_deg=phi) for phi in (59.0, 60.5)]
    with pytest.raises(ValueError, match="i1: an angle"):
        calibrated(used, [*sound, *angles], "x", 0)


def test_a_lead_measured_at_another_frequency_is_brought_to_50_hz() -> None:
    used = load("home")
    rows = [
        {"channel": c, "phase": n, "told": x, "reference": x}
        for c in "iu"
        for n in range(3)
        for x in (10.0, 50.0)
    ]
    rows.append({"channel": "i", "phase": 0, "told": 10.0, "reference": 10.0, "f": 60.0})
    rows[-1] |= {"told_deg": 60.0, "reference_deg": 61.0}
    leads = calibrated(used, rows, "x", 0)["phase_i_mdeg"]
    assert leads == [used.phase_i_mdeg[0] + 1200, *used.phase_i_mdeg[1:]]


def test_each_clamp_keeps_its_own_calibration_on_another_phase() -> None:
    calibration = load("home", Plant(seed=4).calibration())
    moved = calibration.clamped((2, 0, 1), (1, -1, 1))
    for name in ("gain_i_na", "phase_i_mdeg"):
        a, b, c = getattr(calibration, name)
        assert getattr(moved, name) == (c, a, b)
    assert moved.gain_u_nv == calibration.gain_u_nv
    assert moved.direction == (1, -1, 1)
    assert moved.calibrated
