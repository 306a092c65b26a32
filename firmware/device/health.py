"""How the device is: the part of `info` that changes slowly. Loaded once an hour.

In: the parts, the uptime. Out: a dict for `info`, see docs/protocol.md.
"""

from micropython import const

from device.boots import BootRecord

_CALM_S = const(600)
_DRIFT_MS = const(6 * 3600_000)  # in less, an error of 60 ms would be more than 3 ppm
_SAVES_PER_ERASE = const(30)  # of the energy counters, see metering/energy.py


def look(free_low, late_ms, uptime_s, *, boots, crash, clock, energy, link, log):
    unix_ms = clock.unix_ms()
    if uptime_s >= _CALM_S:
        BootRecord().settled()
    return {
        "since": unix_ms // 1000 - uptime_s if unix_ms else None,
        "drift_ppm": _drift(clock.first, clock.last),
        "heap_low": free_low,
        "late_ms": late_ms,
        "flash_erases": energy.seq // _SAVES_PER_ERASE + log.written + 2 * boots,
        "link_changes": link.generation,
        "crash": crash,
    }


def _drift(first, last):
    """How fast the board's clock is, ppm. None: not watched for long enough."""
    if not first or last[0] - first[0] < _DRIFT_MS:
        return None
    return (first[1] - last[1]) * 1_000_000 // (last[0] - first[0])
