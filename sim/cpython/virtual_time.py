"""MicroPython's `time` on CPython, moved on only by sleeping and by ADC conversions.

In: nothing; out: an object with the module's API as the ESP32 has it, for unit tests that run
hours of the board's life in seconds and give the same result every time.
"""

_PERIOD = 1 << 30  # MICROPY_PY_TIME_TICKS_PERIOD where small ints have 31 bits
_HALF = _PERIOD >> 1


class VirtualTime:
    """`ns` is the time since power-on; `plant.adc_reader` adds each conversion to it.

    The clock of day counts whole seconds since 2000-01-01 (the board's epoch) and starts at 0,
    as after a power-on, until `set_clock`. Ticks wrap at 2**30; start near there to test it.
    """

    def __init__(self, ns: int = 0) -> None:
        self.ns = ns
        self._midnight_ns = -ns  # what the clock of day is ahead of `ns`

    def set_clock(self, seconds_since_2000: int) -> None:
        """Set the clock of day, as ntptime.settime does; ticks don't notice."""
        self._midnight_ns = seconds_since_2000 * 1_000_000_000 - self.ns

    def ticks_ms(self) -> int:
        """Milliseconds, wrapping at 2**30."""
        return self.ns // 1_000_000 & (_PERIOD - 1)

    def ticks_us(self) -> int:
        """Microseconds, wrapping at 2**30."""
        return self.ns // 1000 & (_PERIOD - 1)

    @staticmethod
    def ticks_diff(end: int, start: int) -> int:
        """end - start in -2**29 .. 2**29 - 1 (extmod/modtime.c)."""
        return ((end - start + _HALF) & (_PERIOD - 1)) - _HALF

    @staticmethod
    def ticks_add(ticks: int, delta: int) -> int:
        """ticks + delta, wrapped; OverflowError where ticks_diff could not undo it."""
        if not -_HALF < delta < _HALF:
            raise OverflowError("ticks interval overflow")
        return (ticks + delta) & (_PERIOD - 1)

    def sleep_ms(self, ms: int) -> None:
        """Move on by ms; 0 or less returns at once."""
        self.ns += max(0, _integer(ms)) * 1_000_000

    def sleep_us(self, us: int) -> None:
        """Move on by us; 0 or less returns at once."""
        self.ns += max(0, _integer(us)) * 1000

    def sleep(self, seconds: float) -> None:
        """Move on by seconds."""
        self.ns += max(0, round(seconds * 1_000_000_000))

    def time(self) -> int:
        """Whole seconds since 2000-01-01, or since power-on while the clock is not set."""
        return self.time_ns() // 1_000_000_000

    def time_ns(self) -> int:
        """The same in nanoseconds, in steps of a microsecond."""
        return (self.ns + self._midnight_ns) // 1000 * 1000


def _integer(value: int) -> int:
    """sleep_ms and sleep_us refuse floats, as on the board."""
    if not isinstance(value, int):
        raise TypeError(f"can't convert {type(value).__name__} to int")
    return value
