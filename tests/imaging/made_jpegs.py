"""Photos for JPEG files, and what writing them again gives."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from PIL import Image

from moebius.imaging import Photo, write_photo
from moebius.imaging.arrays import AnyArray
from moebius.imaging.changes import Written


def picture(width: int, height: int, seed: int = 0) -> Image.Image:
    """Waves in every channel, and grain."""
    y, x = np.mgrid[:height, :width]
    waves = np.stack([np.sin(x / 7 + y / 11), np.cos(x / 13), np.sin(y / 9)], axis=-1)
    grain = np.random.default_rng(seed).normal(0, 10, (height, width, 3))
    return Image.fromarray(np.clip(128 + 90 * waves + grain, 0, 255).astype(np.uint8))


def painted(photo: Photo, box: tuple[int, int, int, int] = (30, 20, 50, 40)) -> tuple[Photo, AnyArray]:
    """The photo with a slope in a box, and the pixels in which it has changed."""
    left, top, right, bottom = box
    result = photo.copy()
    part = result.pixels[top:bottom, left:right]
    part[:] = (40 + 8 * np.arange(right - left))[None, :, None] + [0, 20, 40][: part.shape[2]]
    return result, (result.pixels != photo.pixels).any(axis=-1)


def rewritten(photo: Photo, **options: Any) -> tuple[bytes, Written]:
    buffer = io.BytesIO()
    report = write_photo(photo, buffer, **options)
    return buffer.getvalue(), report


def touched_blocks(changed: AnyArray, across: int, down: int) -> AnyArray:
    """(rows, columns) of blocks that cover `across` x `down` pixels each."""
    rows, columns = (-(-length // step) for length, step in zip(changed.shape, (down, across), strict=True))
    return np.array(
        [
            [changed[r * down : (r + 1) * down, c * across : (c + 1) * across].any() for c in range(columns)]
            for r in range(rows)
        ]
    )
