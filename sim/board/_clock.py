# The board's clock, and the converter that lives by it.
#
# Back-to-back conversions advance the clock by exactly the conversion time, whatever the host
# does meanwhile: the clock may run up to a millisecond ahead of real time (then the VM really
# sleeps) or lag up to 200 ms behind (then it does not sleep until it has caught up). Sleeps last
# exactly as long as asked. So the firmware's samples are evenly spaced even on a busy host.
#
# Only the main thread moves this clock. Other threads read the host's, which differs from it by
# those bounds.
import gc
import struct
from array import array

import micropython
import utime
from _board import HOST, config, emit, write
from _threads import _is_main as is_main
from micropython import const

_US = const(0)  # board time, microseconds modulo 2**30
_REAL = const(1)  # real time when the board's was last advanced, same scale
_SEC = const(2)  # board time again: whole seconds since power-on ...
_USEC = const(3)  # ... and microseconds within
_POS = const(4)  # where in the plant's loop, in units
_REM = const(5)  # ns not yet worth a unit
_CONV = const(6)  # us per conversion
_LOOP = const(7)  # length of the loop, in units
_ROW = const(8)  # length of a row, in units
_SHIFT = const(9)  # keeps the interpolation within 31 bits
_ROWF = const(10)  # row >> shift
_UNIT = const(11)  # ns per unit
_RNG = const(12)
_NMASK = const(13)  # noise table length - 1
_NOISE = const(14)  # where the noise table starts, in u16
_POLLED = const(15)  # real time of the last look at the air
_HELD = const(16)  # board time when the interpreter was last handed over
_WORST = const(17)  # longest time it was not, this second
_COUNT = const(18)  # conversions since the clock was last held against real time
_GENERATION = const(19)  # of the plant in the buffer
_SECOND = const(20)  # last second reported
_LOW = const(21)  # heap in use this second, lowest ...
_PEAK = const(22)  # ... and highest sample
_ZERO = const(23)  # real time at power-on
_SAMPLED = const(24)  # looks at the air since the heap was sampled

_CPU = const(25)  # processor time at the last _worked()
_TIGHT = const(26)  # what came last in a loop that converts and waits: one of the following
_CONVERTED = const(1)  # a conversion, or a busy wait
_READ = const(2)  # the clock was read after that

_S = array("i", bytes(4 * 27))
_AHEAD_US = const(1200)
_KEEP_US = const(300)
_LAG_US = const(200000)
_SUSPICIOUS_US = const(400)
_BETWEEN_US = const(50)  # a loop that converts does no more than this between two conversions
_HALF = const(0x20000000)
_MASK = const(0x3FFFFFFF)

# utime.sleep_us keeps the interpreter, as a busy wait does on the board; utime.sleep hands it
# over. Its float arguments are made once: a sleep allocates nothing.
_NAPS = tuple(i / 10000 for i in range(101))
_real = utime.ticks_us
_S[_ZERO] = _real() & _MASK
_S[_POLLED] = -1_000_000  # the first look is not too early
_MS0 = utime.ticks_ms() & _MASK
_S[_CONV] = config.get("conversion_us", 35)
_S[_RNG] = config.get("seed", 20260101) & _MASK
_S[_UNIT] = 1
_S[_LOOP] = _S[_ROW] = _S[_ROWF] = 1

# Written without the detour of a dict: once a second for ever.
_SECOND_LINE = (
    '{"ev":"second","up":%d,"held_ms":%d,"in_use":%d,"peak":%d,"total":%d,"lead_us":%d}\n'
)
air = bytearray(64)
_plant = bytearray(max(64 + 24 + 2, config.get("plant_capacity", 0)))
_air_file = HOST.open(config["air"], "rb") if "air" in config else None
_watchers = []
_rtc = array("i", [0, 0])  # what the RTC adds: seconds, microseconds
standins = config.get("standins", 0)
_collects = config.get("live_heap", False)  # count live data alone, at the price of the timing


@micropython.viper
def _now() -> int:
    s = ptr32(_S)  # noqa: F821
    return (int(_real()) - s[_ZERO]) & _MASK


@micropython.viper
def _advance(us: int):
    s = ptr32(_S)  # noqa: F821
    s[_US] = (s[_US] + us) & _MASK
    u = s[_USEC] + us
    while u >= 1000000:
        u -= 1000000
        s[_SEC] += 1
    s[_USEC] = u
    while us > 0:
        d = us
        if d > 100000:
            d = 100000
        us -= d
        ns = s[_REM] + d * 1000
        s[_REM] = ns % s[_UNIT]
        s[_POS] = (s[_POS] + ns // s[_UNIT]) % s[_LOOP]


@micropython.viper
def _ahead() -> int:
    # How far the board's clock is ahead of real time; catches up with a jump when far behind.
    s = ptr32(_S)  # noqa: F821
    r = int(_now())
    s[_REAL] = r
    ahead = ((s[_US] - r + _HALF) & _MASK) - _HALF
    if ahead < 0 - _LAG_US:
        _advance(0 - ahead)
        return 0
    return ahead


@micropython.viper
def _touch(waits: int):
    # Time passes while the firmware computes; `waits` if it now waits.
    s = ptr32(_S)  # noqa: F821
    r = int(_now())
    d = (r - s[_REAL]) & _MASK
    s[_REAL] = r
    if d >= _HALF:
        d = 0
    tight = s[_TIGHT]
    s[_TIGHT] = 0
    if tight == _CONVERTED or (tight == _READ and waits):
        if d > _BETWEEN_US:
            d = _BETWEEN_US
        s[_TIGHT] = _READ
    elif d > _SUSPICIOUS_US:
        w = int(_worked())
        if d > w:
            d = w
    _advance(d)


def _worked():
    # Processor time since it was asked last, us. What looks like long thinking may be the host
    # busy with something else; the board has its processor for itself.
    now = int(utime.clock() * 1000000)
    worked = now - _S[_CPU] & _MASK
    _S[_CPU] = now & _MASK
    return worked


def _pace():
    ahead = _ahead()
    if ahead > _AHEAD_US:
        utime.sleep_us(ahead - _KEEP_US)
        _ahead()
    look()


@micropython.viper
def convert(channel: int) -> int:
    # One conversion: the 12-bit code of a channel of the plant, now.
    s = ptr32(_S)  # noqa: F821
    t = ptr16(_plant)  # noqa: F821
    pos = s[_POS]
    i = 32 + (pos // s[_ROW]) * 6 + channel
    f = (pos % s[_ROW]) >> s[_SHIFT]
    a = t[i]
    r = (s[_RNG] * 69069 + 12345) & _MASK
    s[_RNG] = r
    n = t[s[_NOISE] + ((r >> 10) & s[_NMASK])]
    if n > 32767:
        n -= 65536
    code = (a + (t[i + 6] - a) * f // s[_ROWF] + n + 8) >> 4
    if code < 0:
        code = 0
    if code > 4095:
        code = 4095
    s[_TIGHT] = _CONVERTED
    us = s[_CONV]
    s[_US] = (s[_US] + us) & _MASK
    u = s[_USEC] + us
    if u >= 1000000:
        u -= 1000000
        s[_SEC] += 1
    s[_USEC] = u
    ns = s[_REM] + us * 1000
    s[_REM] = ns % s[_UNIT]
    s[_POS] = (pos + ns // s[_UNIT]) % s[_LOOP]
    s[_COUNT] += 1
    if s[_COUNT] >= 16:
        s[_COUNT] = 0
        _pace()
    else:
        s[_REAL] = (int(_real()) - s[_ZERO]) & _MASK
    return code


def load_plant():
    # The file appears by an atomic rename, so whatever is there is whole.
    path = config.get("plant")
    if not path:
        return
    global _plant
    size = HOST.stat(path)[6]
    if size > len(_plant):
        _plant = None
        _plant = bytearray(size)
    with HOST.open(path, "rb") as f:
        f.readinto(_plant)
    magic, version, _, rows, row, unit, noise = struct.unpack_from("<4s6I", _plant)
    if magic != b"AGPL" or version != 1 or noise & (noise - 1) or rows * row > _MASK:
        raise ValueError("plant.bin is not what it should be")
    shift = 0
    while row >> shift > 16383:
        shift += 1
    s = _S
    if s[_LOOP] != rows * row or s[_UNIT] != unit:
        s[_POS] = s[_REM] = 0
    s[_LOOP] = rows * row
    s[_ROW] = row
    s[_UNIT] = unit
    s[_SHIFT] = shift
    s[_ROWF] = row >> shift
    s[_NOISE] = 32 + (rows + 1) * 6
    s[_NMASK] = noise - 1
    if not noise:
        s[_NOISE] = 14  # header padding: zero
        s[_NMASK] = 0


def look():
    # The main thread's look at the air and the plant, at most every 2 ms. Allocates nothing
    # unless something changed.
    s = _S
    if (_now() - s[_POLLED]) & _MASK < 2000:
        return
    s[_POLLED] = _now()
    if _air_file:
        _air_file.seek(0)
        _air_file.readinto(air)
        generation = air[4] | air[5] << 8 | air[6] << 16
        if generation != s[_GENERATION]:
            s[_GENERATION] = generation
            load_plant()
    for watcher in _watchers:
        watcher()
    s[_SAMPLED] += 1
    if s[_SAMPLED] >= 10:
        s[_SAMPLED] = 0
        _sample()
    s[_REAL] = _now()  # what the stand-ins do takes no time on the board


def _sample():
    s = _S
    if _collects:
        gc.collect()
    used = gc.mem_alloc() - standins
    if used < s[_LOW] or not s[_LOW]:
        s[_LOW] = used
    if used > s[_PEAK]:
        s[_PEAK] = used
    if s[_SEC] != s[_SECOND]:
        s[_SECOND] = s[_SEC]
        write(
            _SECOND_LINE
            % (
                s[_SEC],
                s[_WORST] // 1000,
                s[_LOW],
                s[_PEAK],
                gc.mem_alloc() + gc.mem_free() - standins,
                ((s[_US] - _now() + _HALF) & _MASK) - _HALF,
            )
        )
        s[_WORST] = s[_LOW] = s[_PEAK] = 0


def watch(function):
    # `function()` is called by the main thread every few milliseconds; it must not allocate
    # unless there is something to do.
    _watchers.append(function)


def hand_over():
    # The main thread is about to let others run.
    s = _S
    held = (s[_US] - s[_HELD]) & _MASK
    if held < _HALF and held > s[_WORST]:
        s[_WORST] = held


def resumed():
    # Back from a real wait: the board's clock moved as the real one did.
    s = _S
    r = _now()
    d = (r - s[_REAL]) & _MASK
    s[_REAL] = r
    if d < _HALF:
        _advance(d)
    s[_HELD] = s[_US]
    look()


def enter():
    # The main thread calls what is C on the board: the stand-in's own work is not the firmware's.
    if is_main():
        _touch(0)


def leave(us):
    # ... and how long the call takes there.
    if is_main():
        _S[_REAL] = _now()
        _advance(us)


def waiting():
    if is_main():
        _touch(0)
        hand_over()


def waited():
    if is_main():
        resumed()


def _release(us):
    # A real wait with the interpreter handed over, in steps of 0.1 ms; at least the shortest.
    while us > 10000:
        utime.sleep(_NAPS[100])
        us -= 10000
    utime.sleep(_NAPS[us // 100 if us >= 100 else 1])


def nap(ms):
    # A real wait inside a blocking call of the image, in any thread, at most 20 ms at a time.
    if not is_main():
        _release(ms * 1000)
        return
    _touch(0)
    hand_over()
    _release(ms * 1000)
    resumed()


def touch():
    _touch(0)
    look()


def ticks_us():
    if not is_main():
        return _now()
    _touch(0)
    look()
    return _S[_US]


def ticks_ms():
    if not is_main():
        return (utime.ticks_ms() - _MS0) & _MASK
    _touch(0)
    look()
    return (_S[_SEC] * 1000 + _S[_USEC] // 1000) & _MASK


def sleep_us(us):
    # A busy wait on the board: no other thread runs.
    if not is_main():
        utime.sleep_us(us)
        return
    _touch(1)
    while us > 0:
        chunk = min(us, 2000)
        _advance(chunk)
        us -= chunk
        ahead = _ahead()
        if ahead > _AHEAD_US:
            utime.sleep_us(ahead - _KEEP_US)
            _ahead()
        look()
    _S[_TIGHT] = _CONVERTED


def sleep_ms(ms):
    if not is_main():
        while ms > 500:
            _release(500000)
            ms -= 500
        _release(ms * 1000)
        return
    _touch(0)
    _worked()
    hand_over()
    while True:
        chunk = min(ms, 10) if ms > 0 else 0
        _advance(chunk * 1000)
        ms -= chunk
        ahead = _ahead()
        _release(ahead)
        _ahead()
        look()
        if ms <= 0:
            break
    _S[_HELD] = _S[_US]


def uptime_ms():
    if not is_main():
        return (utime.ticks_ms() - _MS0) & _MASK
    _touch(0)
    return _S[_SEC] * 1000 + _S[_USEC] // 1000


def _us():
    # microseconds within the second of uptime_ms(), asked right after it
    if not is_main():
        return (utime.ticks_ms() - _MS0) % 1000 * 1000
    return _S[_USEC]


def seconds():
    # since 2000, once the RTC has been set; else since power-on
    s = uptime_ms() // 1000 + _rtc[0]
    return s + 1 if _us() + _rtc[1] >= 1000000 else s


def wall():
    # (seconds() and the microseconds within)
    s = uptime_ms() // 1000 + _rtc[0]
    us = _us() + _rtc[1]
    return (s + 1, us - 1000000) if us >= 1000000 else (s, us)


def set_wall(seconds, us):
    s = seconds - uptime_ms() // 1000
    us -= _us()
    if us < 0:
        us += 1000000
        s -= 1
    _rtc[0] = s
    _rtc[1] = us
    emit(ev="rtc", seconds=seconds)


if config.get("rtc"):
    _rtc[0] = config["rtc"]
