# The firmware's meter on rendered plants, in the MicroPython VM and in virtual time: minutes of
# the board's life in seconds. MicroPython.
#
# argv: a file with one job per line, {"plant": path, "codes": path or null, "seconds", "us":
# conversion time, "variant", "phases", "calibration"}. For each job one line of JSON: the last
# message; `codes` gets every count of its last second as u16, scan after scan.
# ruff: noqa: F821, PLR1730, PLW0603, UP (viper: pointer types, no min() or max())
import json
import struct
import sys
from array import array

from metering.adc import InternalAdc
from metering.calibration import load
from metering.meter import Meter

_SCANS = 30  # kernels.SCANS, which is no name any more on a board
_S = array("i", bytes(4 * 12))
_PLANT = [bytearray(64)]
_LOG = array("H", bytes(2 * 6 * 300_000))
_NOW, _AT, _LOOP, _ROW, _UNIT, _RANDOM, _MASK, _NOISE, _US, _COUNT = range(10)


@micropython.viper
def _pass(us: int):
    s = ptr32(_S)
    s[0] += us
    s[1] = (s[1] + us * 1000 // s[4]) % s[2]


@micropython.viper
def _convert(channel: int) -> int:
    # sim/loop.py says what happens here.
    s = ptr32(_S)
    t = ptr16(_table)
    log = ptr16(_LOG)
    at = s[1]
    i = 32 + (at // s[3]) * 6 + channel
    a = t[i]
    r = (s[5] * 69069 + 12345) & 0x3FFFFFFF
    s[5] = r
    n = t[s[7] + ((r >> 10) & s[6])]
    if n > 32767:
        n -= 65536
    code = (a + (t[i + 6] - a) * (at % s[3]) // s[3] + n + 8) >> 4
    if code < 0:
        code = 0
    if code > 4095:
        code = 4095
    us = s[8]
    s[0] += us
    s[1] = (at + us * 1000 // s[4]) % s[2]
    u16 = code << 4 | code >> 8
    log[s[9]] = u16
    s[9] += 1
    return u16


def _readers():
    return [
        lambda: _convert(0),
        lambda: _convert(1),
        lambda: _convert(2),
        lambda: _convert(3),
        lambda: _convert(4),
        lambda: _convert(5),
    ]


class Time:
    def ticks_us(self):
        return _S[_NOW]

    def ticks_ms(self):
        return _S[_NOW] // 1000

    def ticks_diff(self, end, start):
        return end - start

    def ticks_add(self, ticks, delta):
        return ticks + delta

    def sleep_us(self, us):
        _pass(us)


def run(job):
    global _table
    with open(job["plant"], "rb") as file:
        _table = file.read()
    _, _, _, rows, row, unit, noise = struct.unpack_from("<4s6I", _table)
    now = 1000
    _S[_NOW], _S[_AT], _S[_LOOP], _S[_ROW], _S[_UNIT] = now, 0, rows * row, row, unit
    _S[_RANDOM], _S[_MASK], _S[_NOISE] = 20260101, noise - 1, 32 + (rows + 1) * 6
    _S[_US], _S[_COUNT] = job["us"], 0
    calibration = load(job["variant"], job["calibration"])
    meter = Meter(
        InternalAdc(_readers()),
        calibration,
        time=Time(),
        phases=job["phases"],
        unix_ms=lambda: 0,
    )
    _S[_COUNT] = 0
    found = None
    for _ in range(job["seconds"]):
        _S[_COUNT] = 0
        found = None
        while found is None:
            found = meter.slice()
    if job["codes"]:
        with open(job["codes"], "wb") as file:
            file.write(memoryview(_LOG)[: _S[_COUNT]])
    m = found
    print(
        json.dumps(
            {
                "i": m.i_ma,
                "u": m.u_mv,
                "p": m.p_mw,
                "q": m.q_mvar,
                "pf": m.pf_milli,
                "f": m.f_mhz,
                "flags": m.flags,
                "cov": m.cov_permille,
                "scans": meter.cycle[_SCANS],
                "period_us": meter.mains.period_us,
            }
        )
    )


def main():
    with open(sys.argv[1]) as jobs:
        for line in jobs:
            run(json.loads(line))


main()
