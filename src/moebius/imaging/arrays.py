"""Names for the arrays that travel through this room.

Images are indexed [row, column] or [row, column, channel]; sizes given as two numbers are (width, height) for
photos, as Pillow has them, and (height, width) where a parameter is called `shape`, as numpy has them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]
"""(H, W) bool, True = fill."""

FloatImage = NDArray[np.float32]
"""(H, W, C) or (H, W), float32, in [0, 1] unless said otherwise."""

Samples = NDArray[np.uint8] | NDArray[np.uint16]
"""Pixels as a photo stores them, 0 to 255 or 0 to 65535."""

AnyArray = NDArray[Any]
