"""The clamps and the converter, against the printed values of the board and of the ESP32."""

import math
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from sim.front_end import FrontEnd
from sim.plant import Plant

CYCLE = 4761  # scans of 6 conversions of 35 us in 50 cycles at 50 Hz, to a scan
RANGE = {"home": 100, "public": 400}


def counts(plant: Plant, scans: int = CYCLE) -> NDArray[np.float64]:
    """Codes of about a second on the scale of read_u16()."""
    codes = plant.scans(scans)
    return (codes << 4 | codes >> 8).astype(float)


def phasors(plant: Plant, f: float, scans: int = CYCLE) -> NDArray[np.complex128]:
    """Fundamentals of the six channels, each by its own instants of sampling."""
    codes = plant.scans(scans).astype(float)
    number = np.arange(6 * scans).reshape(scans, 6)
    angle = 2 * np.pi * f * number * plant.conversion_us * 1e-6
    # Least squares rather than a sum: the window need not be whole cycles.
    found = np.empty(6, complex)
    for channel in range(6):
        x = angle[:, channel]
        basis = np.stack([np.cos(x), np.sin(x), np.ones_like(x)], axis=1)
        c, s, _ = np.linalg.lstsq(basis, codes[:, channel], rcond=None)[0]
        found[channel] = c - 1j * s
    return found


@pytest.mark.parametrize("variant", ["home", "public"])
@pytest.mark.parametrize("seed", range(5))
def test_the_factory_calibration_turns_counts_into_amperes_and_volts(
    variant: str, seed: int
) -> None:
    wanted = [RANGE[variant] * share for share in (1, 0.5, 0.1)]
    plant = Plant(variant, seed=seed, i=wanted, u=[230, 207, 253], noise_lsb=0.5)
    calibration = plant.calibration()
    gains = np.array(calibration["gain_i_na"] + calibration["gain_u_nv"]) * 1e-9
    measured = np.std(counts(plant), axis=0) * gains
    assert measured == pytest.approx([*wanted, 230, 207, 253], rel=4e-3)
    assert calibration["v"] == 1
    assert all(isinstance(value, int) for value in calibration["gain_i_na"])
    assert max(calibration["gain_i_na"] + calibration["gain_u_nv"]) < 2**30


def test_boards_differ_by_up_to_six_per_cent_and_stay_the_same_by_their_seed() -> None:
    printed = FrontEnd.nominal("home").gains()
    spread = np.array([FrontEnd.of_chip("home", seed).gains() / printed for seed in range(60)]) - 1
    assert 0.04 < np.max(np.abs(spread)) < 0.062
    assert np.mean(spread) == pytest.approx(0, abs=0.01)
    assert Plant(seed=7).calibration() == Plant(seed=7).calibration()
    assert Plant(seed=7).calibration() != Plant(seed=8).calibration()


def test_a_bench_can_be_wrong_by_what_it_is_told_to() -> None:
    right, wrong = Plant(seed=3).calibration(), Plant(seed=3).calibration(residual=0.002)
    ratio = np.array(wrong["gain_i_na"]) / np.array(right["gain_i_na"]) - 1
    assert 0 < np.max(np.abs(ratio)) < 0.008


@pytest.mark.parametrize(("variant", "amperes_per_volt"), [("home", 166.667), ("public", 666.667)])
def test_the_printed_parts_give_the_printed_scale(variant: str, amperes_per_volt: float) -> None:
    volts_per_count = 1.1 * 196602 / 4096 / 65536 * 4095 / 65535
    # The pin's filter takes 0.05 % at 50 Hz, the sensor's lead less.
    passed = np.abs(FrontEnd.nominal(variant).response(np.array([50.0])))[:, 0]
    assert passed == pytest.approx([0.9995] * 6, abs=3e-4)
    gains = FrontEnd.nominal(variant).gains() * passed / volts_per_count
    assert gains == pytest.approx([amperes_per_volt] * 3 + [520] * 3, rel=5e-5)


@pytest.mark.parametrize(
    ("millivolt", "code"),
    # At Vref 1100 mV: 100 mV and less read 0; then one step is 0.8056 mV from 142 mV on; the top
    # is ESP-IDF's table halfway between its curves for 1000 and 1200 mV.
    [
        *(
            (0, 0),
            (100, 0),
            (140, 11.8),
            (184, 52.1),
            (300, 196.1),
            (1300, 1437.4),
            (2450, 2864.8),
        ),
        *((2663, 3136), (2868, 3520), (3039, 3904), (3140, 4095), (3300, 4095)),
    ],
)
def test_the_converter_follows_espressifs_curve(millivolt: float, code: float) -> None:
    found = FrontEnd.nominal().convert(np.array([float(millivolt)]), 0)[0]
    assert found == pytest.approx(code, abs=1, rel=0.012 if millivolt > 2450 else 0)


def test_the_curve_never_falls_on_any_chip() -> None:
    sweep = np.arange(0, 3300, 0.25)
    for seed in range(10):
        chip = replace(FrontEnd.of_chip("home", seed), bit_error_lsb=())
        for channel in range(6):
            assert np.all(np.diff(chip.convert(sweep, channel)) >= 0)


def test_the_curve_of_a_chip_stays_within_the_data_sheets_bounds() -> None:
    sweep = np.arange(150, 2450, 0.5)
    for seed in range(10):
        chip = FrontEnd.of_chip("home", seed)
        straight = replace(chip, inl=(), bit_error_lsb=())
        off = chip.convert(sweep, 0) - straight.convert(sweep, 0)
        assert 0.3 < np.max(np.abs(off)) < 12
        assert np.max(np.abs(np.diff(off))) < 7


def test_a_sine_beyond_the_linear_limits_is_clipped() -> None:
    board = FrontEnd.nominal()
    codes = Plant(i=[130, 160, 300], u=[230, 0, 500], noise_lsb=0, front_end=board).scans(CYCLE)
    assert codes[:, 0].min() > 0
    assert codes[:, 0].max() < 4095
    assert (codes[:, 1] == 0).any()
    assert (codes[:, 2] == 0).any()
    assert (codes[:, 2] == 4095).any()
    assert (codes[:, 5] == 0).any()


@pytest.mark.parametrize("variant", ["home", "public"])
@pytest.mark.parametrize("f", [45.0, 50.0, 60.0])
def test_clamps_lead_by_what_the_bench_found(variant: str, f: float) -> None:
    phi = [0.0, 60.0, -45.0]
    plant = Plant(variant, seed=4, f=f, phi=phi, i=[60, 60, 60], noise_lsb=0.2)
    calibration = plant.calibration()
    lag = np.degrees(np.angle(phasors(plant, f)[3:] / phasors(plant, f)[:3]))
    for k in range(3):
        lead_i, lead_u = (calibration[name][k] / 1000 for name in ("phase_i_mdeg", "phase_u_mdeg"))
        # A first-order high pass: the lead falls with frequency.
        lead_i, lead_u = (
            math.degrees(math.atan(math.tan(math.radians(at_50)) * 50 / f))
            for at_50 in (lead_i, lead_u)
        )
        assert lag[k] == pytest.approx(phi[k] - lead_i + lead_u, abs=0.03)
        assert lead_i > lead_u > 0.1


def test_a_backward_clamp_turns_the_signal_by_half_a_turn() -> None:
    forward = phasors(Plant(noise_lsb=0), 50)[1]
    backward = phasors(Plant(noise_lsb=0, ct=["L1", "-L2", "L3"]), 50)[1]
    assert backward / forward == pytest.approx(-1, abs=0.01)


def test_a_clamp_on_no_conductor_rests_at_the_bias_and_an_unplugged_one_at_ground() -> None:
    codes = Plant(ct=["L1", None, "unplugged"], noise_lsb=1.0, seed=2).scans(2000)
    assert np.mean(codes[:, 1]) == pytest.approx((1300 - 142) / 0.8056, rel=0.07)
    assert np.std(codes[:, 1]) < 1.5
    assert np.max(codes[:, 2]) < 6


def test_an_absent_voltage_rests_at_the_bias() -> None:
    codes = Plant(u=[230, 0, 230]).scans(2000)
    assert np.std(codes[:, 4]) < 1.5


@pytest.mark.parametrize("lsb", [0.5, 1.0, 4.0])
def test_noise_has_the_level_asked_for(lsb: float) -> None:
    codes = Plant(i=[0, 0, 0], noise_lsb=lsb).scans(5000)
    rounding = 1 / 12
    assert np.std(codes[:, 0]) == pytest.approx(math.sqrt(lsb**2 + rounding), rel=0.05)
    assert np.mean(codes[:, 0]) == pytest.approx(
        np.mean(Plant(i=[0] * 3).loop.columns[0]) / 16, abs=0.5
    )


def test_without_noise_the_same_instant_gives_the_same_code() -> None:
    still = Plant(i=[0, 0, 0], u=[0, 0, 0], noise_lsb=0).scans(100)
    assert np.all(still == still[0])


def test_spikes_hit_the_share_asked_for_with_50_to_100_lsb() -> None:
    codes = Plant(i=[0, 0, 0], u=[0, 0, 0], noise_lsb=0, spikes=0.01).scans(20000)
    away = np.abs(codes - np.median(codes, axis=0))
    hit = away[away > 0]
    assert len(hit) / codes.size == pytest.approx(0.01, rel=0.15)
    assert 49 <= hit.min() <= 60
    assert 90 <= hit.max() <= 101


def test_harmonics_pass_the_clamps_and_the_pins_filter() -> None:
    plant = Plant(harmonics={"i": {"7": 0.3}}, i=[60, 60, 60], noise_lsb=0, seed=2)
    codes = plant.loop.rows[:-1, 0].astype(float)
    spectrum = np.abs(np.fft.rfft(codes))
    corner_hz = 1 / (2 * math.pi * 1e3 * 100e-9)
    attenuation = math.sqrt((1 + (50 / corner_hz) ** 2) / (1 + (350 / corner_hz) ** 2))
    assert spectrum[7] / spectrum[1] == pytest.approx(0.3 * attenuation, rel=5e-3)
