"""What turns a board's ADC counts into amperes and volts, and how far its sensors lead.

In: the `calibration` of /factory.json, or nothing. Out: a Calibration the meter uses. A board
without one is usable: it gets its variant's printed values (docs/hardware.md) and is flagged.
"""

from micropython import const

_VERSION = const(1)

# Nominal front end: one count of the 16-bit scale is 50.34 uV at the pin (0.8056 mV per step of
# 12 bits at Vref 1100 mV). Home 2000:1 into 12 Ohm, Public 4000:1 into 6 Ohm, voltage 520 V/V.
_GAIN_I_NA = {"home": 8_389_700, "public": 33_558_800}
_GAIN_U_NV = const(26_175_900)
_PHASE_I_MDEG = {"home": 1200, "public": 500}
_PHASE_U_MDEG = const(200)
_RANGE_MA = {"home": 100_000, "public": 400_000}

_SPREAD = const(4)  # a gain this many times off its nominal value is a typing error, not a part
_PHASE_MAX_MDEG = const(15_000)


class Calibration:
    """gain_i_na, gain_u_nv: nA and nV per count; phase_i_mdeg, phase_u_mdeg: lead of clamp and
    voltage transformer at 50 Hz in 0.001 degrees (each three ints); range_ma: rated current;
    calibrated: False for a variant's printed values; direction: -1 where a clamp is known to be
    turned round.
    """

    __slots__ = (  # noqa: RUF023 (as in the docstring)
        "variant",
        "range_ma",
        "gain_i_na",
        "gain_u_nv",
        "phase_i_mdeg",
        "phase_u_mdeg",
        "calibrated",
        "direction",
        "by",
        "at",
    )

    def __init__(self, variant):
        """The variant's printed values. ValueError for a variant that does not exist."""
        if variant not in _RANGE_MA:
            raise ValueError("variant: expected home or public, got %r" % (variant,))
        self.variant = variant
        self.range_ma = _RANGE_MA[variant]
        self.gain_i_na = (_GAIN_I_NA[variant],) * 3
        self.gain_u_nv = (_GAIN_U_NV,) * 3
        self.phase_i_mdeg = (_PHASE_I_MDEG[variant],) * 3
        self.phase_u_mdeg = (_PHASE_U_MDEG,) * 3
        self.calibrated = False
        self.direction = (1, 1, 1)
        self.by = None
        self.at = None

    def clamped(self, order, direction):
        """The same for phases whose currents come from the clamps `order` (0..2), turned round
        where `direction` is -1.
        """
        moved = Calibration(self.variant)
        moved.gain_u_nv, moved.phase_u_mdeg = self.gain_u_nv, self.phase_u_mdeg
        a, b, c = order
        moved.gain_i_na = self.gain_i_na[a], self.gain_i_na[b], self.gain_i_na[c]
        moved.phase_i_mdeg = self.phase_i_mdeg[a], self.phase_i_mdeg[b], self.phase_i_mdeg[c]
        moved.calibrated, moved.by, moved.at = self.calibrated, self.by, self.at
        moved.direction = tuple(direction)
        return moved


def load(variant, found=None):
    """Returns the Calibration of a board; `found` is the dict of /factory.json or None.

    ValueError names the field, what it held and what was expected.
    """
    calibration = Calibration(variant)
    if found is None:
        return calibration
    if not isinstance(found, dict):
        raise ValueError("calibration: expected an object, got %r" % (found,))
    if found.get("v") != _VERSION:
        raise ValueError("calibration v: expected %d, got %r" % (_VERSION, found.get("v")))
    gain_i = _GAIN_I_NA[variant]
    calibration.gain_i_na = _three(found, "gain_i_na", gain_i // _SPREAD, gain_i * _SPREAD)
    gain_u = _GAIN_U_NV
    calibration.gain_u_nv = _three(found, "gain_u_nv", gain_u // _SPREAD, gain_u * _SPREAD)
    calibration.phase_i_mdeg = _three(found, "phase_i_mdeg", -_PHASE_MAX_MDEG, _PHASE_MAX_MDEG)
    calibration.phase_u_mdeg = _three(found, "phase_u_mdeg", -_PHASE_MAX_MDEG, _PHASE_MAX_MDEG)
    calibration.by = found.get("by")
    calibration.at = found.get("at")
    calibration.calibrated = True
    return calibration


def _three(found, name, lowest, highest):
    values = found.get(name)
    if not isinstance(values, (list, tuple)) or len(values) != 3:
        raise ValueError("calibration %s: expected three integers, got %r" % (name, values))
    for value in values:
        if isinstance(value, bool) or not isinstance(value, int):
            raise ValueError("calibration %s: expected integers, got %r" % (name, value))
        if not lowest <= value <= highest:
            raise ValueError(
                "calibration %s: expected %d..%d, got %d" % (name, lowest, highest, value)
            )
    return tuple(values)
