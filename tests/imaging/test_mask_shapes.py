"""Shapes are right to the pixel: a pixel belongs to a shape when its centre does."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moebius.errors import MaskError
from moebius.imaging.arrays import Mask
from moebius.imaging.mask_shapes import (
    add_box,
    add_circle,
    add_polygon,
    draw_shapes,
    fill_circle,
    fill_polygon,
)

WIDTH, HEIGHT = 24, 18
# Quarters are exact in floats, and often meet pixel centres.
COORDINATE = st.integers(-20, 120).map(lambda quarters: quarters / 4)
POINTS = st.lists(st.tuples(COORDINATE, COORDINATE), min_size=3, max_size=8)


def empty() -> Mask:
    return np.zeros((HEIGHT, WIDTH), dtype=bool)


def is_inside(points: list[tuple[float, float]], x: float, y: float) -> bool:
    """Whether an odd number of edges is met on the way from far left to (x, y)."""
    inside = False
    for (x0, y0), (x1, y1) in zip(points, points[1:] + points[:1], strict=True):
        if (y0 <= y) != (y1 <= y) and x0 + (y - y0) * (x1 - x0) / (y1 - y0) <= x:
            inside = not inside
    return inside


def is_near_an_edge(points: list[tuple[float, float]], x: float, y: float) -> bool:
    for (x0, y0), (x1, y1) in zip(points, points[1:] + points[:1], strict=True):
        if y0 != y1 and abs(x0 + (y - y0) * (x1 - x0) / (y1 - y0) - x) < 1e-9:
            return True
    return False


@given(POINTS)
@settings(deadline=None, max_examples=150)
def test_polygons_are_even_odd_at_pixel_centres(points: list[tuple[float, float]]) -> None:
    mask = empty()
    assert fill_polygon(mask, points) == mask.any()
    for y in range(HEIGHT):
        for x in range(WIDTH):
            if not is_near_an_edge(points, x + 0.5, y + 0.5):  # rounding may decide otherwise there
                assert mask[y, x] == is_inside(points, x + 0.5, y + 0.5), (x, y)


@given(st.tuples(COORDINATE, COORDINATE), st.tuples(COORDINATE, COORDINATE))
@settings(deadline=None, max_examples=60)
def test_two_halves_of_the_photo_meet_without_gap_or_overlap(
    first: tuple[float, float], last: tuple[float, float]
) -> None:
    (x0, _), (x1, _) = first, last
    left, right = empty(), empty()
    cut_top, cut_bottom = (x0, -1.0), (x1, HEIGHT + 1.0)
    fill_polygon(left, [(-99, -1), cut_top, cut_bottom, (-99, HEIGHT + 1)])
    fill_polygon(right, [cut_top, (199, -1), (199, HEIGHT + 1), cut_bottom])
    np.testing.assert_array_equal(left, ~right)


def test_a_star_has_a_hollow() -> None:
    mask = np.zeros((101, 101), dtype=bool)
    corners = [
        (50 + 45 * math.sin(4 * math.pi * k / 5), 50 - 45 * math.cos(4 * math.pi * k / 5)) for k in range(5)
    ]
    assert fill_polygon(mask, corners)
    assert not mask[50, 50] and mask[15, 50]


@given(st.integers(-5, 25), st.integers(-5, 20), st.integers(1, 30), st.integers(1, 30))
@settings(deadline=None, max_examples=60)
def test_whole_boxes(x: int, y: int, width: int, height: int) -> None:
    expected = empty()
    expected[max(0, y) : max(0, y + height), max(0, x) : max(0, x + width)] = True
    mask = empty()
    if expected.any():
        add_box(mask, f"{x},{y},{width},{height}")
        by_corners = empty()
        fill_polygon(by_corners, [(x, y), (x + width, y), (x + width, y + height), (x, y + height)])
        np.testing.assert_array_equal(by_corners, expected)
    else:
        with pytest.raises(MaskError, match="wholly outside"):
            add_box(mask, f"{x},{y},{width},{height}")
    np.testing.assert_array_equal(mask, expected)


@given(COORDINATE, COORDINATE, st.integers(1, 60).map(lambda quarters: quarters / 4))
@settings(deadline=None, max_examples=60)
def test_circles(x: float, y: float, radius: float) -> None:
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    expected = (columns + 0.5 - x) ** 2 + (rows + 0.5 - y) ** 2 <= radius * radius
    mask = empty()
    assert fill_circle(mask, (x, y), radius) == expected.any()
    np.testing.assert_array_equal(mask, expected)


def test_per_cent() -> None:
    mask = np.zeros((100, 200), dtype=bool)
    add_box(mask, "10%, 20%, 30%, 5%")
    expected = np.zeros_like(mask)
    expected[20:25, 20:80] = True
    np.testing.assert_array_equal(mask, expected)
    mixed = np.zeros_like(mask)
    add_polygon(mixed, "10%,20,40%,20,40%,25,10%,25")
    np.testing.assert_array_equal(mixed, expected)


def test_shapes_together() -> None:
    mask = draw_shapes((40, 30), ["0,0,5,5"], ["20,0,30,0,30,10,20,10"], ["10,20,3"])
    assert (mask[2, 2], mask[5, 25], mask[20, 10], mask[20, 20]) == (True, True, True, False)
    assert mask.sum() == 25 + 100 + draw_shapes((40, 30), circles=["10,20,3"]).sum()


def test_what_is_outside_is_cut_off_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    mask = empty()
    add_box(mask, f"0,0,{WIDTH},{HEIGHT}")
    assert not caplog.text and mask.all()
    add_box(mask, "-3,-3,6,6")
    assert "box -3,-3,6,6: is cut off at the border of the photo of 24 x 18" in caplog.text


@pytest.mark.parametrize(
    ("add", "text", "message"),
    [
        (add_box, "1,2,3", "box: expected four numbers x,y,w,h, got 3 in '1,2,3'"),
        (add_box, "", "got 1 in ''"),
        (add_box, "1,2,3,4,5", "got 5"),
        (add_box, "1,2,3,x", "got 'x' in '1,2,3,x'"),
        (add_box, "1,2,3,%", "got '%'"),
        (add_box, "1,2,-3,4", "expected a width and height above 0, got -3 x 4"),
        (add_box, "1,2,0,4", "above 0, got 0 x 4"),
        (add_box, "24,0,5,5", "wholly outside the photo of 24 x 18"),
        (add_box, "-9,-9,5,5", "wholly outside"),
        (add_box, "3.1,3,0.2,5", "at least one pixel's centre inside, got none"),
        (add_box, "nan,0,5,5", "expected numbers up to 1e\\+07, got nan"),
        (add_box, "0,0,inf,5", "got inf"),
        (add_circle, "1,2", "three numbers x,y,r, got 2"),
        (add_circle, "1,2,0", "a radius above 0, got 0"),
        (add_circle, "-9,2,3", "wholly outside"),
        (add_circle, "3,3,0.1", "at least one pixel's centre"),
        (add_polygon, "1,2,3,4,5", "got 5 numbers"),
        (add_polygon, "1,2,3,4,5,6,7", "got 7 numbers"),
        (add_polygon, "1,2,3,4", "three or more points"),
        (add_polygon, "30,30,40,30,40,40", "wholly outside"),
        (add_polygon, "1,1,5,5,9,9", "at least one pixel's centre"),
    ],
)
def test_bad_shapes(add: Callable[[Mask, str], None], text: str, message: str) -> None:
    mask = empty()
    with pytest.raises(MaskError, match=message):
        add(mask, text)
    assert not mask.any()
