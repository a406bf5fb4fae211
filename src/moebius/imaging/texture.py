"""A fill with the network's colours and the photo's own texture."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from moebius.imaging.exemplar import RING, copied_patches
from moebius.imaging.patches import widened
from moebius.imaging.prefill import push_pull
from moebius.imaging.resample import resize

Floats = NDArray[np.float32]

CELL = 8
"""Side of the squares whose mean colours are compared, px; slower changes of colour are the network's."""
TRUST = np.float32(0.3)
"""Share of a small difference in slow colours that is taken over from the network."""
APART = np.float32(0.5)
"""Difference (of R, G and B, as a length) from which on nothing is taken over: the two have put different things there,
and half of one in half of the other is neither."""


def textured(fill: Floats, known: Floats, mask: NDArray[np.bool_]) -> Floats:
    """The hole filled from elsewhere in the photo (`copied`), drawn towards the colours of a network's fill (`tinted`).

    Args:
        fill: (H, W, 3) in [0, 1], the network's; only what is under the mask counts.
        known: (H, W, 3) in [0, 1], the photo, filled smoothly under the mask (`push_pull`).
        mask: (H, W), True = hole.

    Returns:
        (H, W, 3) in [0, 1]; outside the mask `known` exactly. The network's fill where there is nothing to copy from.
    """
    return tinted(copied(known, mask), fill, known, mask)


def copied(known: Floats, mask: NDArray[np.bool_]) -> Floats | None:
    """The hole filled from elsewhere in the photo, in the tones of what is around it.

    Args:
        known: (H, W, 3) in [0, 1], the photo, filled smoothly under the mask.

    Returns:
        (H, W, 3) in [0, 1]; outside the mask `known` exactly. None where there is nothing to copy from.
    """
    own = copied_patches(known, mask)
    if own is None:
        return None
    # What patches are off in tone where they can be held against what is known is carried smoothly into the hole.
    ring = widened(mask, RING) & ~mask
    if ring.any():
        own = own + push_pull(np.where(ring[..., None], known - own, np.float32(0)), ~ring)
    return np.where(mask[..., None], np.clip(own, 0, 1), known)


def tinted(own: Floats | None, fill: Floats, known: Floats, mask: NDArray[np.bool_]) -> Floats:
    """What `copied` found, its slow colours drawn towards those of a network's fill; that fill where it found nothing.

    Args and what comes back are those of `textured`.
    """
    fill = np.where(mask[..., None], fill, known)
    if own is None:
        return fill
    height, width = mask.shape
    cells = max(1, round(height / CELL)), max(1, round(width / CELL))
    # `resize` is for pictures: differences are moved into [0, 1] and back.
    half = resize((fill - own) * np.float32(0.5) + np.float32(0.5), cells) - np.float32(0.5)
    far = (half * half).sum(axis=-1, keepdims=True) * np.float32(4) / (APART * APART)
    half = half * np.square(np.maximum(0, 1 - far))
    slow = (resize(half + np.float32(0.5), (height, width)) - np.float32(0.5)) * 2
    found: Floats = np.where(mask[..., None], np.clip(own + TRUST * slow, 0, 1), own)
    return found
