"""Other chips than the classic ESP32: each measures with the pins it has."""

import asyncio
from pathlib import Path

import pytest

from tools.benches.recovery import Recovery, beside

pytestmark = pytest.mark.whole_device


def test_an_s3_has_a_map_and_an_unknown_chip_none(board) -> None:
    main = "import board\ntry:\n  print(len(board.converter().readers), board.lan())\n"
    main += "except ValueError as fault:\n  print(fault)\n"

    async def said(chip: str) -> str:
        async with board(main, board={"chip": chip}) as device:
            await device.until("repl")
            return str(device.console[0])

    assert asyncio.run(said("esp32s3")) == "6 None"
    assert "no pin map for ESP32C6, expected" in asyncio.run(said("esp32c6"))


def measured(folder: Path, chip: str) -> dict:
    """The first whole measurement of a board with that chip."""
    found: list[dict] = []

    async def work(device: Recovery) -> None:
        whole = await device.until(
            lambda: [m for _, m in device.since(0, "measurement") if m["cov"] > 0.9], 30, "cov"
        )
        found.append(whole[-1])

    async def run() -> None:
        device = Recovery(folder / "flash")
        device.device.board["chip"] = chip
        await beside(device, work(device))

    asyncio.run(run())
    return found[0]


def test_a_c3_has_five_inputs_and_measures_three_currents_and_one_voltage(tmp_path: Path) -> None:
    told = measured(tmp_path, "esp32c3")
    assert told["i"] == pytest.approx([16, 10, 6], rel=0.02)
    assert told["u"] == pytest.approx([230, 230, 230], rel=0.01)
    assert told["p"] == pytest.approx([3680, 2300, 1380], rel=0.03)
    estimated = {flag for flag in told["flags"] if flag.startswith(("estimated", "adc_fault"))}
    assert estimated == {"estimated_l2", "estimated_l3"}
