"""Changing the size of images and masks."""

from __future__ import annotations

import numpy as np
from PIL import Image

from moebius.imaging.arrays import FloatImage, Mask


def resize(image: FloatImage, shape: tuple[int, int]) -> FloatImage:
    """Resize an image (H, W, C) in [0, 1] to shape = (height, width).

    Lanczos with antialiasing when a side shrinks, bicubic when none does (Lanczos would ring more), both in
    float32 and clipped to [0, 1]. The same shape gives a copy.
    """
    height, width = shape
    if image.shape[:2] == (height, width):
        return image.copy()
    shrinks = height < image.shape[0] or width < image.shape[1]
    kernel = Image.Resampling.LANCZOS if shrinks else Image.Resampling.BICUBIC
    resized = np.empty((height, width, image.shape[2]), dtype=np.float32)
    for channel in range(image.shape[2]):
        plane = Image.fromarray(np.ascontiguousarray(image[..., channel], dtype=np.float32))  # mode "F"
        resized[..., channel] = np.asarray(plane.resize((width, height), kernel))
    return np.clip(resized, 0, 1, out=resized)


def resize_mask(mask: Mask, shape: tuple[int, int]) -> Mask:
    """Resize a mask (H, W) to shape = (height, width): True wherever a True pixel is covered, however little.

    So a stroke is never lost, however thin, and a hole only ever comes out larger than it was.
    """
    rows = _any_covered(mask, shape[0])
    return np.ascontiguousarray(_any_covered(rows.T, shape[1]).T)


def _any_covered(mask: Mask, count: int) -> Mask:
    """Resize axis 0 to `count`; row i covers input rows floor(i n / count) to ceil((i + 1) n / count)."""
    n = len(mask)
    if n == count:
        return mask
    target = np.arange(count)
    starts = target * n // count
    ends = -(-(target + 1) * n // count)
    # reduceat works on the ranges between consecutive indices: every second one is ours. Its indices must lie
    # inside the array, hence the row of padding.
    padded = np.concatenate([mask, np.zeros_like(mask[:1])])
    ranges = np.stack([starts, ends], axis=1).reshape(-1)
    return np.logical_or.reduceat(padded, ranges, axis=0)[::2]
