"""Masks: reading any kind, growing them, and bringing them to the latent grid. True = fill, everywhere."""

from __future__ import annotations

import logging
import math
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from moebius.errors import MaskError
from moebius.imaging.arrays import AnyArray, Mask
from moebius.imaging.components import connected_runs
from moebius.imaging.decode import ImageSource, Readable
from moebius.imaging.distance import squared_distances
from moebius.imaging.exif import turn_upright
from moebius.imaging.metadata import collect_metadata
from moebius.imaging.resample import resize_mask
from moebius.imaging.tiff_layouts import grey_and_alpha
from moebius.settings import MAX_PIXELS

log = logging.getLogger(__name__)

MaskMode = Literal["max", "nearest"]

GROWTH = 0.025
"""Default growth as a share of an object's longer side: its soft rim and contact shadow."""
MIN_GROWTH, MAX_GROWTH = 4, 48
"""Bounds of the default growth, px: what an outline blurs by itself, and as far as a shadow mostly begins."""

_ONE_COLOUR = 32
"""Levels within which opaque pixels count as one colour."""


def read_mask(
    source: Readable | NDArray[Any], *, size: tuple[int, int], invert: bool = False, fit: bool = False
) -> Mask:
    """Read a mask: whatever is at least half white is to be filled.

    Images may be grey, RGB (their luma counts), palette (its colours count, not its indices), 1-bit, 16-bit,
    CMYK, or have alpha. With alpha, if all that is at least half opaque has one colour, the mask is a painted
    layer and its opaque part is filled; otherwise it is laid on black. EXIF orientation is applied.

    Arrays are (H, W) or (H, W, 1): bool; floats in [0, 1]; whole numbers up to 255, or 65535 for uint16, of
    which nothing above 1 means that 1 is white. uint8 arrays (H, W, 3) and (H, W, 4) are taken as images.

    Args:
        source: a path, the bytes of a file, an open binary file, a Pillow image, or an array.
        size: (width, height) of the photo.
        invert: black is to be filled instead.
        fit: bring a mask of another size to the photo's, so that no stroke is lost, instead of refusing it.

    Returns:
        (H, W) bool, True = fill; not shared with `source`.

    Raises:
        MaskError: missing, a folder, empty, no image, damaged, of a kind that is no mask, or of another size.
    """
    if isinstance(source, np.ndarray) and source.dtype == np.uint8 and source.shape[2:] in ((3,), (4,)):
        source = Image.fromarray(source)
    mask = _from_array(source) if isinstance(source, np.ndarray) else _from_image(source)
    if invert:
        mask = ~mask
    width, height = size
    if mask.shape != (height, width):
        sizes = f"{mask.shape[1]} x {mask.shape[0]} for a photo of {width} x {height}"
        if not fit:
            raise MaskError(f"mask: expected the photo's size, got {sizes} (fit_mask resizes it)")
        if mask.shape[1] * height != mask.shape[0] * width:
            log.warning("the mask has another aspect than the photo and is stretched: %s", sizes)
        mask = resize_mask(mask, (height, width))
    return mask


def grow_mask(mask: Mask, pixels: int) -> Mask:
    """Grow a mask (H, W) by a disk: True wherever a True pixel is at most `pixels` away, centre to centre.

    Raises:
        ValueError: pixels is negative or above 32767.
    """
    grown = mask.copy()
    for box, squared in squared_distances(mask, pixels):
        grown[box.slices] |= squared <= pixels * pixels
    return grown


def default_growth(width: int, height: int, area: int) -> int:
    """Pixels by which to grow the mask of one object with a bounding box of that size and so many pixels.

    Masks drawn by hand or by a segmenter end at the outline; the object's soft rim and the beginning of its
    shadow lie outside, and would stay behind as a ghost. Both scale with the object: with its longer side, or, for
    scratches and wires, with twice the side of a square of the same area.
    """
    extent = min(max(width, height), 2 * math.sqrt(area))
    return min(max(round(GROWTH * extent), MIN_GROWTH), MAX_GROWTH)


def mask_to_latent(mask: AnyArray, factor: int = 8, mode: MaskMode = "max") -> NDArray[np.float32]:
    """Bring a mask to the latent grid, one cell for every factor x factor pixels.

    Args:
        mask: (..., H, W), bool or floats in [0, 1]; sides that divide by `factor`.
        mode: "max": a cell is a hole if any of its pixels is, so a thin stroke is never lost; "nearest": a
            cell is what its top left pixel is, as published.

    Returns:
        (..., H / factor, W / factor) float32, 1 = fill.

    Raises:
        ValueError: a side does not divide by `factor`, or the mode is unknown.
    """
    *batch, height, width = mask.shape
    if height % factor or width % factor:
        raise ValueError(f"expected sides that divide by {factor}, got {height} x {width}")
    if mode not in ("max", "nearest"):
        raise ValueError(f"expected mode 'max' or 'nearest', got {mode!r}")
    cells = mask.reshape(*batch, height // factor, factor, width // factor, factor)
    chosen = cells.max(axis=(-3, -1)) if mode == "max" else cells[..., 0, :, 0]
    return chosen.astype(np.float32)


def _from_array(array: AnyArray) -> Mask:
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[..., 0]
    if array.ndim != 2:
        raise MaskError(f"mask: expected an array (H, W) or a uint8 image, got {array.shape} {array.dtype}")
    if array.dtype == bool:
        return _plain(array)
    low, high = (array.min(), array.max()) if array.size else (0, 0)
    if np.issubdtype(array.dtype, np.floating):
        if not (low >= 0 and high <= 1):  # also false for NaN
            raise MaskError(f"mask: expected floats in [0, 1], got {low:g} to {high:g}")
        return np.asarray(array >= 0.5)
    if not np.issubdtype(array.dtype, np.integer) or low < 0:
        raise MaskError(f"mask: expected bool, floats or whole numbers >= 0, got {array.dtype} from {low}")
    white = 1 if high <= 1 else 65535 if array.dtype == np.uint16 else 255
    if high > white:
        raise MaskError(f"mask: expected whole numbers from 0 to {white}, got {low} to {high}")
    return _half_white(array, white)


def _from_image(source: Readable) -> Mask:
    with ImageSource(source, noun="mask", error=MaskError, max_pixels=MAX_PIXELS) as opened:
        image = opened.open()
        with opened.decoding(image):
            image.load()
            _, orientation = collect_metadata(image, None)
            if opened.layout in ("LA", "LA differences"):
                orientation = opened.orientation
                wide = np.asarray(image).astype(np.uint16)
                image = Image.fromarray((grey_and_alpha(wide, opened.layout) >> 8).astype(np.uint8))
            elif "LAB" in (image.mode, opened.layout):
                image = image.getchannel(0)  # lightness
            return np.ascontiguousarray(turn_upright(_white(image), orientation))


def _white(image: Image.Image) -> Mask:
    """Where a loaded image is at least half white."""
    if image.mode.startswith("I"):
        return _half_white(np.asarray(image), 65535)
    if image.mode == "F":
        return np.asarray(image) >= 0.5
    if "transparency" in image.info or image.mode in ("LA", "La", "PA", "RGBA", "RGBa"):
        return _white_with_alpha(image.convert("RGBA"))
    if image.mode == "1":
        return _plain(np.asarray(image))
    if image.mode not in ("L", "RGB"):
        image = image.convert("RGB")
    return _half_white(np.asarray(image if image.mode == "L" else image.convert("L")), 255)


def _white_with_alpha(image: Image.Image) -> Mask:
    alpha = np.asarray(image.getchannel("A"))
    opaque = _half_white(alpha, 255)
    colours = np.asarray(image)[opaque][:, :3]  # (n, 3)
    if not opaque.all() and len(colours) and np.ptp(colours, axis=0).max() <= _ONE_COLOUR:
        return opaque
    on_black = Image.new("RGBA", image.size, (0, 0, 0, 255))
    on_black.alpha_composite(image)
    return _half_white(np.asarray(on_black.convert("L")), 255)


def _plain(mask: Mask) -> Mask:
    """A copy whose True is the byte 1: Pillow's 1-bit images come as 255, which compiled code takes for a number."""
    return np.asarray(np.ascontiguousarray(mask).view(np.uint8) != 0)


def _half_white(values: AnyArray, white: int) -> Mask:
    return np.asarray(values > white // 2)


def grow_objects(mask: Mask, pixels: int | None) -> Mask:
    """The mask grown by `pixels`; None grows each object by a margin scaled to its own size.

    Masks drawn by hand or by a segmenter end at an object's outline; its anti-aliased rim and soft shadow lie
    outside, and left in place they show as a ghost.
    """
    if pixels is not None:
        return grow_mask(mask, pixels)
    runs = connected_runs(mask)
    growths = np.zeros(len(runs.rows), dtype=np.int64)
    areas = runs.areas()
    lefts, rights, bottoms = runs.starts.copy(), runs.ends.copy(), runs.rows + 1
    for edges, values, take in (
        (lefts, runs.starts, np.minimum), (rights, runs.ends, np.maximum), (bottoms, runs.rows + 1, np.maximum),
    ):  # fmt: skip
        take.at(edges, runs.pieces, values)
    for piece in np.flatnonzero(runs.pieces == np.arange(len(runs.pieces))):
        width, height = int(rights[piece] - lefts[piece]), int(bottoms[piece] - runs.rows[piece])
        growths[piece] = default_growth(width, height, int(areas[piece]))
    growths = growths[runs.pieces]
    grown = mask.copy()
    for growth in np.unique(growths).tolist():
        alike = runs.paint(growths == growth, (mask.shape[0], mask.shape[1]))
        for box, squared in squared_distances(alike, growth):
            grown[box.slices] |= squared <= growth * growth
    return grown
