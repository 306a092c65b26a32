"""No sum of the metering kernels leaves 32 bits, at full scale, in any window, 12 and 16 bits."""

from __future__ import annotations

from array import array
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
from metering_bench import Steps, cycle_sums, total_sums

from metering import kernels as k
from sim.cpython.viper32 import compile_viper

TWELVE_BITS_LOW, TWELVE_BITS_HIGH = 0, 4095 << 4 | 4095 >> 8
EXTREMES: dict[str, list[Callable[[int], int]]] = {
    "all at the upper rail": [lambda n: 65535] * 6,
    "all at the lower rail": [lambda n: 0] * 6,
    "currents against voltages": [lambda n: 0] * 3 + [lambda n: 65535] * 3,
    "square waves of 16 bits": [lambda n: 65535 * (n // 7 % 2)] * 6,
    "square waves against each other": [lambda n: 65535 * (n // 7 % 2)] * 3
    + [lambda n: 65535 * (1 - n // 7 % 2)] * 3,
    "square waves of 12 bits": [lambda n: (TWELVE_BITS_LOW, TWELVE_BITS_HIGH)[n // 5 % 2]] * 6,
    "a ripple far from the middle": [lambda n: 1001 + 3 * (n % 2) - n % 3] * 6,
    "alternating at every scan": [lambda n: 65535 * (n % 2)] * 6,
}


def scanned(kernel: Any, name: str, scans: int, period_us: int, us: int) -> array[int]:
    time = Steps(us)
    sums, raw = cycle_sums(), array("H", [0] * 6 * scans)
    readers = time.readers(EXTREMES[name])
    args = (readers, time.ticks_us, time.sleep_us, period_us, scans, 0, 32768, 100, 10_000_000)
    assert kernel(*args, sums, raw) == scans
    return sums


@pytest.mark.parametrize("name", EXTREMES)
@pytest.mark.parametrize(
    ("scans", "period_us", "us"),
    [(93, 20_000, 35), (102, 22_222, 35), (k.MAX_SCANS, 22_730, 5), (k.MAX_SCANS, 65_535, 10)],
)
def test_no_word_wraps_within_a_cycle(name: str, scans: int, period_us: int, us: int) -> None:
    strict = compile_viper(k.scan_cycle, strict=True)  # raises where the ESP32 would wrap
    narrow = scanned(strict, name, scans, period_us, us)
    wide = scanned(compile_viper(k.scan_cycle, word=64), name, scans, period_us, us)
    assert narrow == wide
    low, high = 0, 65535
    for channel in range(6):
        sums = narrow[k.SQ_HIGH + channel] * 65536 + narrow[k.SQ_LOW + channel]
        values = [EXTREMES[name][channel](n) for n in range(scans)]
        assert all(low <= value <= high for value in values)
        assert sums == sum((value - 32768) ** 2 for value in values)
    for phase in range(3):
        v = [EXTREMES[name][3 + phase](n) - 32768 for n in range(scans)]
        i = [EXTREMES[name][phase](n) - 32768 for n in range(scans)]
        now = narrow[k.VI_HIGH + phase] * 65536 + narrow[k.VI_LOW + phase]
        before = narrow[k.WI_HIGH + phase] * 65536 + narrow[k.WI_LOW + phase]
        assert now == sum(a * b for a, b in zip(v, i, strict=True))
        assert before == v[-1] * i[0] + sum(
            p[0] * b for p, b in zip(pairwise(v), i[1:], strict=True)
        )


@pytest.mark.parametrize(("scans", "period_us"), [(93, 20_000), (90, 19_999), (508, 22_730)])
def test_every_scan_begins_when_its_share_of_the_period_has_passed(
    scans: int, period_us: int
) -> None:
    time = Steps(3)
    begun = []
    readers = time.readers([lambda n: 30_000] * 6)
    first = readers[0]
    readers[0] = lambda: (begun.append(time.now), first())[1]  # type: ignore[func-returns-value]
    sums, raw = cycle_sums(), array("H", [0] * 6 * scans)
    args = (readers, time.ticks_us, time.sleep_us, period_us, scans, -1, 0, 0, 100)
    assert k.scan_cycle(*args, sums, raw) == scans
    assert begun == [n * period_us // scans for n in range(scans)]


@pytest.mark.parametrize("name", EXTREMES)
def test_a_message_of_32767_scans_still_fits_its_words(name: str) -> None:
    cycle = scanned(compile_viper(k.scan_cycle, strict=True), name, k.MAX_SCANS, 65_535, 5)
    add, total = compile_viper(k.add, strict=True), total_sums()
    k.clear(total)
    for _ in range(32767 // k.MAX_SCANS):
        add(total, cycle)
    rest = scanned(compile_viper(k.scan_cycle, strict=True), name, 32767 % k.MAX_SCANS, 65_535, 5)
    add(total, rest)
    assert total[k.SCANS] == 32767
    for word in range(k.SUMMED):
        assert total[word] == cycle[word] * (32767 // k.MAX_SCANS) + rest[word]


@pytest.mark.parametrize("name", EXTREMES)
def test_judging_a_cycle_stays_in_words_and_is_exact(name: str) -> None:
    cycle = scanned(k.scan_cycle, name, k.MAX_SCANS, 65_535, 5)
    rms = array("i", [0] * 6)
    compile_viper(k.judge, strict=True)(cycle, rms, 50_000)
    for channel in range(6):
        values = [EXTREMES[name][channel](n) for n in range(k.MAX_SCANS)]
        mean = sum(values) / len(values)
        exact = (sum((value - mean) ** 2 for value in values) / len(values)) ** 0.5
        assert abs(rms[channel] - exact) <= 1


@pytest.mark.parametrize("name", EXTREMES)
def test_turning_a_voltage_and_noise_stay_in_words(name: str) -> None:
    scans = k.MAX_SCANS
    raw = array("H", [EXTREMES[name][c](n) for n in range(scans) for c in range(6)])
    narrow, wide = cycle_sums(), cycle_sums()
    compile_viper(k.turned, strict=True)(raw, scans, 0, 1, scans // 3, narrow)
    compile_viper(k.turned, word=64)(raw, scans, 0, 1, scans // 3, wide)
    assert narrow == wide
    v = [raw[n * 6 + 3] - 32768 for n in range(scans)]
    i = [raw[n * 6 + 1] - 32768 for n in range(scans)]
    exact = sum(v[n - scans // 3] * i[n] for n in range(scans))
    assert narrow[k.VI_HIGH + 1] * 65536 + narrow[k.VI_LOW + 1] == exact
    before = sum(v[n - scans // 3 - 1] * i[n] for n in range(scans))
    assert narrow[k.WI_HIGH + 1] * 65536 + narrow[k.WI_LOW + 1] == before
    compile_viper(k.roughness, strict=True)(raw, scans, 0)


def test_a_sum_that_only_64_bits_can_hold_is_caught() -> None:
    """The proof proves something: the textbook's sum of squares wraps here."""

    def textbook(raw: ptr16, scans: int) -> int:  # type: ignore[name-defined]  # noqa: F821
        total = 0
        for n in range(scans):
            total += (int(raw[n]) - 32768) * (int(raw[n]) - 32768)
        return total

    raw = array("H", [65535] * 100)
    assert compile_viper(textbook, word=64)(raw, 100) == 100 * 32767**2
    assert compile_viper(textbook)(raw, 100) != 100 * 32767**2
    with pytest.raises(OverflowError):
        compile_viper(textbook, strict=True)(raw, 100)
