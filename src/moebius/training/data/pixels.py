"""From an encoded photo to RGB pixels, no more of them than are needed."""

from __future__ import annotations

import numpy as np
from PIL import Image

from moebius.errors import PhotoError
from moebius.imaging import Box, read_photo
from moebius.imaging.decode import ImageSource
from moebius.imaging.exif import ORIENTATION, turn_upright
from moebius.settings import MAX_PIXELS
from moebius.training.data.crops import Pixels

SPARE = 2
"""How many times as large as needed a photo is at least decoded."""


def read_pixels(photo: bytes, *, least: int | None = None) -> tuple[Pixels, tuple[int, int]]:
    """An encoded photo, upright, as RGB: 16 bits rounded to 8, alpha dropped.

    Args:
        least: short side that is needed, px; a JPEG of at least four times that is decoded at 1/2, 1/4 or 1/8
            of its size, which is several times quicker. None = all of it.

    Returns:
        (H, W, 3) uint8, and the photo's own (height, width).

    Raises:
        PhotoError: it cannot be decoded.
    """
    if least is not None and photo[:2] == b"\xff\xd8":
        reduced = _read_reduced(photo, least)
        if reduced is not None:
            return reduced
    read = read_photo(photo)
    shape = (read.height, read.width)
    if read.mode == "RGB" and read.bits == 8:
        return np.asarray(read.pixels, np.uint8), shape
    rgb = read.crop_rgb(Box(0, 0, read.width, read.height))
    return np.floor(rgb * 255 + np.float32(0.5)).astype(np.uint8), shape


def _read_reduced(photo: bytes, least: int) -> tuple[Pixels, tuple[int, int]] | None:
    """A large grey or RGB JPEG; None for all others."""
    with ImageSource(photo, noun="photo", error=PhotoError, max_pixels=MAX_PIXELS) as opened:
        image: Image.Image = opened.open()
        if image.mode not in ("L", "RGB") or min(image.size) < 2 * SPARE * least:
            return None
        with opened.decoding(image):
            width, height = image.size
            orientation = int(image.getexif().get(ORIENTATION, 1))
            image.draft(image.mode, (SPARE * least, SPARE * least))
            pixels = turn_upright(np.asarray(image.convert("RGB")), orientation)
            return pixels, (width, height) if 5 <= orientation <= 8 else (height, width)
