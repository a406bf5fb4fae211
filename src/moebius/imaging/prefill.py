"""Filling a hole smoothly from its surroundings.

The push-pull pyramid (Gortler, Grzeszczuk, Szeliski & Cohen, "The Lumigraph", SIGGRAPH 1996): average the
known pixels down to one, then come back up, taking from each coarser level what the finer one does not know.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from moebius.imaging.arrays import FloatImage, Mask

MID_GREY = 0.5
"""What a picture is filled with of which nothing is known."""


def push_pull(image: FloatImage, mask: Mask) -> FloatImage:
    """The image with a smooth fill under the mask.

    Pixels under the mask are never read: whatever is there, NaN included, the result is bit-identical.

    Down: c, w = averages over 2 x 2 finer cells of colour (0 in the hole) and knownness (1 known, 0 hole);
    cells missing at an odd border count as unknown. Up: fill = k c/w + (1 - k) bilinear(coarser fill) with
    k = min(1, 4 w), so a cell of which at least a quarter is known speaks for itself.

    Args:
        image: (H, W, C) float32, any range.
        mask: (H, W), True = hole.

    Returns:
        (H, W, C) float32: known pixels exactly as they came; the hole smooth; `MID_GREY` where all is hole.

    Raises:
        ValueError: the shapes do not belong together.
    """
    if image.ndim != 3 or image.shape[:2] != mask.shape or mask.size == 0:
        raise ValueError(f"expected an image (H, W, C) and a mask (H, W), got {image.shape} and {mask.shape}")
    hole = mask[..., None]
    colour, weight = np.where(hole, np.float32(0), image), (~hole).astype(np.float32)
    levels = [(colour, weight)]  # (h, w, C) and (h, w, 1), finest first
    while weight.size > 1:
        colour, weight = _halve(colour), _halve(weight)
        levels.append((colour, weight))
    fill = np.full_like(colour, MID_GREY)  # (1, 1, C), what stands behind the top of the pyramid
    if weight.item() > 0:
        fill = colour / weight
    levels.pop()
    while levels:  # in place: whole photos come here, and each copy of one is 12 bytes a pixel
        colour, weight = levels.pop()
        coarser = _double(fill)[: weight.shape[0], : weight.shape[1]]
        colour /= np.where(weight > 0, weight, np.float32(1))
        confidence = np.minimum(np.float32(4) * weight, np.float32(1))
        colour *= confidence
        coarser *= 1 - confidence
        colour += coarser
        fill = colour
    return fill  # known pixels have confidence 1


def _halve(cells: NDArray[np.float32]) -> NDArray[np.float32]:
    """Average 2 x 2 cells, an odd border padded by zeros. (h, w, C) -> (ceil(h/2), ceil(w/2), C)."""
    height, width, _ = cells.shape
    if height % 2 or width % 2:
        cells = np.pad(cells, ((0, height % 2), (0, width % 2), (0, 0)))
    rows = cells[0::2] + cells[1::2]
    return (rows[:, 0::2] + rows[:, 1::2]) * np.float32(0.25)


def _double(cells: NDArray[np.float32]) -> NDArray[np.float32]:
    """Bilinear enlargement by two, cell centres at half-integers, edges held. (h, w, C) -> (2h, 2w, C)."""
    tall = _double_rows(cells)
    return _double_rows(tall.swapaxes(0, 1)).swapaxes(0, 1)


def _double_rows(cells: NDArray[np.float32]) -> NDArray[np.float32]:
    near, far = cells * np.float32(0.75), cells * np.float32(0.25)
    doubled = np.empty((2 * len(cells), *cells.shape[1:]), dtype=np.float32)
    doubled[0::2] = near + np.concatenate([far[:1], far[:-1]])
    doubled[1::2] = near + np.concatenate([far[1:], far[-1:]])
    return doubled
