"""Rectangles, polygons and circles drawn into a mask (H, W), True = fill.

Coordinates are continuous: pixel (column, row) covers column to column + 1 and row to row + 1; the photo reaches from
0 to its width and height. A pixel belongs to a shape when its centre does; of a centre on the very edge, only the left
and upper edges count. So shapes that share an edge neither overlap nor leave a gap.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence

import numpy as np

from moebius.errors import MaskError
from moebius.imaging.arrays import Mask
from moebius.imaging.box import Box

log = logging.getLogger(__name__)

MAX_COORDINATE = 1e7
"""Larger coordinates are refused: no photo is that wide, and squares of them stay exact in float64."""

Point = tuple[float, float]
"""(x, y)"""


def add_box(mask: Mask, text: str) -> None:
    """Draw the rectangle "x,y,w,h" into the mask, in place.

    Numbers are pixels of the upright photo, or with "%" per cent of its width (x and w) or height (y and h). What lies
    outside the photo is cut off, with a warning.

    Raises:
        MaskError: not four numbers, no width or height, wholly outside, or so thin that no pixel's centre is inside.
    """
    height, width = mask.shape
    x, y, w, h = _numbers("box", text, "four numbers x,y,w,h", (width, height, width, height), count=4)
    if w <= 0 or h <= 0:
        raise MaskError(f"box {text}: expected a width and height above 0, got {w:g} x {h:g}")
    _check_meets("box", text, (x, y, x + w, y + h), mask)
    if not fill_box(mask, (x, y), (x + w, y + h)):
        raise MaskError(f"box {text}: expected at least one pixel's centre inside, got none")


def add_circle(mask: Mask, text: str) -> None:
    """Draw the disk "x,y,r" into the mask, in place; numbers as in `add_box`, r in per cent of the width.

    Raises:
        MaskError: not three numbers, no radius, wholly outside, or so small that no pixel's centre is inside.
    """
    height, width = mask.shape
    x, y, radius = _numbers("circle", text, "three numbers x,y,r", (width, height, width), count=3)
    if radius <= 0:
        raise MaskError(f"circle {text}: expected a radius above 0, got {radius:g}")
    _check_meets("circle", text, (x - radius, y - radius, x + radius, y + radius), mask)
    if not fill_circle(mask, (x, y), radius):
        raise MaskError(f"circle {text}: expected at least one pixel's centre inside, got none")


def add_polygon(mask: Mask, text: str) -> None:
    """Draw the polygon "x1,y1,x2,y2,..." into the mask, in place; numbers as in `add_box`, even-odd as `fill_polygon`.

    Raises:
        MaskError: fewer than three points, an odd number of numbers, wholly outside, or so thin that no pixel's centre
            is inside.
    """
    height, width = mask.shape
    numbers = _numbers("polygon", text, "three or more points x1,y1,x2,y2,...", (width, height))
    if len(numbers) % 2 or len(numbers) < 6:
        raise MaskError(
            f"polygon: expected three or more points x1,y1,x2,y2,..., got {len(numbers)} numbers in {_short(text)!r}"
        )
    points = list(zip(numbers[::2], numbers[1::2], strict=True))
    _check_meets("polygon", text, _extent(points), mask)
    if not fill_polygon(mask, points):
        raise MaskError(f"polygon {_short(text)}: expected at least one pixel's centre inside, got none")


def fill_box(mask: Mask, first: Point, last: Point) -> bool:
    """Mask the rectangle between two opposite corners, in place; whether any pixel lies in it."""
    (x0, x1), (y0, y1) = sorted((first[0], last[0])), sorted((first[1], last[1]))
    box = Box(_first(x0), _first(y0), _first(x1), _first(y1)).clip(mask.shape[1], mask.shape[0])
    mask[box.slices] = True
    return box.width > 0 and box.height > 0


def fill_circle(mask: Mask, centre: Point, radius: float) -> bool:
    """Mask the pixels whose centres are at most `radius` from `centre`, in place; whether there are any."""
    (x, y), (height, width) = centre, mask.shape
    box = Box(
        math.floor(x - radius), math.floor(y - radius), math.ceil(x + radius), math.ceil(y + radius)
    ).clip(width, height)
    across = (np.arange(box.left, box.right) + 0.5 - x) ** 2
    down = (np.arange(box.top, box.bottom) + 0.5 - y) ** 2
    inside = across[None, :] + down[:, None] <= radius * radius
    mask[box.slices] |= inside
    return bool(inside.any())


def fill_polygon(mask: Mask, points: Sequence[Point]) -> bool:
    """Mask the inside of a closed polygon, in place, by the even-odd rule: what its outline encloses twice is outside.

    A row is toggled at the first pixel whose centre lies at or right of each edge it crosses, and the toggles add up
    along the row; so every pixel is exact, and pixels left or above of the photo need no care.

    Args:
        points: (x, y) of three or more corners; the last is joined to the first.

    Returns:
        Whether any pixel of the mask lies inside.
    """
    left, top, right, bottom = _extent(points)
    height, width = mask.shape
    box = Box(_first(left), _first(top), _first(right), _first(bottom)).clip(width, height)
    if not box.width or not box.height:
        return False
    toggles = np.zeros((box.height, box.width + 1), dtype=np.uint8)
    corners = np.array(points, dtype=np.float64)
    for (x0, y0), (x1, y1) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        if y0 > y1:  # always from above, so that a shared edge is cut at the very same places
            x0, y0, x1, y1 = x1, y1, x0, y0
        rows = np.arange(max(_first(y0), box.top), min(_first(y1), box.bottom))
        if not len(rows):
            continue
        crossings = x0 + (rows + 0.5 - y0) * ((x1 - x0) / (y1 - y0))
        columns = np.clip(np.ceil(crossings - 0.5) - box.left, 0, box.width).astype(np.intp)
        toggles[rows - box.top, columns] ^= 1
    np.bitwise_xor.accumulate(toggles, axis=1, out=toggles)
    inside = toggles[:, :-1].view(np.bool_)
    mask[box.slices] |= inside
    return bool(inside.any())


def draw_shapes(
    size: tuple[int, int],
    boxes: Sequence[str] = (),
    polygons: Sequence[str] = (),
    circles: Sequence[str] = (),
) -> Mask:
    """All shapes together: (H, W) for size = (width, height). Raises what `add_box` and the others raise."""
    mask = np.zeros((size[1], size[0]), dtype=bool)
    for add, texts in ((add_box, boxes), (add_polygon, polygons), (add_circle, circles)):
        for text in texts:
            add(mask, text)
    return mask


def _first(edge: float) -> int:
    """The first pixel whose centre lies at or beyond an edge."""
    return math.ceil(edge - 0.5)


def _numbers(
    noun: str, text: str, expected: str, sides: Sequence[int], count: int | None = None
) -> list[float]:
    """The numbers of a list "1,2.5,10%"; per cent are of `sides`, taken in turns."""
    parts = text.replace(";", ",").split(",")
    if count is not None and len(parts) != count:
        raise MaskError(f"{noun}: expected {expected}, got {len(parts)} in {_short(text)!r}")
    numbers = []
    for index, part in enumerate(parts):
        part = part.strip()
        try:
            number = float(part.removesuffix("%"))
        except ValueError as error:
            raise MaskError(
                f"{noun}: expected {expected}, got {_short(part)!r} in {_short(text)!r}"
            ) from error
        if part.endswith("%"):
            number *= sides[index % len(sides)] / 100
        if not abs(number) <= MAX_COORDINATE:  # also true for NaN
            raise MaskError(
                f"{noun}: expected numbers up to {MAX_COORDINATE:.0e}, got {part} in {_short(text)!r}"
            )
        numbers.append(number)
    return numbers


def _check_meets(noun: str, text: str, extent: tuple[float, float, float, float], mask: Mask) -> None:
    """Refuse a shape that lies wholly outside the photo; warn of one that lies partly outside."""
    left, top, right, bottom = extent
    height, width = mask.shape
    if right <= 0 or bottom <= 0 or left >= width or top >= height:
        raise MaskError(f"{noun} {_short(text)}: lies wholly outside the photo of {width} x {height}")
    if left < -0.5 or top < -0.5 or right > width + 0.5 or bottom > height + 0.5:
        log.warning(
            "%s %s: is cut off at the border of the photo of %d x %d", noun, _short(text), width, height
        )


def _extent(points: Sequence[Point]) -> tuple[float, float, float, float]:
    """left, top, right, bottom"""
    across, down = [x for x, _ in points], [y for _, y in points]
    return min(across), min(down), max(across), max(down)


def _short(text: str) -> str:
    return text if len(text) <= 60 else text[:57] + "..."
