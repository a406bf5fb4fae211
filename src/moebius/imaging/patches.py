"""Patches of a picture at one scale: which are known whole, which touch the hole, and how far one is from another.

Everything is whole numbers, in floats wide enough for them, so that another implementation finds the same patches.
"""

from __future__ import annotations

from functools import cached_property
from itertools import accumulate
from operator import mul
from typing import Any, TypeVar

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from moebius.imaging.spread import Spread

N = TypeVar("N", bound=np.generic)

Mask = NDArray[np.bool_]
Values = NDArray[np.float32]
Exact = NDArray[np.float64]
Patches = NDArray[np.int16]
Numbers = NDArray[np.int64]
"""Rows, columns or numbers of patches."""
Places = NDArray[np.int64]
"""Where patches lie: the numbers of their middle pixels, in a picture with `MARGIN` around it."""

MARGIN = 32
"""How far outside of the picture a patch may be asked for, px; none is known there."""
NEIGHBOURS = ((0, 1), (0, -1), (1, 0), (-1, 0))
HEAVIEST = 192
"""What the pixel of a patch weighs that has most say in a comparison, so that 49 squares add up to less than 2^31."""
DEEPEST = 16
"""Steps into the hole from which on a pixel weighs no less."""
SAY = np.array([1.0, *accumulate([0.7] * (DEEPEST - 1), mul, initial=0.07)])
"""What a pixel weighs, by steps into the hole: what is filled in so far has little say, and least in the middle."""
WEIGHTS = np.maximum(1, np.floor(SAY * HEAVIEST / SAY[:, None])).astype(np.int32)
"""The same in comparisons: of a pixel so many steps into the hole (columns), of a patch's least deep one (rows)."""
MIRRORED = 400
"""What a patch in the mirror is farther for it, in squares of colour of each of its pixels."""
LAID_OUT = 1 << 20
"""Pixels of a picture and its mirror whose patches are laid out in memory, 75 or 147 bytes each, to be found sooner."""
_ROWS = 256
"""Of patches that are compared with all known ones in a thread: enough to be worth it."""
_AT_ONCE = 1 << 20
"""Numbers that such a comparison may hold."""


class Level:
    """A picture at one scale, and its hole. Below it lies its mirror, with more patches to be copied.

    Args:
        picture: (H, W, 3), whole numbers from 0 to 255; what is under the hole is a first guess.
        hole: (H, W), True = fill.
        radius: of its patches, which have P = (2 radius + 1)^2 pixels; at most 3.
    """

    def __init__(self, picture: Values, hole: Mask, radius: int):
        self.picture, self.hole, self.radius = picture, hole, radius
        self.height, self.width = hole.shape
        self.stride = self.width + 2 * MARGIN
        """From a place to the one below it."""
        self.area = (2 * radius + 1) ** 2
        """P."""
        known = ~widened(hole, radius, outside=True)
        self.own = int(np.count_nonzero(known))
        """How many patches are known whole."""
        self._known = np.pad(_mirrored(known), MARGIN).ravel()
        self.known: Places = np.nonzero(self._known)[0]
        """(K,): where they are, and in the mirror."""
        self.y, self.x = np.nonzero(widened(hole, radius))
        """(N,): the patches that touch the hole, row by row."""
        self.places = self.places_of(self.y, self.x)
        """(N,): the same."""
        self.numbers = np.full((self.height + 2 * MARGIN) * self.stride, -1)
        """What lies at each place: which of the N, -1 for none."""
        self.numbers[self.places] = np.arange(len(self))
        self._asked: Patches | None = None
        self._asked_all = np.zeros(len(self), np.bool_)
        """Was the nearest one asked for in the mirror, too?"""
        self._nearest = np.zeros(len(self), np.int64)
        self.beside = [self.numbers[self.places + dy * self.stride + dx] for dy, dx in NEIGHBOURS]
        """Four of (N,): which of them is next to each, -1 for none."""

    def __len__(self) -> int:
        return len(self.y)

    def places_of(self, y: Numbers, x: Numbers) -> Places:
        found: Places = (y + MARGIN) * self.stride + x + MARGIN
        return found

    def rows_columns(self, places: Places) -> tuple[Numbers, Numbers]:
        y, x = np.divmod(places, self.stride)
        return y - MARGIN, x - MARGIN

    def usable(self, places: Places) -> Mask:
        """Which places have a known patch."""
        return self._known.take(places)

    def lay_out(self) -> None:
        """Make what comparisons need: once, before several threads ask for it."""
        _ = self._total, self._laid_out

    @cached_property
    def colours(self) -> Values:
        """What each place has: (places, 4), red, green and blue, and one."""
        wide = np.pad(_mirrored(self.picture), ((MARGIN, MARGIN), (MARGIN, MARGIN), (0, 0))).reshape(-1, 3)
        found = np.ones((len(wide), 4), np.float32)
        found[:, :3] = wide
        return found

    @cached_property
    def _weights(self) -> NDArray[np.int32]:
        """(N, 3 P): what each number of a patch weighs."""
        each = self._patches(depth(self.hole, DEEPEST).astype(np.uint8)[..., None])
        first = each.min(axis=1, keepdims=True)
        return np.repeat(WEIGHTS.take(first.astype(np.int64) * len(SAY) + each), 3, axis=1)

    @cached_property
    def _total(self) -> Exact:
        """(N,): what each patch weighs."""
        found: Exact = self._weights[:, ::3].sum(axis=1, dtype=np.float64)
        return found

    @cached_property
    def _around(self) -> NDArray[np.uint8]:
        """(2 H + 2 MARGIN, W + 2 MARGIN, 2 radius + 1, 3 (2 radius + 1)), what is around each place; a view."""
        wide = MARGIN + self.radius
        both = _mirrored(self.picture.astype(np.uint8))
        return _windows(np.pad(both, ((wide, wide), (wide, wide), (0, 0))), self.radius)

    @cached_property
    def _laid_out(self) -> NDArray[np.uint8] | None:
        """(places, 3 P): the patch at every place, one after the other; None where that takes too much memory."""
        return self._around.reshape(-1, 3 * self.area) if 2 * self.hole.size <= LAID_OUT else None

    def _sources(self, places: Places) -> NDArray[np.uint8]:
        """(n, 3 P): the patches there, known ones."""
        if self._laid_out is None:
            y, x = np.divmod(places, self.stride)
            found: NDArray[np.uint8] = self._around[y, x].reshape(len(places), 3 * self.area)
            return found
        return self._laid_out.take(places, axis=0)

    def patches(self, picture: Values) -> Patches:
        """(N, 3 P) of `picture`, the fill so far: what the known patches are compared with."""
        return self._patches(picture.astype(np.int16))

    def _patches(self, values: NDArray[N]) -> NDArray[N]:
        """(N, C P) of values (H, W, C), mirrored at the border."""
        around = [(self.radius, self.radius)] * 2
        wide = np.pad(values, (*around, (0, 0)), mode="reflect")
        found: NDArray[N] = _windows(wide, self.radius)[self.y, self.x].reshape(len(self), -1)
        return found

    def distances(self, patches: Patches, which: Numbers | slice, places: Places) -> Exact:
        """How far `patches[which]` are from the known patches at `places`: weighted squares, whole numbers, (n,).

        As if all P pixels weighed 1 on average.
        """
        mean: Exact = np.floor(self._squares(patches, which, places) * self.area / self._total[which])
        return mean

    def _squares(self, patches: Patches, which: Numbers | slice, places: Places) -> Exact:
        """Their weighted squares, (n,)."""
        off = _rows(patches, which) - self._sources(places)
        # Up to 255^2: more than 16 bits of which one is a sign can say.
        squares = np.multiply(off, off, out=off).view(np.uint16).astype(np.int32)
        found: Exact = np.einsum("np,np->n", squares, _rows(self._weights, which)).astype(np.float64)
        return found

    @cached_property
    def _table(self) -> tuple[Exact, Values]:
        """What a product with it says of each of the known patches, (4 P, K), and the same in single precision."""
        known = self._sources(self.known).astype(np.float64) - 128
        squares = (known * known).reshape(len(known), -1, 3).sum(axis=2)
        squares[self.own :] += MIRRORED
        found = np.concatenate([known, squares], axis=1).T
        return found, found.astype(np.float32)

    def nearest(self, patches: Patches, spread: Spread, *, mirror: bool = True) -> Places:
        """Of all known patches the nearest to each of `patches`, the first in reading order if there are several: (N,).

        Those that are as they were the last time are not asked again. Without `mirror`, of what is in it only the patch
        that was the nearest the last time is asked for.
        """
        asking = ~self._asked_all if mirror else np.zeros(len(self), np.bool_)
        asking |= True if self._asked is None else (patches != self._asked).any(axis=1)
        rows = np.nonzero(asking)[0]
        self._asked = patches
        self._asked_all[rows] = mirror
        exact, single = self._table
        count = len(self.known) if mirror else self.own

        def ask(part: slice) -> None:
            asked = rows[part]
            found = self.known[self._first(patches[asked], asked, exact[:, :count], single[:, :count])]
            if not mirror:
                kept = np.nonzero(self._nearest[asked] > self.known[self.own - 1])[0]
                before = self._nearest[asked[kept]]
                far = self._squares(patches, asked[kept], before) + MIRRORED * self._total[asked[kept]]
                nearer = far < self._squares(patches, asked[kept], found[kept])
                found[kept[nearer]] = before[nearer]
            self._nearest[asked] = found

        spread(ask, len(rows), max(1, min(_ROWS, _AT_ONCE // count)))
        return self._nearest.copy()

    def _first(self, patches: Patches, rows: Numbers, exact: Exact, single: Values) -> Numbers:
        """Which column of the table is the nearest to each of the patches, those of `rows`: the first if several are.

        Single precision finds nearly all of them, and double precision those where another is as near as its error.
        """
        weights = self._weights[rows]
        wide = (patches - 128) * weights * -2
        keys = np.concatenate([wide, weights[:, ::3]], axis=1)
        products = keys.astype(np.float32) @ single
        found: Numbers = products.argmin(axis=1)
        each = np.arange(len(rows))
        least = products[each, found].astype(np.float64)
        products[each, found] = np.inf
        # A sum of n products, in whatever order, is off by n units of rounding of the sum of their sizes (Higham, 2002,
        # section 3.1): here two of them are, and a little is for powers of the units.
        most = 3 * 128**2 + MIRRORED  # of what stands in the table for a pixel
        error = 2.1 * len(single) * 2.0**-24 * (128 * np.abs(wide).sum(axis=1) + most * self._total[rows])
        unsure = np.nonzero(products.min(axis=1) <= least + error)[0]
        found[unsure] = (keys[unsure].astype(np.float64) @ exact).argmin(axis=1)
        return found


def _rows(values: NDArray[N], which: Numbers | slice) -> NDArray[N]:
    """`values[which]`, sooner."""
    return values[which] if isinstance(which, slice) else values.take(which, axis=0)


def _mirrored(values: NDArray[N]) -> NDArray[N]:
    """(H, W, ...) -> (2 H, W, ...): above as it is, below with left and right exchanged."""
    return np.concatenate([values, values[:, ::-1]])


def depth(hole: Mask, most: int) -> Numbers:
    """Steps from each pixel of the hole to what is known (H, W), cut at `most`; 0 outside, 1 at the edge."""
    found: Numbers = np.zeros(hole.shape, np.int64)
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


def _windows(wide: NDArray[Any], radius: int) -> NDArray[Any]:
    """(H + 2 radius, W + 2 radius, C) -> (H, W, 2 radius + 1, C (2 radius + 1)), what is around each pixel; a view."""
    height, width, channels = wide.shape
    side = 2 * radius + 1
    flat = wide.reshape(height, width * channels)
    return sliding_window_view(flat, (side, side * channels))[:, ::channels]
