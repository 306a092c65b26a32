# The image's `time`: ticks of 30 bits, an epoch of 2000-01-01, and a clock that knows nothing
# at power-on. See _clock for whose time it tells.
import _clock
import utime
from _clock import sleep_ms, sleep_us, ticks_ms, ticks_us
from micropython import const

_EPOCH = const(946684800)
_HALF = const(0x20000000)
_MASK = const(0x3FFFFFFF)

__all__ = ("sleep_ms", "sleep_us", "ticks_ms", "ticks_us")


def ticks_cpu():
    return ticks_us() * 240 & _MASK


def ticks_diff(end, start, *_):
    return ((end - start + _HALF) & _MASK) - _HALF


def ticks_add(ticks, delta, *_):
    if not -_HALF < delta < _HALF:
        raise OverflowError("ticks interval overflow")
    return (ticks + delta) & _MASK


def sleep(seconds):
    sleep_ms(int(seconds * 1000))


def time():
    return _clock.seconds()


def time_ns():
    s, us = _clock.wall()
    return (s * 1000000 + us) * 1000


def gmtime(seconds=None):
    if seconds is None:
        seconds = time()
    return utime.gmtime(int(seconds) + _EPOCH)[:8]


localtime = gmtime


def mktime(fields):
    if not 8 <= len(fields) <= 9:
        raise TypeError("mktime needs a tuple of length 8 or 9 (%d given)" % len(fields))
    return int(utime.mktime(tuple(fields[:8]) + (0,))) - _EPOCH
