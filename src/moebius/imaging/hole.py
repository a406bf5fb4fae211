"""What is to be filled in a photo, and how far a fill of it may reach."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from moebius.imaging.arrays import Mask
from moebius.imaging.mask import grow_mask, grow_objects


@dataclass(frozen=True, eq=False)
class Hole:
    """A mask, and what stays as it is however far the mask grows and its edge fades.

    Raises:
        ValueError: the two are not alike in size, or not bool.
    """

    mask: Mask
    """(H, W), True = fill; what is kept of it is not filled."""
    kept: Mask | None = None
    """(H, W), True = stays; None where there is nothing to keep."""

    def __post_init__(self) -> None:
        for each in (self.mask, self.kept):
            if each is not None and (
                each.shape != self.mask.shape or each.ndim != 2 or each.dtype != np.bool_
            ):
                raise ValueError(f"expected bool masks {self.mask.shape}, got {each.dtype} {each.shape}")

    def without_kept(self, mask: Mask) -> Mask:
        """A mask (H, W) less what is kept; itself if nothing is."""
        return mask if self.kept is None else mask & ~self.kept

    def grown(self, pixels: int | None) -> Hole:
        """The hole that is filled: its mask grown as by `grow_objects`, but not into what is kept."""
        return Hole(self.without_kept(grow_objects(self.without_kept(self.mask), pixels)), self.kept)

    def touched(self, feather: int) -> Mask:
        """(H, W), True where a fill of this hole, grown already, and its feather of so many pixels may change a photo.

        Raises:
            ValueError: feather is out of range, see `grow_mask`.
        """
        return self.without_kept(grow_mask(self.mask, feather))
