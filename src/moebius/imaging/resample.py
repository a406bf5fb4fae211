"""Changing the size of images and masks."""

from __future__ import annotations

import numpy as np
from PIL import Image

from moebius.imaging.arrays import FloatImage, Mask
from moebius.imaging.box import Box, bounding_box


def resize(image: FloatImage, shape: tuple[int, int]) -> FloatImage:
    """Resize an image (H, W, C) in [0, 1] to shape = (height, width).

    Lanczos with antialiasing when a side shrinks, bicubic when none does (Lanczos would ring more), both in
    float32 and clipped to [0, 1]. The same shape gives a copy.
    """
    return resize_part(image, shape, Box(0, 0, shape[1], shape[0]))


def resize_part(image: FloatImage, shape: tuple[int, int], part: Box) -> FloatImage:
    """The part of `resize(image, shape)` inside `part`, without making the rest: (part.height, part.width, C).

    Raises:
        ValueError: the part is empty or not inside `shape`.
    """
    height, width = shape
    if not part.width or not part.height or not Box(0, 0, width, height).contains(part):
        raise ValueError(f"expected a part of {width} x {height}, got {part}")
    if image.shape[:2] == (height, width):
        return image[part.slices].copy()
    down, across = image.shape[0] / height, image.shape[1] / width  # pixels of `image` a pixel of the result
    source = (part.left * across, part.top * down, part.right * across, part.bottom * down)
    return resample(image, source, (part.height, part.width))


def resample(
    image: FloatImage, source: tuple[float, float, float, float], shape: tuple[int, int]
) -> FloatImage:
    """The rectangle `source` of an image (H, W, C) in [0, 1], in fractions of pixels, at shape = (height, width).

    Pixels around the rectangle take part in the filter, as if the whole image had been resized. Lanczos when a side
    shrinks, else bicubic, clipped to [0, 1].

    Args:
        source: left, top, right, bottom; cut to the image.
    """
    height, width = shape
    limits = (image.shape[1], image.shape[0], image.shape[1], image.shape[0])
    left, top, right, bottom = (min(max(each, 0), most) for each, most in zip(source, limits, strict=True))
    shrinks = height < bottom - top or width < right - left
    kernel = Image.Resampling.LANCZOS if shrinks else Image.Resampling.BICUBIC
    resized = np.empty((height, width, image.shape[2]), dtype=np.float32)
    for channel in range(image.shape[2]):
        plane = Image.fromarray(np.ascontiguousarray(image[..., channel], dtype=np.float32))  # mode "F"
        resized[..., channel] = np.asarray(
            plane.resize((width, height), kernel, box=(left, top, right, bottom))
        )
    return np.clip(resized, 0, 1, out=resized)


def resize_mask(mask: Mask, shape: tuple[int, int]) -> Mask:
    """Resize a mask (H, W) to shape = (height, width): True wherever a True pixel is covered, however little.

    So a stroke is never lost, however thin, and a hole only ever comes out larger than it was.
    """
    resized = np.zeros(shape, dtype=bool)
    box = bounding_box(mask)
    if box is not None:
        top, rows = _any_covered(mask[box.slices], box.top, len(mask), shape[0])
        left, columns = _any_covered(rows.T, box.left, mask.shape[1], shape[1])
        resized[top : top + len(rows), left : left + len(columns)] = columns.T
    return resized


def _any_covered(part: Mask, first: int, length: int, count: int) -> tuple[int, Mask]:
    """Resize axis 0 of a mask of `length` rows to `count`; row i covers floor(i n / count) to ceil((i + 1) n / count).

    Args:
        part: the mask's rows from `first` on, outside which there is no True pixel.

    Returns:
        The resized mask's rows that cover the part, and the number of the first of them.
    """
    last = first + len(part)
    target = np.arange(first * count // length, -(-last * count // length))
    starts = np.maximum(target * length // count, first) - first
    ends = np.minimum(-(-(target + 1) * length // count), last) - first
    # reduceat works on the ranges between consecutive indices: every second one is ours. Its indices must lie
    # inside the array, hence the row of padding.
    padded = np.concatenate([part, np.zeros_like(part[:1])])
    ranges = np.stack([starts, ends], axis=1).reshape(-1)
    return int(target[0]), np.logical_or.reduceat(padded, ranges, axis=0)[::2]
