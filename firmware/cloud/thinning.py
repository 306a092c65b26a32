"""Which measurements are sent where not every second's is wanted. Loaded with an `interval_s`
above 1.

In: a measurement, the one that was sent last, the settings. Out: whether a balancer needs it now.
"""

from micropython import const

_FUSE_UNSET = const(10_000)  # A: no current is above it


def worth_sending(m, last, passed_ms, settings):
    """Every `interval_s` one; between these only what a balancer must know at once: a step, a
    current above the main fuse or no longer so, another flag. `last` went out `passed_ms` ago."""
    if _lasting(m.flags) != _lasting(last.flags):
        return True
    if passed_ms > settings.interval_s * 1000 - 500:
        return True
    fuse_ma = (settings.supply_max_a or _FUSE_UNSET) * 1000
    for now, before in zip(m.i_ma, last.i_ma):
        if now is None or before is None:
            if now is not before:
                return True
        elif abs(now - before) > settings.step_a * 1000 or (now > fuse_ma) != (before > fuse_ma):
            return True
    return False


def _lasting(flags):
    """Without the one that comes and goes with every second."""
    return [flag for flag in flags if flag != "low_coverage"]
