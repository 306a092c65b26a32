"""Writes COMTRADE recordings for the tests: every revision and data format of IEEE C37.111."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass
class Channel:
    """One analog channel as the configuration lists it; `values` in its unit."""

    name: str
    phase: str
    unit: str
    values: Floats
    skew_us: float = 0.0
    primary: float = 1.0
    secondary: float = 1.0
    side: str = "S"


@dataclass
class Feeder:
    """A three-phase feeder whose waves are known exactly."""

    rate: float = 3200.0
    seconds: float = 0.4
    f: float = 50.0
    u: Sequence[float] = (60.0, 61.0, 59.0)
    i: Sequence[float] = (0.5, 0.25, 0.4)
    lag_deg: float = 30.0
    start_deg: float = 37.0
    fifth: float = 0.0  # share of the currents
    channels: list[Channel] = field(init=False)

    def __post_init__(self) -> None:
        t = np.arange(round(self.rate * self.seconds)) / self.rate
        self.channels = [
            Channel(f"U{p}", p, "V", self.voltage(k, t)) for k, p in enumerate("ABC")
        ] + [Channel(f"I{p}", p, "A", self.current(k, t)) for k, p in enumerate("ABC")]

    def angle(self, phase: int, t: Floats) -> Floats:
        """Of a phase's voltage, in rad."""
        return 2 * np.pi * self.f * t + np.radians(self.start_deg - 120 * phase)

    def voltage(self, phase: int, t: Floats) -> Floats:
        """Volts at t."""
        return self.u[phase] * np.sqrt(2) * np.sin(self.angle(phase, t))

    def current(self, phase: int, t: Floats) -> Floats:
        """Amperes at t."""
        x = self.angle(phase, t) - np.radians(self.lag_deg)
        return self.i[phase] * np.sqrt(2) * (np.sin(x) + self.fifth * np.sin(5 * x))


def write(
    folder: Path,
    feeder: Feeder | list[Channel],
    *,
    name: str = "feeder",
    rate: float = 3200.0,
    revision: str = "1999",
    form: str = "ASCII",
    hz: str = "50",
    status: int = 0,
    sections: Sequence[tuple[float, int]] | None = None,
) -> Path:
    """A .cfg and its .dat; returns the .cfg."""
    if isinstance(feeder, Feeder):
        channels, rate = feeder.channels, feeder.rate
    else:
        channels = feeder
    count = len(channels[0].values)
    top = {"ASCII": 90000, "BINARY": 32000, "BINARY32": 2_000_000_000, "FLOAT32": 0}[form]
    lines = [f"station,recorder{',' + revision if revision != '1991' else ''}"]
    lines.append(f"{len(channels) + status},{len(channels)}A,{status}D")
    raws, codes = [], []
    for number, channel in enumerate(channels, 1):
        peak = float(np.max(np.abs(channel.values))) or 1.0
        a = peak / top if top else 1.0
        raw = channel.values / a
        raws.append(raw)
        codes.append(np.rint(raw).astype(int))
        entry = f"{number},{channel.name},{channel.phase},,{channel.unit},{a:.12g},0,"
        entry += f"{channel.skew_us:g},{-max(top, 1)},{max(top, 1)}"
        if revision != "1991":
            entry += f",{channel.primary:g},{channel.secondary:g},{channel.side}"
        lines.append(entry)
    lines += [f"{n + 1},S{n},,,0" for n in range(status)]
    sections = sections or [(rate, count)]
    lines += [hz, str(len(sections)), *(f"{r:g},{end}" for r, end in sections)]
    lines += ["01/01/2020,00:00:00.000000"] * 2
    lines.append(form)
    if revision != "1991":
        lines.append("1")
    if revision == "2013":
        lines += ["0,0", "0,0"]
    cfg = folder / f"{name}.cfg"
    cfg.write_text("\r\n".join(lines) + "\r\n")
    stamps = [round(n / rate * 1e6) for n in range(count)]
    if form == "ASCII":
        rows = [
            ",".join(map(str, [n + 1, stamps[n], *(c[n] for c in codes), *([0] * status)]))
            for n in range(count)
        ]
        (folder / f"{name}.dat").write_text("\r\n".join(rows) + "\r\n\x1a")
        return cfg
    letter = {"BINARY": "h", "BINARY32": "i", "FLOAT32": "f"}[form]
    words = -(-status // 16)
    row = struct.Struct(f"<II{len(channels)}{letter}{words}H")
    values = raws if form == "FLOAT32" else codes
    (folder / f"{name}.dat").write_bytes(
        b"".join(
            row.pack(n + 1, stamps[n], *(c[n] for c in values), *([0] * words))
            for n in range(count)
        )
    )
    return cfg
