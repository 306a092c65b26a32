"""One second of raw samples of all channels as a COMTRADE record (IEEE C37.111-1999, binary), in
responses small enough for the heap: whole cycles, one at a time, each sample with its time.

In: the meter's buffers, looked at between two slices. Out: responses with the command's id;
docs/protocol.md says how to put them together.
"""

import asyncio
import json
import struct
from array import array
from binascii import b2a_base64

from micropython import const

from metering import kernels as k

_SPAN_US = const(1_000_000)  # of cycles
_PIECE = const(48)  # samples in a response: 960 bytes, 1280 in base64
_SAMPLE = const(20)  # bytes: number, us since the first, six channels
_MID = const(32768)
_PACE_S = 0.1  # between two responses: a piece takes some ms, which the meter loses
_PATIENCE_MS = const(20_000)  # for a response to leave
_EPOCH_2000 = const(946684800)
_BETWEEN_US = const(18182)  # a period of 55 Hz: a mains is one of 50 or of 60


async def run(name, uplink, *, meter, clock, time, identity, calibration, **_):
    """Sends the pieces 1, 2 ... under the id `name`. Gives up where nobody takes them."""
    stamp = _stamp(clock.unix_ms(), time)
    try:
        await _send_all(name, uplink, meter, time, (identity.serial, calibration, stamp))
    except MemoryError:
        uplink.respond(
            '{"v":1,"id":%s,"ok":false,"error":"not enough memory at the moment"}'
            % json.dumps(name)
        )


async def _send_all(name, uplink, meter, time, named):
    cycle = meter.cycle
    raw = memoryview(meter.raw)
    kept = array("H", meter.raw)
    piece = bytearray(_PIECE * _SAMPLE)
    means = None
    spanned_us = 0
    samples = 0
    pieces = 0
    seen_us = cycle[k.START]
    while spanned_us < _SPAN_US:
        while cycle[k.START] == seen_us or not cycle[k.CYCLES]:
            await asyncio.sleep(0)
        seen_us = cycle[k.START]
        scans = cycle[k.SCANS]
        period_us = meter.mains.period_us
        memoryview(kept)[: 6 * scans] = raw[: 6 * scans]
        if means is None:
            means = [cycle[k.X + c] // scans for c in range(6)]
            first_us = seen_us
            read_us = cycle[k.READ_US]
        spanned_us += period_us
        start_us = time.ticks_diff(seen_us, first_us)
        filled = 0
        for scan in range(scans):
            struct.pack_into(
                "<II6h",
                piece,
                filled,
                samples + 1,
                start_us + scan * period_us // scans,
                *[count - _MID for count in kept[6 * scan : 6 * scan + 6]],
            )
            samples += 1
            filled += _SAMPLE
            if filled == len(piece) or scan == scans - 1:
                pieces += 1
                if not await _room(uplink, time):
                    return
                uplink.respond(
                    '{"v":1,"id":%s,"ok":true,"result":{"piece":%d,"more":true,"dat":"%s"}}'
                    % (
                        json.dumps(name),
                        pieces,
                        b2a_base64(piece[:filled])[:-1].decode(),  # type: ignore[arg-type]
                    )
                )
                filled = 0
    cfg = _configuration(named, means, read_us, samples, period_us)
    if await _room(uplink, time):
        uplink.respond(
            '{"v":1,"id":%s,"ok":true,"result":{"piece":%d,"more":false,"cfg":%s}}'
            % (json.dumps(name), pieces + 1, json.dumps(cfg))
        )


async def _room(uplink, time):
    """Waits a little, and until the response before has left. Returns whether it has."""
    await asyncio.sleep(_PACE_S)
    started = time.ticks_ms()
    while uplink.answering:
        if time.ticks_diff(time.ticks_ms(), started) > _PATIENCE_MS:
            return False
        await asyncio.sleep(0.01)
    return True


def _configuration(named, means, read_us, samples, period_us):
    serial, calibration, stamp = named
    lines = ["%s,Amp Guard,1999" % serial, "6,6A,0D"]
    gains = tuple(calibration.gain_i_na) + tuple(calibration.gain_u_nv)
    for c in range(6):
        # a * x + b with b such that the mean of the first cycle is 0: the converter has an offset.
        lines.append(
            "%d,%s%d,,,%s,%s,%s,%d,-32768,32767,1,1,P"
            % (
                c + 1,
                "IU"[c // 3],
                c % 3 + 1,
                "AV"[c // 3],
                _billionths(gains[c]),
                _billionths(gains[c] * (_MID - means[c])),
                read_us * c // 6,
            )
        )
    hz = "50" if period_us > _BETWEEN_US else "60"
    lines += [hz, "0", "0,%d" % samples, stamp, stamp, "BINARY", "1", ""]
    return "\r\n".join(lines)


def _billionths(number):
    text = "%d.%09d" % (abs(number) // 1_000_000_000, abs(number) % 1_000_000_000)
    return "-" + text if number < 0 else text


def _stamp(unix_ms, time):
    """dd/mm/yyyy,hh:mm:ss.ssssss; 1970 where the clock is not set."""
    epoch = _EPOCH_2000 if time.gmtime(0)[0] == 2000 else 0
    year, month, day, hour, minute, second = (1970, 1, 1, 0, 0, 0)
    ms = 0
    if unix_ms is not None:
        year, month, day, hour, minute, second = time.gmtime(unix_ms // 1000 - epoch)[:6]
        ms = unix_ms % 1000
    return "%02d/%02d/%d,%02d:%02d:%02d.%03d000" % (
        day, month, year, hour, minute, second, ms,
    )  # fmt: skip
