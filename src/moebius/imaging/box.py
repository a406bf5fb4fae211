"""Rectangles of whole pixels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from moebius.imaging.arrays import Mask


@dataclass(frozen=True, slots=True)
class Box:
    """A half-open rectangle: left <= x < right, top <= y < bottom. It may be empty and may leave the photo.

    Raises:
        ValueError: right < left or bottom < top.
    """

    left: int
    top: int
    right: int
    bottom: int

    def __post_init__(self) -> None:
        if self.right < self.left or self.bottom < self.top:
            raise ValueError(f"expected left <= right and top <= bottom, got {self}")

    @property
    def width(self) -> int:
        return self.right - self.left

    @property
    def height(self) -> int:
        return self.bottom - self.top

    @property
    def slices(self) -> tuple[slice, slice]:
        """What cuts the box out of an array indexed [row, column]: `photo[box.slices]`.

        Only for boxes inside the array; negative edges would count from its other end.
        """
        return slice(self.top, self.bottom), slice(self.left, self.right)

    def expand(self, pixels: int) -> Box:
        """Grown by `pixels` on all four sides."""
        return Box(self.left - pixels, self.top - pixels, self.right + pixels, self.bottom + pixels)

    def shift(self, right: int, down: int) -> Box:
        """Moved by so many pixels; negative ones go left and up."""
        return Box(self.left + right, self.top + down, self.right + right, self.bottom + down)

    def clip(self, width: int, height: int) -> Box:
        """The part inside a photo of that size; empty where there is none."""
        return Box(
            min(max(self.left, 0), width),
            min(max(self.top, 0), height),
            min(max(self.right, 0), width),
            min(max(self.bottom, 0), height),
        )

    def union(self, other: Box) -> Box:
        """The smallest box that holds both."""
        return Box(
            min(self.left, other.left),
            min(self.top, other.top),
            max(self.right, other.right),
            max(self.bottom, other.bottom),
        )

    def intersection(self, other: Box) -> Box:
        """The box that both share; empty, at an edge of `other`, where they share none."""
        left, top = min(max(self.left, other.left), other.right), min(max(self.top, other.top), other.bottom)
        right, bottom = min(self.right, other.right), min(self.bottom, other.bottom)
        return Box(left, top, max(left, right), max(top, bottom))

    def intersects(self, other: Box) -> bool:
        """Whether the two share at least one pixel."""
        return (
            max(self.left, other.left) < min(self.right, other.right)
            and max(self.top, other.top) < min(self.bottom, other.bottom)
        )  # fmt: skip

    def contains(self, other: Box) -> bool:
        """Whether every pixel of `other` lies in this box."""
        return (
            self.left <= other.left
            and self.top <= other.top
            and self.right >= other.right
            and self.bottom >= other.bottom
        )


def bounding_box(mask: Mask) -> Box | None:
    """The smallest box around the True pixels of mask (H, W); None when there are none."""
    rows = np.flatnonzero(mask.any(axis=1))
    if not len(rows):
        return None
    top, bottom = int(rows[0]), int(rows[-1]) + 1
    columns = np.flatnonzero(mask[top:bottom].any(axis=0))
    return Box(int(columns[0]), top, int(columns[-1]) + 1, bottom)
