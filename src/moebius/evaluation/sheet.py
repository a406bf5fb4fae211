"""The pictures side by side. To look at only: the photos are other people's."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from moebius.evaluation.fillers import Filler
from moebius.evaluation.photos import Hole
from moebius.imaging import atomic_file

HOLE_COLOUR = (255, 0, 255)
GAP = 4
"""White pixels between pictures."""


def write_sheet(path: Path, holes: Sequence[Hole], fillers: Sequence[Filler]) -> None:
    """A PNG with a line for each hole: the photo with its hole, each filler's picture, the truth.

    Raises:
        OutputError: it cannot be written.
    """
    lines = []
    for hole in holes:
        shown = np.where(hole.mask[..., None], np.array(HOLE_COLOUR, np.uint8), hole.pixels)
        lines.append([shown, *(filler(hole) for filler in fillers), hole.pixels])
    width = max(sum(picture.shape[1] + GAP for picture in line) for line in lines) - GAP
    height = sum(line[0].shape[0] + GAP for line in lines) - GAP
    sheet = Image.new("RGB", (width, height), "white")
    top = 0
    for line in lines:
        left = 0
        for picture in line:
            sheet.paste(Image.fromarray(picture), (left, top))
            left += picture.shape[1] + GAP
        top += line[0].shape[0] + GAP
    with atomic_file(path, overwrite=True) as file:
        sheet.save(file, format="PNG")
