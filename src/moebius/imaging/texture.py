"""A fill with the network's colours and the photo's own texture."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from moebius.imaging.exemplar import RING, copied_patches
from moebius.imaging.patches import widened
from moebius.imaging.prefill import push_pull
from moebius.imaging.resample import resize

CELL = 8
"""Side of the squares whose mean colours are compared, px; slower changes of colour are the network's."""
TRUST = np.float32(0.3)
"""Share of a small difference in slow colours that is taken over from the network."""
APART = np.float32(0.5)
"""Difference (of R, G and B, as a length) from which on nothing is taken over: the two have put different things there,
and half of one in half of the other is neither."""


def textured(
    fill: NDArray[np.float32], known: NDArray[np.float32], mask: NDArray[np.bool_]
) -> NDArray[np.float32]:
    """The hole filled from elsewhere in the photo, drawn towards the colours of a network's fill.

    Args:
        fill: (H, W, 3) in [0, 1], the network's; only what is under the mask counts.
        known: (H, W, 3) in [0, 1], the photo, filled smoothly under the mask (`push_pull`).
        mask: (H, W), True = hole.

    Returns:
        (H, W, 3) in [0, 1]; outside the mask `known` exactly. The network's fill where there is nothing to copy from.
    """
    fill = np.where(mask[..., None], fill, known)
    own = copied_patches(known, mask)
    if own is None:
        return fill
    # What patches are off in tone where they can be held against what is known is carried smoothly into the hole.
    ring = widened(mask, RING) & ~mask
    if ring.any():
        own = own + push_pull(np.where(ring[..., None], known - own, np.float32(0)), ~ring)
    own = np.where(mask[..., None], np.clip(own, 0, 1), known)
    height, width = mask.shape
    cells = max(1, round(height / CELL)), max(1, round(width / CELL))
    # `resize` is for pictures: differences are moved into [0, 1] and back.
    half = resize((fill - own) * np.float32(0.5) + np.float32(0.5), cells) - np.float32(0.5)
    far = (half * half).sum(axis=-1, keepdims=True) * np.float32(4) / (APART * APART)
    half = half * np.square(np.maximum(0, 1 - far))
    slow = (resize(half + np.float32(0.5), (height, width)) - np.float32(0.5)) * 2
    found: NDArray[np.float32] = np.where(mask[..., None], np.clip(own + TRUST * slow, 0, 1), own)
    return found
