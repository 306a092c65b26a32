"""What the metering tests share: a meter on a plant in virtual time, and sets of sums."""

from __future__ import annotations

import random
from array import array
from collections.abc import Callable, Sequence
from typing import Any

from metering import kernels as k
from metering.adc import InternalAdc
from metering.calibration import load
from metering.meter import Meter
from sim.cpython.virtual_time import VirtualTime
from sim.plant import Plant


class MeterBench:
    """A Meter on a plant; between slices the firmware does something else for `pause_us`."""

    def __init__(
        self, plant: Plant, pause_us: tuple[int, int] = (50, 800), **options: Any
    ) -> None:
        self.plant = plant
        self.time = VirtualTime()
        self.pause_us = pause_us
        self.random = random.Random(7)
        readers = [reader.read_u16 for reader in plant.readers(self.time)]
        calibration = load(plant.variant, options.pop("calibration", plant.calibration()))
        options.setdefault("phases", plant.phases)
        options.setdefault("unix_ms", lambda: 1_800_000_000_000)
        self.meter = Meter(InternalAdc(readers), calibration, time=self.time, **options)

    def messages(self, seconds: float) -> list[Any]:
        """All messages of the next `seconds`, each with the ms since power-on as `.at`."""
        end = self.time.ns + round(seconds * 1e9)
        found = []
        while self.time.ns < end:
            message = self.meter.slice()
            if message:
                found.append((self.time.ns // 1_000_000, message))
            self.time.sleep_us(self.random.randint(*self.pause_us))
        return found

    def after(self, seconds: float) -> Any:
        """The last message within the next `seconds`."""
        return self.messages(seconds)[-1][1]


class Steps:
    """A clock for kernels: each conversion takes `us`, sleeps are exact."""

    def __init__(self, us: int = 35) -> None:
        self.now = 0
        self.us = us

    def ticks_us(self) -> int:
        return self.now & 0x3FFFFFFF

    def sleep_us(self, us: int) -> None:
        self.now += us

    def readers(self, channels: Sequence[Callable[[int], int]]) -> list[Callable[[], int]]:
        """Six readers; channels[c](n) is the n-th value of channel c."""

        def reader(channel: Callable[[int], int]) -> Callable[[], int]:
            count = 0

            def read() -> int:
                nonlocal count
                self.now += self.us
                count += 1
                return channel(count - 1)

            return read

        return [reader(channel) for channel in channels]


def cycle_sums() -> array[int]:
    return array("i", [0] * k.CYCLE_WORDS)


def total_sums() -> array[int]:
    return array("i", [0] * k.TOTAL_WORDS)
