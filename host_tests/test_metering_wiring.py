"""What the device finds out about clamps and voltages, and what it does not claim to know."""

from __future__ import annotations

import math
import random
from array import array
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from metering_bench import MeterBench
from wiring_sites import DOUBLE, RIGHT, SINGLE, Bench, Site, reverse, without

from device.settings import Settings
from metering import kernels as k
from metering.calibration import load
from metering.wiring import Wiring
from sim.cpython.viper32 import compile_viper
from sim.plant import Plant


def room() -> int:
    return 1 << 20


def wired(plant: Plant, setting: dict[str, Any] | None = None, seconds: float = 5.1) -> Any:
    """What a meter with its Wiring says on a plant: state, findings, told, the last message."""
    calibration = load(plant.variant, plant.calibration())
    wiring = Wiring(calibration, plant.phases, room)
    bench = MeterBench(plant, wiring=wiring)
    bench.meter.wire(setting)
    told = []
    while bench.time.ns < seconds * 1e9:
        for _, m in bench.messages(0.02):
            told += wiring.look(m)
            last = m
    return SimpleNamespace(
        **wiring.state, keys=[key for key, _ in wiring.findings], told=told, last=last
    )


def test_every_single_and_double_fault_is_named_on_random_sites() -> None:
    """200 sites of PF >= 0.9 and >= 2 A; claims that are wrong are as rare as their confidence
    says, and there are none at all here."""
    rng = random.Random(11)
    named = total = 0
    for n in range(200):
        site = Site.draw(rng)
        for grips, sequence in [*rng.sample(SINGLE + DOUBLE, 10), (RIGHT, "123")]:
            bench = Bench(rng)
            bench.show(site, grips, sequence)
            right = bench.clamps == list(grips) and bench.wiring.state["sequence"] == sequence
            named += right
            total += 1
            for claim, grip in zip(bench.clamps, grips, strict=True):
                assert claim in (None, grip), f"site {n}: {site}, {grips}: {bench.wiring.state}"
            if right:
                misplaced = grips != RIGHT
                assert ("sequence" in bench.keys) == (sequence == "132")
                assert bool(set(bench.keys) - {"sequence"}) == misplaced
    assert named / total >= 0.99


def test_claims_at_bad_power_factors_are_as_often_wrong_as_their_confidence_admits() -> None:
    rng = random.Random(3)
    doubt = wrong = 0.0
    for _ in range(150):
        site = Site([rng.uniform(2.2, 40) for _ in range(3)], [rng.uniform(0, 55) for _ in "123"])
        for grips, sequence in [(RIGHT, "123")] * 3 + rng.sample(SINGLE + DOUBLE, 1):
            bench = Bench(rng)
            bench.show(site, grips, sequence)
            if bench.wiring.state["confidence"] is not None:
                doubt += 1 - bench.wiring.state["confidence"]
                pairs = zip(bench.clamps, grips, strict=True)
                wrong += any(claim not in (None, grip) for claim, grip in pairs)
    assert wrong <= doubt


def test_loads_switched_on_settle_what_their_power_factor_leaves_open() -> None:
    rng = random.Random(5)
    named = 0
    for _ in range(40):
        grips, sequence = rng.choice(SINGLE + DOUBLE)
        now = Site([rng.uniform(4, 20)] * 3, [rng.uniform(35, 55) for _ in range(3)])
        bench = Bench(rng)
        bench.show(now, grips, sequence)
        for phase in (0, 1, 2):
            loads = [
                a * complex(math.cos(math.radians(lag)), math.sin(math.radians(lag)))
                for a, lag in zip(now.i, now.phi, strict=True)
            ]
            loads[phase] += 11 + phase
            lags = [math.degrees(math.atan2(load.imag, load.real)) for load in loads]
            now = Site([abs(load) for load in loads], lags)
            bench.show(now, grips, sequence)
        named += bench.clamps == list(grips)
    assert named >= 39


@pytest.mark.parametrize(
    ("ct", "words"),
    [
        (["L1", "-L2", "L3"], ["Clamp 2 is on L2 the wrong way round: turn it."]),
        (
            ["L1", "-L3", "L2"],
            [
                "Clamp 2 is on L3, the wrong way round: move it to L2 and turn it.",
                "Clamp 3 is on L2: move it to L3.",
            ],
        ),
        (["L1", "L1", "L3"], ["Clamps 1 and 2 are both on L1: move clamp 2 to L2."]),
        (["L1", "L2", "L3"], []),
    ],
)
def test_the_whole_meter_names_what_the_plants_clamps_grip(
    ct: list[str], words: list[str]
) -> None:
    found = wired(Plant(i=[16, 10, 6], phi=[20, -15, 5], ct=ct, noise_lsb=2), seconds=4.1)
    assert found.clamps == ct
    assert found.findings == words
    assert found.told == words
    assert found.sequence == "123"
    assert 0.8 <= found.confidence <= 0.99


def test_a_public_site_and_60_hz_and_another_rotation() -> None:
    plant = Plant("public", i=[40, 60, 2.5], phi=[20, -20, 15], f=60, ct=["-L1", "L2", "L3"])
    assert wired(plant, seconds=4.1).clamps == ["-L1", "L2", "L3"]
    found = wired(Plant(i=[16, 10, 6], sequence="132"), seconds=4.1)
    assert (found.clamps, found.sequence) == (["L1", "L2", "L3"], "132")
    assert found.keys == ["sequence"]


def test_a_clamp_that_sees_nothing_while_others_carry_load_is_told() -> None:
    found = wired(Plant(i=[16, 10, 6], ct=["L1", None, "L3"]), seconds=8.1)
    assert found.clamps == ["L1", None, "L3"]
    assert found.findings == [
        "Clamp 2 sees no current: close it around L2, plug it in, or switch a load on."
    ]


def test_nothing_is_said_of_readings_below_two_amperes() -> None:
    found = wired(Plant(i=[1.8, 1.5, 1.9], ct=["-L1", "L3", "L2"]))
    assert found.clamps in (None, [None, None, None])
    assert not found.findings


def test_where_all_power_flows_out_nothing_is_claimed_but_the_doubt_is_told() -> None:
    found = wired(Plant(i=[-16, -10, -6]))
    assert found.clamps == [None, None, None]
    assert found.keys == ["outflow"]


def test_where_the_site_exports_no_clamp_is_called_reversed() -> None:
    setting = {"clamps": ["L1", "L2", "L3"], "export": True}
    rng = random.Random(9)
    for _ in range(40):
        site = Site.draw(rng)
        for phase in range(3):
            site.i[phase] *= rng.choice((-1, 1))
        bench = Bench(rng, setting)
        bench.show(site, RIGHT)
        assert not [claim for claim in bench.clamps if claim and claim[0] == "-"]
        assert not {"reversed", "moved_reversed"} & set(bench.keys)


def test_on_a_site_with_one_voltage_only_what_it_can_tell_is_told() -> None:
    found = wired(Plant(u=[230, 0, 0], i=[16, 10, 6], ct=["-L1", "L3", "L2"]))
    assert found.sequence is None
    assert found.clamps[1:] == [None, None]
    assert found.clamps[0] in (None, "-L1")


def test_a_single_phase_site_knows_a_reversed_clamp_from_export_no_better_than_it_can() -> None:
    found = wired(Plant(phases=1, i=[-16, 0, 0]))
    assert found.clamps == [None, None, None]
    assert found.keys == ["outflow"]


def test_nothing_is_corrected_before_a_person_confirmed_it() -> None:
    found = wired(Plant(i=[16, 10, 6], ct=["L1", "-L3", "L2"]))
    assert found.last.p_mw[1] == pytest.approx(-0.5 * -6 * 230e3, rel=0.03)  # 60 degrees off
    assert found.last.i_ma == pytest.approx([16_000, 6_000, 10_000], rel=0.01)


@pytest.mark.parametrize("ct", [["L1", "-L3", "L2"], ["-L2", "L3", "-L1"]])
def test_a_confirmed_wiring_is_measured_as_if_clamped_right(ct: list[str]) -> None:
    plant = Plant(seed=8, i=[16, 10, 6], phi=[60, 0, -60], ct=ct)
    found = wired(plant, {"clamps": ct})
    plant.set(ct=["L1", "L2", "L3"])
    truth = plant.truth()
    for phase in range(3):
        assert found.last.i_ma[phase] == pytest.approx(truth["i"][phase] * 1e3, rel=0.01)
        assert found.last.p_mw[phase] == pytest.approx(truth["p"][phase] * 1e3, rel=0.015)
    assert not set(found.keys) & {"moved", "reversed", "moved_reversed", "outflow"}


def test_what_is_no_longer_as_confirmed_is_found_with_its_clamps_number() -> None:
    plant = Plant(i=[16, 10, 6], ct=["L1", "L3", "L2"])
    found = wired(plant, {"clamps": ["L1", "-L3", "L2"]})
    assert found.clamps == ["L1", "L3", "L2"]
    assert found.findings == ["Clamp 2 is on L3 the wrong way round: turn it."]


def test_a_clamp_put_right_is_no_longer_complained_about() -> None:
    rng = random.Random(1)
    bench = Bench(rng)
    site = Site([16, 10, 6], [10, 20, 0])
    bench.show(site, reverse(RIGHT, 1))
    assert bench.keys == ["reversed"]
    bench.show(site, without(RIGHT, 1), times=4)
    bench.show(site, RIGHT, times=3)
    assert bench.keys == []
    assert bench.clamps == list(RIGHT)
    assert len(bench.told) == 2  # the reversed clamp, the silent one


def test_without_room_on_the_heap_nothing_is_judged() -> None:
    plant = Plant(i=[16, 10, 6])
    wiring = Wiring(load("home", plant.calibration()), 3, lambda: 8000)
    bench = MeterBench(plant, wiring=wiring)
    for _ in range(4):
        assert wiring.look(bench.after(1.05)) == ()
    assert wiring.state["clamps"] is None


@pytest.mark.parametrize("u", [[230, 230, 230], [0, 230, 230]])
def test_the_angles_judged_by_are_right_within_half_a_degree(u: list[float]) -> None:
    """Skew between channels and the sensors' leads are taken off, whatever voltage is live."""
    plant = Plant(seed=6, u=u, i=[40, 40, 40], phi=[20, -20, 5])
    wiring = Wiring(load("home", plant.calibration()), 3, room)
    bench = MeterBench(plant, wiring=wiring)
    wiring.look(bench.after(1.05))
    ref = 0 if u[0] else 1
    for clamp in range(3):
        wanted = [20, -20, 5][clamp] + 120 * (clamp - ref)
        assert (wiring.seen[clamp][0] - wanted + 180) % 360 - 180 == pytest.approx(0, abs=0.5)


def test_a_reading_that_fits_two_answers_is_no_claim() -> None:
    bench = Bench(random.Random(2))
    bench.show(Site([16, 10, 6], [62, 0, 0], 0.1), ("L1", None, None))
    assert bench.clamps == [None, None, None]
    assert bench.wiring.state["confidence"] is None


def test_only_a_wiring_that_can_be_is_a_setting(tmp_path: Path) -> None:
    settings = Settings(str(tmp_path / "settings"))
    for good in (
        {"clamps": ["L1", "-L3", "L2"]},
        {"clamps": ["L3", "L1", "-L2"], "export": True},
        None,
    ):
        settings.update(wiring=good)
        assert Settings(str(tmp_path / "settings")).wiring == good
    for bad in (
        {"clamps": ["L1", "L1", "L2"]},
        {"clamps": ["L1", "L2"]},
        {"clamps": ["L1", "L2", "L3", "L3"]},
        {"clamps": ["L1", "--L2", "L3"]},
        {"clamps": ["L1", "L2", None]},
        {"clamps": "L1L2L3"},
        {"clamps": ["L1", "L2", "L3"], "export": 1},
        {"clamps": ["L1", "L2", "L3"], "more": 1},
        {"export": True},
        ["L1", "L2", "L3"],
        5,
    ):
        with pytest.raises(ValueError, match="wiring"):
            settings.update(wiring=bad)


def test_crossing_channels_stays_in_words_for_as_many_cycles_as_are_added() -> None:
    scans = k.MAX_SCANS // 3 * 3
    strict = compile_viper(k.crossed, strict=True)
    for one, other in ((65535, 0), (0, 65535)):
        raw = array("H", [one if n // 6 % 9 < 5 else other for n in range(6 * scans)])
        for zero in (0, 32768, 65535):
            sums = array("i", [0] * k.CROSS_WORDS)
            for _ in range(63):
                strict(raw, scans, 1, zero, 2, zero, sums)
            x = [(raw[6 * n + 2] - zero) >> 1 for n in range(scans)]
            third = scans // 3
            exact = sum(a * b for a, b in zip(x, x, strict=True))
            turned = sum(x[n - third] * x[n] for n in range(scans))
            assert sums[9] * 65536 + sums[8] == 63 * exact
            assert sums[11] * 65536 + sums[10] == 63 * turned
            assert sums[k.CROSS_CYCLES + 2] == 63
