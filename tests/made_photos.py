"""Photos and masks made with numpy."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from moebius.imaging import Photo

Pixels = NDArray[Any]
Mask = NDArray[np.bool_]


def picture(width: int, height: int, *, channels: int = 3, dtype: type = np.uint8, seed: int = 0) -> Pixels:
    """(H, W, C): ramps, stripes and a little noise, over the whole range of `dtype`."""
    rows, columns = np.mgrid[0:height, 0:width]
    grain = np.random.default_rng(seed).normal(0, 0.02, (height, width, channels))
    waves = [np.sin(rows / (9 + 4 * c)) * np.cos(columns / (7 + 5 * c)) for c in range(channels)]
    ramps = [
        (rows * (c + 1) + columns * (channels - c)) / (channels * (height + width)) for c in range(channels)
    ]
    levels = np.clip(0.3 * np.stack(waves, axis=-1) + np.stack(ramps, axis=-1) + grain + 0.1, 0, 1)
    return (levels * np.iinfo(dtype).max).astype(dtype)


def noise(shape: tuple[int, ...], dtype: type = np.uint8, seed: int = 0) -> Pixels:
    """Random samples over the whole range of `dtype`."""
    return np.random.default_rng(seed).integers(0, np.iinfo(dtype).max + 1, shape, dtype=dtype)


def photo(mode: str, width: int = 96, height: int = 80, dtype: type = np.uint8) -> Photo:
    """A `Photo` of mode "L", "RGB" or "CMYK", or with alpha "LA", "RGBA"."""
    colour = mode.removesuffix("A")
    channels = {"L": 1, "RGB": 3, "CMYK": 4}[colour]
    alpha = noise((height, width), dtype, seed=9) if mode.endswith("A") else None
    return Photo(picture(width, height, channels=channels, dtype=dtype), colour, alpha)  # type: ignore[arg-type]


def disc(width: int, height: int, centre: tuple[float, float], radius: float) -> Mask:
    """(H, W), True inside a disc around centre = (x, y)."""
    rows, columns = np.mgrid[0:height, 0:width]
    return np.asarray((columns - centre[0]) ** 2 + (rows - centre[1]) ** 2 <= radius**2)


def within(mask: Mask, pixels: int) -> Mask:
    """(H, W), True where a True pixel is at most `pixels` away: one shift for every offset in the disc."""
    near = np.zeros_like(mask)
    rows, columns = np.nonzero(mask)
    height, width = mask.shape
    for down in range(-pixels, pixels + 1):
        for right in range(-pixels, pixels + 1):
            if down * down + right * right <= pixels * pixels:
                moved_rows, moved_columns = rows + down, columns + right
                near[moved_rows.clip(0, height - 1), moved_columns.clip(0, width - 1)] = True
    return near
