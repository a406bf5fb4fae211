"""Where a mask is filled: square crops with context, one for each group of holes that belong together."""

from __future__ import annotations

import math
from dataclasses import dataclass

from moebius.imaging.arrays import Mask
from moebius.imaging.box import Box
from moebius.imaging.components import connected_boxes


@dataclass(frozen=True, slots=True)
class Region:
    """One crop to fill."""

    index: int
    """Position in reading order of the holes' top left corners, from 0."""
    box: Box
    """The crop, inside the photo."""
    hole: Box
    """Bounding box of the masked pixels that this region fills; inside `box`."""


def plan_regions(mask: Mask, *, model_size: int, context: float) -> list[Region]:
    """Cut the mask into regions that can be filled one by one, in any order, from the untouched photo.

    A region's crop is a square of side max(model_size, context * longer side of its hole), centred on the
    hole, moved inwards at the photo's borders, and cut where the photo itself is smaller. Regions of which
    one's crop meets the other's hole are merged, until there are none left. So every masked pixel lies in
    exactly one region's hole, and no crop shows another region's hole.

    Args:
        mask: (H, W), True = fill.
        model_size: the model's own side in photo pixels; small holes get this much around them, unscaled.
        context: side of the crop as a multiple of the hole's longer side, at least 1.

    Returns:
        The regions in a fixed order; none for an empty mask.

    Raises:
        ValueError: model_size < 1 or context < 1.
    """
    if model_size < 1 or not context >= 1:
        raise ValueError(f"expected model_size >= 1 and context >= 1, got {model_size} and {context}")
    height, width = mask.shape

    def crop(hole: Box) -> Box:
        side = max(model_size, math.ceil(round(context * max(hole.width, hole.height), 6)))
        left, right = _span(hole.left, hole.right, side, width)
        top, bottom = _span(hole.top, hole.bottom, side, height)
        return Box(left, top, right, bottom)

    merged: dict[Box, Box] = {}  # hole -> crop, of regions that leave each other alone
    for hole in connected_boxes(mask):
        while True:
            box = crop(hole)
            meeting = [
                other
                for other, other_crop in merged.items()
                if box.intersects(other) or other_crop.intersects(hole)
            ]
            if not meeting:
                break
            for other in meeting:
                hole = hole.union(other)
                del merged[other]
        merged[hole] = box
    ordered = sorted(merged.items(), key=lambda pair: (pair[0].top, pair[0].left))
    return [Region(index, box, hole) for index, (hole, box) in enumerate(ordered)]


def _span(first: int, last: int, side: int, limit: int) -> tuple[int, int]:
    """An interval of `side` pixels centred on [first, last), moved into [0, limit) and cut to it."""
    start = (first + last - side) // 2
    start = max(0, min(start, limit - side))
    return start, min(start + side, limit)
