"""plant.bin, the loop that both the VM and CPython read: its bounds, its seam, its codes."""

import struct
from array import array
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sim.cpython.virtual_time import VirtualTime
from sim.plant import Plant
from sim.waves import Grid

HEADER = struct.Struct("<4s6I")


def read_by_the_book(plant_bin: bytes, conversions: int, conversion_ns: int) -> list[int]:
    """plant.bin decoded by the words of sim/loop.py: channel after channel, from power-on."""
    magic, version, _, rows, row_ns, unit_ns, noise_length = HEADER.unpack_from(plant_bin)
    assert (magic, version) == (b"AGPL", 1)
    table = array("H", plant_bin[64 : 64 + 12 * (rows + 1)])
    noise = array("h", plant_bin[64 + 12 * (rows + 1) :])
    assert len(noise) == noise_length
    codes, state = [], 20260101
    for n in range(conversions):
        row, within = divmod(n * conversion_ns // unit_ns % (rows * row_ns), row_ns)
        a, b = table[6 * row + n % 6], table[6 * row + 6 + n % 6]
        state = (state * 69069 + 12345) & 0x3FFFFFFF
        code = (a + (b - a) * within // row_ns + noise[state >> 10 & noise_length - 1] + 8) >> 4
        codes.append(min(4095, max(0, code)))
    return codes


SITES: list[dict[str, Any]] = [
    {},
    {"f": 50.37, "noise_lsb": 3.0},
    {"variant": "public", "f": 61.0, "spikes": 0.01, "u": [230, 450, 100], "i": [300, 700, -4]},
]


@pytest.mark.parametrize("site", SITES)
def test_readers_in_virtual_time_give_the_codes_of_plant_bin(site: dict[str, Any]) -> None:
    plant, time = Plant(**site), VirtualTime()
    readers = plant.readers(time)
    codes = [reader.read() for _ in range(1500) for reader in readers]
    assert codes == read_by_the_book(plant.render(), 9000, 35_000)
    assert codes == Plant(**site).scans(1500).ravel().tolist()


@pytest.mark.parametrize("site", SITES)
def test_the_simulated_boards_converter_gives_the_same_codes(
    run_vm: Callable[..., str], site: dict[str, Any], tmp_path: Path
) -> None:
    plant = Plant(**site)
    (tmp_path / "plant.bin").write_bytes(plant.render())
    printed = run_vm(
        f"""
import _board
_board.config["plant"] = {str(tmp_path / "plant.bin")!r}
import _clock
_clock.load_plant()
for n in range(3000):
    print(_clock.convert(n % 6))
""",
        standins=True,
    )
    assert [int(code) for code in printed.split()] == plant.scans(500).ravel().tolist()


def test_read_u16_stretches_twelve_bits_to_sixteen() -> None:
    codes = Plant(i=[400, 10, 0]).scans(300)
    plant, time = Plant(i=[400, 10, 0]), VirtualTime()
    readers = plant.readers(time)
    wide = [[reader.read_u16() for reader in readers] for _ in range(300)]
    assert wide == (codes * 16 + codes // 256).tolist()
    assert np.max(wide) == 65535


def test_every_conversion_takes_its_time() -> None:
    time = VirtualTime()
    reader = Plant(conversion_us=12.5).adc_reader(36, time)
    for _ in range(80):
        reader.read()
    assert time.ticks_us() == 1000


def test_pins_and_channels_are_the_same_inputs() -> None:
    for channel, gpio in enumerate((36, 39, 32, 33, 34, 35)):
        by_pin = Plant(noise_lsb=0).adc_reader(gpio, VirtualTime(3_000_000)).read()
        by_channel = Plant(noise_lsb=0).adc_reader(channel, VirtualTime(3_000_000)).read()
        assert (
            by_pin
            == by_channel
            == Plant(noise_lsb=0).scans(1, 3_000_000 - channel * 35_000)[0, channel]
        )
    for wrong in (37, 6, -1, 25):
        with pytest.raises(ValueError, match="pin: expected GPIO"):
            Plant().adc_reader(wrong, VirtualTime())


def test_a_change_of_the_plant_reaches_the_readers_at_once() -> None:
    plant, time = Plant(i=[0, 0, 0], noise_lsb=0), VirtualTime()
    reader = plant.adc_reader(36, time)
    assert len({reader.read() for _ in range(600)}) == 1
    plant.set(i=[50, 0, 0])
    assert len({reader.read() for _ in range(600)}) > 100


def test_each_change_is_a_new_generation_in_the_file() -> None:
    plant = Plant()
    before = HEADER.unpack_from(plant.render())[2]
    plant.set(i=[1, 2, 3])
    assert HEADER.unpack_from(plant.render())[2] == before + 1 == plant.generation


@pytest.mark.parametrize("f", [45, 47.123, 50, 50.01, 55.5, 59.94, 61.7, 65])
def test_the_loop_closes_and_keeps_to_32_bits(f: float) -> None:
    plant_bin = Plant(f=f).render()
    _, _, _, rows, row_ns, unit_ns, noise_length = HEADER.unpack_from(plant_bin)
    assert row_ns < 2**14
    assert rows * row_ns < 2**30
    assert 1000 % unit_ns == 0
    assert noise_length & (noise_length - 1) == 0
    assert rows * row_ns * unit_ns * 1e-9 == pytest.approx(1 / f, rel=2e-6)
    table = np.frombuffer(plant_bin, "<u2", 6 * (rows + 1), 64).reshape(-1, 6)
    assert np.array_equal(table[0], table[-1])
    assert np.max(np.abs(np.diff(table.astype(int), axis=0))) < 20 * 16
    assert len(plant_bin) < 32_000


@pytest.mark.parametrize(
    ("loop_s", "cycles"), [(0.4, 20), (0.40023, 20), (5.3127, 265), (26, 1300)]
)
def test_long_loops_fit_too(loop_s: float, cycles: int) -> None:
    grid = Grid.fit(loop_s, cycles, max(40e-6, loop_s / 2**18))
    assert grid.rows % cycles == 0
    assert grid.row_ns < 2**14
    assert grid.rows * grid.row_ns < 2**30
    assert grid.loop_s == pytest.approx(loop_s, rel=5e-6)
