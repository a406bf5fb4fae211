"""How strongly a fill replaces the photo, pixel by pixel."""

from __future__ import annotations

import numpy as np

from moebius.imaging.arrays import FloatImage, Mask
from moebius.imaging.distance import distance_outside


def feather_weight(mask: Mask, feather: float) -> FloatImage:
    """Weight of the fill: all of it in the hole, fading out around it.

    The fade is outward only. Blending inward would let the removed object shine through the rim of the hole.

    Args:
        mask: (H, W), True = hole.
        feather: pixels outside the hole over which the fill fades, 0 to 32767.

    Returns:
        (H, W) float32: exactly 1 in the hole; 1 - smoothstep(d / (feather + 1)) at distance d from it, up
        to d = feather; exactly 0 beyond. The first pixel of weight 0 ends the ramp, so feather = 1 is one
        pixel at one half.

    Raises:
        ValueError: feather is out of range.
    """
    fraction = np.minimum(distance_outside(mask, feather) / np.float32(feather + 1), np.float32(1))
    weight: FloatImage = 1 - fraction * fraction * (3 - 2 * fraction)
    return weight
