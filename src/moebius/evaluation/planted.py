"""Holes with a truth in photos of any size: the masks of real objects, moved to where there is no object.

What people remove has shapes and sizes that random strokes do not have, and photos have more pixels than
benchmarks. A mask of an object is taken to other places of its own photo, mirrored and reduced at random; what it
hides there is known.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from moebius.errors import MaskError
from moebius.evaluation.holes import Mask
from moebius.imaging import bounding_box, grow_mask, read_mask, resize_mask

SCALES = (0.35, 1.0)
"""Of the object's own size."""
CLEARANCE = 8
"""Pixels between the hole and the object, at least."""
TRIES = 200


@dataclass(frozen=True)
class PlantedMask:
    """The mask of an object, planted elsewhere; for `Case.mask`."""

    path: Path
    """The object's mask, white = object."""
    place: int
    """Which of the random places; each is drawn from a generator of its own."""

    def __repr__(self) -> str:
        return f"PlantedMask({self.path.name!r}, {self.place})"

    def __call__(self, size: tuple[int, int]) -> Mask:
        """(H, W), True = hole: away from the object, wholly inside the picture.

        Raises:
            MaskError: no such file, or no place for it even at a third of its size.
        """
        mask = read_mask(self.path, size=size)
        box = bounding_box(mask)
        if box is None:
            raise MaskError(f"{self.path}: expected an object, got an empty mask")
        shape, taken = mask[box.slices], grow_mask(mask, CLEARANCE)
        random = np.random.default_rng([7, self.place])
        for _ in range(TRIES):
            scale = float(random.uniform(*SCALES))
            height, width = (max(4, round(side * scale)) for side in shape.shape)
            part = resize_mask(shape, (height, width))
            if random.random() < 0.5:
                part = part[:, ::-1]
            top = int(random.integers(0, mask.shape[0] - height + 1))
            left = int(random.integers(0, mask.shape[1] - width + 1))
            place = slice(top, top + height), slice(left, left + width)
            if not (part & taken[place]).any():
                planted = np.zeros_like(mask)
                planted[place] = part
                return planted
        raise MaskError(f"{self.path}: expected room for its object elsewhere in the photo, found none")
