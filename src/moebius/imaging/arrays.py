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

Samples = NDArray[np.unsignedinteger[Any]]
"""Pixels as a photo stores them: uint8 or uint16, from 0 to the type's largest value."""

AnyArray = NDArray[Any]
