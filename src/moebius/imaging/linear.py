"""Tone curves both ways, and mixing in light.

Stored values are spaced as eyes see, not as light adds up: half of white and half of black make 188 of 255, not 128.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from moebius.imaging.arrays import AnyArray, FloatImage
from moebius.imaging.icc import Curve, Numbers

NEAR_SRGB = 0.05
"""Largest difference, in sRGB values, up to which a curve counts as sRGB's. It is less than what a third of a stop of
exposure does to mid-grey (0.056), and photos differ more than that among themselves. The usual powers of 2.2 (0.033)
and the curve of lightness (0.034) are nearer; 1.8 (0.086) and linear values (0.36) are not."""
_GRID = 65536
"""Points of a table: every value that 8 or 16 bits can have is one."""
_LEAST_SLOPE = 1e-6
"""Added to every curve, so that one with flat parts has a way back too; a 16th of a 16-bit sample in all."""


def srgb_to_light(values: Numbers) -> Numbers:
    """The sRGB curve, IEC 61966-2-1: stored values in [0, 1] -> light in [0, 1]."""
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def light_to_srgb(light: Numbers) -> Numbers:
    """Its inverse, for light from 0 on."""
    return np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)


class ToneCurve:
    """One channel's tone curve, in a table with a point for every 16-bit value.

    Raises:
        ValueError: the curve does not rise, so that there would be no way back, or is no photo's.
    """

    def __init__(self, curve: Curve = srgb_to_light):
        self._stored = np.linspace(0, 1, _GRID)
        with np.errstate(all="ignore"):  # a damaged curve may give anything
            light = np.asarray(curve(self._stored), np.float64)
        if not np.isfinite(light).all() or (np.diff(light) < 0).any() or light[-1] - light[0] < 0.5:
            raise ValueError("tone curve: expected one that rises from dark to bright")
        if not 0.001 < light[_GRID // 2] < 0.99:  # HDR's PQ has 0.009, linear values 0.5
            raise ValueError(f"tone curve: expected light for half of white, got {light[_GRID // 2]:g}")
        self._light = light + _LEAST_SLOPE * self._stored
        self._srgb = light_to_srgb(np.maximum(self._light, 0))
        self.is_srgb = bool(np.abs(self._srgb - self._stored).max() <= NEAR_SRGB)
        """Whether stored values pass for sRGB values as they are."""

    def to_srgb(self, samples: AnyArray) -> FloatImage:
        """Samples, uint8 or uint16 of any shape -> sRGB values, float32 in [0, 1]."""
        step = (_GRID - 1) // int(np.iinfo(samples.dtype).max)
        table = np.clip(self._srgb[::step], 0, 1).astype(np.float32)
        return np.asarray(table[samples])

    def from_srgb(self, values: FloatImage) -> Numbers:
        """sRGB values in [0, 1] -> stored values in [0, 1], the way back; the nearest of them for what has no other."""
        return np.asarray(np.interp(values, self._srgb, self._stored))

    def mix(self, old: Numbers, new: Numbers, weight: NDArray[np.float32]) -> Numbers:
        """(1 - weight) old + weight new, added as light; stored values in [0, 1], all of one shape."""
        share = weight.astype(np.float64)
        light = (1 - share) * self._to_light(old) + share * self._to_light(new)
        return np.asarray(np.interp(light, self._light, self._stored))

    def _to_light(self, stored: Numbers) -> Numbers:
        return np.asarray(np.interp(stored, self._stored, self._light))
