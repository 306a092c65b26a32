"""A capture's record says what it was taken from; test_commands_device.py looks at the wave."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from array import array
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import comtrade
import pytest

from cloud import capture
from metering import kernels as k

SCANS = 80


class Cycle(list[int]):
    """A meter's sums: a new cycle whenever somebody asks when it began."""

    def __init__(self, period_us: int) -> None:
        super().__init__([0] * k.CYCLE_WORDS)
        self[k.CYCLES], self[k.SCANS], self[k.READ_US] = 1, SCANS, 210
        for channel in range(6):
            self[k.X + channel] = SCANS * 33000
        self.period_us = period_us

    def __getitem__(self, at: Any) -> Any:
        if at == k.START:
            self[k.START] = super().__getitem__(k.START) + self.period_us
        return super().__getitem__(at)


def recorded(period_us: int, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """What comtrade reads of a capture at a mains period."""
    monkeypatch.setattr(capture, "_PACE_S", 0)
    said: list[dict[str, Any]] = []
    meter = SimpleNamespace(
        cycle=Cycle(period_us),
        raw=array("H", [33000] * (6 * SCANS)),
        mains=SimpleNamespace(period_us=period_us),
    )
    parts = {
        "meter": meter,
        "clock": SimpleNamespace(unix_ms=lambda: 1767225600123),
        "time": SimpleNamespace(
            ticks_ms=lambda: 0, ticks_diff=lambda a, b: a - b, gmtime=time.gmtime
        ),
        "identity": SimpleNamespace(serial="AG100042317G"),
        "calibration": SimpleNamespace(gain_i_na=[8_000_000] * 3, gain_u_nv=[25_000_000] * 3),
    }
    uplink = SimpleNamespace(
        answering=False, respond=lambda text: said.append(json.loads(text)["result"])
    )
    asyncio.run(capture.run("c1", uplink, **parts))
    cfg = folder / "wave.cfg"
    cfg.write_text(said[-1]["cfg"], newline="")
    cfg.with_suffix(".dat").write_bytes(b"".join(base64.b64decode(p["dat"]) for p in said[:-1]))
    return comtrade.load(str(cfg))


@pytest.mark.parametrize(("hz", "cycles"), [(50, 50), (60, 60), (49.6, 50), (60.4, 61)])
def test_a_record_says_the_frequency_of_the_mains_it_is_of(
    hz: float, cycles: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wave = recorded(round(1_000_000 / hz), tmp_path, monkeypatch)
    assert wave.frequency == round(hz, -1)
    assert wave.total_samples == cycles * SCANS
    assert wave.start_timestamp.isoformat() == "2026-01-01T00:00:00.123000"
    assert max(abs(value) for channel in wave.analog for value in channel) < 0.001
