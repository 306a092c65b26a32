"""The three drivers: what they do to registers and buses, and how they fail."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from conftest import Run
from metering_bench import MeterBench

from metering.adc import InternalAdc, check_pins
from metering.mcp3208 import Mcp3208
from metering.sar import SarAdc
from sim.plant import Plant

ADC1 = (36, 37, 38, 39, 32, 33, 34, 35)
CHANNELS = (0, 3, 4, 5, 6, 7)  # GPIO 36, 39, 32, 33, 34, 35


class SarRegisters:
    """The SENS block's two registers as the reference manual has them; refuses misuse."""

    def __init__(self, convert: Callable[[int], int], polls: int = 5) -> None:
        self.convert, self.polls = convert, polls
        self.busy = 0  # polls until the state machine is idle
        self.hangs = False
        self.conversions = 0
        self._setup = 0xFFFFFFFF  # what machine.ADC left there
        self._left = 0
        self._data = 0

    def load(self, word: int) -> int:
        if word == 15:
            if self.busy:
                self.busy -= 1
                return 1 << 22
            return 0
        assert word == 21, f"word {word} is no business of the driver"
        if self._left and not self.hangs:
            self._left -= 1
        done = not self._left and not self.hangs
        return (self._setup & ~0x1FFFF) | (done << 16) | (self._data if done else 0xABC)

    def store(self, word: int, value: int) -> None:
        assert word == 21, f"word {word} is not for the driver to write"
        value &= 0xFFFFFFFF
        pads = value >> 19 & 0xFFF
        assert value >> 31, "the pads are not forced"
        assert value >> 18 & 1, "the start is not forced"
        assert pads.bit_count() == 1, f"not one pad but {pads:012b}"
        assert not value & 0x1FFFF, "writes what only the hardware writes"
        if value >> 17 & 1:
            assert not self._setup >> 17 & 1, "started without an edge"
            assert not self.busy, "started while busy"
            self._data = self.convert(pads.bit_length() - 1)
            self._left = self.polls
            self.conversions += 1
        self._setup = value


def sar(registers: SarRegisters, slow: Callable[[], int] = lambda: 1234) -> SarAdc:
    return SarAdc([(channel, slow) for channel in CHANNELS], registers)


def test_registers_give_what_machine_adc_would_give() -> None:
    registers = SarRegisters(lambda channel: 4095 if channel == 7 else 100 * channel + 7)
    adc = sar(registers)
    for _ in range(3):
        registers.busy = 3
        codes = [100 * channel + 7 if channel < 7 else 4095 for channel in CHANNELS]
        assert [read() for read in adc.readers] == [code << 4 | code >> 8 for code in codes]
    assert registers.conversions == 18
    assert adc.take_problem() is None


@pytest.mark.parametrize("how", ["never done", "never idle"])
def test_a_hanging_conversion_is_given_up_read_otherwise_and_told_once(how: str) -> None:
    registers = SarRegisters(lambda channel: 5)
    slow = 0

    def read() -> int:
        nonlocal slow
        slow += 1
        return 4321

    adc = sar(registers, read)
    assert adc.readers[2]() == 5 << 4
    registers.hangs = how == "never done"
    registers.busy = 10**6 if how == "never idle" else 0
    assert adc.readers[2]() == 4321
    registers.hangs, registers.busy = False, 0
    made = registers.conversions
    assert adc.readers[0]() == 4321  # for good
    assert registers.conversions == made
    assert slow == 2
    assert adc.take_problem() == "ADC channel 4 hung: reading slower from now on"
    assert adc.take_problem() is None


def test_a_meter_on_registers_measures_and_goes_on_when_they_hang() -> None:
    plant = Plant(i=[16, 10, 6], phi=[60, 0, -60], conversion_us=10)
    bench = MeterBench(plant)
    fast = plant.readers(bench.time)
    registers = SarRegisters(lambda channel: fast[CHANNELS.index(channel)].read(), polls=2)
    inputs = [(c, fast[n].read_u16) for n, c in enumerate(CHANNELS)]
    bench.meter._adc = adc = SarAdc(inputs, registers)
    bench.meter.wire(None)
    before = bench.after(1.05)
    registers.hangs = True
    after = bench.after(2)
    for told in (before, after):
        assert told.i_ma == pytest.approx([16_000, 10_000, 6_000], rel=0.01)
        assert told.p_mw == pytest.approx([1_840_000, 2_300_000, 690_000], rel=0.015)
    assert adc.take_problem()


def test_the_register_driver_runs_on_the_vms(run_vm: Run) -> None:
    code = """
from array import array
from metering.sar import SarAdc
words = array("I", [0] * 22)
words[21] = 0
slow = []
def read():
    slow.append(1)
    return 77
adc = SarAdc([(c, read) for c in (0, 3, 4, 5, 6, 7)], words)
# Memory does not convert: the start is written, "done" never comes, the spin ends.
print(adc.readers[1](), len(slow), hex(words[21]), adc.take_problem())
"""
    assert run_vm(code).split(maxsplit=3) == [
        "77",
        "1",
        hex(1 << 31 | 1 << 22 | 1 << 18 | 1 << 17),
        "ADC channel 3 hung: reading slower from now on\n",
    ]


class Mcp3208Bus:
    """The chip's serial interface, bit by bit as in figure 6-1 of its data sheet."""

    def __init__(self, codes: list[int], answers: bool = True) -> None:
        self.codes, self.answers = codes, answers
        self._selected = False
        self.exchanges = 0

    def select(self, level: int) -> None:
        assert bool(level) == self._selected or not self.exchanges, "select without a change"
        self._selected = not level

    def write_readinto(self, request: bytes, answer: bytearray) -> None:
        assert self._selected
        assert len(request) == len(answer) == 3
        self.exchanges += 1
        sent = int.from_bytes(request, "big")
        start = sent.bit_length()  # the first one is the start bit
        assert sent >> start - 2 & 1, "differential"
        channel = sent >> start - 5 & 7
        # A null bit follows the clock after D0, then twelve bits, then the pin floats.
        out = self.codes[channel] << start - 7 - 12 if start >= 19 else 0
        floating = ~((1 << start - 6) - 1) & 0xFFFFFF
        answer[:] = ((out | floating) if self.answers else 0xFFFFFF).to_bytes(3, "big")


def test_the_external_converter_is_read_by_its_protocol() -> None:
    codes = [0, 4095, 2048, 1, 1365, 2730, 77, 4000]
    bus = Mcp3208Bus(codes)
    adc = Mcp3208(bus, bus.select, (7, 0, 1, 2, 4, 5))
    wanted = [codes[channel] for channel in (7, 0, 1, 2, 4, 5)]
    assert [read() for read in adc.readers] == [code << 4 | code >> 8 for code in wanted]
    assert adc.take_problem() is None


def test_a_converter_that_does_not_answer_is_an_error_at_start() -> None:
    bus = Mcp3208Bus([5] * 8, answers=False)
    with pytest.raises(ValueError, match="no answer on SPI"):
        Mcp3208(bus, bus.select)
    bus = Mcp3208Bus([5] * 8)
    bus.write_readinto = lambda request, answer: answer.__setitem__(slice(3), b"\0\0\0")
    with pytest.raises(ValueError, match="no answer on SPI"):
        Mcp3208(bus, bus.select)


def test_a_wrong_pin_map_is_a_clear_error_at_start() -> None:
    check_pins((36, 39, 32, 33, 34, 35), ADC1)
    for pins, words in (
        ((36, 39, 32, 33, 34), "expected 6 to six inputs, got 5"),
        ((36, 39, 32, 33, 34, 25), "GPIO 25 is no input of ADC1"),
        ((36, 39, 32, 33, 34, 36), "GPIO 36 is there twice"),
    ):
        with pytest.raises(ValueError, match=words):
            check_pins(pins, ADC1)
    check_pins((0, 1, 3, 4), range(5))  # an ESP32-C3
    with pytest.raises(ValueError, match="expected 4 to six inputs, got 3"):
        check_pins((0, 1, 3), range(5))
    bus = Mcp3208Bus([5] * 8)
    for channels in ((0, 1, 2, 3, 4), (0, 1, 2, 3, 4, 4), (0, 1, 2, 3, 4, 8)):
        with pytest.raises(ValueError, match="six of the channels"):
            Mcp3208(bus, bus.select, channels)
    with pytest.raises(ValueError, match=r"0\.\.7"):
        SarAdc([(8, int)] * 6)
    with pytest.raises(ValueError, match="six channels"):
        SarAdc([(0, int)] * 5)
    with pytest.raises(ValueError, match="cannot be read"):
        InternalAdc([int] * 5 + [None])
