"""Exact Euclidean distances to a mask, near the mask only.

The squared distance of a pixel to the nearest masked one is the minimum, over rows, of (distance along the
row)^2 + (rows between)^2: the separable transform of Saito & Toriwaki, Pattern Recognition 27 (1994). Only
distances up to a limit are wanted here, so the minimum runs over a window of rows, and everything is done in
strips: the work space is a few megabytes whatever the mask.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from moebius.imaging.arrays import Mask
from moebius.imaging.box import Box, bounding_box

MAX_DISTANCE = 2**15 - 1
"""Largest limit in pixels: the sum of two such squares still fits 32 bits."""

_FAR = 2**15
_STRIP = 64
"""Rows worked on at a time, at least; few enough to stay in the processor's cache."""


def distance_outside(mask: Mask, limit: float) -> NDArray[np.float32]:
    """Distance of every pixel to the nearest True one, in pixels between pixel centres.

    Args:
        mask: (H, W).
        limit: how far to look, 0 to 32767.

    Returns:
        (H, W) float32: 0 on the mask; exact to float32 rounding up to and including `limit`; infinity beyond,
        and everywhere when the mask is empty.

    Raises:
        ValueError: limit is out of range.
    """
    distance = np.full(mask.shape, np.inf, dtype=np.float32)
    for box, squared in squared_distances(mask, limit):
        np.copyto(distance[box.slices], np.sqrt(squared, dtype=np.float32), where=squared <= limit * limit)
    return distance


def squared_distances(mask: Mask, limit: float) -> Iterator[tuple[Box, NDArray[np.int32]]]:
    """Squared distances strip by strip: a box, and the distances in it as (box.height, box.width) int32.

    The boxes do not overlap, and hold every pixel within `limit` of the mask (H, W). Values above limit**2
    are upper bounds only.

    Raises:
        ValueError: limit is out of range.
    """
    if not 0 <= limit <= MAX_DISTANCE:
        raise ValueError(f"limit: expected 0 to {MAX_DISTANCE} pixels, got {limit}")
    reach = math.floor(limit)
    height, width = mask.shape
    found = bounding_box(mask)
    if found is None:
        return
    area = found.expand(reach).clip(width, height)
    rows = max(_STRIP, reach)
    for top in range(area.top, area.bottom, rows):
        strip = Box(area.left, top, area.right, min(top + rows, area.bottom))
        seen = strip.expand(reach).clip(width, height)  # rows that can matter to the strip
        sideways = _along_rows(mask[seen.top : seen.bottom, area.left : area.right])
        squared = np.full((strip.height, strip.width), _FAR * _FAR, dtype=np.int32)
        for down in range(-reach, reach + 1):
            first, last = max(strip.top + down, seen.top), min(strip.bottom + down, seen.bottom)
            if first < last:
                target = squared[first - down - strip.top : last - down - strip.top]
                np.minimum(target, sideways[first - seen.top : last - seen.top] + down * down, out=target)
        yield strip, squared


def _along_rows(mask: Mask) -> NDArray[np.int32]:
    """Squared distance to the nearest True pixel in the same row; _FAR squared where none is. (h, w)."""
    columns = np.arange(mask.shape[1], dtype=np.int32)
    last = np.maximum.accumulate(np.where(mask, columns, np.int32(-_FAR)), axis=1)
    following = np.where(mask, columns, np.int32(mask.shape[1] + _FAR))
    following = np.minimum.accumulate(following[:, ::-1], axis=1)[:, ::-1]
    nearest = np.minimum(columns - last, following - columns)
    np.minimum(nearest, _FAR, out=nearest)
    return nearest * nearest
