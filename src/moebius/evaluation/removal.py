"""Does the object come back? Two answers, for photos from which something was taken out and which have no truth.

`returns` compares pixels: the fill may not resemble what was hidden. `object_left` asks a classifier: what it saw in
the photo, and does not see in a smooth fill, it must not see in the fill.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from moebius.evaluation.holes import Mask
from moebius.evaluation.metrics import Picture

RECOGNISED = 0.2
"""Total variation between the classifier's answers, with the object and without, below which it does not know it."""


def returns(image: Picture, photo: Picture, smooth: Picture, hole: Mask) -> float:
    """Correlation, over the hole, of what fill and photo each have beyond the smooth fill; in [-1, 1].

    0 = nothing of the hidden object is in the fill, 1 = the object itself. The smooth fill is subtracted from both,
    since everything that suits the surroundings resembles it.

    Args:
        image, photo, smooth: (H, W, 3) in [0, 1]: the fill, the photo with its object, the hole filled smoothly.
        hole: (H, W), True = filled.
    """
    fill = (image[hole] - smooth[hole]).astype(np.float64)
    hidden = (photo[hole] - smooth[hole]).astype(np.float64)
    fill -= fill.mean(axis=0)
    hidden -= hidden.mean(axis=0)
    scale = float(np.sqrt(np.square(fill).sum() * np.square(hidden).sum()))
    # Less than half a level of contrast is rounding, not a fill.
    if float(np.sqrt(np.square(fill).mean())) < 0.5 / 255 or scale == 0:
        return 0.0
    return float((fill * hidden).sum()) / scale


def object_left(
    fill: NDArray[np.float32], photo: NDArray[np.float32], smooth: NDArray[np.float32]
) -> float | None:
    """How much of what a classifier recognised in the photo it still recognises in the fill.

    The classes that count are those whose probability falls when the object is replaced by the smooth fill, each by
    as much as it falls: 1 = as with the object, 0 = as with the smooth fill; None if the classifier makes no
    difference between those two.

    Args:
        fill, photo, smooth: (K,) class probabilities of the square around the hole in each picture.
    """
    lost = np.maximum(photo.astype(np.float64) - smooth, 0)
    if lost.sum() < RECOGNISED:
        return None
    kept = (lost * (fill.astype(np.float64) - smooth)).sum() / (lost * (photo - smooth)).sum()
    return float(kept)
