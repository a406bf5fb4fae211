"""Between a photo's own colours and the RGB that networks see.

Networks expect values spaced as in sRGB. RGB and grey values are used as they are, unless the photo's profile has a
tone curve that differs noticeably from sRGB's (`linear.NEAR_SRGB`): those go through that curve, and back the same
way. Primaries are left alone: a wide gamut shifts all colours alike, a fill made from shifted neighbours fits them,
and going through sRGB would cut what sRGB does not have.

Ink is different: the same colour can be printed with much or little black, so CMYK goes through the photo's own
profile, which knows how its colours are separated. CMYK without a profile is converted by r = (1 - c)(1 - k), and
back with as much black as possible. Lab is converted by formula.

RGB and grey are blended in light, by the photo's own curve. CMYK and Lab are blended in their own samples: amounts of
ink have no tone curve, and Lab is made to be even to the eye.
"""

from __future__ import annotations

import io
import logging
from typing import Literal

import numpy as np
from PIL import Image, ImageCms

from moebius.imaging.arrays import AnyArray, FloatImage, Samples
from moebius.imaging.icc import Numbers, tone_curves
from moebius.imaging.linear import ToneCurve, light_to_srgb, srgb_to_light

log = logging.getLogger(__name__)

ColourMode = Literal["L", "RGB", "CMYK", "LAB"]
CHANNELS: dict[ColourMode, int] = {"L": 1, "RGB": 3, "CMYK": 4, "LAB": 3}

_LUMA = (0.299, 0.587, 0.114)
"""Shares of red, green and blue in grey: ITU-R BT.601, as in Pillow."""
_WHITE = np.array([0.9642, 1.0, 0.8249])
"""XYZ of D50, the white of ICC's Lab (ICC.1:2022, section 7.2.16)."""
_SRGB_TO_XYZ = np.array(
    [
        [0.4360657, 0.3851515, 0.1430784],
        [0.2224932, 0.7168870, 0.0606169],
        [0.0139160, 0.0970764, 0.7140961],
    ]
)
"""Light of sRGB's primaries in XYZ, adapted to D50: the columns of the sRGB profile of the ICC."""


class Colours:
    """How one photo's samples and RGB turn into one another.

    What the photo's owner should know (a profile that cannot be used, colours that are converted) is logged once.

    Args:
        icc: the photo's profile; None for none.
    """

    def __init__(self, mode: ColourMode, icc: bytes | None):
        self._mode, self._icc = mode, icc
        self._curves = _curves(icc, CHANNELS[mode]) if mode in ("L", "RGB") else []
        self._is_told = mode in ("L", "RGB")

    def to_rgb(self, samples: Samples) -> FloatImage:
        """samples (h, w, C) uint8 or uint16 -> (h, w, 3) float32 in [0, 1]."""
        if not self._is_told:
            log.warning("the photo is %s: colours are converted to RGB for the fill and back", self._mode)
            self._is_told = True
        if self._mode == "LAB":
            return _lab_to_rgb(samples)
        values = samples.astype(np.float32) / full_scale(samples)
        if self._mode == "CMYK":
            converted = self._through_profile(values, "CMYK", "RGB")
            return (1 - values[..., :3]) * (1 - values[..., 3:]) if converted is None else converted
        for channel, curve in enumerate(self._curves):
            if not curve.is_srgb:
                values[..., channel] = curve.to_srgb(samples[..., channel])
        return np.repeat(values, 3, axis=-1) if self._mode == "L" else values

    def blend(self, old: Samples, rgb: FloatImage, weight: FloatImage) -> Samples:
        """(1 - weight) old + weight new, rounded half up.

        Args:
            old: (n, C).
            rgb: (n, 3) in [0, 1].
            weight: (n,), above 0 to 1; where it is 1, nothing of the old sample goes into the result.

        Returns:
            (n, C) of the old samples' type.
        """
        scale = full_scale(old)
        if self._mode == "LAB":
            blended = _rgb_to_lab(rgb, old.dtype.itemsize)
        else:
            blended = np.clip(self._from_rgb(rgb), 0, 1) * float(scale)
            blended = blended.astype(np.float64, copy=False)
        mixed = np.flatnonzero(weight < 1)
        if len(mixed):
            before = _offset(old[mixed]) if self._mode == "LAB" else old[mixed]
            blended[mixed] = self._mix(before.astype(np.float64), blended[mixed], weight[mixed], scale)
        blended += 0.5
        rounded = np.clip(np.floor(blended, out=blended), 0, scale, out=blended).astype(old.dtype)
        return _offset(rounded) if self._mode == "LAB" else rounded

    def _mix(self, old: Numbers, new: Numbers, weight: FloatImage, scale: np.float32) -> Numbers:
        """(1 - weight) old + weight new, in light where that is known; (n, C) from 0 to `scale`."""
        if not self._curves:
            share = weight[:, None].astype(np.float64)
            return np.asarray((1 - share) * old + share * new)
        mixed = np.empty_like(old)
        for channel, curve in enumerate(self._curves):
            mixed[:, channel] = curve.mix(old[:, channel] / scale, new[:, channel] / scale, weight) * scale
        return mixed

    def _from_rgb(self, rgb: FloatImage) -> AnyArray:
        """rgb (n, 3) in [0, 1] -> (n, C) floats in [0, 1], in the photo's own colours."""
        if self._mode == "CMYK":
            converted = self._through_profile(rgb[None], "RGB", "CMYK")
            return _to_inks(rgb) if converted is None else converted[0]
        if self._mode == "L":
            weighted = rgb * np.array(_LUMA, dtype=np.float32)
            rgb = weighted[:, 0:1] + weighted[:, 1:2] + weighted[:, 2:3]
        values = rgb.astype(np.float64)
        for channel, curve in enumerate(self._curves):
            if not curve.is_srgb:
                values[:, channel] = curve.from_srgb(rgb[:, channel])
        return values

    def _through_profile(
        self, values: FloatImage, source: Literal["RGB", "CMYK"], target: Literal["RGB", "CMYK"]
    ) -> FloatImage | None:
        """values (h, w, C) in [0, 1] from sRGB to the profile's CMYK or back, in 8 bits.

        Relative colorimetric with black point compensation, so that white stays paper and black stays black.

        Returns:
            None if there is no profile that can be used.
        """
        if self._icc is None:
            return None
        height, width, _ = values.shape
        data = np.floor(values * 255 + np.float32(0.5)).astype(np.uint8)
        image = Image.frombytes(source, (width, height), data.tobytes())
        try:
            own, srgb = ImageCms.ImageCmsProfile(io.BytesIO(self._icc)), ImageCms.createProfile("sRGB")
            transform = ImageCms.buildTransform(
                own if source == "CMYK" else srgb,
                own if target == "CMYK" else srgb,
                source,
                target,
                ImageCms.Intent.RELATIVE_COLORIMETRIC,
                ImageCms.Flags.BLACKPOINTCOMPENSATION,
            )
            converted = ImageCms.applyTransform(image, transform)
        except (ImageCms.PyCMSError, OSError) as error:
            log.warning("the photo's CMYK profile cannot be used, converting without it: %s", error)
            self._icc = None
            return None
        assert converted is not None
        return np.asarray(converted, dtype=np.float32) / np.float32(255)


def full_scale(samples: Samples) -> np.float32:
    """The value of white: 255 or 65535."""
    return np.float32(np.iinfo(samples.dtype).max)


def lab_in_8_bits(samples: Samples) -> Samples:
    """16-bit Lab samples (H, W, 3) rounded to 8 bits; see `Photo.pixels` for both."""
    offset = _offset(samples).astype(np.uint32)
    light = (offset[..., :1] * 255 + 32767) // 65535
    colour = np.minimum((offset[..., 1:] + 128) // 256, 255)
    return _offset(np.concatenate([light, colour], axis=-1).astype(np.uint8))


def _curves(icc: bytes | None, channels: int) -> list[ToneCurve]:
    """The profile's curves, else sRGB's."""
    try:
        found = None if icc is None else tone_curves(icc, channels)
        if found is not None:
            return [ToneCurve(curve) for curve in found]
    except ValueError as error:
        log.warning("the photo's profile cannot be used, taking its colours for sRGB: %s", error)
    return [ToneCurve()] * channels


def _to_inks(rgb: FloatImage) -> FloatImage:
    brightest = rgb.max(axis=-1, keepdims=True)
    inks = 1 - rgb / np.where(brightest > 0, brightest, np.float32(1))
    return np.concatenate([np.where(brightest > 0, inks, np.float32(0)), 1 - brightest], axis=-1)


def _offset(lab: Samples) -> Samples:
    """Lab samples with a and b from two's complement to an offset of half the range, or back."""
    half = lab.dtype.type(1 << (8 * lab.dtype.itemsize - 1))
    turned: Samples = lab ^ np.array([0, half, half], dtype=lab.dtype)
    return turned


def _lab_to_rgb(samples: Samples) -> FloatImage:
    """CIE 1976 L*a*b* (CIE 15:2004, section 8.2.1), inverse; colours that sRGB does not have are cut."""
    size = samples.dtype.itemsize
    offset = _offset(samples).astype(np.float64)
    lightness = offset[..., 0] * (100 / (255 if size == 1 else 65535))
    units, zero = (1, 128) if size == 1 else (256, 32768)
    a, b = (offset[..., 1] - zero) / units, (offset[..., 2] - zero) / units
    middle = (lightness + 16) / 116
    roots = np.stack([middle + a / 500, middle, middle - b / 200], axis=-1)
    linear = 3 * (6 / 29) ** 2 * (roots - 4 / 29)
    xyz = np.where(roots > 6 / 29, roots**3, linear) * _WHITE
    light = np.clip(xyz @ np.linalg.inv(_SRGB_TO_XYZ).T, 0, 1)
    return light_to_srgb(light).astype(np.float32)


def _rgb_to_lab(rgb: FloatImage, size: int) -> AnyArray:
    """rgb (n, 3) in [0, 1] -> (n, 3) Lab samples of `size` bytes with a and b offset, not rounded."""
    xyz = srgb_to_light(np.clip(rgb, 0, 1).astype(np.float64)) @ _SRGB_TO_XYZ.T / _WHITE
    roots = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz / (3 * (6 / 29) ** 2) + 4 / 29)
    lightness = (116 * roots[:, 1] - 16) * ((255 if size == 1 else 65535) / 100)
    units, zero = (1, 128) if size == 1 else (256, 32768)
    a, b = 500 * (roots[:, 0] - roots[:, 1]), 200 * (roots[:, 1] - roots[:, 2])
    return np.stack([lightness, a * units + zero, b * units + zero], axis=-1)
