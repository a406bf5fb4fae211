"""Made-up photos to fill; numpy alone."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def disc_photo(side: int) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """A square photo (H, W, 3) of smooth colours, and a mask with a disc of a tenth of its area, 1 = fill."""
    rows, columns = np.mgrid[0:side, 0:side].astype(np.float32) / side
    photo = np.stack([255 * rows, 255 * columns, 128 + 100 * np.sin(9 * rows * columns)], axis=-1)
    mask = (rows - 0.5) ** 2 + (columns - 0.5) ** 2 < 0.1 / np.pi
    return photo.astype(np.uint8), mask
