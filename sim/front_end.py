"""The analog front end and the ESP32's converter, from amperes and volts to ADC codes.

In: the waves at the six inputs. Out: the converter's codes before noise and rounding, and the
calibration a bench would find. Channel order everywhere: i1 i2 i3 u1 u2 u3. Circuit values are
those of docs/hardware.md. The converter's numbers are Espressif's for the classic ESP32 at 11 dB:

- one step is Vref * 196602 / 4096 / 65536 = 0.8056 mV at Vref 1100 mV and code 0 extrapolates to
  142 mV; above code 2880 (about 2450 mV) the curve bends, full scale is reached near 3134 mV
  (ESP-IDF, components/esp_adc/esp32/adc_cali_line_fitting.c: scale, offset and high-code tables)
- linear 150 to 2450 mV, below about 100 mV every reading is 0 (ESP-IDF "ADC Attenuation";
  MicroPython docs/esp32/quickref.rst)
- Vref varies from 1000 to 1200 mV between chips (ESP-IDF "ADC Calibration"); readings differ by
  +-6 % from chip to chip, INL at most +-12 LSB, DNL at most +-7 LSB (ESP32 data sheet,
  "Analog-to-Digital Converter"). Those INL and DNL figures are bounds over the whole curve;
  typical chips bend gently, which is what is modelled here.

Not modelled: the clamps' lead and ratio growing at small currents, saturating cores (the
converter clips long before), drift with temperature.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from sim.waves import Floats

VARIANTS = ("home", "public")
RANGE_A = {"home": 100.0, "public": 400.0}
_TURNS = {"home": 2000, "public": 4000}
_BURDEN_OHM = {"home": 12.0, "public": 6.0}

# 390 V across 3 x 130 kOhm drive 1 mA through a 1:1 current-type transformer into 750 Ohm.
_MV_PER_VOLT = 750.0 / 390.0

# Lead of the sensors at 50 Hz in degrees: the winding and burden resistance R against the
# magnetising inductance L, atan(R / wL). Published for split cores of this kind: 0.25 to 4
# degrees (IoTaWatt's and OpenEnergyMonitor's clamp tables), larger cores less; for current-type
# voltage transformers at most 20 minutes (ZMPT107 data sheet).
_LEAD_DEG = {"home": 1.2, "public": 0.5, "voltage": 0.2}

BIAS_MV = 1300.0
_FILTER_HZ = 1 / (2 * np.pi * 1e3 * 100e-9)  # 1 kOhm, 100 nF in front of every pin

VREF_MV = 1100.0
_STEP_MV = VREF_MV * 196602 / 4096 / 65536
_ZERO_MV = 142.0  # where the straight part meets code 0
_DEAD_MV = 100.0
_BEND_MV = 2450.0
_BEND_LSB_PER_MV2 = 8.2e-4  # puts code 4096 at 3134 mV, within 1 % of ESP-IDF's table between
TOP_CODE = 4095


@dataclass(frozen=True)
class FrontEnd:
    """One board's sensors and converter, with their tolerances.

    mv_per_unit: (6,) mV at the burden per A or V. lead_deg: (6,) lead of clamp or transformer at
    50 Hz. step_mv: (6,) size of one LSB. inl: rows of (LSB, periods over the scale, phase in
    rad). bit_error_lsb: errors of the four highest SAR capacitors (DNL at the big carries).
    """

    variant: str
    mv_per_unit: Floats
    lead_deg: Floats
    bias_mv: float
    step_mv: Floats
    inl: tuple[tuple[float, int, float], ...] = ()
    bit_error_lsb: tuple[float, ...] = ()

    @classmethod
    def nominal(cls, variant: str = "home") -> FrontEnd:
        """Every part exactly at its printed value, converter without INL and DNL."""
        if variant not in VARIANTS:
            raise ValueError(f"variant: expected one of {', '.join(VARIANTS)}, got {variant!r}")
        clamp = 1000 * _BURDEN_OHM[variant] / _TURNS[variant]
        return cls(
            variant,
            np.array([clamp] * 3 + [_MV_PER_VOLT] * 3),
            np.array([_LEAD_DEG[variant]] * 3 + [_LEAD_DEG["voltage"]] * 3),
            BIAS_MV,
            np.full(6, _STEP_MV),
        )

    @classmethod
    def of_chip(cls, variant: str, seed: int) -> FrontEnd:
        """A board out of production: tolerances drawn by `seed`, within +-6 % gain in all.

        Chip's reference +-5 %, channel +-0.3 %, clamp and transformer +-0.7 % (class 1 sensors,
        0.1 % burdens), leads +-30 %, bias +-10 mV.
        """
        exact = cls.nominal(variant)
        rng = np.random.default_rng(seed)
        chip = 1 + rng.uniform(-0.05, 0.05)
        return cls(
            variant,
            exact.mv_per_unit * (1 + rng.uniform(-0.007, 0.007, 6)),
            exact.lead_deg * (1 + rng.uniform(-0.3, 0.3, 6)),
            BIAS_MV + rng.uniform(-10, 10),
            exact.step_mv * chip * (1 + rng.uniform(-0.003, 0.003, 6)),
            tuple((1.0 / m, m, rng.uniform(0, 2 * np.pi)) for m in (1, 2, 3)),
            tuple(rng.normal(0, 0.3, 4)),
        )

    @property
    def range_a(self) -> float:
        """Rated current of the clamps in A."""
        return RANGE_A[self.variant]

    def codes(self, inputs: Floats, loop_s: float, unplugged: tuple[int, ...] = ()) -> Floats:
        """ADC codes, (6, N) in fractions of an LSB, 0..4095, for one periodic loop.

        inputs: (6, N), A and V at the sensors. Every sensor is a first-order high pass (see
        _LEAD_DEG), the pin's filter a first-order low pass, both exact as the loop is periodic.
        The pin of an unplugged clamp lies at ground: the jack's switch takes the bias away.
        """
        rows = inputs.shape[1]
        spectrum = np.fft.rfft(inputs, axis=1) * self.response(
            np.fft.rfftfreq(rows, loop_s / rows)
        )
        pin_mv = self.bias_mv + np.fft.irfft(spectrum, rows, axis=1) * self.mv_per_unit[:, None]
        pin_mv[list(unplugged)] = 0.0
        return np.stack([self.convert(pin_mv[channel], channel) for channel in range(6)])

    def response(self, hz: Floats) -> Any:
        """Complex gain (6, len(hz)) of sensor and filter; direct current does not pass."""
        corner = 50.0 * np.tan(np.radians(self.lead_deg))[:, None]
        return (1j * hz / (corner + 1j * hz + 1e-300)) / (1 + 1j * hz / _FILTER_HZ)

    def convert(self, pin_mv: Floats, channel: int) -> Floats:
        """The converter's static curve: mV at a pin to codes in fractions of an LSB, 0..4095."""
        step = self.step_mv[channel]
        code = (pin_mv - _ZERO_MV) / step
        # Towards the dead zone: the parabola that leaves 0 at 100 mV and joins the line smoothly.
        joint = 2 * _ZERO_MV - _DEAD_MV
        foot = np.maximum(pin_mv - _DEAD_MV, 0) ** 2 / (4 * (_ZERO_MV - _DEAD_MV) * step)
        code = np.where(pin_mv < joint, foot, code)
        code += _BEND_LSB_PER_MV2 * np.maximum(pin_mv - _BEND_MV, 0) ** 2
        alive = code > 0
        whole = np.clip(code, 0, TOP_CODE).astype(int)
        for lsb, periods, phase in self.inl:
            code += alive * lsb * np.sin(2 * np.pi * periods * code / 4096 + phase)
        for bit, error in zip((11, 10, 9, 8), self.bit_error_lsb, strict=False):
            code += alive * error * (whole >> bit & 1)
        return np.clip(code, 0, TOP_CODE)

    def gains(self) -> Floats:
        """(6,) true A or V per count of the 16-bit scale, as a bench finds them.

        The bench feeds 50 Hz sines of half the clamps' range and of 230 V and divides by the RMS
        of what `read_u16()` gives.
        """
        x = 2 * np.pi * np.arange(4096) / 4096
        rms = np.array([self.range_a / 2] * 3 + [230.0] * 3)
        codes = self.codes(rms[:, None] * np.sqrt(2) * np.sin(x), 1 / 50)
        return rms / (np.std(codes, axis=1) * 65535 / TOP_CODE)
