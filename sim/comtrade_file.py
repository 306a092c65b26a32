"""Reads a COMTRADE .cfg and its .dat (IEEE C37.111-1991, -1999, -2013; any data format).

In: the path of the .cfg. Out: three voltages and three currents of the first sampling rate
section, in primary V and A. Parsing is PyPI comtrade's; what is added is that a file which is
not whole is refused rather than read as zeros, and that every refusal is a ValueError of one
line: what is wrong, what was expected, what to do.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, NamedTuple

import comtrade
import numpy as np

from sim.channels import Sum, three_phases
from sim.sinc import interpolate
from sim.waves import Floats

_OPTIONAL = slice(6, 12)  # b, skew, min, max, primary, secondary of an analog channel's line

_MALFORMED = (
    ValueError,
    IndexError,
    KeyError,
    TypeError,
    AttributeError,
    OverflowError,
    comtrade.ComtradeError,
)

_SAMPLE_BYTES = {"BINARY": 2, "BINARY32": 4, "FLOAT32": 4}


class Section(NamedTuple):
    """The first sampling rate section: values (6, n) of u1 u2 u3 i1 i2 i3 in V and A, the size
    of their last digit (0 where they are floats), samples per second, the frequency written in
    the configuration.
    """

    values: Floats
    digit: Floats
    rate: float
    nominal_hz: float


def read(path: Path) -> Section:
    """Read a whole recording or raise ValueError."""
    if not path.is_file():
        raise ValueError(f"{path}: no such file; give the .cfg file of a COMTRADE recording")
    if path.suffix.lower() != ".cfg":
        raise ValueError(f"{path}: expected the .cfg file of a COMTRADE recording")
    dat = _beside(path)
    try:
        text = _configuration(path)
        recording = _parser()
        recording.cfg.read(text)
        cfg = recording.cfg
        wanted = int(cfg.sample_rates[-1][1])
        rate, end = float(cfg.sample_rates[0][0]), int(cfg.sample_rates[0][1])
        if cfg.ft.upper() not in ("ASCII", *_SAMPLE_BYTES):
            raise ValueError(f"data file type {cfg.ft!r}")
        if not 0 < end <= wanted or not 0 <= rate <= 1e7:
            raise ValueError(f"sampling rate section {cfg.sample_rates[0]}")
    except _MALFORMED as error:
        raise ValueError(
            f"{path}: not a complete COMTRADE configuration ({error or type(error).__name__}); "
            "expected one of IEEE C37.111-1991, -1999 or -2013, so get the original file again"
        ) from None
    samples, held = _samples(dat, cfg)
    if held < wanted:
        raise ValueError(
            f"{dat}: holds {held} samples where {path.name} says {wanted}; "
            "the copy is incomplete, get the original again"
        )
    try:
        chosen = three_phases(cfg.analog_channels, "V") + three_phases(cfg.analog_channels, "A")
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    try:
        recording.read(text, samples)
    except _MALFORMED as error:
        raise ValueError(
            f"{dat}: not the {cfg.ft} samples that {path.name} describes "
            f"({error or type(error).__name__}); get the original again"
        ) from None
    analog = np.asarray(recording.analog, dtype=float)[:, :end]
    if rate == 0:
        rate = _rate_by_time(np.asarray(recording.time, dtype=float)[:end], dat)
    skews = [channel.skew * 1e-6 * rate for channel in cfg.analog_channels]
    values = np.stack([_combined(analog, skews, channels, dat) for channels in chosen])
    a = [0.0 if cfg.ft.upper() == "FLOAT32" else channel.a for channel in cfg.analog_channels]
    digit = np.array([max(abs(factor * a[k]) for k, factor in channels) for channels in chosen])
    return Section(values, digit, rate, float(cfg.frequency))


def _parser() -> comtrade.Comtrade:
    return comtrade.Comtrade(
        ignore_warnings=True, use_numpy_arrays=True, use_double_precision=True
    )


def _configuration(path: Path) -> str:
    """The .cfg with what recorders leave blank of an analog channel's numbers set to 0."""
    raw = path.read_bytes()
    try:
        lines = raw.decode().splitlines()
    except UnicodeDecodeError:
        lines = raw.decode("latin-1").splitlines()
    analog = int(lines[1].split(",")[1].strip()[:-1])
    for number in range(2, min(2 + analog, len(lines))):
        fields = lines[number].split(",")
        fields[_OPTIONAL] = [field.strip() or "0" for field in fields[_OPTIONAL]]
        lines[number] = ",".join(fields)
    return "\n".join(lines)


def _beside(path: Path) -> Path:
    """The .dat of a .cfg, in upper or lower case."""
    for suffix in (".dat", ".DAT", ".Dat"):
        dat = path.with_suffix(suffix)
        if dat.is_file():
            return dat
    raise ValueError(f"{path.with_suffix('.dat')}: no such file; it belongs beside {path.name}")


def _samples(dat: Path, cfg: Any) -> tuple[list[str] | bytes, int]:
    """The data file as the parser takes it, and how many samples it holds."""
    data = dat.read_bytes()
    if cfg.ft.upper() == "ASCII":
        lines = data.decode("latin-1").replace("\x1a", "").splitlines()
        lines = [line for line in lines if line.strip()]
        return lines, len(lines)
    status_bytes = 2 * math.ceil(cfg.status_count / 16)
    row = 8 + cfg.analog_count * _SAMPLE_BYTES[cfg.ft.upper()] + status_bytes
    return data, len(data) // row


def _rate_by_time(time: Floats, dat: Path) -> float:
    """Samples per second where the configuration leaves it to the time stamps."""
    if len(time) < 2 or not time[-1] > time[0]:
        raise ValueError(f"{dat}: no sampling rate and no running time stamps; one is needed")
    return (len(time) - 1) / (time[-1] - time[0])


def _combined(analog: Floats, skews: list[float], channels: Sum, dat: Path) -> Floats:
    """The sum of some channels, gaps bridged, each moved by the skew of its sampling."""
    total = np.zeros(analog.shape[1])
    at = np.arange(analog.shape[1])
    for index, factor in channels:
        values = analog[index]
        there = np.isfinite(values)
        if not there.any():
            raise ValueError(f"{dat}: channel {index + 1} holds no values at all")
        values = np.interp(at, at[there], values[there])
        if skews[index]:
            values = interpolate(values[None], at - skews[index], 1.0)[0]
        total += factor * values
    return total
