"""Filling a hole smoothly from its surroundings.

The push-pull pyramid (Gortler, Grzeszczuk, Szeliski & Cohen, "The Lumigraph", SIGGRAPH 1996): average the
known pixels down to one, then come back up, taking from each coarser level what the finer one does not know.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from moebius.imaging.arrays import FloatImage, Mask
from moebius.imaging.box import Box, bounding_box

MID_GREY = 0.5
"""What a picture is filled with of which nothing is known."""

Cells = NDArray[np.float32]
"""(h, w, C) colours, or (h, w, 1) knownness, of one level."""


@dataclass(frozen=True)
class _Level:
    """One level of the pyramid, on the way up."""

    colour: Cells
    weight: Cells
    box: Box
    """The cells that are asked for."""
    unsure: Box
    """Those of them that ask the next coarser level in turn."""


def push_pull(image: FloatImage, mask: Mask) -> FloatImage:
    """The image with a smooth fill under the mask.

    Pixels under the mask are never read: whatever is there, NaN included, the result is bit-identical.

    Down: c, w = averages over 2 x 2 finer cells of colour (0 in the hole) and knownness (1 known, 0 hole);
    cells missing at an odd border count as unknown. Up: fill = k c/w + (1 - k) bilinear(coarser fill) with
    k = min(1, 4 w), so a cell of which at least a quarter is known speaks for itself. Only cells that a finer level
    asks for are made on the way up, which begins where all of them speak for themselves.

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
    filled = np.array(image, dtype=np.float32, order="C")
    hole = box = bounding_box(mask)
    if hole is None or box is None:
        return filled
    filled[hole.slices][mask[hole.slices]] = 0
    colour, weight = filled, (~mask[..., None]).astype(np.float32)
    levels: list[_Level] = []  # finest first
    while weight.size > 1 and (unsure := bounding_box(weight[box.slices][..., 0] < 0.25)) is not None:
        unsure = unsure.shift(box.left, box.top)
        levels.append(_Level(colour, weight, box, unsure))
        colour, weight = _halve(colour), _halve(weight)
        box = _parents(unsure, weight)
    known = weight[box.slices]
    fill = np.where(known > 0, colour[box.slices] / np.where(known > 0, known, np.float32(1)), MID_GREY)
    while levels:  # in place: whole photos come here, and each copy of one is 12 bytes a pixel
        level = levels.pop()
        fill, box = _up(level, fill, box), level.box
    filled[hole.slices] = fill
    return filled


def _up(level: _Level, coarser: Cells, box: Box) -> Cells:
    """The fill of a level's box, from the next coarser fill of the cells in `box`; overwrites the level's colours."""
    fill, known = level.colour[level.box.slices], level.weight[level.box.slices][..., 0]
    _each_channel(np.divide, fill, np.where(known > 0, known, np.float32(1)))
    part = level.unsure.shift(-level.box.left, -level.box.top).slices
    confidence = np.minimum(np.float32(4) * known[part], np.float32(1))
    below = _double(coarser, box, level.unsure)
    _each_channel(np.multiply, fill[part], confidence)
    _each_channel(np.multiply, below, 1 - confidence)
    fill[part] += below
    return fill


def _each_channel(operation: np.ufunc, cells: Cells, other: Cells) -> None:
    """cells (h, w, C) = operation(cells, other (h, w)), in place; far faster than broadcasting over so few channels."""
    for channel in range(cells.shape[2]):
        operation(cells[..., channel], other, out=cells[..., channel])


def _halve(cells: Cells) -> Cells:
    """Average 2 x 2 cells, an odd border padded by zeros. (h, w, C) -> (ceil(h/2), ceil(w/2), C)."""
    height, width, channels = cells.shape
    rows = cells[0::2].copy()
    rows[: height // 2] += cells[1::2]
    halved = np.empty((len(rows), (width + 1) // 2, channels), dtype=np.float32)
    for channel in range(channels):
        plane, left = halved[..., channel], rows[:, 0::2, channel]
        np.add(left[:, : width // 2], rows[:, 1::2, channel], out=plane[:, : width // 2])
        plane[:, width // 2 :] = left[:, width // 2 :]
    halved *= np.float32(0.25)
    return halved


def _parents(box: Box, coarser: Cells) -> Box:
    """The coarser cells that `_double` reads to make those in `box`."""
    height, width, _ = coarser.shape
    wanted = Box((box.left - 1) // 2, (box.top - 1) // 2, box.right // 2 + 1, box.bottom // 2 + 1)
    return wanted.clip(width, height)


def _double(cells: Cells, box: Box, wanted: Box) -> Cells:
    """Bilinear enlargement by two, cell centres at half-integers, edges held: the finer cells in `wanted`.

    Args:
        cells: those in `box`, which are at least the parents of what is wanted.
    """
    down, right = wanted.top - 2 * box.top, wanted.left - 2 * box.left
    near, far = cells * np.float32(0.75), cells * np.float32(0.25)
    tall = np.empty((2 * len(cells), *cells.shape[1:]), dtype=np.float32)
    np.add(near[1:], far[:-1], out=tall[2::2])
    np.add(near[:-1], far[1:], out=tall[1:-1:2])
    tall[0], tall[-1] = near[0] + far[0], near[-1] + far[-1]
    tall = tall[down : down + wanted.height]
    near, far = tall * np.float32(0.75), tall * np.float32(0.25)
    wide = np.empty((len(tall), 2 * tall.shape[1], tall.shape[2]), dtype=np.float32)
    for channel in range(tall.shape[2]):
        plane, own, others = wide[..., channel], near[..., channel], far[..., channel]
        np.add(own[:, 1:], others[:, :-1], out=plane[:, 2::2])
        np.add(own[:, :-1], others[:, 1:], out=plane[:, 1:-1:2])
        plane[:, 0], plane[:, -1] = own[:, 0] + others[:, 0], own[:, -1] + others[:, -1]
    return np.ascontiguousarray(wide[:, right : right + wanted.width])
