# A meter on a small integer mains, the same to the last bit on CPython and on the VMs: what
# host_tests/test_metering_vm.py runs in all of them. MicroPython; no sim, no floats.
from metering.adc import InternalAdc
from metering.calibration import load
from metering.meter import Meter
from metering.wiring import Wiring

_MASK = 0x3FFFFFFF


class Time:
    def __init__(self):
        self.us = 1000  # stays a small int for 17 minutes

    def ticks_us(self):
        return self.us & _MASK

    def ticks_ms(self):
        return self.us // 1000

    def ticks_diff(self, end, start):
        return ((end - start + 0x20000000) & _MASK) - 0x20000000

    def ticks_add(self, ticks, delta):
        return (ticks + delta) & _MASK

    def sleep_us(self, us):
        self.us += us


class Mains:
    # table: one cycle of a sine, 16-bit amplitude; every channel scales and shifts it.
    def __init__(self, table, period_us=20011):
        self.time = Time()
        self.table = table
        self.period_us = period_us
        self.amplitude = [1900, 1200, 700, 8800, 8700, 8600]
        self.shift = [9, 20, 41, 0, 341, 683]  # of 1024
        self.random = 12345

    def read(self, channel):
        time = self.time
        at = (time.us % self.period_us) * 1024 // self.period_us
        time.us += 35
        at = (at - self.shift[channel]) & 1023
        self.random = (self.random * 1103 + 12345) & 0xFFFF
        noise = (self.random >> 11) - 16
        value = 23000 + (self.table[at] * self.amplitude[channel] >> 15) + noise
        code = value >> 4
        if code < 0:
            code = 0
        elif code > 4095:
            code = 4095
        return code << 4 | code >> 8


class Pin:
    def __init__(self, mains, channel):
        self.mains = mains
        self.channel = channel

    def read_u16(self):
        return self.mains.read(self.channel)


def meter_on(mains, **options):
    readers = [Pin(mains, channel).read_u16 for channel in range(6)]
    options.setdefault("phases", 3)
    return Meter(InternalAdc(readers), load("home"), time=mains.time, **options)


def told(m):
    return [m.seq, m.i_ma, m.u_mv, m.p_mw, m.q_mvar, m.pf_milli, m.f_mhz, m.cov_permille, m.flags]


def run(table, seconds):
    mains = Mains(table)
    meter = meter_on(mains, unix_ms=lambda: 1)
    changes = [
        (2_300, [5000, 1200, 700, 8800, 8700, 8600]),
        (3_500, [5000, 1200, 700, 8800, 0, 0]),
        (4_500, [5000, 1200, 700, 0, 0, 0]),
        (5_500, [0, 0, 0, 8800, 8700, 8600]),
    ]
    found = []
    while mains.time.us < seconds * 1_000_000:
        message = meter.slice()
        if message:
            found.append(told(message))
        mains.time.us += 300
        if changes and mains.time.us > changes[0][0] * 1000:
            mains.amplitude = changes.pop(0)[1]
    return found


def wired(table):
    # Clamps on L1, L3 turned round and L2, judged on each interpreter.
    mains = Mains(table)
    mains.shift = [30, 683 + 512 + 20, 341 - 25, 0, 341, 683]
    wiring = Wiring(load("home"), 3, lambda: 1 << 20)
    meter = meter_on(mains, unix_ms=lambda: 1, wiring=wiring)
    told = []
    while mains.time.us < 5_000_000:
        message = meter.slice()
        if message:
            told += wiring.look(message)
        mains.time.us += 300
    return [wiring.state, [list(finding) for finding in wiring.findings], told]
