"""Power cuts while the device writes, on the board's flash in the VM: at every call that changes
it, in mid-write included, from the first save ever to one that replaces an older copy."""

import asyncio

import pytest

from sim.device import SimulatedDevice

MAIN = """
from device.settings import Settings

settings = Settings("/settings", {"interval_s": 7})
task, saves = open("/task").read().split()
if task == "prepare":
    for number in range(int(saves)):
        settings.update(interval_s=20 + number)
elif task == "save":
    settings.update(interval_s=33, wifi_ssid="Hallonstigen 7", wifi_password="smultron")
else:
    print(settings.interval_s, settings.problems)
"""


@pytest.mark.parametrize("saves", [0, 1, 3])
def test_a_cut_at_every_call_leaves_the_old_settings_or_the_new(board, saves: int) -> None:
    old = 20 + saves - 1 if saves else 7

    async def boot(device: SimulatedDevice, task: str) -> str:
        device.flash.mkdir(exist_ok=True)
        (device.flash / "task").write_text(f"{task} {saves}")
        since = len(device.events)
        async with device:
            event = await device.until(lambda e: e["ev"] in ("repl", "died"), since=since)
        return event["ev"]

    async def run() -> list[int]:
        found = []
        for cut in range(1, 30):
            device = board(MAIN)
            assert await boot(device, "prepare") == "repl"
            device.board["cut_at_write"] = cut
            ended = await boot(device, "save")
            heard = len(device.console)
            assert await boot(device, "look") == "repl"
            value, problems = device.console[heard].split(" ", 1)
            assert int(value) in (old, 33), f"cut {cut}"
            assert problems == "[]", f"cut {cut}"
            found.append(int(value))
            if ended == "repl":
                return found
        pytest.fail("the save never ends")

    found = asyncio.run(run())
    assert len(found) > 4  # it was cut at several calls
    assert found[0] == old
    assert found[-1] == 33
    assert found == sorted(found, key=[old, 33].index)  # once new, always new
