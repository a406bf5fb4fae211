"""The two random-mask generators of published inpainting work, drawn number for number.

    lama_mask        LaMa (Suvorov et al., 2022): either strokes or boxes, from one of six tables
    free_form_mask   CoModGAN (Zhao et al., 2021), taken over by MAT and MI-GAN: rectangles and brush strokes

Both draw from numpy's legacy generator in the published order, so `RandomState(k)` gives the published mask of
seed k. Sizes are in px of the mask, whatever its side. True = hole.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.random import RandomState
from PIL import Image, ImageDraw

from moebius.errors import InputError
from moebius.training.masks import Mask

TRIES = 1000
"""Masks drawn before a range of hole shares is given up."""

Table = TypeVar("Table")


@dataclass(frozen=True, kw_only=True)
class LamaTable:
    """Numbers of a LaMa configuration. Ranges include both ends."""

    strokes: tuple[int, int]
    """Their number; the generator draws up to one more."""
    width: int
    """Strokes are 5 to `width` + 4 wide, px."""
    length: int
    """Segments are 10 to `length` + 9 long, px."""
    angles: int = 4
    """Directions: 0.01, 1.01, ... rad, mirrored in every other stroke."""
    box_weight: float = 0.0
    """Of a mask of boxes, against 1 for one of strokes."""
    margin: int = 0
    """Between boxes and the mask's border, px."""
    sides: tuple[int, int] = (0, 0)
    """Of a box, px."""
    boxes: tuple[int, int] = (0, 0)
    """Their number."""


LAMA_TABLES = {
    "thin_256": LamaTable(strokes=(4, 50), width=10, length=40),
    "thin_512": LamaTable(strokes=(4, 70), width=20, length=100),
    "medium_256": LamaTable(
        strokes=(4, 5), width=50, length=100, box_weight=0.3, sides=(10, 50), boxes=(1, 5)
    ),
    "medium_512": LamaTable(
        strokes=(4, 10), width=100, length=200, box_weight=0.3, sides=(30, 150), boxes=(1, 5)
    ),
    "thick_256": LamaTable(
        strokes=(1, 5), width=100, length=200, box_weight=0.3, margin=10, sides=(30, 150), boxes=(1, 3)
    ),
    "thick_512": LamaTable(
        strokes=(1, 5), width=250, length=450, box_weight=0.3, margin=10, sides=(30, 300), boxes=(1, 4)
    ),
}
"""By name; the number in it is the side it was made for, px."""


@dataclass(frozen=True)
class FreeFormTable:
    """Numbers of a free-form configuration; fewer than each are drawn, evenly from 0."""

    half_rectangles: int
    """With sides below half the mask's."""
    rectangles: int
    """With sides below the mask's."""
    strokes: int


FREE_FORM_TABLES = {
    "comodgan": FreeFormTable(10, 5, 20),
    "mat_large": FreeFormTable(5, 3, 9),
    "mat_small": FreeFormTable(3, 2, 4),
}
"""By name; MI-GAN uses CoModGAN's."""


def hole_between(draw: Callable[[], Mask], low: float, high: float, *, tries: int = TRIES) -> Mask:
    """Draw until the hole's share of the mask lies between `low` and `high`, both left out.

    Raises:
        InputError: the range is none, or no mask of so many fell into it.
    """
    if not 0 <= low < high <= 1:
        raise InputError(f"hole share: expected 0 <= low < high <= 1, got {low:g} and {high:g}")
    shares = []
    for _ in range(tries):
        mask = draw()
        shares.append(float(mask.mean()))
        if low < shares[-1] < high:
            return mask
    found = f"{min(shares):.1%} to {max(shares):.1%}" if shares else "none drawn"
    raise InputError(
        f"hole share: expected one between {low:.1%} and {high:.1%} within {tries} masks, got {found}"
    )


def lama_mask(table_name: str, size: int | tuple[int, int], random: RandomState) -> Mask:
    """(size, size) bool, or (height, width) for a pair. Holes of any share, of next to nothing too: `hole_between`.

    Raises:
        InputError: no such table, or its boxes have no room in the mask.
    """
    table = _find(LAMA_TABLES, table_name, "LaMa mask table")
    shape = (size, size) if isinstance(size, int) else size
    least = max(table.sides[0] + 2 * table.margin, 1)
    if min(shape) < least:
        raise InputError(f"mask size: expected at least {least} px for {table_name}, got {min(shape)}")
    weights = np.array([1.0, table.box_weight])
    if random.choice(2, p=weights / weights.sum()) == 0:
        return _lama_strokes(table, shape, random)
    return _lama_boxes(table, shape, random)


def _lama_strokes(table: LamaTable, shape: tuple[int, int], random: RandomState) -> Mask:
    import cv2

    rows, columns = shape
    canvas = np.zeros(shape, np.uint8)
    least, most = table.strokes
    for stroke in range(random.randint(least, most + 2)):
        x, y = random.randint(columns), random.randint(rows)
        for _ in range(1 + random.randint(5)):
            angle = 0.01 + random.randint(table.angles)
            if stroke % 2 == 0:
                angle = 2 * 3.1415926 - angle  # pi as published: its digits decide where a line ends
            length, width = 10 + random.randint(table.length), 5 + random.randint(table.width)
            x2 = min(max(int(x + length * math.sin(angle)), 0), columns)
            y2 = min(max(int(y + length * math.cos(angle)), 0), rows)
            cv2.line(canvas, (x, y), (x2, y2), 1, width)
            x, y = x2, y2
    return canvas > 0


def _lama_boxes(table: LamaTable, shape: tuple[int, int], random: RandomState) -> Mask:
    mask = np.zeros(shape, bool)
    down, across = shape[0] - table.margin, shape[1] - table.margin
    shortest, longest = table.sides[0], min(table.sides[1], min(shape) - 2 * table.margin)
    for _ in range(random.randint(table.boxes[0], table.boxes[1] + 1)):
        width, height = random.randint(shortest, longest + 1), random.randint(shortest, longest + 1)
        x = random.randint(table.margin, across - width + 1)
        y = random.randint(table.margin, down - height + 1)
        mask[y : y + height, x : x + width] = True
    return mask


def free_form_mask(
    table_name: str, size: int, random: RandomState, low: float = 0.0, high: float = 1.0
) -> Mask:
    """(size, size) bool, its hole's share between `low` and `high`.

    As published, less is drawn for a range that adds up to less than 1: in proportion, down to nothing.

    Raises:
        InputError: no such table, a side below 2 px, or no mask fell into the range.
    """
    table = _find(FREE_FORM_TABLES, table_name, "free-form mask table")
    if size < 2:
        raise InputError(f"mask size: expected at least 2 px for {table_name}, got {size}")
    scale = min(low + high, 1)

    def fewer_than(most: int) -> int:
        return int(random.randint(max(int(most * scale), 1)))  # the published code fails below 1

    def draw() -> Mask:
        mask = np.zeros((size, size), bool)
        for most, longest in ((table.half_rectangles, size // 2), (table.rectangles, size)):
            for _ in range(fewer_than(most)):
                width, height = random.randint(longest), random.randint(longest)
                x = random.randint(-(width // 2), size - width + width // 2)
                y = random.randint(-(height // 2), size - height + height // 2)
                mask[max(y, 0) : y + height, max(x, 0) : x + width] = True
        return mask | _brush(fewer_than(table.strokes), size, random)

    return hole_between(draw, low, high)


def _brush(strokes: int, size: int, random: RandomState) -> Mask:
    """Polylines that turn by about 72 degrees, to one side and the other, with discs at their corners."""
    image = Image.new("L", (size, size))
    draw = ImageDraw.Draw(image)
    step = math.sqrt(2) * size / 8
    for _ in range(strokes):
        corners = random.randint(4, 18)
        least = 2 * math.pi / 5 - random.uniform(0, 2 * math.pi / 15)
        most = 2 * math.pi / 5 + random.uniform(0, 2 * math.pi / 15)
        angles = [random.uniform(least, most) for _ in range(corners)]
        points = [(random.randint(size), random.randint(size))]
        for i, angle in enumerate(angles):
            turned = 2 * math.pi - angle if i % 2 == 0 else angle
            length = min(max(random.normal(step, step // 2), 0), 2 * step)
            x = min(max(points[-1][0] + length * math.cos(turned), 0), size)
            y = min(max(points[-1][1] + length * math.sin(turned), 0), size)
            points.append((int(x), int(y)))
        width = int(random.uniform(12, 48))
        draw.line(points, fill=1, width=width)
        for x, y in points:
            draw.ellipse((x - width // 2, y - width // 2, x + width // 2, y + width // 2), fill=1)
        random.random_sample(2)  # for flips that the published code makes without effect
    mask = np.asarray(image) > 0
    for axis in (0, 1):
        if random.random_sample() > 0.5:
            mask = np.flip(mask, axis)
    return mask


def _find(tables: Mapping[str, Table], name: str, what: str) -> Table:
    if name in tables:
        return tables[name]
    near = difflib.get_close_matches(name, tables, n=1)
    hint = f"did you mean {near[0]}? Known are " if near else "known are "
    raise InputError(f"no {what} named {name!r}: {hint}{', '.join(tables)}")
