"""Masks read off a photo's own pixels: its transparency, a painted colour, what differs from a copy."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from moebius.errors import MaskError
from moebius.imaging.arrays import Mask
from moebius.imaging.box import Box
from moebius.imaging.photo import Photo

KEY_TOLERANCE = 16
"""Levels of 255 that a channel may be off a key colour."""
DIFFERENCE = 24
"""Levels of 255 by which two photos differ where one has been painted on; JPEG noise, averaged, stays below."""
_BLUR = 2
"""Pixels that differences are averaged over in each direction."""
_BRIGHTNESS = np.array([0.299, 0.587, 0.114], dtype=np.float32)
"""Luma of red, green and blue (ITU-R BT.601), as JPEG has it: colour alone it changes far more."""
_STRIP = 1 << 22
"""Pixels worked on at a time."""


def alpha_mask(photo: Photo) -> Mask:
    """The photo's transparent part: (H, W), True where alpha is below one half.

    Raises:
        MaskError: the photo has no alpha.
    """
    if photo.alpha is None:
        raise MaskError(f"mask from alpha: expected a photo with transparency, got {photo.mode} without")
    return np.asarray(photo.alpha <= np.iinfo(photo.alpha.dtype).max // 2)


def opaque_under(photo: Photo, mask: Mask) -> Photo:
    """The photo made opaque where the mask (H, W) is True, so that what is filled there can be seen.

    Colours stay, and alpha elsewhere stays. A photo without alpha comes back as it is; pixels are shared.
    """
    if photo.alpha is None:
        return photo
    alpha = photo.alpha.copy()
    alpha[mask] = np.iinfo(alpha.dtype).max
    return replace(photo, alpha=alpha)


def key_mask(photo: Photo, colour: str, tolerance: int = KEY_TOLERANCE) -> Mask:
    """Where a photo has one colour: (H, W), True where no channel is off by more than `tolerance`.

    Args:
        colour: "#rrggbb" or "#rgb"; the "#" may be left out.
        tolerance: largest difference of a channel, 0 to 255; 16 bits and CMYK count as 8-bit RGB.

    Raises:
        MaskError: no colour, or the tolerance is out of range.
    """
    key = np.array(parse_colour(colour), dtype=np.int16)
    check_level("key tolerance", tolerance)
    mask = np.empty((photo.height, photo.width), dtype=bool)
    for rows in _strips(photo):
        mask[rows] = (np.abs(_levels(photo, rows) - key) <= tolerance).all(axis=-1)
    return mask


def difference_mask(photo: Photo, other: Photo, threshold: int = DIFFERENCE) -> Mask:
    """Where a photo differs from a painted, scribbled or annotated copy of it: (H, W).

    Differences are averaged over 5 x 5 pixels, which cancels the noise of JPEG; then the largest channel counts. The
    mask is up to 2 pixels wider than what was painted. That weakens strokes thinner than 5 pixels, so a pixel also
    counts whose own brightness differs by more than 2 `threshold` + 16 levels, which JPEG hardly reaches. What is
    thinner and fainter is not found.

    Args:
        threshold: levels of 255 above which pixels count as different, 0 to 255.

    Raises:
        MaskError: the photos have different sizes, or the threshold is out of range.
    """
    check_level("difference", threshold)
    if other.size != photo.size:
        sizes = f"{other.width} x {other.height} for a photo of {photo.width} x {photo.height}"
        raise MaskError(f"copy of the photo: expected the photo's size, got {sizes}")
    mask = np.empty((photo.height, photo.width), dtype=bool)
    for rows in _strips(photo):
        seen = slice(max(0, rows.start - _BLUR), min(photo.height, rows.stop + _BLUR))
        difference = _levels(other, seen) - _levels(photo, seen)
        inside = slice(rows.start - seen.start, rows.stop - seen.start)
        sums = np.abs(_sums(_sums(difference, 0), 1)).max(axis=-1)[inside]
        mask[rows] = sums > threshold * (2 * _BLUR + 1) ** 2
        mask[rows] |= np.abs(difference[inside] @ _BRIGHTNESS) > 2 * threshold + 16
    return mask


def parse_colour(text: str) -> tuple[int, int, int]:
    """Red, green and blue, 0 to 255, of "#rrggbb" or "#rgb". Raises MaskError."""
    digits = text.removeprefix("#")
    if re.fullmatch("[0-9a-fA-F]{3}", digits):
        digits = "".join(2 * digit for digit in digits)
    if not re.fullmatch("[0-9a-fA-F]{6}", digits):
        raise MaskError(f"key: expected a colour such as #ff00ff, got {text!r}")
    return int(digits[:2], 16), int(digits[2:4], 16), int(digits[4:], 16)


def check_level(name: str, level: int) -> None:
    """Raises MaskError unless `level` is one of 0 to 255."""
    if not 0 <= level <= 255:
        raise MaskError(f"{name}: expected 0 to 255, got {level}")


def _strips(photo: Photo) -> Iterator[slice]:
    rows = max(1, _STRIP // photo.width)
    for top in range(0, photo.height, rows):
        yield slice(top, min(top + rows, photo.height))


def _levels(photo: Photo, rows: slice) -> NDArray[np.int16]:
    """(h, W, 3) RGB of some rows, 0 to 255: of RGB and grey as stored, so that copies of any depth are alike."""
    if photo.mode in ("RGB", "L"):
        stored = photo.pixels[rows]
        if photo.bits == 16:
            stored = (stored.astype(np.uint32) + 128) // 257
        levels: NDArray[np.int16] = np.broadcast_to(stored.astype(np.int16), (*stored.shape[:2], 3))
        return levels
    rgb = photo.crop_rgb(Box(0, rows.start, photo.width, rows.stop))
    rounded: NDArray[np.int16] = np.floor(rgb * 255 + np.float32(0.5)).astype(np.int16)
    return rounded


def _sums(levels: NDArray[Any], axis: int) -> NDArray[np.int32]:
    """Sums over 2 * _BLUR + 1 pixels along axis 0 or 1, whose ends are repeated."""
    edges = [(0, 0)] * levels.ndim
    edges[axis] = (_BLUR, _BLUR)
    padded = np.pad(levels, edges, mode="edge")
    count = levels.shape[axis]
    total = np.zeros(levels.shape, dtype=np.int32)
    for start in range(2 * _BLUR + 1):
        total += padded[start : start + count] if axis == 0 else padded[:, start : start + count]
    return total
