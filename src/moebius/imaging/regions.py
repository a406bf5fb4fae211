"""Where a mask is filled: crops with context, one for each group of holes that belong together."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from moebius.imaging.arrays import Mask
from moebius.imaging.box import Box, bounding_box
from moebius.imaging.components import connected_boxes

Shape = tuple[int, int]
"""(height, width)"""


@dataclass(frozen=True, slots=True)
class Region:
    """One crop to fill."""

    index: int
    """Position in reading order of the holes' top left corners, from 0."""
    box: Box
    """The crop, inside the photo."""
    hole: Box
    """Bounding box of the masked pixels that this region fills; inside `box`."""
    shape: Shape
    """The model's shape that the crop is brought to, (height, width) in the model's pixels."""
    masked: int
    """Masked pixels in `hole`."""

    @property
    def scale(self) -> float:
        """Photo pixels a model pixel: above 1 the fill has less detail than the photo."""
        return _scale(self.box.height, self.box.width, self.shape)

    @property
    def sparse(self) -> bool:
        """Whether most of the hole's bounding box is known, as with scratches, wires and frames."""
        return self.masked < 0.25 * self.hole.width * self.hole.height


def plan_regions(mask: Mask, *, shapes: Sequence[Shape], context: float, whole: bool = False) -> list[Region]:
    """Cut the mask into regions that can be filled in any order, from the untouched photo.

    A hole of longer side n gets a margin of (context - 1) / 2 * n on all four sides, and at least as much as makes n
    and two margins the model's own side: small holes are filled unscaled, with all the context that the model sees.
    The crop has one of the model's shapes, enlarged: the smallest that holds hole and margins without scaling the
    photo down more than the largest shape would. It is centred on the hole, moved inwards at the photo's borders, and
    cut where the photo itself is smaller. Regions of which one's crop meets the other's hole are merged, until there
    are none left. So every masked pixel lies in exactly one region's hole, and no crop shows another region's hole.

    Args:
        mask: (H, W), True = fill.
        shapes: of the model, in pixels; the first is its largest, a square.
        context: side of the crop as a multiple of the hole's longer side, at least 1.
        whole: one region over the whole photo, however small the holes are.

    Returns:
        The regions in a fixed order; none for an empty mask.

    Raises:
        ValueError: the first shape is no square or not the largest, or context < 1.
    """
    side = shapes[0][0] if shapes else 0
    if side < 1 or shapes[0][1] != side or any(not 1 <= each <= side for shape in shapes for each in shape):
        raise ValueError(f"expected shapes that begin with a square that holds the others, got {shapes}")
    if not context >= 1:
        raise ValueError(f"expected context >= 1, got {context}")
    height, width = mask.shape

    def crop(hole: Box) -> Box:
        longer = max(hole.width, hole.height)
        margins = max(round((context - 1) * longer, 6), side - longer)
        wanted = (hole.height + margins, hole.width + margins)
        scale = max(1.0, max(wanted) / side)
        shape = _smallest(wanted, scale, shapes)
        left, right = _span(hole.left, hole.right, math.ceil(round(shape[1] * scale, 6)), width)
        top, bottom = _span(hole.top, hole.bottom, math.ceil(round(shape[0] * scale, 6)), height)
        return Box(left, top, right, bottom)

    merged: dict[Box, Box] = {}  # hole -> crop, of regions that leave each other alone
    if whole:
        everything = bounding_box(mask)
        if everything is not None:
            merged[everything] = Box(0, 0, width, height)
    for hole in connected_boxes(mask) if not whole else []:
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
    return [
        Region(index, box, hole, _fitting(box, shapes), int(np.count_nonzero(mask[hole.slices])))
        for index, (hole, box) in enumerate(ordered)
    ]


def _scale(height: int, width: int, shape: Shape) -> float:
    return max(height / shape[0], width / shape[1])


def _smallest(wanted: tuple[float, float], scale: float, shapes: Sequence[Shape]) -> Shape:
    """The shape of least area that, enlarged by `scale`, holds `wanted` (height, width)."""
    slack = 1e-6
    holding = [
        shape
        for shape in shapes
        if shape[0] * scale + slack >= wanted[0] and shape[1] * scale + slack >= wanted[1]
    ]
    return min(holding, key=lambda shape: shape[0] * shape[1])


def _fitting(box: Box, shapes: Sequence[Shape]) -> Shape:
    """The shape of least area to which the crop can be brought at the best scale."""
    best = _scale(box.height, box.width, shapes[0])
    # Rounding up to whole pixels must not cost a crop its shape.
    return _smallest((box.height - 1, box.width - 1), best, shapes)


def _span(first: int, last: int, side: int, limit: int) -> tuple[int, int]:
    """An interval of `side` pixels centred on [first, last), moved into [0, limit) and cut to it."""
    start = (first + last - side) // 2
    start = max(0, min(start, limit - side))
    return start, min(start + side, limit)
