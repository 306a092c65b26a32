"""What the meter says against what the plant knows, on boards out of production."""

from __future__ import annotations

import numpy as np
import pytest
from metering_bench import MeterBench, Steps, cycle_sums

from metering import kernels as k
from metering import quantities
from sim.plant import Plant

RANGE_A = {"home": 100.0, "public": 400.0}
U = [236.0, 229.0, 221.0]


def check(plant: Plant, i_and_u: float, p: float, **options: object) -> None:
    """Relative errors within `i_and_u`; power within `p` of the real power."""
    told = MeterBench(plant, **options).after(2)
    truth = plant.truth()
    for phase in range(3):
        assert told.i_ma[phase] == pytest.approx(truth["i"][phase] * 1e3, rel=i_and_u)
        assert told.u_mv[phase] == pytest.approx(truth["u"][phase] * 1e3, rel=i_and_u)
        assert told.p_mw[phase] == pytest.approx(truth["p"][phase] * 1e3, rel=p)
    assert told.f_mhz == pytest.approx(truth["f"] * 1e3, abs=20)


@pytest.mark.parametrize("variant", ["home", "public"])
@pytest.mark.parametrize(
    ("share", "phi", "f"),
    [(0.02, 0, 50.0), (0.1, 60, 49.9), (0.5, -60, 60.0), (1.2, 0, 45.0), (1.0, 60, 65.0)],
)
def test_currents_voltages_powers_and_frequency_are_right_from_2_to_120_percent(
    variant: str, share: float, phi: float, f: float
) -> None:
    for seed in (1, 2):
        i = [share * RANGE_A[variant]] * 3
        plant = Plant(variant, seed=seed, u=U, i=i, phi=[phi] * 3, f=f, noise_lsb=2)
        check(plant, 0.01, 0.01 if phi == 0 else 0.015)


def test_the_maths_alone_are_those_of_numpy_in_double_precision() -> None:
    """Same codes, both ways: within 0.05 %, at any phase the slice begins at."""
    scans, step = 93, 2 * np.pi / 93
    generator = np.random.default_rng(5)
    for begin in np.linspace(0, 2 * np.pi, 7):
        at = begin + step * np.arange(scans)
        size = generator.uniform(300, 17_000, 6)[:, None]
        lag = generator.uniform(-1.5, 1.5, 6)[:, None]
        waves = size * np.cos(at - lag) + 0.1 * size * np.cos(3 * at) + 23_000
        codes = np.rint(waves + generator.normal(0, 16, waves.shape)).astype(int)
        time, sums = Steps(), cycle_sums()
        readers = time.readers([lambda n, row=row: int(row[n]) for row in codes])
        raw = np.zeros(6 * scans, np.uint16)
        args = (readers, time.ticks_us, time.sleep_us, 20_000, scans, 0, 23_000, 50, 100)
        assert k.scan_cycle(*args, sums, raw) == scans
        centred = codes - codes.mean(axis=1, keepdims=True)
        for c in range(6):
            rms = quantities.root(quantities.variance(sums, c)) / scans
            assert rms == pytest.approx(np.sqrt((centred[c] ** 2).mean()), rel=5e-4)
        for phase in range(3):
            v, i = centred[3 + phase], centred[phase]
            for angle in (0.0, 0.033, -0.02):
                spectrum = np.fft.fft(v)
                spectrum *= np.exp(-1j * angle * np.fft.fftfreq(scans, 1 / scans))
                exact = (np.fft.ifft(spectrum).real * i).mean()
                real, _ = quantities.products(sums, phase, phase, angle, step)
                scale = np.std(v) * np.std(i)
                assert real == pytest.approx(exact, abs=5e-4 * scale + 0.1)


def test_power_leaving_the_building_is_negative() -> None:
    plant = Plant(i=[-20, 10, -5], u=U)
    check(plant, 0.01, 0.01)
    assert MeterBench(plant).after(1.1).pf_milli == pytest.approx([-1000, 1000, -1000], abs=3)


def test_an_inductive_load_has_positive_reactive_power_and_a_capacitive_one_negative() -> None:
    plant = Plant(i=[20, 20, 20], u=U, phi=[60, -60, 0])
    told = MeterBench(plant).after(2)
    truth = plant.truth()["q"]
    for phase in range(3):
        assert told.q_mvar[phase] == pytest.approx(truth[phase] * 1e3, abs=0.01 * 20 * 230e3)
    assert told.pf_milli == pytest.approx([500, 500, 1000], abs=10)


@pytest.mark.parametrize(
    "harmonics",
    [
        {"i": {"3": [0.8, 180], "5": 0.6, "7": [0.4, 180], "9": 0.2}},  # a rectifier
        {"i": {"3": 0.3, "5": 0.1, "11": 0.1}, "u": {"5": [0.03, 90], "7": 0.02}},
    ],
)
def test_distorted_currents_are_measured_as_true_rms(harmonics: dict[str, dict]) -> None:
    plant = Plant(i=[16, 10, 6], u=U, phi=[10, 0, -10], harmonics=harmonics)
    check(plant, 0.01, 0.015)


@pytest.mark.parametrize("noise_lsb", [0.0, 1.0, 3.0])
def test_no_load_is_no_current(noise_lsb: float) -> None:
    for seed in (1, 2, 3):
        bench = MeterBench(Plant(seed=seed, i=[0, 0, 0], noise_lsb=noise_lsb))
        for _, told in bench.messages(2.1):
            assert max(told.i_ma) <= 100
            assert max(map(abs, told.p_mw)) <= 100 * 230


@pytest.mark.parametrize("noise_lsb", [0.5, 2.0])
def test_a_load_just_above_a_thousandth_of_the_range_is_not_hidden(noise_lsb: float) -> None:
    bench = MeterBench(Plant(i=[0.12, 0.12, 0.12], noise_lsb=noise_lsb))
    for _, told in bench.messages(3.2):
        assert told.i_ma == pytest.approx([120] * 3, abs=25)
        assert told.p_mw == pytest.approx([120 * 230] * 3, rel=0.2)


def test_ten_microsecond_converters_are_measured_as_well() -> None:
    plant = Plant(i=[16, 10, 6], u=U, phi=[60, 0, -60], conversion_us=10)
    check(plant, 0.01, 0.015)


def test_where_in_the_cycle_slices_begin_does_not_matter() -> None:
    """Slices that begin at every degree, and slices that always begin at the same one."""
    for pause_us in ((0, 0), (470, 470), (2000, 2000), (0, 20_000)):
        check(Plant(i=[16, 10, 6], u=U, phi=[60, -60, 0]), 0.01, 0.015, pause_us=pause_us)
