"""Recordings of every format and rate drive the plant with exactly what they hold."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from comtrade_writer import Channel, Feeder, write

from sim.plant import Plant
from sim.recording import Recording

FORMATS = ["ASCII", "BINARY", "BINARY32", "FLOAT32"]


def expect_feeder(truth: dict[str, Any], feeder: Feeder, rel: float = 5e-4) -> None:
    """230 V and 16 A on phase A, the others in their proportion, powers by the angle."""
    u = [230 * value / feeder.u[0] for value in feeder.u]
    i = [16 * value / feeder.i[0] for value in feeder.i]
    assert truth["u"] == pytest.approx(u, rel=rel)
    assert truth["i"] == pytest.approx(i, rel=rel)
    turn = math.radians(feeder.lag_deg)
    fundamental = 1 / math.sqrt(1 + feeder.fifth**2)
    s = [u[k] * i[k] * fundamental for k in range(3)]
    assert truth["p"] == pytest.approx([each * math.cos(turn) for each in s], rel=rel * 2)
    assert truth["q"] == pytest.approx([each * math.sin(turn) for each in s], rel=rel * 4)


@pytest.mark.parametrize("revision", ["1991", "1999", "2013"])
@pytest.mark.parametrize("form", FORMATS)
def test_every_revision_and_data_format_reads_alike(
    tmp_path: Path, revision: str, form: str
) -> None:
    feeder = Feeder()
    cfg = write(tmp_path, feeder, revision=revision, form=form, status=19)
    expect_feeder(Recording.load(cfg).truth(), feeder)


@pytest.mark.parametrize("rate", [1000, 1600, 3200, 4800, 6400, 10000, 20000])
@pytest.mark.parametrize("f", [50.0, 60.0])
def test_every_sampling_rate_gives_the_same_waves(tmp_path: Path, rate: float, f: float) -> None:
    feeder = Feeder(rate=rate, f=f, seconds=0.2, fifth=0.2)
    cfg = write(tmp_path, feeder, form="FLOAT32", hz=f"{f:g}")
    recording = Recording.load(cfg)
    expect_feeder(recording.truth(), feeder)
    assert recording.truth()["f"] == pytest.approx(f, abs=1e-3)
    wave = recording.wave
    t = np.arange(wave.grid.rows) * wave.grid.loop_s / wave.grid.rows
    exact = feeder.current(1, t) * 16 / (feeder.i[0] * math.sqrt(1 + feeder.fifth**2))
    assert np.max(np.abs(wave.i[1] - exact)) < 2e-3 * 16


@pytest.mark.parametrize(("nominal", "amps"), [(230.0, 32.0), (120.0, 5.0), (400.0, 63.5)])
def test_phase_a_is_scaled_to_what_was_asked_for(
    tmp_path: Path, nominal: float, amps: float
) -> None:
    truth = Recording.load(write(tmp_path, Feeder()), nominal, amps).truth()
    assert truth["u"][0] == pytest.approx(nominal, rel=1e-4)
    assert truth["i"][0] == pytest.approx(amps, rel=1e-4)
    assert truth["i"][1] == pytest.approx(amps / 2, rel=5e-4)


def test_the_first_cycle_sets_the_scale_and_the_rest_keeps_its_proportion(tmp_path: Path) -> None:
    feeder = Feeder()
    for channel in feeder.channels[3:]:
        channel.values[640:] *= 3
    truth = Recording.load(write(tmp_path, feeder)).truth()
    assert truth["i"][0] == pytest.approx(16 * math.sqrt((1 + 9) / 2), rel=2e-3)


def test_an_offset_of_the_recorder_is_no_voltage(tmp_path: Path) -> None:
    feeder = Feeder()
    for number, offset in ((0, 12), (1, 6), (3, 0.2), (4, -0.05)):
        feeder.channels[number].values += offset
    expect_feeder(Recording.load(write(tmp_path, feeder)).truth(), feeder)


@pytest.mark.parametrize("f", [49.61, 49.97, 50.2, 51.3])
@pytest.mark.parametrize("rate", [1000, 3200, 12800])
def test_the_seam_does_not_jump_whatever_the_mains_frequency(
    tmp_path: Path, f: float, rate: float
) -> None:
    feeder = Feeder(f=f, rate=rate, seconds=0.437, start_deg=0)
    recording = Recording.load(write(tmp_path, feeder, form="FLOAT32"))
    wave = recording.wave
    assert wave.frequency == pytest.approx(f, abs=2e-3)
    assert wave.cycles == math.floor(0.437 * f)
    for signal, peak in ((wave.u[0], 230 * math.sqrt(2)), (wave.i[0], 16 * math.sqrt(2))):
        steps = np.abs(np.diff(np.append(signal, signal[0])))
        assert steps[-1] <= 1.02 * np.max(steps[:-1])
        # A sine changes by no more than this in a row.
        assert np.max(steps) <= 1.01 * peak * 2 * np.pi * f * wave.grid.loop_s / wave.grid.rows


def test_a_section_of_nearly_whole_cycles_is_looped_as_it_is(tmp_path: Path) -> None:
    recording = Recording.load(write(tmp_path, Feeder(f=49.98, seconds=0.4)))
    assert recording.wave.grid.loop_s == pytest.approx(0.4, rel=1e-6)
    assert recording.wave.cycles == 20


def test_a_frequency_the_configuration_leaves_out_is_found(tmp_path: Path) -> None:
    for hz in ("", "0", "16.7"):
        cfg = write(tmp_path, Feeder(f=59.9, seconds=0.3), hz=hz)
        assert Recording.load(cfg).truth()["f"] == pytest.approx(59.9, abs=0.02)


def test_only_the_first_sampling_rate_section_is_looped(tmp_path: Path) -> None:
    feeder = Feeder(seconds=0.4)
    for channel in feeder.channels:
        channel.values[640:] = channel.values[640:] * 5
    cfg = write(tmp_path, feeder, sections=[(3200, 640), (800, 1280)])
    recording = Recording.load(cfg)
    assert recording.wave.grid.loop_s == pytest.approx(0.2, rel=1e-6)
    expect_feeder(recording.truth(), feeder)


def test_time_stamps_serve_where_no_rate_is_given(tmp_path: Path) -> None:
    cfg = write(tmp_path, Feeder())
    text = cfg.read_text().replace("\n1\n3200,1280\n", "\n0\n0,1280\n")
    cfg.write_text(text)
    assert "\n0,1280\n" in text
    expect_feeder(Recording.load(cfg).truth(), Feeder(), rel=2e-3)


def test_missing_samples_are_bridged(tmp_path: Path) -> None:
    cfg = write(tmp_path, Feeder(rate=6400))
    lines = cfg.with_suffix(".dat").read_text().splitlines()
    for n in (100, 700, 701, 1500):
        fields = lines[n].split(",")
        fields[2] = fields[6] = "99999"
        lines[n] = ",".join(fields)
    cfg.with_suffix(".dat").write_text("\n".join(lines))
    expect_feeder(Recording.load(cfg).truth(), Feeder(rate=6400), rel=2e-3)


def test_channels_sampled_one_after_the_other_are_put_in_step(tmp_path: Path) -> None:
    feeder = Feeder()
    t = np.arange(1280) / 3200
    for number, channel in enumerate(feeder.channels):
        channel.skew_us = number * 50
        later = t + number * 50e-6
        channel.values = (
            feeder.voltage(number, later) if number < 3 else feeder.current(number - 3, later)
        )
    expect_feeder(Recording.load(write(tmp_path, feeder, form="FLOAT32")).truth(), feeder, 2e-3)


def test_capital_file_names_are_found(tmp_path: Path) -> None:
    cfg = write(tmp_path, Feeder(), name="F")
    cfg.with_suffix(".dat").rename(tmp_path / "F.DAT")
    expect_feeder(Recording.load(cfg.rename(tmp_path / "F.CFG")).truth(), Feeder())


def test_a_station_name_in_another_encoding_does_no_harm(tmp_path: Path) -> None:
    cfg = write(tmp_path, Feeder())
    cfg.write_bytes("Umspannwerk Süd".encode("latin-1") + cfg.read_bytes())
    expect_feeder(Recording.load(cfg).truth(), Feeder())


def test_what_recorders_leave_blank_does_no_harm(tmp_path: Path) -> None:
    cfg = write(tmp_path, Feeder())
    lines = cfg.read_text().splitlines()
    for number in range(2, 8):
        fields = lines[number].split(",")
        lines[number] = ",".join(fields[:6] + [""] * 6 + fields[12:])
    cfg.write_text("\n".join(lines))
    dat = cfg.with_suffix(".dat")
    dat.write_text(dat.read_text().replace("\n", "\n\n"))
    expect_feeder(Recording.load(cfg).truth(), Feeder())


def test_a_long_recording_is_cut_to_what_the_board_can_loop(tmp_path: Path) -> None:
    cfg = write(tmp_path, Feeder(rate=1000, seconds=30), form="BINARY")
    recording = Recording.load(cfg)
    assert 25 < recording.wave.grid.loop_s < 27
    assert recording.wave.grid.rows < 1.3 * 2**18
    assert recording.truth()["f"] == pytest.approx(50, abs=1e-3)


# --- through the plant --------------------------------------------------------------------------


def test_the_meter_sees_the_recording_through_clamps_and_converter(tmp_path: Path) -> None:
    recording = Recording.load(write(tmp_path, Feeder()), amps=40)
    plant = Plant(recording=recording, seed=5, noise_lsb=0.5)
    codes = plant.scans(int(2 / 210e-6))
    calibration = plant.calibration()
    gains = np.array(calibration["gain_i_na"] + calibration["gain_u_nv"]) * 1e-9
    measured = np.std(codes << 4 | codes >> 8, axis=0) * gains
    truth = recording.truth()
    assert measured == pytest.approx(truth["i"] + truth["u"], rel=6e-3)
    assert plant.truth() == truth
    assert len(plant.render()) < 200_000


def test_clamps_can_be_swapped_on_a_recording_but_its_waves_are_fixed(tmp_path: Path) -> None:
    recording = Recording.load(write(tmp_path, Feeder()))
    plant = Plant(recording=recording)
    plant.set(ct=["-L1", "L3", "L2"], noise_lsb=0.0)
    truth = recording.truth()
    assert plant.truth()["i"] == pytest.approx([truth["i"][k] for k in (0, 2, 1)])
    assert plant.truth()["p"][0] == pytest.approx(-truth["p"][0])
    assert plant.state()["u"] == pytest.approx(truth["u"])
    assert plant.state()["recording"] == "feeder"
    with pytest.raises(ValueError, match="u: fixed, as a recording drives the mains"):
        plant.set(u=[230, 230, 230])


def test_a_single_phase_meter_sees_one_phase_of_a_recording(tmp_path: Path) -> None:
    plant = Plant(phases=1, recording=Recording.load(write(tmp_path, Feeder())))
    spread = np.std(plant.scans(1000), axis=0)
    assert np.all(spread[[0, 3]] > 50)
    assert np.all(spread[[1, 2, 4, 5]] < 2)
    truth = plant.truth()
    assert truth["i"] == [pytest.approx(16, rel=1e-3), None, None]
    assert truth["u"] == [pytest.approx(230, rel=1e-3), None, None]


# --- which channel is which ---------------------------------------------------------------------


def renamed(names: list[tuple[str, str, str]]) -> list[Channel]:
    """The feeder's six channels under other names, phases and units."""
    channels = Feeder().channels
    for channel, (name, phase, unit) in zip(channels, names, strict=True):
        channel.name, channel.phase, channel.unit = name, phase, unit
    return channels


@pytest.mark.parametrize(
    "names",
    [
        [*((f"V{p}", p, "V") for p in "ABC"), *((f"I{p}", p, "A") for p in "ABC")],
        [*((f"U{p}", "", "V") for p in "ABC"), *((f"I{p}", "", "A") for p in "ABC")],
        [*((f"Va{k}", f"L{k}", "V") for k in "123"), *((f"x{k}", f"L{k}", "A") for k in "123")],
        [*((f"UL{k}", "", "V") for k in "123"), *((f"IL{k}", "", "A") for k in "123")],
        [*((f"U L{k}-N", "", "V") for k in "123"), *((f"I L{k}", "", "A") for k in "123")],
        [*((f"u{p}", "", "V") for p in "rst"), *((f"i{p}", "", "A") for p in "rst")],
        [
            *((f"Bus 1 V{p}", f"{p}N", "V") for p in "ABC"),
            *((f"Line2_I{p}", "", "A") for p in "ABC"),
        ],
        [*((f"U{k}", "", "") for k in "123"), *((f"I{k}", "", "") for k in "123")],
        [*((f"Phase {p}", "", "V") for p in "ABC"), *((f"Phase {p}", "", "A") for p in "ABC")],
        [(f"channel {n}", p, unit) for unit in "VA" for n, p in enumerate("ABC", 7)],
        [(name, "", unit) for unit in "VA" for name in ("first", "second", "third")],
    ],
)
def test_channels_are_found_by_phase_name_or_unit(
    tmp_path: Path, names: list[tuple[str, str, str]]
) -> None:
    expect_feeder(Recording.load(write(tmp_path, renamed(names))).truth(), Feeder())


def test_the_phase_field_counts_more_than_the_name(tmp_path: Path) -> None:
    ua, ub, uc, *currents = Feeder().channels
    ua.name, ub.name, uc.name = "UC", "UA", "UB"
    channels = [ub, uc, ua, *currents]
    expect_feeder(Recording.load(write(tmp_path, channels)).truth(), Feeder())


def test_order_and_further_channels_do_not_matter(tmp_path: Path) -> None:
    ua, ub, uc, ia, ib, ic = Feeder().channels
    zero = np.zeros(1280)
    other = np.cos(np.arange(1280.0))
    channels = [
        Channel("F", "", "Hz", zero + 50),
        Channel("IN", "N", "A", other),
        ic,
        ib,
        Channel("3I0", "", "A", other),
        Channel("UAB", "AB", "V", other),
        uc,
        ia,
        Channel("UN", "", "V", other),
        ua,
        Channel("P", "A", "MW", other),
        ub,
        Channel("IA2", "A", "A", other),
        Channel("UA2", "A", "V", other),
    ]
    expect_feeder(Recording.load(write(tmp_path, channels)).truth(), Feeder())


def test_units_and_transformer_ratios_bring_the_phases_to_one_scale(tmp_path: Path) -> None:
    ua, ub, uc, ia, ib, ic = channels = Feeder().channels
    ub.values, ub.unit = ub.values / 1000, "kV"
    uc.values, uc.unit = uc.values * 1000, "mV"
    ib.values, ib.side, ib.primary, ib.secondary = ib.values * 300, "P", 300, 1
    for channel in (ia, ic):
        channel.primary, channel.secondary = 300, 1
    expect_feeder(Recording.load(write(tmp_path, channels)).truth(), Feeder())
    assert ua.unit == "V"


def test_voltages_between_the_lines_give_those_of_the_phases(tmp_path: Path) -> None:
    feeder = Feeder(u=(60, 60, 60))
    ua, ub, uc = (channel.values for channel in feeder.channels[:3])
    between = [
        Channel("UAB", "AB", "V", ua - ub),
        Channel("UBC", "BC", "V", ub - uc),
        Channel("UCA", "CA", "V", uc - ua),
    ]
    expect_feeder(Recording.load(write(tmp_path, between + feeder.channels[3:])).truth(), feeder)
    two = [Channel("U21", "105", "V", ua - ub), Channel("U32", "106", "V", ub - uc)]
    expect_feeder(Recording.load(write(tmp_path, two + feeder.channels[3:])).truth(), feeder)


def test_a_phase_field_with_the_feeders_number_is_passed_over(tmp_path: Path) -> None:
    ua, ub, uc, *currents = Feeder().channels
    channels = [uc, ub, ua, *currents]
    for channel in channels:
        channel.phase = "1"
    expect_feeder(Recording.load(write(tmp_path, channels)).truth(), Feeder())
