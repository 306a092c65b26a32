"""VirtualTime behaves as MicroPython's `time` does on the ESP32, without waiting."""

import pytest

from sim.cpython.virtual_time import VirtualTime

WRAP = 1 << 30


def test_sleeping_moves_the_clock_by_exactly_as_much() -> None:
    time = VirtualTime()
    time.sleep_ms(1500)
    time.sleep_us(250)
    time.sleep(0.5)
    assert time.ticks_ms() == 2000
    assert time.ticks_us() == 2_000_250
    time.sleep_ms(0)
    time.sleep_ms(-5)
    time.sleep_us(-5)
    assert time.ticks_us() == 2_000_250


def test_ticks_wrap_at_two_to_the_thirtieth() -> None:
    time = VirtualTime((WRAP - 1) * 1_000_000)
    before = time.ticks_ms()
    time.sleep_ms(3)
    assert (before, time.ticks_ms()) == (WRAP - 1, 2)
    assert time.ticks_diff(time.ticks_ms(), before) == 3
    assert time.ticks_diff(before, time.ticks_ms()) == -3
    assert time.ticks_add(before, 3) == time.ticks_ms()
    assert time.ticks_us() < WRAP


def test_ticks_add_refuses_what_ticks_diff_could_not_undo() -> None:
    for delta in (WRAP // 2, -WRAP // 2):
        with pytest.raises(OverflowError):
            VirtualTime.ticks_add(0, delta)
    assert VirtualTime.ticks_diff(VirtualTime.ticks_add(5, WRAP // 2 - 1), 5) == WRAP // 2 - 1


def test_the_clock_of_day_starts_at_zero_in_whole_seconds_and_can_be_set() -> None:
    time = VirtualTime(7_900_000_000)
    assert time.time() == 0
    time.sleep_ms(2100)
    assert time.time() == 2
    assert isinstance(time.time(), int)
    ticks = time.ticks_ms()
    time.set_clock(820_454_400)
    assert time.ticks_ms() == ticks
    time.sleep_ms(999)
    assert time.time() == 820_454_400
    time.sleep_ms(1)
    assert time.time() == 820_454_401
    assert time.time_ns() == 820_454_401_000_000_000


def test_floats_are_refused_where_the_board_refuses_them() -> None:
    time = VirtualTime()
    for sleep in (time.sleep_ms, time.sleep_us):
        with pytest.raises(TypeError):
            sleep(1.5)  # type: ignore[arg-type]
    assert time.ticks_us() == 0
