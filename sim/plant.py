"""The plant: mains, loads, clamps and ADC of one Amp Guard, as physics rather than answers.

    plant = Plant(variant="home", phases=3, seed=1)      # a board out of production, by its seed
    plant.set(u=[230, 230, 230], i=[16, 10, 6], phi=[0, 0, 0], f=50.0, ct=["L1", "-L3", None],
              noise_lsb=1.0, harmonics={"i": {"3": 0.2, "5": [0.1, 180]}})
    plant.state()        -> the same fields, ready for JSON
    plant.truth()        -> {"i", "u", "p", "q", "s", "pf": [3 x float or None], "f"}: what the
                            meter should say, with clamp k and voltage k taken as phase k
    plant.calibration()  -> the calibration of /factory.json for this very board
    plant.render()       -> plant.bin for the simulated board (format: sim/loop.py)
    plant.adc_reader(36, time).read_u16()                # on CPython, in virtual time
    plant.readers(time)  -> the six, in channel order i1 i2 i3 u1 u2 u3
    plant.scans(n)       -> (n, 6) codes of n back-to-back scans at once, for benches
    Plant(recording=Recording.load("feeder.cfg"))        # in place of steady mains

Fields of `set()`; all are kept until set again, a bad one is a ValueError and changes nothing:

| field | what |
|---|---|
| u | three true RMS voltages, 0..500 V; 0 (or null): that phase is absent at the meter |
| i | three true RMS currents of the conductors, A; negative: out of the building |
| phi | three angles, -180..180: degrees the current lags its voltage (positive = inductive) |
| f | mains frequency, 45..65 Hz |
| sequence | rotation of the field, "123" or "132" |
| ct | what each clamp grips: "L1".."L3", "-L1".. (put on backwards), null (on no conductor), "unplugged" (not in its jack: the channel's bias is gone) |
| harmonics | {"u": {...}, "i": {...}}, order 2..40 -> share of the fundamental (0..1), or [share, degrees]; all phases alike; u and i stay the RMS of the whole |
| noise_lsb | standard deviation of the converter's noise, 0..50 LSB |
| spikes | share of conversions (0..0.1) hit by a jump of 50-100 LSB, as reported with Wi-Fi on (github.com/espressif/esp-idf/issues/8266) |
"""
# ruff: noqa: E501 (the table above)

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sim.front_end import RANGE_A, FrontEnd
from sim.loop import FIRST_STATE, GPIO, AdcReader, Clock, Loop
from sim.waves import HIGHEST_ORDER, LAG_DEG, Mains, Wave, clamped, measured

if TYPE_CHECKING:
    from sim.recording import Recording

# Reported for one machine.ADC read in a viper loop on the classic ESP32.
CONVERSION_US = 35

_ROW_S = 16e-6  # a mains cycle in 1250 rows
_CALIBRATED_AT = 1767225600  # Unix time of the bench: 2026-01-01
_MAINS_FIELDS = ("u", "i", "phi", "f", "sequence", "harmonics")


class Plant:
    """One site with one board; see the module's words for its fields.

    variant "home" (100 A) or "public" (400 A); phases 1: only L1 reaches the meter; seed: which
    board out of production; front_end: a board of one's own instead; recording: what plays in
    place of steady mains (then the fields of the mains are fixed). Further fields as in `set`.
    """

    def __init__(
        self,
        variant: str = "home",
        phases: int = 3,
        seed: int = 1,
        *,
        front_end: FrontEnd | None = None,
        recording: Recording | None = None,
        conversion_us: float = CONVERSION_US,
        **fields: Any,
    ) -> None:
        if variant not in RANGE_A:
            raise ValueError(f"variant: expected {' or '.join(RANGE_A)}, got {variant!r}")
        if phases not in (1, 3):
            raise ValueError(f"phases: expected 1 or 3, got {phases!r}")
        self.variant, self.phases, self.seed = variant, phases, seed
        self.front_end = front_end or FrontEnd.of_chip(variant, seed)
        self.recording = recording
        self.conversion_us = conversion_us
        self.generation = 0
        self.noise_state = FIRST_STATE
        self._mains = Mains()
        self._ct: tuple[str | None, ...] = ("L1", "L2", "L3")
        if phases == 1:
            self._mains = Mains(u=(230.0, 0.0, 0.0), i=(16.0, 0.0, 0.0))
            self._ct = ("L1", None, None)
        self._noise_lsb, self._spikes = 1.0, 0.0
        self._loop: Loop | None = None
        self.set(**fields)

    def set(self, **fields: Any) -> None:
        """Change fields by name, all or none; ValueError says what was wrong and expected."""
        mains: dict[str, Any] = {}
        other: dict[str, Any] = {}
        for name, value in fields.items():
            if name not in _FIELDS:
                raise ValueError(f"{name}: no field of the plant; it has {', '.join(_FIELDS)}")
            checked = _FIELDS[name](name, value)
            if name in _MAINS_FIELDS:
                mains[name] = checked
            else:
                other["_" + name] = checked
        if self.recording and mains:
            raise ValueError(
                f"{', '.join(mains)}: fixed, as a recording drives the mains; "
                "ct, noise_lsb and spikes can be set"
            )
        if self.phases == 1 and any(mains.get("u", ())[1:]):
            raise ValueError("u: a single-phase meter has no second and third voltage, give 0")
        self._mains = replace(self._mains, **mains)
        self.__dict__.update(other)
        self._loop = None
        self.generation += 1

    def state(self) -> dict[str, Any]:
        """All fields, in the form `set` takes and JSON can carry.

        While a recording drives the mains: its name, its u, i and f over the loop, and null for
        the fields it has no single value of.
        """
        mains: dict[str, Any] = {name: getattr(self._mains, name) for name in _MAINS_FIELDS}
        for name in ("u", "i", "phi"):
            mains[name] = list(mains[name])
        mains["harmonics"] = {
            wave: {str(order): list(value) for order, value in orders.items()}
            for wave, orders in self._mains.harmonics.items()
        }
        if self.recording:
            shown = measured(self.recording.wave, ("L1", "L2", "L3"))
            mains = dict.fromkeys(_MAINS_FIELDS)
            mains |= {name: shown[name] for name in ("u", "i", "f")}
            mains["recording"] = self.recording.name
        return mains | {
            "ct": list(self._ct),
            "noise_lsb": self._noise_lsb,
            "spikes": self._spikes,
        }

    def truth(self) -> dict[str, Any]:
        """What an ideal meter would say now; see sim.waves.measured."""
        truth = measured(self.wave(), self._ct)
        if self.phases == 1:
            for name in ("i", "u", "p", "q", "s", "pf"):
                truth[name] = [truth[name][0], None, None]
        return truth

    def wave(self) -> Wave:
        """Voltages and conductor currents over one loop."""
        if self.recording:
            wave = self.recording.wave
            if self.phases == 1:
                wave = replace(wave, u=wave.u * [[1], [0], [0]])
            return wave
        return self._mains.wave(_ROW_S)

    @property
    def loop(self) -> Loop:
        """The plant as ADC codes, rendered once per change."""
        if self._loop is None:
            wave = self.wave()
            inputs = np.concatenate([clamped(wave, self._ct), wave.u])
            unplugged = tuple(k for k, grip in enumerate(self._ct) if grip == "unplugged")
            codes = self.front_end.codes(inputs, wave.grid.loop_s, unplugged)
            self._loop = Loop(codes, wave.grid, self._noise_lsb, self._spikes, self.seed)
        return self._loop

    def render(self) -> bytes:
        """plant.bin of this generation."""
        return self.loop.to_bytes(self.generation)

    def calibration(self, residual: float = 0.0) -> dict[str, Any]:
        """`calibration` of /factory.json as a bench would have found it for this board.

        residual: standard deviation of the bench's own error, relative in gain and, times 10
        degrees, in phase (0.001 = 0.1 % and 0.01 degrees); drawn by the board's seed.
        """
        error = np.random.default_rng((self.seed, 1)).normal(0, residual, 12)
        gains = np.rint(self.front_end.gains() * (1 + error[:6]) * 1e9).astype(int).tolist()
        leads = np.rint((self.front_end.lead_deg + 10 * error[6:]) * 1e3).astype(int).tolist()
        return {
            "v": 1,
            "by": "bench",
            "at": _CALIBRATED_AT,
            "gain_i_na": gains[:3],
            "gain_u_nv": gains[3:],
            "phase_i_mdeg": leads[:3],
            "phase_u_mdeg": leads[3:],
        }

    def adc_reader(self, pin: int, time: Clock) -> AdcReader:
        """The pin (36, 39, 32..35) or channel (0..5) as `machine.ADC`, in virtual time."""
        channel = GPIO.index(pin) if pin in GPIO else pin
        if channel not in range(6):
            raise ValueError(f"pin: expected GPIO {GPIO} or channel 0..5, got {pin!r}")
        return AdcReader(self, channel, time, round(self.conversion_us * 1000))

    def readers(self, time: Clock) -> list[AdcReader]:
        """All six, in channel order."""
        return [self.adc_reader(channel, time) for channel in range(6)]

    def scans(self, count: int, start_ns: int = 0) -> NDArray[np.int64]:
        """(count, 6) 12-bit codes of back-to-back scans, the same as the readers would give."""
        number = np.arange(6 * count, dtype=np.int64)
        at_ns = start_ns + number * round(self.conversion_us * 1000)
        codes, self.noise_state = self.loop.convert(at_ns, number % 6, self.noise_state)
        return codes.reshape(count, 6)


def _number(name: str, value: Any, low: float, high: float, what: str) -> float:
    bad = isinstance(value, bool) or not isinstance(value, int | float)
    if bad or not low <= value <= high:  # NaN is in no range
        raise ValueError(f"{name}: expected {what} of {low:g}..{high:g}, got {value!r}")
    return float(value)


def _scalar(low: float, high: float, what: str) -> Any:
    return lambda name, value: _number(name, value, low, high, what)


def _three(low: float, high: float, what: str, absent: bool = False) -> Any:
    def check(name: str, value: Any) -> tuple[float, ...]:
        if not isinstance(value, list | tuple) or len(value) != 3:
            raise ValueError(f"{name}: expected three numbers for L1, L2, L3, got {value!r}")
        each = [0.0 if v is None and absent else v for v in value]
        return tuple(_number(name, v, low, high, what) for v in each)

    return check


def _sequence(name: str, value: Any) -> str:
    if value not in LAG_DEG:
        raise ValueError(f"{name}: expected {' or '.join(LAG_DEG)} as text, got {value!r}")
    return value


_GRIPS = ("L1", "L2", "L3", "-L1", "-L2", "-L3", "unplugged", None)


def _grips(name: str, value: Any) -> tuple[str | None, ...]:
    if not isinstance(value, list | tuple) or len(value) != 3:
        raise ValueError(f"{name}: expected what each of three clamps grips, got {value!r}")
    for grip in value:
        if grip not in _GRIPS:
            raise ValueError(
                f'{name}: expected "L1".."L3", "-L1".."-L3", null or "unplugged", got {grip!r}'
            )
    return tuple(value)


def _harmonics(name: str, value: Any) -> dict[str, dict[int, tuple[float, float]]]:
    if not isinstance(value, dict) or not set(value) <= {"u", "i"}:
        raise ValueError(f'{name}: expected {{"u": {{...}}, "i": {{...}}}}, got {value!r}')
    checked: dict[str, dict[int, tuple[float, float]]] = {}
    for wave, orders in value.items():
        if not isinstance(orders, dict):
            raise ValueError(f"{name}: expected order -> share for {wave}, got {orders!r}")
        checked[wave] = {}
        for key, entry in orders.items():
            order = int(key) if str(key).isdecimal() else 0
            if not 2 <= order <= HIGHEST_ORDER:
                raise ValueError(f"{name}: expected orders 2..{HIGHEST_ORDER}, got {key!r}")
            pair = entry if isinstance(entry, list | tuple) else (entry, 0)
            if len(pair) != 2:
                raise ValueError(f"{name}: expected share or [share, degrees], got {entry!r}")
            share = _number(name, pair[0], 0, 1, "a share of the fundamental")
            checked[wave][order] = share, _number(name, pair[1], -360, 360, "degrees")
    return checked


_FIELDS: dict[str, Any] = {
    "u": _three(0, 500, "volts", absent=True),
    "i": _three(-10_000, 10_000, "amperes"),
    "phi": _three(-180, 180, "degrees"),
    "f": _scalar(45, 65, "Hz"),
    "sequence": _sequence,
    "ct": _grips,
    "harmonics": _harmonics,
    "noise_lsb": _scalar(0, 50, "LSB"),
    "spikes": _scalar(0, 0.1, "a share"),
}
