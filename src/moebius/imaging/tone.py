"""Matching the tone of a fill to the photo around it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from moebius.imaging.prefill import push_pull

CELL = 8
"""Side of the squares over which tone is compared, px."""


def match_tone(
    fill: NDArray[np.float32], known: NDArray[np.float32], mask: NDArray[np.bool_]
) -> NDArray[np.float32]:
    """Remove the slow colour difference between a decoded picture and the photo it was made from.

    An autoencoder gives known pixels back with a slightly different tone, and the fill shares that error, so
    its edge would show. The difference is measured on known pixels only, averaged over 8 x 8 squares, carried
    smoothly into the hole, and added. Pixels of `known` under the mask are not read.

    Args:
        fill: (H, W, 3) in [0, 1], the decoder's whole output, sides divisible by 8.
        known: (H, W, 3) in [0, 1], the photo.
        mask: (H, W), True = fill.

    Returns:
        (H, W, 3) in [0, 1].

    Raises:
        ValueError: sides do not divide by 8.
    """
    height, width = mask.shape
    if height % CELL or width % CELL:
        raise ValueError(f"sides must divide by {CELL}, got {height} x {width}")
    if mask.all() or not mask.any():
        return fill
    weight = ~mask[..., None]
    difference = np.where(weight, known - fill, np.float32(0))
    grid = (height // CELL, CELL, width // CELL, CELL)
    total = difference.reshape(*grid, -1).sum(axis=(1, 3))  # (H/8, W/8, 3)
    count = weight.reshape(*grid, 1).sum(axis=(1, 3))
    unknown = count[..., 0] < CELL * CELL // 4
    coarse = push_pull((total / np.maximum(count, 1)).astype(np.float32), unknown)
    smooth = np.stack(
        [
            np.asarray(Image.fromarray(channel).resize((width, height), Image.Resampling.BILINEAR))
            for channel in np.ascontiguousarray(coarse.transpose(2, 0, 1))
        ],
        axis=-1,
    )
    matched: NDArray[np.float32] = np.clip(fill + smooth, 0, 1)
    return matched
