"""Between a photo's own colours and the RGB that networks see.

RGB and grey values are used as they are: the profile of an RGB photo shifts all its colours alike, and a fill
made from shifted neighbours fits them. Ink is different: the same colour can be printed with much or little
black, so CMYK goes through the photo's own profile, which knows how its colours are separated. CMYK without a
profile is converted by r = (1 - c)(1 - k), and back with as much black as possible.
"""

from __future__ import annotations

import io
import logging
from typing import Literal

import numpy as np
from PIL import Image, ImageCms

from moebius.imaging.arrays import FloatImage, Samples

log = logging.getLogger(__name__)

ColourMode = Literal["L", "RGB", "CMYK"]
CHANNELS: dict[ColourMode, int] = {"L": 1, "RGB": 3, "CMYK": 4}

_LUMA = (0.299, 0.587, 0.114)
"""Shares of red, green and blue in grey: ITU-R BT.601, as in Pillow."""


def to_rgb(samples: Samples, mode: ColourMode, icc: bytes | None) -> FloatImage:
    """samples (h, w, C) uint8 or uint16 -> (h, w, 3) float32 in [0, 1]."""
    values = samples.astype(np.float32) / full_scale(samples)
    if mode == "CMYK" and icc is not None:
        converted = _through_profile(values, icc, "CMYK", "RGB")
        if converted is not None:
            return converted
    if mode == "CMYK":
        return (1 - values[..., :3]) * (1 - values[..., 3:])
    return np.repeat(values, 3, axis=-1) if mode == "L" else values


def from_rgb(rgb: FloatImage, mode: ColourMode, icc: bytes | None) -> FloatImage:
    """rgb (h, w, 3) in [0, 1] -> (h, w, C) float32 in [0, 1], in the photo's own colours."""
    if mode == "RGB":
        return rgb
    if mode == "L":
        weighted = rgb * np.array(_LUMA, dtype=np.float32)
        return weighted[..., 0:1] + weighted[..., 1:2] + weighted[..., 2:3]
    if icc is not None:
        converted = _through_profile(rgb, icc, "RGB", "CMYK")
        if converted is not None:
            return converted
    brightest = rgb.max(axis=-1, keepdims=True)
    inks = 1 - rgb / np.where(brightest > 0, brightest, np.float32(1))
    return np.concatenate([np.where(brightest > 0, inks, np.float32(0)), 1 - brightest], axis=-1)


def full_scale(samples: Samples) -> np.float32:
    """The value of white: 255 or 65535."""
    return np.float32(np.iinfo(samples.dtype).max)


def _through_profile(
    values: FloatImage, icc: bytes, source: Literal["RGB", "CMYK"], target: Literal["RGB", "CMYK"]
) -> FloatImage | None:
    """values (h, w, C) in [0, 1] from sRGB to the profile's CMYK or back, in 8 bits.

    Relative colorimetric with black point compensation, so that white stays paper and black stays black.

    Returns:
        None if the profile cannot be used.
    """
    height, width, _ = values.shape
    data = np.floor(values * 255 + np.float32(0.5)).astype(np.uint8)
    image = Image.frombytes(source, (width, height), data.tobytes())
    try:
        own, srgb = ImageCms.ImageCmsProfile(io.BytesIO(icc)), ImageCms.createProfile("sRGB")
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
        return None
    assert converted is not None
    return np.asarray(converted, dtype=np.float32) / np.float32(255)
