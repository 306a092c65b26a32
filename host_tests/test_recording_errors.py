"""A recording that cannot be played is told in one line: what is wrong, what to do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from comtrade_writer import Channel, Feeder, write

from sim.recording import Recording


def refused(cfg: Path, match: str, **options: float) -> None:
    with pytest.raises(ValueError, match=match) as caught:
        Recording.load(cfg, **options)
    assert "\n" not in str(caught.value)
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    refused(tmp_path / "none.cfg", "none.cfg: no such file; give the .cfg file")
    refused(tmp_path, "no such file")


def test_a_data_file_given_for_the_configuration(tmp_path: Path) -> None:
    cfg = write(tmp_path, Feeder())
    refused(cfg.with_suffix(".dat"), "feeder.dat: expected the .cfg file")


def test_a_data_file_that_is_not_there(tmp_path: Path) -> None:
    cfg = write(tmp_path, Feeder())
    cfg.with_suffix(".dat").unlink()
    refused(cfg, "feeder.dat: no such file; it belongs beside feeder.cfg")


@pytest.mark.parametrize("form", ["ASCII", "BINARY", "BINARY32", "FLOAT32"])
def test_a_data_file_shorter_than_said(tmp_path: Path, form: str) -> None:
    cfg = write(tmp_path, Feeder(), form=form, status=3)
    dat = cfg.with_suffix(".dat")
    whole = dat.read_bytes()
    dat.write_bytes(whole[: len(whole) // 2])
    refused(cfg, "feeder.dat: holds 6[0-9][0-9] samples where feeder.cfg says 1280; .*incomplete")


def line(number: int, text: str) -> Callable[[list[str]], None]:
    def spoil(lines: list[str]) -> None:
        lines[number] = text

    return spoil


@pytest.mark.parametrize(
    "spoil",
    [
        line(1, "six,6A,0D"),
        line(1, ""),
        line(2, "1,UA,A,,V,abc,0,0,-1,1,1,1,S"),
        line(8, "fifty"),
        line(9, "many"),
        line(10, "3200"),
        line(10, "fast,1280"),
        line(10, "-3200,1280"),
        line(10, "3200,0"),
        line(10, "nan,1280"),
        line(11, "99/99/2020,00:00:00.000000"),
        line(13, "MP3"),
        lambda lines: lines.clear(),
        lambda lines: lines.__delitem__(slice(5, None)),
        lambda lines: lines.__delitem__(slice(9, None)),
    ],
)
def test_a_malformed_configuration(tmp_path: Path, spoil: Callable[[list[str]], None]) -> None:
    cfg = write(tmp_path, Feeder())
    lines = cfg.read_text().splitlines()
    spoil(lines)
    cfg.write_text("\n".join(lines) + "\n")
    refused(cfg, "feeder.cfg: not a complete COMTRADE configuration .*get the original")


def test_a_configuration_of_another_kind_of_file(tmp_path: Path) -> None:
    cfg = write(tmp_path, Feeder())
    cfg.write_bytes(bytes(range(256)) * 20)
    refused(cfg, "not a complete COMTRADE configuration")


def test_ascii_data_that_is_not_numbers(tmp_path: Path) -> None:
    cfg = write(tmp_path, Feeder())
    dat = cfg.with_suffix(".dat")
    lines = dat.read_text().splitlines()
    for broken in ("77,24062,1,2,3,4,5,x", "77,24062,1,2", "rubbish"):
        lines[76] = broken
        dat.write_text("\n".join(lines))
        refused(cfg, "feeder.dat: not the ASCII samples that feeder.cfg describes")


def test_too_few_voltages_or_currents(tmp_path: Path) -> None:
    channels = Feeder().channels
    refused(
        write(tmp_path, channels[1:]),
        r"feeder.cfg: expected three voltages, found 2 .*\(UB, UC, IA, IB, IC\)",
    )
    refused(write(tmp_path, channels[:5]), "expected three currents, found 2 .*choose a recording")
    no_currents = [*channels[:3], Channel("IN", "N", "A", channels[3].values)]
    refused(write(tmp_path, no_currents), "expected three currents, found 0")


@pytest.mark.parametrize(("index", "what"), [(0, "voltage"), (3, "current")])
def test_a_dead_phase_a(tmp_path: Path, index: int, what: str) -> None:
    feeder = Feeder()
    for level in (0.0, 1e-4):
        feeder.channels[index].values = level * np.sign(np.sin(np.arange(1280)))
        refused(write(tmp_path, feeder), f"phase A's {what} is .* over the first mains cycle")


def test_a_phase_a_of_the_last_digit_only(tmp_path: Path) -> None:
    feeder = Feeder()
    for channel in feeder.channels[3:]:
        # A feeder without load, before a fault: the converter's last digit toggles.
        channel.values = channel.values / 1e6
        channel.values[640:] *= 1e6
    refused(write(tmp_path, feeder), "phase A's current .* its last digit .* begins live")


def test_less_than_a_cycle(tmp_path: Path) -> None:
    refused(
        write(tmp_path, Feeder(seconds=0.015)), "holds 0.75 mains cycles, expected one or more"
    )


def test_a_channel_without_a_single_value(tmp_path: Path) -> None:
    cfg = write(tmp_path, Feeder())
    dat = cfg.with_suffix(".dat")
    rows = [row.split(",") for row in dat.read_text().splitlines() if "," in row]
    dat.write_text("\n".join(",".join([*row[:5], "99999", *row[6:]]) for row in rows))
    refused(cfg, "feeder.dat: channel 4 holds no values at all")


@pytest.mark.parametrize("options", [{"nominal": 0.0}, {"amps": -1.0}, {"amps": float("nan")}])
def test_a_scale_that_is_not_positive(tmp_path: Path, options: dict[str, float]) -> None:
    refused(write(tmp_path, Feeder()), "expected a positive number, got", **options)
