"""An update where memory is short: what installs is let go of, and begins anew."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Coroutine
from types import SimpleNamespace
from typing import Any

import pytest
from conftest import ROOT
from version import VERSION

from cloud import begin_update, install, update, update_key

BUNDLE = bytes(range(256)) * 8


class Uplink(SimpleNamespace):
    """It hangs up a few looks after it was told to be alone, and answers before that."""

    def __init__(self) -> None:
        super().__init__(alone=False, state="online", dial=None, job=None, answers=[], left=[])
        self.stopped = False

    def respond(self, payload: str) -> None:
        assert self.state == "online", "nobody is there to hear it"
        self.answers.append(json.loads(payload))

    def stop(self, reason: str) -> None:
        self.left.append(reason)
        self.state = "off"
        self.stopped = True


class Bench:
    """A job whose server has BUNDLE, and an install() that runs out of memory now and then."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, failures: int) -> None:
        self.failures = failures
        self.begun = 0
        self.begun_alone = 0
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
        self.told: list[tuple[str, str]] = []
        self.restarts = 0
        self.parts = {
            "time": time,
            "identity": SimpleNamespace(variant="home"),
            "log": SimpleNamespace(info=self.nothing, error=self.nothing),
            "events": SimpleNamespace(say=lambda *words: self.told.append(words)),
            "restart": self.restart,
        }
        asked = (False, "web.lan", 80, "/x", False)
        self.uplink = Uplink()
        self.job = update.Job(asked, self.uplink, self.parts, memoryview(bytearray(64)))
        self.job._download = SimpleNamespace(read=self.read, close=self.close)

    def nothing(self, *_: object) -> None: ...

    def restart(self) -> None:
        self.restarts += 1

    def read(self, offset: int, into: memoryview, size: int) -> int:
        piece = BUNDLE[offset : offset + min(size, 50)]
        into[: len(piece)] = piece
        return len(piece)

    def close(self) -> None:
        self.closed += 1

    def installs(self, view: memoryview, have: Any, version: str, down: bool, judged: Any) -> Any:
        self.begun += 1
        assert not self.job.hangs_up or self.uplink.state == "off"
        self.begun_alone += self.job.hangs_up
        self.got.clear()
        yield from install.fetch(view, 0, len(BUNDLE) // 2, self.got.extend)
        if self.failures:
            self.failures -= 1
            raise MemoryError
        judged("0.2.0", len(BUNDLE))
        yield
        yield from install.fetch(view, len(self.got), len(BUNDLE) // 2, self.got.extend)

    def run(self) -> None:
        """The job, and report() beside it, as the device runs them."""
        self.uplink.job = self.job.step
        asyncio.run(self.beside(self.job.report("u1", self.uplink, self.parts)))

    async def beside(self, report: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(report)
        looks = 0
        for _ in range(3000):
            if self.uplink.job:
                self.uplink.job()
            self.now += 1000
            await asyncio.sleep(0)
            looks += self.uplink.alone
            if looks > 5:
                self.uplink.state = "off"
            if task.done():
                return await task
        raise AssertionError("it does not end")


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(update, "_LOOK_S", 0)


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
    bench = Bench(monkeypatch, 1)
    bench.run()
    assert (bench.begun, bytes(bench.got), bench.job.problem) == (2, BUNDLE, None)
    assert bench.begun_alone == 0
    assert all("cloud.install" in paths for paths in bench.let_go[:-1])
    assert bench.uplink.answers[0]["result"]["version"] == "0.2.0"
    assert (bench.uplink.left, bench.restarts) == (["restart"], 1)


def test_an_update_that_finds_no_memory_twice_hangs_up_for_the_room_of_the_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bench = Bench(monkeypatch, 4)
    bench.run()
    assert (bench.begun, bytes(bench.got), bench.job.problem) == (5, BUNDLE, None)
    assert bench.begun_alone == 3
    answers = [{"v": 1, "id": "u1", "ok": True, "result": {"running": VERSION, "hangs_up": True}}]
    assert bench.uplink.answers == answers
    assert (bench.told, bench.restarts) == ([], 1)


def test_an_update_that_finds_no_memory_again_and_again_says_so_and_restarts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bench = Bench(monkeypatch, 99)
    bench.run()
    assert bench.begun == 5
    assert bench.job.version is None
    words = "it is not installed: not enough memory at the moment"
    assert (bench.told, bench.restarts) == ([("update_failed", words)], 1)
    assert len(bench.uplink.answers) == 1


def test_where_not_even_the_beginning_has_room_the_device_hangs_up_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bench = Bench(monkeypatch, 0)
    bench.parts["events"] = SimpleNamespace(say=lambda *words: bench.told.append(words))
    begun = []

    def start(name: str, *_: object) -> None:
        if bench.uplink.state == "online":
            raise MemoryError
        begun.append(name)

    async def begin() -> None:
        task = asyncio.create_task(
            begin_update.begin("u1", {"url": "http://10.0.0.1/x"}, bench.uplink, bench.parts)
        )
        for _ in range(20):
            await asyncio.sleep(0)
        assert bench.uplink.alone
        bench.uplink.state = "off"
        await task

    monkeypatch.setattr(begin_update, "_GONE_S", 0)
    monkeypatch.setattr(update_key, "fault", lambda: None)
    monkeypatch.setattr(update, "start", start)
    monkeypatch.setattr(begin_update, "unload", lambda *_: None)
    asyncio.run(begin())
    assert begun == ["u1"]
    assert [answer["result"]["hangs_up"] for answer in bench.uplink.answers] == [True]
    assert bench.restarts == 0


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
