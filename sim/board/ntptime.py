# The image's `ntptime`: asks the world's clock (the host's, shifted by air.bin) for the time.
# ruff: noqa: I001 (the board's modules)
import errno as _errno
import time as _time

import _clock
import _net
import machine as _machine
import socket as _socket
import utime as _utime

host = "pool.ntp.org"
timeout = 1


def time():
    _socket.getaddrinfo(host, 123)
    left = int(timeout * 1000)
    while not _net.ntp_answers():
        if left <= 0:
            raise OSError(_errno.ETIMEDOUT)
        _clock.nap(20)
        left -= 20
    _clock.nap(20)
    return _utime.time_ns() // 1000000000 - 946684800 + _net.world_clock_offset()


def settime():
    t = time()
    tm = _time.gmtime(t)
    _machine.RTC().datetime((tm[0], tm[1], tm[2], tm[6] + 1, tm[3], tm[4], tm[5], 0))
