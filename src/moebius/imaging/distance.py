"""Exact Euclidean distances to a mask, near the mask only.

The squared distance of a pixel to the nearest masked one is the minimum, over rows, of (distance along the
row)^2 + (rows between)^2: the separable transform of Saito & Toriwaki, Pattern Recognition 27 (1994). Only
distances up to a limit are wanted here, so the minimum runs over a window of rows, and everything is done in
strips, cut where nothing is near: the work space is a few megabytes whatever the mask, and objects far apart cost what
they cost alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from moebius.imaging.arrays import Mask
from moebius.imaging.box import Box

MAX_DISTANCE = 2**15 - 1
"""Largest limit in pixels: the sum of two such squares still fits 32 bits."""

_FAR = 2**15
_STRIP = 64
"""Rows worked on at a time, at least; few enough to stay in the processor's cache."""
_GAP = 256
"""Columns that it takes longer to begin anew behind than to work through."""


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
    """Squared distances part by part: a box, and the distances in it as (box.height, box.width) int32.

    The boxes do not overlap, and hold every pixel within `limit` of the mask (H, W). Values above limit**2
    are upper bounds only.

    Raises:
        ValueError: limit is out of range.
    """
    if not 0 <= limit <= MAX_DISTANCE:
        raise ValueError(f"limit: expected 0 to {MAX_DISTANCE} pixels, got {limit}")
    reach = math.floor(limit)
    rows = max(_STRIP, reach)
    for first, last in _stretches(np.logical_or.reduce(mask, axis=1), reach, _STRIP):
        for top in range(first, last, rows):
            bottom = min(top + rows, last)
            seen = mask[max(0, top - reach) : bottom + reach]  # rows that can matter to the strip
            for left, right in _stretches(np.logical_or.reduce(seen, axis=0), reach, _GAP):
                box = Box(left, top, right, bottom)
                yield box, squared_distances_in(mask, box, reach)


def squared_distances_in(mask: Mask, box: Box, reach: int) -> NDArray[np.int32]:
    """The squared distances to a mask (H, W) in one box (box.height, box.width), true up to reach**2 pixels.

    Values above are upper bounds only.
    """
    height, width = mask.shape
    seen = box.expand(reach).clip(width, height)
    columns = slice(box.left - seen.left, box.right - seen.left)
    sideways = _along_rows(mask[seen.slices])[:, columns]
    squared = np.full((box.height, box.width), _FAR * _FAR, dtype=np.int32)
    for down in range(-reach, reach + 1):
        first, last = max(box.top + down, seen.top), min(box.bottom + down, seen.bottom)
        if first < last:
            target = squared[first - down - box.top : last - down - box.top]
            np.minimum(target, sideways[first - seen.top : last - seen.top] + down * down, out=target)
    return squared


def _stretches(masked: NDArray[np.bool_], reach: int, gap: int) -> list[tuple[int, int]]:
    """Half-open intervals that hold what is within `reach` of a True element of (n,), with gaps of `gap` or more."""
    indices = np.flatnonzero(masked)
    if not len(indices):
        return []
    begins = np.concatenate([[True], np.diff(indices) > 2 * reach + gap])
    firsts, lasts = indices[begins], indices[np.roll(begins, -1)]
    return [
        (max(0, first - reach), min(len(masked), last + reach + 1))
        for first, last in zip(firsts.tolist(), lasts.tolist(), strict=True)
    ]


def _along_rows(mask: Mask) -> NDArray[np.int32]:
    """Squared distance to the nearest True pixel in the same row; _FAR squared where none is. (h, w)."""
    columns = np.arange(mask.shape[1], dtype=np.int32)
    last = np.maximum.accumulate(np.where(mask, columns, np.int32(-_FAR)), axis=1)
    following = np.where(mask, columns, np.int32(mask.shape[1] + _FAR))
    following = np.minimum.accumulate(following[:, ::-1], axis=1)[:, ::-1]
    nearest = np.minimum(columns - last, following - columns)
    np.minimum(nearest, _FAR, out=nearest)
    return nearest * nearest
