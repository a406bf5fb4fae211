"""Square crops: where in a photo, at which scale, mirrored or not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from moebius.training.data.recipe import CropRule
from moebius.training.masks import Mask

Pixels = NDArray[np.uint8]

WIDER = 0.6
"""Share of random crops that are cut larger and reduced, where the photo and the recipe allow it."""


@dataclass(frozen=True)
class Crop:
    """The photo is resized to `width` x `height`, a square of `side` px is cut, and resized to `size` px."""

    width: int
    height: int
    left: int
    top: int
    side: int
    size: int
    flip: bool = False

    @property
    def slices(self) -> tuple[slice, slice]:
        return slice(self.top, self.top + self.side), slice(self.left, self.left + self.side)

    def pixels(self, photo: Pixels) -> Pixels:
        """photo (H, W, 3) -> (size, size, 3). Lanczos; means of squares where the reduction is a whole number."""
        image = Image.fromarray(photo)
        across, down = image.width / self.width, image.height / self.height
        right, bottom = (self.left + self.side) * across, (self.top + self.side) * down
        box = (self.left * across, self.top * down, min(right, image.width), min(bottom, image.height))
        if across == down == 1 and self.side == self.size:
            cut = photo[self.slices]
        else:  # as if all were resized and then cut, up to rounding: Pillow looks beyond the box
            whole = across == down == 1 and self.side % self.size == 0
            how = Image.Resampling.BOX if whole else Image.Resampling.LANCZOS
            cut = np.asarray(image.resize((self.size, self.size), how, box=box))
        return cut[:, ::-1] if self.flip else cut

    def mask(self, mask: Mask) -> Mask:
        """mask (height, width) -> (size, size): nearest."""
        cut = nearest(mask[self.slices], (self.size, self.size))
        return np.ascontiguousarray(cut[:, ::-1] if self.flip else cut)


def plan_crop(
    shape: tuple[int, int], size: int, rule: CropRule, smallest: float, rng: np.random.Generator
) -> Crop:
    """How a photo of `shape` (height, width) is scaled and how large a square is cut; not yet where.

    hole: the short side becomes `size`; the long one is rounded down. random: the photo stays, the square has up
    to `size` / `smallest` px, or what the photo has.
    """
    height, width = shape
    shortest = min(height, width)
    if rule == "hole":
        width, height = (int(size * each / shortest) for each in (width, height))
        return Crop(width, height, 0, 0, size, size)
    most = max(size, min(shortest, round(size / smallest)))
    wider = rng.random() < WIDER
    side = min(shortest, int(rng.integers(size, most + 1)) if wider else size)
    return Crop(width, height, 0, 0, side, size)


def place_crop(crop: Crop, hole: Sequence[int] | None, rng: np.random.Generator) -> Crop:
    """The crop at a random place; with the middle of `hole` in it, its (left, top, right, bottom), last ones in."""
    left, right, top, bottom = None, None, None, None
    if hole is not None:
        left, top, right, bottom = hole
    return replace(
        crop,
        left=_start(crop.width, crop.side, left, right, rng),
        top=_start(crop.height, crop.side, top, bottom, rng),
    )


def bounds(mask: Mask) -> tuple[int, int, int, int] | None:
    """(left, top, right, bottom) of what is hidden, the last ones in; None if nothing is."""
    columns, rows = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
    if not len(columns):
        return None
    return int(columns[0]), int(rows[0]), int(columns[-1]), int(rows[-1])


def nearest(mask: Mask, shape: tuple[int, int]) -> Mask:
    """mask (H, W) -> shape (height, width): what the pixel under each centre is."""
    if mask.shape == shape:
        return mask
    rows, columns = (
        ((2 * np.arange(new) + 1) * old) // (2 * new) for new, old in zip(shape, mask.shape, strict=True)
    )
    return np.asarray(mask[rows[:, None], columns])


def _start(length: int, side: int, first: int | None, last: int | None, rng: np.random.Generator) -> int:
    """Where a run of `side` begins in `length`, uniform among those that contain the middle of first..last."""
    low, high = 0, length - side
    if first is not None and last is not None:
        middle = (first + last) // 2
        low, high = max(low, middle - side + 1), min(high, middle)
    return int(rng.integers(low, high + 1))
