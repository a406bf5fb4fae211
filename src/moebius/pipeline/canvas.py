"""A large hole as a canvas of overlapping tiles: what the network is shown of each, and where each lies.

A canvas covers a region at `factor` photo pixels a canvas pixel. Only a window of it is worked on, the hole and its
surroundings. Tiles are squares of the model's size, at places that divide by the latent factor, so that the latents of
neighbouring tiles lie on one grid and can be averaged.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from moebius.engines.base import FloatArray
from moebius.imaging import Box, Photo, resample
from moebius.pipeline.frame import Mask, reduce_known

OVERLAP = 4
"""Neighbouring tiles share a quarter of their side."""

Place = tuple[int, int]
"""(y, x) of a tile's top left corner in the window."""
Indices = NDArray[np.int64]


@dataclass(frozen=True)
class Picture:
    """A picture of a place in the photo, at any resolution."""

    pixels: FloatArray
    """(H, W, 3) in [0, 1]."""
    box: tuple[float, float, float, float]
    """Left, top, right, bottom in photo pixels."""

    def at(self, box: Box, shape: tuple[int, int]) -> FloatArray:
        """The part inside `box` (photo pixels) at shape = (height, width)."""
        left, top, right, bottom = self.box
        across, down = self.pixels.shape[1] / (right - left), self.pixels.shape[0] / (bottom - top)
        edges = (box.left - left, box.top - top, box.right - left, box.bottom - top)
        return resample(
            self.pixels, (edges[0] * across, edges[1] * down, edges[2] * across, edges[3] * down), shape
        )


class Canvas:
    """The tiles over one region's hole at one resolution.

    Args:
        photo: with the hole still unfilled; what is masked is not read.
        mask: (H, W) of the photo, True = fill.
        region: the crop that holds the hole and its context.
        hole: the masked pixels' bounding box, inside `region`.
        reach: photo pixels around masked ones that need a fill too, because it fades out there.
        factor: photo pixels a canvas pixel, a whole number.
        side: of a tile, in canvas pixels; divides by OVERLAP * grid.
        grid: canvas pixels a latent cell.
        before: the fill so far, of the whole region.
    """

    def __init__(
        self, photo: Photo, mask: Mask, region: Box, hole: Box, *, reach: int, factor: int, side: int, grid: int,
        before: Picture,
    ):  # fmt: skip
        self.photo, self.mask, self.region = photo, mask, region
        self.factor, self.side, self.before = factor, side, before
        self._rows, self._columns = -(-region.height // factor), -(-region.width // factor)
        wanted = hole.expand(reach).intersection(region)
        top, height = _window(
            wanted.top - region.top, wanted.bottom - region.top, factor, self._rows, side, grid
        )
        left, width = _window(
            wanted.left - region.left, wanted.right - region.left, factor, self._columns, side, grid
        )
        self.window = Box(left, top, left + width, top + height)
        """In canvas pixels; it may leave the canvas at the right and at the bottom, where that is mirrored."""
        places = [(y, x) for y in _starts(height, side, grid) for x in _starts(width, side, grid)]
        self.places = [place for place in places if self._is_needed(place, reach)]
        """Corners of the tiles that hold masked pixels, or ones within reach of them, row by row."""

    def tile(self, place: Place) -> tuple[FloatArray, Mask]:
        """A tile's picture (S, S, 3) in [0, 1] with its hole filled from `before`, and its mask (S, S)."""
        rows, columns = self._indices(place)
        box = self._photo_box(rows, columns)
        hole = self.mask[box.slices]
        if self.factor == 1:
            known, cells = self.photo.crop_rgb(box), hole
        else:
            known, _ = reduce_known(self.photo, box, hole, self.factor)
            cells = _any_in_cell(hole, self.factor)
        picture = known
        if cells.any():
            before = self.before.at(self._cell_box(rows, columns), (len(known), known.shape[1]))
            picture = np.where(cells[..., None], before, known)
        taken = np.ix_(rows - rows.min(), columns - columns.min())
        return np.ascontiguousarray(picture[taken]), np.ascontiguousarray(cells[taken])

    def photo_box(self, top: int, bottom: int) -> Box:
        """The photo pixels of the window's rows `top` to `bottom`, where they are in the region."""
        rows, columns = np.array([top, bottom - 1]) + self.window.top, np.array([0, self.window.width - 1])
        return self._photo_box(
            np.minimum(rows, self._rows - 1), np.minimum(columns + self.window.left, self._columns - 1)
        )

    def _indices(self, place: Place) -> tuple[Indices, Indices]:
        """Canvas rows and columns of a tile, mirrored at the canvas's end."""
        rows = np.arange(self.side) + place[0] + self.window.top
        columns = np.arange(self.side) + place[1] + self.window.left
        return _mirror(rows, self._rows), _mirror(columns, self._columns)

    def _photo_box(self, rows: Indices, columns: Indices) -> Box:
        """Photo pixels of canvas cells; those at the region's end may be cut."""
        return self._cell_box(rows, columns).intersection(self.region)

    def _cell_box(self, rows: Indices, columns: Indices) -> Box:
        return Box(
            self.region.left + int(columns.min()) * self.factor,
            self.region.top + int(rows.min()) * self.factor,
            self.region.left + (int(columns.max()) + 1) * self.factor,
            self.region.top + (int(rows.max()) + 1) * self.factor,
        )

    def _is_needed(self, place: Place, reach: int) -> bool:
        near = self._photo_box(*self._indices(place)).expand(reach).intersection(self.region)
        return bool(self.mask[near.slices].any())


def tile_window(side: int, step: int) -> FloatArray:
    """Weight of a tile's cells (side, side), falling linearly to its edges over the part that it shares."""
    distance = np.minimum(np.arange(side) + 0.5, side - 0.5 - np.arange(side))
    ramp = np.minimum(distance / (side - step), 1.0)
    return np.outer(ramp, ramp).astype(np.float32)


def tile_step(side: int) -> int:
    """From one tile to the next."""
    return side - side // OVERLAP


def _window(low: int, high: int, factor: int, limit: int, side: int, grid: int) -> tuple[int, int]:
    """Start and length, in canvas pixels, of what covers photo pixels low to high with some context around."""
    margin = side // OVERLAP
    first, last = low // factor - margin, -(-high // factor) + margin
    length = max(side, -(-(last - first) // grid) * grid)
    if length >= limit:
        return 0, max(side, -(-limit // grid) * grid)
    return max(0, min(first, limit - length)), length


def _starts(length: int, side: int, grid: int) -> list[int]:
    """Corners of tiles that cover `length`, as far apart as the overlap allows, on the grid."""
    count = 1 + max(0, -(-(length - side) // tile_step(side)))
    return sorted({round(each / grid) * grid for each in np.linspace(0, length - side, count).tolist()})


def _mirror(indices: Indices, count: int) -> Indices:
    """Indices beyond the end turned back at it, as often as it takes."""
    within = indices % (2 * count)
    return np.minimum(within, 2 * count - 1 - within)


def _any_in_cell(mask: Mask, factor: int) -> Mask:
    height, width = mask.shape
    padded = np.pad(mask, ((0, -height % factor), (0, -width % factor)))
    cells = padded.reshape(len(padded) // factor, factor, -1, factor)
    return np.asarray(cells.any(axis=(1, 3)))
