"""Patches of a picture at one scale: which are known whole, which touch the hole, and how far one is from another.

Everything is whole numbers, in floats wide enough for them, so that another implementation finds the same patches.
"""

from __future__ import annotations

from functools import cached_property
from itertools import accumulate
from operator import mul
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

Mask = NDArray[np.bool_]
Values = NDArray[np.float32]
Exact = NDArray[np.float64]
Patches = NDArray[np.int32]
Places = NDArray[np.int64]
"""Rows, columns or numbers of patches."""

NEIGHBOURS = ((0, 1), (0, -1), (1, 0), (-1, 0))
HEAVIEST = 192
"""What the pixel of a patch weighs that has most say in a comparison, so that 49 squares add up to less than 2^31."""
DEEPEST = 16
"""Steps into the hole from which on a pixel weighs no less."""
SAY = np.array([1.0, *accumulate([0.7] * (DEEPEST - 1), mul, initial=0.07)])
"""What a pixel weighs, by steps into the hole: what is filled in so far has little say, and least in the middle."""
LAID_OUT = 1 << 20
"""Pixels of a picture whose patches are laid out in memory, 75 or 147 bytes each, to be found sooner."""
_AT_ONCE = 1 << 23
"""Numbers that a block of comparisons may hold."""


class Level:
    """A picture at one scale, and its hole.

    Args:
        picture: (H, W, 3), whole numbers from 0 to 255; what is under the hole is a first guess.
        hole: (H, W), True = fill.
        radius: of its patches, which have P = (2 radius + 1)^2 pixels; at most 3.
    """

    def __init__(self, picture: Values, hole: Mask, radius: int):
        self.picture, self.hole, self.radius = picture, hole, radius
        self.height, self.width = hole.shape
        self.area = (2 * radius + 1) ** 2
        """P."""
        self.known = ~widened(hole, radius, outside=True)
        """(H, W): patches around these pixels are known whole."""
        self.y, self.x = np.nonzero(widened(hole, radius))
        """(N,): the patches that touch the hole, row by row."""
        index = np.full((self.height + 2, self.width + 2), -1)
        index[self.y + 1, self.x + 1] = np.arange(len(self.y))
        self._index = index
        self.beside = [index[self.y + 1 + dy, self.x + 1 + dx] for dy, dx in NEIGHBOURS]
        """Four of (N,): which of them is next to each, -1 for none."""
        self._windows = _windows(picture.astype(np.uint8), radius)

    @cached_property
    def _weights(self) -> NDArray[np.int32]:
        """(N, P): what each pixel of a patch weighs."""
        weight = SAY[depth(self.hole, DEEPEST)]
        each = _windows(weight[..., None], self.radius)[self.y, self.x].reshape(len(self), -1)
        heaviest = each.max(axis=1, keepdims=True)
        found: NDArray[np.int32] = np.maximum(1, np.floor(each * HEAVIEST / heaviest)).astype(np.int32)
        return found

    @cached_property
    def _total(self) -> Exact:
        """(N,): what each patch weighs."""
        found: Exact = self._weights.sum(axis=1, dtype=np.float64)
        return found

    @cached_property
    def _thrice(self) -> NDArray[np.int32]:
        """(N, 3 P): the same for each channel."""
        return np.tile(self._weights, (1, 3))

    @cached_property
    def _laid_out(self) -> NDArray[np.uint8] | None:
        """(H W, 3 P): the patch around every pixel, one after the other; None where that takes too much memory."""
        return self._windows.reshape(-1, 3 * self.area) if self.hole.size <= LAID_OUT else None

    def _sources(self, y: Places, x: Places) -> NDArray[np.uint8]:
        """(n, 3 P): the patches around (y, x)."""
        found: NDArray[np.uint8]
        if self._laid_out is None:
            found = self._windows[y, x].reshape(len(y), -1)
        else:
            found = self._laid_out.take(y * self.width + x, axis=0)
        return found

    def __len__(self) -> int:
        return len(self.y)

    def index_of(self, y: Places, x: Places) -> Places:
        """Which of the patches lies around a pixel inside the picture; -1 for none."""
        found: Places = self._index[y + 1, x + 1]
        return found

    def patches(self, picture: Values) -> Patches:
        """(N, 3 P) of `picture`, the fill so far: what the known patches are compared with."""
        found: Patches = _windows(picture.astype(np.int32), self.radius)[self.y, self.x].reshape(
            len(self), -1
        )
        return found

    def usable(self, y: Places, x: Places) -> Mask:
        """Which pixels, inside the picture or not, have a known patch around them."""
        inside: Mask = (y >= 0) & (y < self.height) & (x >= 0) & (x < self.width)
        inside[inside] = self.known[y[inside], x[inside]]
        return inside

    def distances(self, patches: Patches, which: Places | None, y: Places, x: Places) -> Exact:
        """How far `patches[which]` are from the known patches around (y, x): weighted squares, whole numbers, (n,).

        As if all P pixels weighed 1 on average. `which` None is all of them, in their order.
        """
        found = np.empty(len(y))
        for block in _blocks(len(y), 3 * self.area):
            sources = self._sources(y[block], x[block])
            if which is None:
                off, weights = patches[block] - sources, self._thrice[block]
            else:
                off, weights = patches.take(which[block], axis=0), self._thrice.take(which[block], axis=0)
                off -= sources
            off *= off
            found[block] = np.einsum("np,np->n", off, weights)
        total = self._total if which is None else self._total[which]
        mean: Exact = np.floor(found * self.area / total)
        return mean

    @cached_property
    def _table(self) -> tuple[Places, Places, Exact]:
        """All known patches: (K,) y and x; what a product with it says of each of them, (4 P, K)."""
        y, x = np.nonzero(self.known)
        known = self._sources(y, x).astype(np.float64)
        squares = (known * known).reshape(len(y), 3, -1).sum(axis=1)
        return y, x, np.concatenate([known, squares], axis=1).T

    def nearest(self, patches: Patches) -> tuple[Places, Places]:
        """Of all known patches the nearest to each, the first in reading order if there are several: (N,) y and x."""
        y, x, table = self._table
        best = np.empty(len(self), np.int64)
        for block in _blocks(len(self), len(y)):
            asked = [patches[block] * self._thrice[block] * -2.0, self._weights[block]]
            best[block] = (np.concatenate(asked, axis=1) @ table).argmin(axis=1)
        return y[best], x[best]


def depth(hole: Mask, most: int) -> Places:
    """Steps from each pixel of the hole to what is known (H, W), cut at `most`; 0 outside, 1 at the edge."""
    found: Places = np.zeros(hole.shape, np.int64)
    left = hole.copy()
    for step in range(1, most + 1):
        if not left.any():
            break
        found[left] = step
        around = np.pad(left, 1, constant_values=True)
        left &= around[:-2, 1:-1] & around[2:, 1:-1] & around[1:-1, :-2] & around[1:-1, 2:]
    return found


def widened(mask: Mask, by: int, *, outside: bool = False) -> Mask:
    """True within `by` pixels of what is True, in squares; `outside` is what counts beyond the border."""
    found = np.pad(mask, by, constant_values=outside)
    for _ in range(2):  # rows, then columns
        length = len(found) - 2 * by
        wide = found[:length].copy()
        for step in range(1, 2 * by + 1):
            wide |= found[step : step + length]
        found = wide.T
    return np.ascontiguousarray(found)


def _windows(values: NDArray[Any], radius: int) -> NDArray[Any]:
    """(H, W, C) -> (H, W, C, 2 radius + 1, 2 radius + 1), what is around each pixel, mirrored at the border; a view."""
    wide = np.pad(values, ((radius, radius), (radius, radius), (0, 0)), mode="reflect")
    return sliding_window_view(wide, (2 * radius + 1, 2 * radius + 1), axis=(0, 1))


def _blocks(rows: int, columns: int) -> list[slice]:
    step = max(1, _AT_ONCE // max(1, columns))
    return [slice(start, min(rows, start + step)) for start in range(0, rows, step)]
