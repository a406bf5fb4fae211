"""A region made ready for the network, and its fill brought back to the photo's own resolution.

Nothing under the mask is ever read: the crop is filled smoothly from its known pixels first, and only that filled crop
is resized and encoded.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from moebius.engines.base import FloatArray
from moebius.imaging import Box, Photo, push_pull, resample, resize, resize_mask, resize_part

Mask = NDArray[np.bool_]
Shape = tuple[int, int]

MID_GREY = np.float32(0.5)
"""What an emptied hole holds, in [0, 1]."""
REDUCE_FROM = 4.0
"""Photo pixels a model pixel from which on a crop is averaged down before it is filled smoothly and resized."""
_STRIP = 1 << 20
"""Photo pixels that are held as floats at a time while a large crop is averaged."""


@dataclass(frozen=True)
class Frame:
    """A region made ready for the network: filled smoothly, at the model's shape."""

    filled: FloatArray
    """(H, W, 3) in [0, 1]: the known pixels, and a smooth fill under the mask."""
    mask: Mask
    """(H, W), True = fill; any masked photo pixel makes its model pixel masked."""
    inner: Shape
    """(height, width) of the crop inside the frame, from its top left corner on; the rest mirrors it."""
    outer: Shape
    """(height, width) of the crop in photo pixels."""

    @property
    def emptied(self) -> FloatArray:
        """(H, W, 3) in [0, 1]: the known pixels, and mid-grey under the mask, as published."""
        return np.where(self.mask[..., None], MID_GREY, self.filled)

    def at(self, shape: Shape) -> Frame:
        """The same frame at another shape of the model's; `inner` stays as it is at the model's own."""
        if shape == self.mask.shape:
            return self
        return replace(self, filled=resize(self.filled, shape), mask=resize_mask(self.mask, shape))

    def refilled(self, coarse: FloatArray) -> Frame:
        """The same frame with its hole filled from `coarse`, (h, w, 3) in [0, 1], a smaller fill of it."""
        enlarged = resize(coarse, (self.mask.shape[0], self.mask.shape[1]))
        return replace(self, filled=np.where(self.mask[..., None], enlarged, self.filled))

    def part(self, pixels: FloatArray, box: Box) -> FloatArray:
        """A part of the crop at the photo's own resolution: (box.height, box.width, 3) in [0, 1].

        Args:
            pixels: (H, W, 3), the filled frame at the model's own shape.
            box: inside the crop, in photo pixels from its top left corner.
        """
        height, width = self.inner
        return resize_part(pixels[:height, :width], self.outer, box)


def prepare(photo: Photo, box: Box, mask: Mask, shape: Shape) -> Frame:
    """The crop `box` of a photo as the network sees it.

    A crop that does not have the shape (the photo is smaller than the crop would be) is brought to the model's scale
    first and mirrored outwards there: a long thin photo needs no more memory than any other. A crop many times larger
    than the shape is averaged down a strip at a time: memory is bounded by the model's size.

    Args:
        mask: (box.height, box.width), True = fill.
        shape: (H, W) of the model.
    """
    outer = (box.height, box.width)
    scale = max(outer[0] / shape[0], outer[1] / shape[1])
    inner = (
        max(1, min(shape[0], round(outer[0] / scale))),
        max(1, min(shape[1], round(outer[1] / scale))),
    )
    if scale < REDUCE_FROM:
        filled = resize(push_pull(photo.crop_rgb(box), mask), inner)
    else:
        factor = int(scale / 2)
        colours, unknown = reduce_known(photo, box, mask, factor)
        smooth = push_pull(colours, unknown)
        filled = resample(smooth, (0, 0, outer[1] / factor, outer[0] / factor), inner)
    mask = resize_mask(mask, inner)
    if inner != shape:
        pad = ((0, shape[0] - inner[0]), (0, shape[1] - inner[1]))
        filled = np.pad(filled, (*pad, (0, 0)), mode="symmetric")
        mask = np.pad(mask, pad, mode="symmetric")
    return Frame(filled, mask, inner, outer)


def reduce_known(photo: Photo, box: Box, mask: Mask, factor: int) -> tuple[FloatArray, Mask]:
    """The crop's known pixels averaged over cells of factor x factor, a strip at a time.

    Returns:
        colours (h, w, 3) in [0, 1], the mean of each cell's known pixels, with h, w the crop's sides / factor, rounded
        up; and unknown (h, w), True where a cell has none.
    """
    height, width = mask.shape
    rows, columns = -(-height // factor), -(-width // factor)
    colours = np.zeros((rows, columns, 3), np.float32)
    unknown = np.zeros((rows, columns), bool)
    at_once = max(1, _STRIP // (factor * width))
    for first in range(0, rows, at_once):
        last = min(rows, first + at_once)
        top, bottom = first * factor, min(height, last * factor)
        strip = photo.crop_rgb(Box(box.left, box.top + top, box.right, box.top + bottom))
        known = ~mask[top:bottom, :, None]
        count = _sums(known.astype(np.float32), factor)
        total = _sums(np.where(known, strip, np.float32(0)), factor)
        colours[first:last] = total / np.maximum(count, 1)
        unknown[first:last] = count[..., 0] == 0
    return colours, unknown


def _sums(values: FloatArray, factor: int) -> FloatArray:
    """Sums over cells of factor x factor; (h, w, C) -> (ceil(h / factor), ceil(w / factor), C)."""
    height, width, channels = values.shape
    if height % factor or width % factor:
        values = np.pad(values, ((0, -height % factor), (0, -width % factor), (0, 0)))
    rows, columns = len(values) // factor, values.shape[1] // factor
    sums: FloatArray = values.reshape(rows, factor, columns, factor, channels).sum(axis=(1, 3))
    return sums
