"""Values between samples, by a Kaiser-windowed sinc: what a band-limited signal really did there.

In: equally spaced samples and the places wanted, in samples. Out: the values there.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sim.waves import Floats

TAPS = 16  # on each side, at full bandwidth
_BETA = 8.0  # stop band below -80 dB
_AT_ONCE = 8192


def interpolate(samples: Floats, at: NDArray[Any], cutoff: float) -> Floats:
    """Values between the samples, by a Kaiser-windowed sinc; cutoff in shares of Nyquist.

    Beyond the ends the signal is taken as turned about its last sample.
    """
    taps = math.ceil(TAPS / cutoff)
    padded = np.pad(samples, ((0, 0), (taps, taps)), mode="reflect", reflect_type="odd")
    out = np.empty((len(samples), len(at)))
    for start in range(0, len(at), _AT_ONCE):
        chunk = np.clip(at[start : start + _AT_ONCE], 0, samples.shape[1] - 1)
        base = np.floor(chunk).astype(int)
        places = base[:, None] + np.arange(1 - taps, taps + 1)
        offset = chunk[:, None] - places
        weights = np.sinc(cutoff * offset) * np.i0(
            _BETA * np.sqrt(np.maximum(1 - (offset / taps) ** 2, 0))
        )
        weights /= weights.sum(axis=1, keepdims=True)
        picked = padded[:, np.minimum(places + taps, padded.shape[1] - 1)]
        out[:, start : start + _AT_ONCE] = np.einsum("cpt,pt->cp", picked, weights)
    return out
