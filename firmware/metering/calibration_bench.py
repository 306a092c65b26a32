"""From readings beside a reference meter to a board's calibration. Imported by nobody on the board
but who calibrates; tools/calibrate runs it on the host.

In: the Calibration that was used, and readings: dicts with `channel` ("i" or "u"), `phase` 0..2,
`told` and `reference` in one unit, each an RMS; for the angles `told_deg` and `reference_deg`, how
far the current lags its voltage (atan2(q, p)). Out: the `calibration` of /factory.json.

Gain: least squares of reference over told through zero, so that large readings count more, as
their errors in amperes do. Angle: the mean of what is left, at 50 Hz; sensors' leads fall with
frequency as 1 / f, so another `f` is brought back to 50 Hz.
"""

_FEWEST = 2  # readings for a gain
_SPREAD = 0.01  # relative: readings that disagree by more are no calibration
_SPREAD_DEG = 0.5


def calibrated(used, readings, by, at):
    """Returns the dict. by: who did it; at: Unix s. ValueError says which channel lacks readings
    or has ones that contradict each other. An angle nobody measured stays as it was.
    """
    gains_i = [_gain(readings, "i", n, used.gain_i_na[n]) for n in range(3)]
    gains_u = [_gain(readings, "u", n, used.gain_u_nv[n]) for n in range(3)]
    leads = [_lead(readings, n, used.phase_i_mdeg[n]) for n in range(3)]
    return {
        "v": 1,
        "by": by,
        "at": at,
        "gain_i_na": gains_i,
        "gain_u_nv": gains_u,
        "phase_i_mdeg": leads,
        "phase_u_mdeg": list(used.phase_u_mdeg),
    }


def _of(readings, channel, phase, key):
    return [r for r in readings if r["channel"] == channel and r["phase"] == phase and key in r]


def _gain(readings, channel, phase, gain):
    name = "%s%d" % (channel, phase + 1)
    found = _of(readings, channel, phase, "told")
    if len(found) < _FEWEST:
        raise ValueError("%s: expected %d readings or more, got %d" % (name, _FEWEST, len(found)))
    products = squares = 0.0
    for r in found:
        if not r["told"] > 0 or not r["reference"] > 0:
            raise ValueError("%s: a reading of %r against %r" % (name, r["told"], r["reference"]))
        products += r["told"] * r["reference"]
        squares += r["told"] * r["told"]
    factor = products / squares
    for r in found:
        off = r["reference"] / (r["told"] * factor) - 1
        if abs(off) > _SPREAD:
            raise ValueError(
                "%s: %r against %r is %.1f %% off the other readings"
                % (name, r["told"], r["reference"], 100 * off)
            )
    return round(gain * factor)


def _lead(readings, phase, lead_mdeg):
    left = []
    for r in _of(readings, "i", phase, "told_deg"):
        off = (r["told_deg"] - r["reference_deg"] + 180) % 360 - 180
        left.append(off * r.get("f", 50.0) / 50.0)
    if not left:
        return lead_mdeg
    mean = sum(left) / len(left)
    for off in left:
        if abs(off - mean) > _SPREAD_DEG:
            raise ValueError(
                "i%d: an angle %.2f degrees off the other readings" % (phase + 1, off - mean)
            )
    # A current told to lag too much was thought to lead too much already.
    return round(lead_mdeg - 1000 * mean)
