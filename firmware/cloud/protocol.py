"""The MQTT contract as text: payloads, nothing else. docs/protocol.md explains it.

In: integers in mA, mV, mW, mvar, mHz, thousandths. Out: JSON with SI decimals, written from
the integers, since the board's floats would round 16.012 A to 16.0120010375.
"""

import json

from micropython import const

VERSION = const(1)

# In the order they are written. Absent means null; a consumer ignores what it does not know.
_INFO = (
    "serial",
    "variant",
    "range",
    "phases",
    "firmware",
    "image",
    "link",
    "ip",
    "rssi",
    "tls",
    "boot_count",
    "reset_cause",
    "health",
    "wiring",
)
_WIRING = ("clamps", "confidence", "sequence", "findings")


def thousandths(number):
    """Thousandths as a JSON decimal: 16012 -> "16.012", -5 -> "-0.005", None -> "null"."""
    if number is None:
        return "null"
    sign = ""
    if number < 0:
        sign = "-"
        number = -number
    return "%s%d.%03d" % (sign, number // 1000, number % 1000)


def _phases(numbers):
    return "[%s,%s,%s]" % (
        thousandths(numbers[0]),
        thousandths(numbers[1]),
        thousandths(numbers[2]),
    )


def _whole(number):
    return "null" if number is None else str(number)


def _total(m):
    """Power of the site; None as long as one phase's is not known."""
    total = None
    for i_ma, p_mw in zip(m.i_ma, m.p_mw):
        if p_mw is not None:
            total = (total or 0) + p_mw
        elif i_ma is not None:
            return None
    return total


def measurement_payload(m):
    """`m` is a metering.meter.Measurement."""
    return (
        '{"v":1,"seq":%d,"ts":%s,"i":%s,"u":%s,"p":%s,"p_total":%s,"q":%s,"pf":%s,"f":%s,"cov":%s,'
        '"flags":%s}'
        % (
            m.seq,
            _whole(m.ts_ms),
            _phases(m.i_ma),
            _phases(m.u_mv),
            _phases(m.p_mw),
            thousandths(_total(m)),
            _phases(m.q_mvar),
            _phases(m.pf_milli),
            thousandths(m.f_mhz),
            thousandths(m.cov_permille),
            "[%s]" % ",".join('"%s"' % flag for flag in m.flags),
        )
    )


def status_payload(online, ts_ms, reason):
    """`reason` is a word of docs/protocol.md, e.g. "connected", "lost", "restart"."""
    return '{"v":1,"online":%s,"ts":%s,"reason":%s}' % (
        "true" if online else "false",
        _whole(ts_ms),
        json.dumps(reason),
    )


def last_will_payload():
    """What the broker says in the device's place when the device has gone: no time is known."""
    return status_payload(False, None, "lost")


def info_payload(info):
    """`info`: dict with the fields of docs/protocol.md; an absent one is null."""
    fields = ['"v":1']
    for name in _INFO:
        value = info.get(name)
        if name == "wiring":
            wiring = value or {}
            value = "{%s}" % ",".join(
                '"%s":%s' % (key, json.dumps(wiring.get(key))) for key in _WIRING
            )
        else:
            value = json.dumps(value)
        fields.append('"%s":%s' % (name, value))
    return "{%s}" % ",".join(fields)


def energy_payload(r, late=False):
    """`r` has what metering.energy.Record has: running counters at `to_s` (Unix s)."""
    return (
        '{"v":1,"seq":%d,"from":%s,"to":%s,"imp":%s,"exp":%s,"net_imp":%s,"net_exp":%s,'
        '"i_max":%s%s}'
        % (
            r.seq,
            _whole(r.from_s),
            _whole(r.to_s),
            _counters(r.imp_wh),
            _counters(r.exp_wh),
            _whole(r.net_imp_wh),
            _whole(r.net_exp_wh),
            _phases(r.i_max_ma),
            ',"late":true' if late else "",
        )
    )


def event_payload(seq, ts_ms, kind, words, phase=None):
    """`kind` is a word of docs/protocol.md; `phase` 1..3 where it is about one."""
    return '{"v":1,"seq":%d,"ts":%s,"kind":"%s",%s"words":%s}' % (
        seq,
        _whole(ts_ms),
        kind,
        "" if phase is None else '"phase":%d,' % phase,
        json.dumps(words),
    )


def _counters(numbers):
    return "[%s,%s,%s]" % (_whole(numbers[0]), _whole(numbers[1]), _whole(numbers[2]))
