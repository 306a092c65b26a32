"""Every doubt, from the plant to the broker: what the whole device flags while things fail, and
that it takes the flag back when they return."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from tools.benches.device import Bench, _beside, _lay_out

pytestmark = pytest.mark.whole_device


def on_a_device(folder: Path, work: Callable[[Bench], Awaitable[None]], **changes: Any) -> None:
    """A device that knows its network; changes: of its /factory.json, None takes a field away."""

    async def main() -> None:
        _lay_out(folder / "flash")
        bench = Bench(folder / "flash", "--no-provision")
        factory = dict(bench.device._factory or {}) | changes
        bench.device._factory = {k: v for k, v in factory.items() if v is not None}
        await _beside(bench.run(), work(bench), bench)

    asyncio.run(main())


def test_each_flag_comes_and_goes_with_its_cause(tmp_path: Path) -> None:
    async def work(bench: Bench) -> None:
        async def flagged(*wanted: str, **plant: Any) -> Any:
            """The first message with exactly these flags after the plant was set."""
            since = len(bench.heard)
            if plant:
                bench.plant.set(**plant)
                bench.plant_changed()
            flags = {*wanted, "uncalibrated"}

            def found() -> list[Any]:
                # A busy host may cost a second a little coverage.
                return [m for _, m in bench.heard[since:] if set(m["flags"]) - doubt == flags]

            doubt = {"low_coverage"} - set(wanted)
            try:
                await bench.until(found, 60)
            except TimeoutError:
                pytest.fail(
                    f"{flags} wanted, heard {[m['flags'] for _, m in bench.heard[since:]]}"
                )
            return found()[0]

        bench.plant.set(u=[230, 0, 0], i=[16, 10, 6])
        bench.plant_changed()
        await bench.until(lambda: bench.heard, 90)  # the firmware may have to be compiled first
        told = await flagged("estimated_l2", "estimated_l3")
        assert told["i"] == pytest.approx([16, 10, 6], rel=0.07)
        told = await flagged("clipped_l2", "estimated_l2", "estimated_l3", i=[16, 170, 6])
        assert told["i"][1] > 120
        told = await flagged(i=[16, 10, 6], u=[230, 230, 230])  # an electrician wires the others
        assert told["p_total"] == pytest.approx(32 * 230, rel=0.12)
        told = await flagged("voltage_lost_l2", u=[230, 0, 230])
        assert (told["p"][1], told["p_total"]) == (None, None)
        assert told["i"][1] == pytest.approx(10, rel=0.07)
        told = await flagged("no_voltage", u=[0, 0, 0])
        assert (told["p"], told["f"]) == ([None] * 3, None)
        assert told["i"] == pytest.approx([16, 10, 6], rel=0.07)
        told = await flagged(u=[230, 230, 230])
        assert None not in told["p"]
        told = await flagged("adc_fault_l3", ct=["L1", "L2", "unplugged"])
        assert told["i"][2] == 0
        await flagged(ct=["L1", "L2", "L3"])
        assert bench.device.pid
        os.kill(bench.device.pid, signal.SIGSTOP)  # something holds the processor
        await asyncio.sleep(0.4)
        os.kill(bench.device.pid, signal.SIGCONT)
        told = await flagged("low_coverage")
        assert told["cov"] < 0.95

    on_a_device(tmp_path, work, calibration=None)


def test_an_overload_is_an_event_and_a_message_at_once(tmp_path: Path) -> None:
    async def work(bench: Bench) -> None:
        await bench.until(lambda: any(m["i"][0] > 15 for _, m in bench.heard), 90)
        since = len(bench.heard)
        bench.plant.set(i=[31, 10, 6])
        bench.plant_changed()
        await bench.until(lambda: any(e["kind"] == "overload" for _, e in bench.events), 60)
        (event,) = [e for _, e in bench.events if e["kind"] == "overload"]
        assert event["phase"] == 1
        assert "more than its fuse of 25 A" in event["words"]
        await bench.until(lambda: any(m["i"][0] > 30 for _, m in bench.heard[since:]), 60)
        bench.plant.set(i=[10, 10, 6])
        bench.plant_changed()
        await bench.until(lambda: any(e["kind"] == "overload_end" for _, e in bench.events), 60)
        numbers = [m["seq"] for _, m in bench.heard]
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
        # tools/benches/device.py counts what the meter made, also what no broker gets.
        assert len(bench.told) >= len(numbers)

    on_a_device(tmp_path, work)
