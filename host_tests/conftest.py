"""What tests share: the firmware importable on CPython, and the real VMs to run it on."""

from __future__ import annotations

import asyncio
import gc
import os
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
# Appended: nothing of the firmware may shadow a host module (nor the other way round).
for folder in ("sim/cpython", "firmware"):
    if str(ROOT / folder) not in sys.path:
        sys.path.insert(0, str(ROOT / folder))
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from sim.air import Air  # noqa: E402
from sim.device import SimulatedDevice  # noqa: E402
from sim.image import Image, build, default_vm  # noqa: E402

VM32 = "AMPGUARD_VM32"  # names a MicroPython with 32-bit words, as the board has


def _vms() -> list[Path]:
    found = [default_vm()]
    if os.environ.get(VM32):
        found.append(Path(os.environ[VM32]))
    return found


# Started first, for nobody likes to wait for the last one.
_LONG = (
    *("test_update_device", "test_portal_browser", "test_whole_device", "test_flash_tool"),
    *("test_provisioning_device", "test_flash_image", "test_flash_factory", "test_update_tool"),
    *("test_commands_device", "test_portal_certificate", "test_tls_device", "test_health_device"),
    *(
        "test_provisioning_namespace",
        "test_simulate_end",
        "test_flash_repl",
        "test_health_littlefs",
    ),
    *("test_board_air", "test_metering_flags", "test_metering_calibrate", "test_update_install"),
    *("test_portal_requests", "test_metering_adc", "test_board_device", "test_cloud_mqtt"),
)


def pytest_runtest_setup() -> None:
    # The firmware collects its garbage between two rooms of code, thousands of times in some
    # tests: CPython need not look at all of NumPy each time.
    gc.freeze()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    order = {name: number for number, name in enumerate(_LONG)}
    items.sort(key=lambda item: order.get(item.path.stem, len(order)))


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Tells tools/check.py which tests failed."""
    if os.environ.get("AMPGUARD_FAILED") and "PYTEST_XDIST_WORKER" not in os.environ:
        stats = terminalreporter.stats
        failed = dict.fromkeys(
            report.nodeid for report in stats.get("failed", []) + stats.get("error", [])
        )
        Path(os.environ["AMPGUARD_FAILED"]).write_text("\n".join(failed))


@pytest.fixture(scope="session", params=_vms(), ids=lambda path: f"vm-{path.parent.name}")
def vm(request: pytest.FixtureRequest) -> Path:
    """Each MicroPython binary at hand."""
    return request.param


@pytest.fixture(scope="session")
def image(vm: Path) -> Image:
    """The firmware and the stand-ins, compiled for `vm`."""
    return build(vm)


Run = Callable[..., str]


@pytest.fixture
def run_vm(image: Image, tmp_path: Path) -> Run:
    """run_vm("print(1)") -> "1\\n": a snippet on the bare VM, compiled firmware on its path.

    The VM's own time, machine ... unless `standins`; it may import `beside`; `heap` as for
    -X heapsize. A traceback fails the test. Names are those of the source.
    """

    def run(
        code: str,
        *,
        beside: tuple[Path, ...] = (),
        heap: str = "400wk",
        standins: bool = False,
        timeout: float = 180,
    ) -> str:
        for source in beside:
            (tmp_path / source.name).write_text(image.translated(source.read_text()))
        script = tmp_path / "snippet.py"
        script.write_text(image.translated(code))
        path = [str(image.code), str(image.code / "lib"), ".frozen"]
        if standins:
            path.insert(0, str(image.standins))
        done = subprocess.run(
            [str(image.vm.path), "-X", f"heapsize={heap}", str(script)],
            env={"MICROPYPATH": ":".join(path), "TZ": "UTC", "HOME": str(tmp_path)},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        if done.returncode:
            pytest.fail(f"on {image.vm.path}:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
        return done.stdout

    return run


Board = Callable[..., SimulatedDevice]


@pytest.fixture
def board(image: Image, tmp_path: Path) -> Iterator[Board]:
    """board("print(1)") -> a SimulatedDevice whose main.py that is, the compiled firmware beside
    it, with names as in the source. Start it with `async with`; what is still running after
    the test is killed."""
    made: list[SimulatedDevice] = []

    def make(main: str, **options: Any) -> SimulatedDevice:
        options = {"air": Air(), "plant": SteadyPlant(), "image": image} | options
        flash = tmp_path / f"flash{len(made)}"
        files = {
            "boot.py": "import sys; sys.path[0] = '/a'",
            "main.py": main,
        } | options.pop("files", {})
        made.append(SimulatedDevice(flash, files=files, **options))
        return made[-1]

    yield make
    for device in made:
        device.kill()


async def says(device: SimulatedDevice, lines: int) -> list[str]:
    """The console, once it has so many lines."""
    async with asyncio.timeout(20):
        while len(device.console) < lines:  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(0.01)
    return device.console


class SteadyPlant:
    """A plant that stands still: channel k always gives the code 1000 + 100 k."""

    def __init__(self) -> None:
        self.codes = [1000 + 100 * k for k in range(6)]

    def render(self) -> bytes:
        row = struct.pack("<6H", *(16 * code for code in self.codes))
        header = struct.pack("<4s6I36x", b"AGPL", 1, 0, 4, 10000, 1, 2)
        return header + 5 * row + struct.pack("<2h", 0, 0)
