"""viper on CPython: what the ESP32's words do, and what its compiler refuses."""

# ruff: noqa: F821, F841, UP018, RUF046 (what viper needs spelled out)
from __future__ import annotations

import builtins
from array import array
from collections.abc import Callable
from typing import Any

import micropython
import pytest
from micropython import const

from sim.cpython.viper32 import ViperTypeError, compile_viper

assert micropython.viper
_FIVE = const(5)
plain = 5
ptr8 = ptr16 = ptr32 = uint = builtins.int  # type: ignore[misc]


def test_ints_wrap_at_31_bits_and_a_sign() -> None:
    @compile_viper
    def add(a: int, b: int) -> int:
        return a + b

    assert add(0x7FFFFFFF, 1) == -0x80000000
    assert add(-0x80000000, -1) == 0x7FFFFFFF
    assert compile_viper(add, word=64)(0x7FFFFFFF, 1) == 0x80000000


def test_products_keep_their_low_32_bits() -> None:
    @compile_viper
    def times(a: int, b: int) -> int:
        return a * b

    assert times(65536, 65536) == 0
    assert times(-65536, 32768) == -0x80000000


def test_uints_wrap_at_32_bits_and_shift_in_zeros() -> None:
    @compile_viper
    def work(a: uint, n: int) -> uint:
        return (a - uint(1)) >> n

    assert work(0, 0) == 0xFFFFFFFF
    assert work(0, 28) == 0xF


def test_an_int_shifts_in_its_sign() -> None:
    @compile_viper
    def shift(a: int, n: int) -> int:
        return a >> n

    assert shift(-65537, 16) == -2
    with pytest.raises(ValueError, match="undefined"):
        shift(1, 32)


def test_arguments_are_truncated_to_a_word() -> None:
    @compile_viper
    def same(a: int) -> int:
        return a

    assert same(0x1_0000_0005) == 5
    assert same(0xFFFFFFFF) == -1
    with pytest.raises(TypeError):
        same(1.5)


def test_floor_division_rounds_down_as_python_does() -> None:
    @compile_viper
    def divide(a: int, b: int) -> int:
        return a // b * 1000 + a % b

    assert divide(-7, 2) == -4 * 1000 + 1
    with pytest.raises(ZeroDivisionError):
        divide(1, 0)


def test_ptr16_and_ptr8_load_unsigned() -> None:
    @compile_viper
    def load(words: ptr16, octets: ptr8) -> int:
        return words[0] + octets[0]

    assert load(array("h", [-1]), array("b", [-1])) == 65535 + 255


def test_ptr32_loads_a_signed_word_here_and_an_unsigned_one_on_a_desktop() -> None:
    @compile_viper
    def load(words: ptr32) -> int:
        return words[0] >> 1

    assert load(array("i", [-2])) == -1
    assert compile_viper(load, word=64)(array("i", [-2])) == 0x7FFFFFFF


def test_stores_keep_the_low_bits() -> None:
    @compile_viper
    def store(octets: ptr8, words: ptr16, long: ptr32, value: int):
        octets[0] = value
        words[0] = value
        long[0] += value

    octets, words, long = bytearray(1), array("H", [0]), array("i", [5])
    store(octets, words, long, -2)
    assert (octets[0], words[0], long[0]) == (254, 65534, 3)


@pytest.mark.parametrize("index", [-1, 4])
def test_an_index_out_of_bounds_is_an_error_for_loads_and_stores(index: int) -> None:
    @compile_viper
    def load(words: ptr16, n: int) -> int:
        return words[n]

    @compile_viper
    def store(words: ptr16, n: int):
        words[n] = 1

    with pytest.raises(IndexError):
        load(array("H", [0] * 4), index)
    with pytest.raises(IndexError):
        store(array("H", [0] * 4), index)


def test_a_cached_bound_method_is_read_through_int() -> None:
    class Adc:
        def read_u16(self) -> int:
            return 4660

    @compile_viper
    def twice(read) -> int:
        return int(read()) + int(read())

    assert twice(Adc().read_u16) == 9320


def test_consts_are_inlined_and_other_globals_are_objects() -> None:
    @compile_viper
    def five(a: int) -> int:
        return a + _FIVE

    assert five(1) == 6
    with pytest.raises(ViperTypeError, match="between 'int' and 'object'"):

        @compile_viper
        def refused(a: int) -> int:
            return a + plain


def compare_int_with_uint(a: int, b: uint) -> int:
    if a < b:
        return 1
    return 0


def divide_a_uint(a: uint, b: int) -> uint:
    return a // b


def modulo_of_a_uint(a: uint, b: int) -> uint:
    return a % b


def large_literal(a: int) -> int:
    return a + 0x40000000


def large_negative_literal(a: int) -> int:
    return a - 0x7FFFFFFF


def default_argument(a: int = 1) -> int:
    return a


def keyword_argument(*, a: int) -> int:
    return a


def true_division(a: int) -> int:
    return a / 2


def power(a: int) -> int:
    return a**2


def object_plus_int(a) -> int:
    return a + 1


def changing_type(a: int) -> int:
    b = a
    b = uint(a)
    return a


def use_before_assignment(a: int) -> int:
    if a:
        return b
    b = 1
    return b


def return_of_another_type(a: int) -> int:
    return uint(a)


def bool_in_arithmetic(a: int) -> int:
    return (a < 1) + 1


def not_as_a_value(a: int) -> int:
    b = not a
    return 1


def unknown_annotation(a: float) -> int:
    return 1


def pointer_as_a_condition(a: ptr8) -> int:
    if a:
        return 1
    return 0


def pointer_arithmetic(a: ptr8) -> int:
    b = a + 1
    return 1


def index_by_bool(a: ptr8, b: int) -> int:
    return a[b > 0]


REFUSED_BY_THE_BOARD: list[Callable[..., Any]] = [
    compare_int_with_uint,
    divide_a_uint,
    modulo_of_a_uint,
    large_literal,
    large_negative_literal,
    true_division,
    power,
    object_plus_int,
    changing_type,
    use_before_assignment,
    return_of_another_type,
    bool_in_arithmetic,
    not_as_a_value,
    unknown_annotation,
    pointer_as_a_condition,
    pointer_arithmetic,
    index_by_bool,
]


# The board compiles these and then ignores the default.
IGNORED_BY_THE_BOARD: list[Callable[..., Any]] = [default_argument, keyword_argument]


def wrapped_literal(a: int) -> int:
    return a + int(0x7FFFFFFF)


def smallest_literal(a: int) -> int:
    return a + -0x40000000


def folded_literal(a: int) -> int:
    return a + (1 << 29) * 1


def mixed_and_or_not(a: int, b: uint) -> int:
    if a and (b or not a):
        return 1
    return 0


def uint_times_int(a: uint, b: int) -> uint:
    return a * b


def range_with_a_step(a: int) -> int:
    total = 0
    for n in range(0, a, 2):
        total += n
    return total


ACCEPTED: list[Callable[..., Any]] = [
    wrapped_literal,
    smallest_literal,
    folded_literal,
    mixed_and_or_not,
    uint_times_int,
    range_with_a_step,
]


@pytest.mark.parametrize("function", REFUSED_BY_THE_BOARD + IGNORED_BY_THE_BOARD)
def test_what_the_board_refuses_or_ignores_is_refused(function: Callable[..., Any]) -> None:
    with pytest.raises(ViperTypeError):
        compile_viper(function)


@pytest.mark.parametrize("function", ACCEPTED)
def test_what_the_boards_compiler_accepts_is_accepted(function: Callable[..., Any]) -> None:
    compile_viper(function)
