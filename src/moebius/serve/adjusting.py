"""Growing, shrinking and inverting a painted mask, in a worker like everything that decodes pictures."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Literal

import numpy as np
from PIL import Image

from moebius.errors import MaskError
from moebius.imaging import grow_mask, read_mask
from moebius.imaging.decode import ImageSource
from moebius.serve.request import FillAnswer, FillRequest

Operation = Literal["expand", "shrink", "reverse"]

BRUSH = (255, 203, 0, 186)
"""RGBA of what is masked in the answer: the colour of the brush that IOPaint's page paints with."""


@dataclass(frozen=True)
class AdjustRequest(FillRequest):
    """A mask to change; `image` is its file. It goes through the same queue as photos do."""

    operation: Operation = "expand"
    pixels: int = 5
    """By which it grows or shrinks, 0 to 512."""


def adjust_mask(request: AdjustRequest, *, max_pixels: int) -> FillAnswer:
    """Change a mask.

    Returns:
        A PNG of the mask's size, in the brush's colour where it is masked, transparent elsewhere.

    Raises:
        MaskError: it cannot be read, or is larger than `max_pixels`.
    """
    with ImageSource(request.image, noun="mask", error=MaskError, max_pixels=max_pixels) as source:
        size = source.open().size
    mask = read_mask(request.image, size=size)
    if request.operation == "reverse":
        mask = ~mask
    elif request.operation == "expand":
        mask = grow_mask(mask, request.pixels)
    else:
        mask = ~grow_mask(~mask, request.pixels)
    painted = np.zeros((*mask.shape, 4), dtype=np.uint8)
    painted[mask] = BRUSH
    buffer = io.BytesIO()
    Image.fromarray(painted).save(buffer, "PNG", compress_level=1)
    report = {"size": [mask.shape[1], mask.shape[0]]}
    return FillAnswer(buffer.getvalue(), "png", "image/png", 0, report)
