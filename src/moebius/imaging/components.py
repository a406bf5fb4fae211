"""The connected pieces of a mask.

Rows are cut into runs of True pixels; runs that touch between neighbouring rows are joined by union-find.
There are far fewer runs than pixels, and every step works on all of them at once.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from moebius.imaging.arrays import Mask
from moebius.imaging.box import Box, bounding_box

Indices = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Runs:
    """Runs of True pixels in reading order, and which piece each belongs to. All arrays are (n,)."""

    rows: Indices
    starts: Indices
    ends: Indices
    """Half-open: the run holds the columns starts <= x < ends."""
    pieces: Indices
    """Index of the piece's first run, which names the piece."""

    def areas(self) -> Indices:
        """Pixels of each run's whole piece."""
        lengths = (self.ends - self.starts).astype(np.float64)
        areas = np.bincount(self.pieces, weights=lengths, minlength=len(self.rows))
        return areas[self.pieces].astype(np.int64)

    def paint(self, chosen: NDArray[np.bool_], shape: tuple[int, int]) -> Mask:
        """A mask (H, W) that is True in the chosen (n,) runs only."""
        mask = np.zeros(shape, dtype=np.bool_)
        rows, starts, ends = self.rows[chosen], self.starts[chosen], self.ends[chosen]
        if not len(rows):
            return mask
        left, right = int(starts.min()), int(ends.max())
        lines, line = np.unique(rows, return_inverse=True)
        toggles = np.zeros((len(lines), right - left + 1), dtype=np.uint8)
        toggles[line, starts - left] ^= 1
        toggles[line, ends - left] ^= 1
        np.bitwise_xor.accumulate(toggles, axis=1, out=toggles)
        mask[lines, left:right] = toggles[:, :-1].view(np.bool_)
        return mask


def connected_runs(mask: Mask, *, corners: bool = True) -> Runs:
    """The runs of mask (H, W) and the pieces they form.

    Args:
        corners: whether pixels that touch at a corner only are connected (8-connected) or not (4-connected).
    """
    rows, starts, ends = _runs(mask)
    pairs = _touching(rows, starts, ends, stride=mask.shape[1] + 2, corners=corners)
    return Runs(rows, starts, ends, _join(len(rows), *pairs))


def connected_boxes(mask: Mask) -> list[Box]:
    """Bounding boxes of the 8-connected pieces of mask (H, W), sorted by (top, left, bottom, right).

    Boxes of different pieces may overlap.
    """
    rows, starts, ends = _runs(mask)
    if not len(rows):
        return []
    root = _join(len(rows), *_touching(rows, starts, ends, stride=mask.shape[1] + 2))
    lefts, rights, bottoms = starts.copy(), ends.copy(), rows + 1
    np.minimum.at(lefts, root, starts)
    np.maximum.at(rights, root, ends)
    np.maximum.at(bottoms, root, rows + 1)
    # A piece's first run in reading order is its root, and lies in its top row.
    first = np.flatnonzero(root == np.arange(len(root)))
    columns = [edge[first].tolist() for edge in (rows, lefts, bottoms, rights)]
    return [Box(left, top, right, bottom) for top, left, bottom, right in sorted(zip(*columns, strict=True))]


def _runs(mask: Mask) -> tuple[Indices, Indices, Indices]:
    """Row, start and end (half-open) of each run of True pixels, in reading order."""
    lines = np.flatnonzero(mask.any(axis=1))  # rows that hold any: of a large photo they are often few
    box = bounding_box(mask)
    if box is None:
        return lines, lines, lines
    # A False column on both sides keeps the rows apart.
    padded = np.zeros((len(lines), box.width + 2), dtype=bool)
    padded[:, 1:-1] = mask[lines, box.left : box.right]
    flat = padded.reshape(-1)
    edges = np.flatnonzero(flat[1:] != flat[:-1])
    line, starts = np.divmod(edges[0::2], box.width + 2)
    ends = edges[1::2] - line * (box.width + 2)
    return lines[line], starts + box.left, ends + box.left


def _touching(
    rows: Indices, starts: Indices, ends: Indices, stride: int, corners: bool = True
) -> tuple[Indices, Indices]:
    """Pairs of runs in neighbouring rows that touch at a side or a corner, as two arrays of run indices.

    The runs below run i that touch it are consecutive: from the first that ends at or after i's start, to the
    last that starts at or before i's end; without corners, after and before. `stride` > W + 1 makes (row, column)
    one sortable number.
    """
    first = np.searchsorted(
        rows * stride + ends, (rows + 1) * stride + starts, "left" if corners else "right"
    )
    last = np.searchsorted(rows * stride + starts, (rows + 1) * stride + ends, "right" if corners else "left")
    count = last - first
    upper = np.repeat(np.arange(len(rows)), count)
    offset = np.arange(len(upper)) - np.repeat(np.cumsum(count) - count, count)
    return upper, np.repeat(first, count) + offset


def _join(count: int, a: Indices, b: Indices) -> Indices:
    """Union-find over the pairs (a[i], b[i]): the smallest member of each of `count` elements' set."""
    parent = np.arange(count)
    while True:
        roots_a, roots_b = parent[a], parent[b]
        apart = roots_a != roots_b
        if not apart.any():
            return parent
        a, b, roots_a, roots_b = a[apart], b[apart], roots_a[apart], roots_b[apart]
        np.minimum.at(parent, np.maximum(roots_a, roots_b), np.minimum(roots_a, roots_b))
        while True:  # point every element at its root
            above = parent[parent]
            if np.array_equal(above, parent):
                break
            parent = above
