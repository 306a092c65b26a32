# The image's `time`: ticks of 30 bits, an epoch of 2000-01-01, and a clock that knows nothing
# at power-on. See _clock for whose time it tells.
import _clock
import utime as _utime
from _clock import sleep_ms, sleep_us, ticks_ms, ticks_us
from micropython import const as _const

_EPOCH = _const(946684800)
_HALF = _const(0x20000000)
_MASK = _const(0x3FFFFFFF)

__all__ = ("sleep_ms", "sleep_us", "ticks_ms", "ticks_us")


def ticks_cpu():
    return ticks_us() * 240 & _MASK


def ticks_diff(_end, _start, *_):
    return ((_end - _start + _HALF) & _MASK) - _HALF


def ticks_add(_ticks, _delta, *_):
    if not -_HALF < _delta < _HALF:
        raise OverflowError("ticks interval overflow")
    return (_ticks + _delta) & _MASK


def sleep(_seconds):
    sleep_ms(int(_seconds * 1000))


def time():
    return _clock.seconds()


def time_ns():
    s, us = _clock.wall()
    return (s * 1000000 + us) * 1000


def gmtime(_seconds=None):
    if _seconds is None:
        _seconds = time()
    return _utime.gmtime(int(_seconds) + _EPOCH)[:8]


localtime = gmtime


def mktime(_fields):
    if not 8 <= len(_fields) <= 9:
        raise TypeError("mktime needs a tuple of length 8 or 9 (%d given)" % len(_fields))
    return int(_utime.mktime(tuple(_fields[:8]) + (0,))) - _EPOCH
