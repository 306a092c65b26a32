"""The flash as the board has it: the image's LittleFS on a chip, mounted by the VM's VfsLfs2, and
the unchanged firmware in it."""

import asyncio
import json
from pathlib import Path

import pytest
from littlefs import LittleFS

from shipping.firmware import compiled
from shipping.image import file_system
from sim.image import probe
from tools.benches.recovery import Recovery, beside
from tools.simulate import factory_file

pytestmark = pytest.mark.whole_device

_CHIP = 2 << 20
_BLOCK = 4096


class OnChip(Recovery):
    """A device whose flash is a chip: 45 ms to erase a block, 0.7 ms to write a page."""

    def __init__(self, folder: Path, vm: Path) -> None:
        super().__init__(folder / "flash", "--vm", str(vm))
        files = compiled(probe(vm).architecture)
        for path in (folder / "flash").rglob("*"):
            if path.is_file():
                files[str(path.relative_to(folder / "flash"))] = path.read_bytes()
        files["factory.json"] = json.dumps(factory_file(self.options, self.plant)).encode()
        self.chip = folder / "chip.bin"
        self.chip.write_bytes(file_system(files, _CHIP).ljust(_CHIP, b"\xff"))
        self.device._bare = True
        self.device._files = {}
        self.device.board |= {
            "chip_file": str(self.chip),
            "erase_us": 45_000,
            "program_us": 700,
            "tell_erases": True,
        }

    def read(self, path: str) -> bytes:
        """A file on the chip, by another LittleFS than the device's own."""
        fs = LittleFS(block_size=_BLOCK, block_count=_CHIP // _BLOCK, mount=False)
        fs.context.buffer[:] = self.chip.read_bytes()
        fs.mount()
        with fs.open(path, "rb") as file:
            return file.read()


def test_the_firmware_boots_from_the_images_file_system_and_publishes(
    vm: Path, tmp_path: Path
) -> None:
    async def work(device: OnChip) -> None:
        measured = await device.until(
            lambda: [m for _, m in device.since(0, "measurement") if m["cov"] > 0.9], 60, "cov"
        )
        assert measured[0]["i"][0] == pytest.approx(16, rel=0.02)
        info = await device.until(lambda: device.since(0, "info"), 60, "info")
        assert info[0][1]["boot_count"] == 1
        # What it wrote is there, for another reader too, after the power failed.
        await device.cut()
        assert json.loads(device.read("boot")[9:])["boots"] == 1
        mark = device.heard[-1][0]
        await device.power_on()
        info = await device.until(lambda: device.since(mark, "info"), 60, "info")
        assert info[0][1]["boot_count"] == 2

    async def run() -> None:
        device = OnChip(tmp_path, vm)
        await beside(device, work(device))

    asyncio.run(run())
