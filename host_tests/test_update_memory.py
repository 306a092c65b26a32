"""An update where memory is short: what installs is let go of, and begins anew."""

from __future__ import annotations

import os
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import pytest
from conftest import ROOT

from cloud import install, update

BUNDLE = bytes(range(256)) * 8


class Bench:
    """A job whose server has BUNDLE, and an install() that runs out of memory now and then."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, failures: int) -> None:
        self.failures = failures
        self.begun = 0
        self.let_go: list[tuple[str, ...]] = []
        self.closed = 0
        self.got = bytearray()
        self.now = 0
        monkeypatch.setattr(install, "about", lambda variant: (variant,))
        monkeypatch.setattr(install, "install", self.installs)
        monkeypatch.setattr(update, "unload", lambda *paths: self.let_go.append(paths))
        time = SimpleNamespace(
            ticks_ms=lambda: self.now,
            ticks_diff=lambda a, b: a - b,
            ticks_add=lambda a, b: a + b,
        )
        parts = {"time": time, "identity": SimpleNamespace(variant="home")}
        asked = (False, "web.lan", 80, "/x", False)
        self.job = update.Job(asked, None, parts, memoryview(bytearray(64)))
        self.job._download = SimpleNamespace(read=self.read, close=self.close)

    def read(self, offset: int, into: memoryview, size: int) -> int:
        piece = BUNDLE[offset : offset + min(size, 50)]
        into[: len(piece)] = piece
        return len(piece)

    def close(self) -> None:
        self.closed += 1

    def installs(self, view: memoryview, have: Any, version: str, down: bool, judged: Any) -> Any:
        self.begun += 1
        self.got.clear()
        yield from install.fetch(view, 0, len(BUNDLE) // 2, self.got.extend)
        if self.failures:
            self.failures -= 1
            raise MemoryError
        judged("0.2.0", len(BUNDLE))
        yield
        yield from install.fetch(view, len(self.got), len(BUNDLE) // 2, self.got.extend)

    def run(self) -> None:
        for _ in range(1000):
            if self.job.ended:
                return
            self.job.step()
            self.now += 1000
        raise AssertionError("it does not end")


def test_what_installs_is_loaded_once_the_server_has_answered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bench = Bench(monkeypatch, 0)
    bench.job._download.read = lambda *_: 0
    bench.job.step()
    assert (bench.begun, bench.job.ended) == (0, False)
    bench.job._download.read = bench.read
    bench.run()
    assert (bench.begun, bytes(bench.got), bench.job.problem) == (1, BUNDLE, None)


def test_an_update_that_finds_no_memory_begins_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(monkeypatch, 4)
    bench.run()
    assert (bench.begun, bytes(bench.got), bench.job.problem) == (5, BUNDLE, None)
    assert bench.closed == 4
    assert all("cloud.install" in paths for paths in bench.let_go)
    assert bench.job.version == "0.2.0"


def test_an_update_that_finds_no_memory_again_and_again_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bench = Bench(monkeypatch, 99)
    bench.run()
    assert bench.begun == 5
    assert bench.job.problem == "not enough memory at the moment"
    assert bench.job.version is None


def test_what_dials_brings_nothing_that_installs() -> None:
    """A board has no room for both; `update` and `download` are there while it dials."""
    script = "import cloud.update, sys; print(*(n for n in sys.modules if n[:6] == 'cloud.'))"
    places = os.pathsep.join(str(ROOT / place) for place in ("sim/cpython", "firmware"))
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=os.environ | {"PYTHONPATH": places},
        check=True,
        capture_output=True,
        text=True,
    )
    there = {"cloud.update", "cloud.download", "cloud.refused", "cloud.faults"}
    assert set(done.stdout.split()) == there
