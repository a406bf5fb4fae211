"""Giving a fill the grain of the photo around it.

Networks paint what is likely, and noise is not: a fill is smoother than its surroundings, and shows by that alone.
The photo's noise is measured where the photo is flattest near the hole, so that texture is not taken for noise: its
strength by brightness (a lower envelope, as in Liu, Freeman, Szeliski & Kang, "Noise estimation from a single image",
CVPR 2006), how the channels go together, and how neighbouring pixels do (a mean of windowed periodograms, Welch
1967). What the fill lacks of that is drawn and added.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from moebius.imaging.arrays import FloatImage, Mask
from moebius.imaging.box import Box
from moebius.imaging.distance import distance_outside

BLOCK = 16
"""Side of the squares in which noise is measured, px."""
REACH = 256
"""How far from the hole noise is measured, px."""
MAX_BLOCKS = 2048
MIN_BLOCKS = 8
"""Fewer known squares near the hole say nothing."""

_BIN = 64
"""Squares that a level of brightness needs for a strength of its own."""
_MAX_BINS = 6
_FLAT = 2.0
"""A square is flat that varies at most so many times as much (in variance) as the tenth flattest in a hundred do."""
_EVEN = 0.4
"""Coefficient of variation of the fast variance over a level's flat squares, up to which it is noise. Noise is the same
everywhere: on photographs of plain surfaces 0.22 to 0.4 was measured, on brick, stone and leaves 0.4 to 1.3."""
_MAX_RATIO = 6.0
"""Most that one level's variance may be of the lowest's: shot noise is about even in sRGB values, and what a camera
adds in shadows makes up to 2.5 times the amplitude of it; more is texture."""
_TILES = (512, 405)
"""Sides of the drawn tiles. One alone does for a smaller fill; two together never repeat, and have no seams."""
_STRIP = 1 << 19
"""Pixels that are worked on at a time."""
_LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)

Numbers = NDArray[np.float64]
Noise = Callable[[tuple[int, ...]], NDArray[np.float32]]
"""Standard normals of a shape, the same whenever it is called."""


def match_grain(
    fill: FloatImage, known: FloatImage, mask: Mask, *, noise: Noise, amount: float = 1.0
) -> FloatImage:
    """Add the noise that a fill lacks.

    Args:
        fill: (h, w, 3) in [0, 1], at the photo's own resolution; what it holds outside the mask does not matter.
        known: (h, w, 3) in [0, 1], the photo; what it holds under the mask is not read.
        mask: (h, w), True = fill.
        noise: called once.
        amount: 0 to 1, how much of the missing amplitude is added.

    Returns:
        (h, w, 3) in [0, 1], with noise outside the mask too, for the fill's edge to fade out with.
    """
    return Grain(lambda box: known[box.slices], mask, noise).add(fill, mask, amount=amount)


class Grain:
    """The noise of the photo around a hole, ready to be added to the hole's fill, a part at a time.

    Args:
        read: gives a box of the crop as RGB (height, width, 3) in [0, 1]; asked for known pixels only.
        mask: (h, w) of the crop, True = fill.
        noise: called once.
    """

    def __init__(self, read: Callable[[Box], FloatImage], mask: Mask, noise: Noise):
        self._tiles: list[FloatImage] = []
        places = _known_blocks(mask)
        if len(places) < MIN_BLOCKS:
            return
        blocks = np.stack([read(Box(x, y, x + BLOCK, y + BLOCK)) for y, x in places]).astype(np.float64)
        flat, self._levels, self._strengths = _levels(blocks)
        if not flat.any():
            return
        fast = _fast(blocks[flat]).reshape(-1, 3)
        covariance = fast.T @ fast / len(fast)
        total = float(np.trace(covariance))
        if total <= 0:
            return
        values, axes = np.linalg.eigh(covariance / total)
        self._axes = (axes * np.sqrt(np.maximum(values, 0))).T.astype(np.float32)  # (axis, channel)
        kernels = _kernels(_without_plane(blocks[flat]) @ axes)
        longest = max(mask.shape)
        sides = (-(-longest // BLOCK) * BLOCK,) if longest <= _TILES[0] else _TILES
        drawn = noise((3, sum(side * side for side in sides)))
        share = np.float32(1 / np.sqrt(len(sides)))
        start = 0
        for side in sides:
            white = drawn[:, start : start + side * side].reshape(3, side, side)
            self._tiles.append(share * _filtered(white, kernels))
            start += side * side

    def add(
        self, fill: FloatImage, mask: Mask, *, top: int = 0, left: int = 0, amount: float = 1.0
    ) -> FloatImage:
        """A part of the fill with the noise that it lacks; see `match_grain`.

        Args:
            fill: (h, w, 3) in [0, 1].
            mask: (h, w) of that part.
            top, left: where the part lies in the crop, so that parts fit together.
            amount: 0 to 1.

        Returns:
            (h, w, 3) in [0, 1].
        """
        if not self._tiles or amount <= 0:
            return fill
        height, width = mask.shape
        grained = np.empty((height, width, 3), np.float32)
        margin, rows = BLOCK // 2 + 1, max(BLOCK, _STRIP // width)
        for first in range(0, height, rows):
            last = min(height, first + rows)
            above = min(first, margin)
            around = slice(first - above, last + margin)
            scale = self._missing(fill[around], mask[around])[above : above + last - first]
            field = np.zeros((last - first, width, 3), np.float32)
            for tile in self._tiles:
                lines, columns = np.arange(first, last) + top, np.arange(width) + left
                field += tile[np.ix_(lines % len(tile), columns % len(tile))]
            added = fill[first:last] + np.float32(amount) * scale[..., None] * (field @ self._axes)
            grained[first:last] = np.clip(added, 0, 1)
        return grained

    def _missing(self, fill: FloatImage, mask: Mask) -> FloatImage:
        """Amplitude (h, w) of the noise that a part of the fill lacks."""
        count, luma, own = _local(np.where(mask[..., None], fill, np.float32(0)), mask)
        brightness = np.where(count > 0, luma, np.float32(self._levels.mean()))
        wanted = np.interp(brightness, self._levels, self._strengths).astype(np.float32)
        return np.asarray(np.sqrt(np.maximum(wanted - own, 0)))


def _known_blocks(mask: Mask) -> list[tuple[int, int]]:
    """(y, x) of wholly known squares on a grid, the nearest to the hole first."""
    rows, columns = mask.shape[0] // BLOCK, mask.shape[1] // BLOCK
    cut = mask[: rows * BLOCK, : columns * BLOCK].reshape(rows, BLOCK, columns, BLOCK)
    holes = np.asarray(cut.any(axis=(1, 3)))
    distance = distance_outside(holes, REACH // BLOCK)
    y, x = np.nonzero(~holes & np.isfinite(distance))
    nearest = np.argsort(distance[y, x], kind="stable")[:MAX_BLOCKS]
    return [(int(y[each]) * BLOCK, int(x[each]) * BLOCK) for each in nearest]


def _levels(blocks: Numbers) -> tuple[NDArray[np.bool_], Numbers, Numbers]:
    """Which of the squares (n, S, S, 3) show noise, and how strong it is by brightness.

    Returns:
        flat (n,); levels (k,) of brightness, rising; strengths (k,), the mean square of `_fast`, summed over channels.
    """
    brightness = (blocks.mean(axis=(1, 2)) @ _LUMA).astype(np.float64)
    slow = np.square(_without_plane(blocks)).mean(axis=(1, 2)).sum(axis=1)
    fast = np.square(_fast(blocks)).mean(axis=(1, 2)).sum(axis=1)
    open_range = (blocks.mean(axis=(1, 2)) > 0.01) & (blocks.mean(axis=(1, 2)) < 0.99)
    candidates = np.flatnonzero(open_range.all(axis=1))  # clipped white and black have no noise left
    if len(candidates) < MIN_BLOCKS:
        candidates = np.arange(len(blocks))
    order = candidates[np.argsort(brightness[candidates], kind="stable")]
    bins = []
    for part in np.array_split(order, min(_MAX_BINS, max(1, len(order) // _BIN))):
        flat = part[slow[part] <= _FLAT * np.quantile(slow[part], 0.1)]
        bins.append((flat, float(brightness[flat].mean()), float(fast[flat].mean()), float(fast[flat].std())))
    lowest = min(strength for _, _, strength, _ in bins)
    kept = [each for each in bins if each[3] <= _EVEN * each[2]]
    chosen = np.zeros(len(blocks), bool)
    for flat, *_ in kept:
        chosen[flat] = True
    strengths = np.minimum([each[2] for each in kept], _MAX_RATIO * lowest)
    return chosen, np.array([each[1] for each in kept]), strengths


def _without_plane(blocks: Numbers) -> Numbers:
    """Squares (n, S, S, C) less the plane that fits each best."""
    ramp = np.arange(BLOCK) - (BLOCK - 1) / 2
    ramp /= np.sqrt(BLOCK * np.square(ramp).sum())
    rest: Numbers = blocks - blocks.mean(axis=(1, 2), keepdims=True)
    for axis in ("i", "j"):
        along = np.einsum(f"nijc,{axis}->nc", rest, ramp)
        plane = ramp[:, None, None] if axis == "i" else ramp[None, :, None]
        rest = rest - along[:, None, None, :] * plane
    return rest


def _fast(pictures: NDArray[Any]) -> NDArray[Any]:
    """Laplacian of pictures (n, H, W, C), at the gain that leaves white noise as strong as it is; inner pixels only."""
    middle = pictures[:, 1:-1, 1:-1]
    rows = pictures[:, :-2, 1:-1] + pictures[:, 2:, 1:-1]
    columns = pictures[:, 1:-1, :-2] + pictures[:, 1:-1, 2:]
    return np.asarray((rows + columns - 4 * middle) / np.sqrt(20))


def _kernels(blocks: Numbers) -> Numbers:
    """Filters (C, S, S) that turn white noise into noise like that of the squares (n, S, S, C).

    Each makes the Laplacian's variance 1; the centre is at [0, 0].
    """
    window = np.hanning(BLOCK + 2)[1:-1]
    tapered = blocks * np.outer(window, window)[..., None]
    power = np.square(np.abs(np.fft.fft2(tapered, axes=(1, 2)))).mean(axis=0)  # (S, S, C)
    frequency = np.abs(np.fft.fftfreq(BLOCK, 1 / BLOCK))
    radius = np.hypot(frequency[:, None], frequency[None, :])
    power[radius < 2] = power[(radius >= 2) & (radius < 3.5)].mean(axis=0)  # what the plane took away
    turn = 2 * np.pi * np.fft.fftfreq(BLOCK)
    laplacian = np.square(2 * np.cos(turn[:, None]) + 2 * np.cos(turn[None, :]) - 4) / 20
    power /= np.maximum((power * laplacian[..., None]).mean(axis=(0, 1)), 1e-30)
    return np.asarray(np.fft.ifft2(np.sqrt(power), axes=(0, 1)).real.transpose(2, 0, 1))


def _filtered(white: NDArray[np.float32], kernels: Numbers) -> FloatImage:
    """White noise (C, T, T) through kernels (C, S, S), round at its ends: (T, T, C)."""
    side = white.shape[1]
    filtered = np.empty((side, side, len(kernels)), np.float32)
    places = np.fft.fftfreq(BLOCK, 1 / BLOCK).astype(int) % side
    for channel, kernel in enumerate(kernels):
        spread = np.zeros((side, side))
        np.add.at(spread, np.ix_(places, places), kernel)
        response = np.fft.rfft2(spread)
        filtered[..., channel] = np.fft.irfft2(np.fft.rfft2(white[channel]) * response, (side, side))
    return filtered


def _local(inside: FloatImage, mask: Mask) -> tuple[FloatImage, FloatImage, FloatImage]:
    """What masked pixels show around each pixel, within half a square.

    Returns:
        count (h, w) of them; their mean brightness; and the mean square of `_fast` there, summed over channels. Both
        are 0 where there are none.
    """
    count = _box_sum(mask.astype(np.float32))
    luma = np.asarray(_box_sum(inside @ _LUMA) / np.maximum(count, 1), np.float32)
    whole = np.zeros_like(mask)
    whole[1:-1, 1:-1] = mask[1:-1, 1:-1] & mask[:-2, 1:-1] & mask[2:, 1:-1] & mask[1:-1, :-2] & mask[1:-1, 2:]
    fast = np.zeros(mask.shape, np.float32)
    if min(mask.shape) > 2:
        for channel in range(inside.shape[2]):
            part = _fast(inside[None, ..., channel : channel + 1])[0, ..., 0]
            fast[1:-1, 1:-1] += np.square(part, dtype=np.float32)
    measured = np.maximum(_box_sum(whole.astype(np.float32)), 1)
    own = np.asarray(_box_sum(np.where(whole, fast, np.float32(0))) / measured, np.float32)
    return count, luma, own


def _box_sum(values: FloatImage) -> FloatImage:
    """Sums over squares of BLOCK + 1 px around each pixel of (h, w)."""
    half = BLOCK // 2
    sums = values.astype(np.float64)
    for axis in (0, 1):
        pad = [(half + 1, half) if each == axis else (0, 0) for each in (0, 1)]
        running = np.cumsum(np.pad(sums, pad), axis=axis)
        length = running.shape[axis]
        ahead = np.take(running, np.arange(BLOCK + 1, length), axis=axis)
        sums = ahead - np.take(running, np.arange(length - BLOCK - 1), axis=axis)
    return np.maximum(sums, 0).astype(np.float32)
