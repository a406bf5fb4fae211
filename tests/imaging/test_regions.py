"""Boxes, connected pieces, and the plan of what is filled where."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_files import random_mask
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from skimage.measure import label, regionprops

from moebius.imaging import Box, bounding_box, connected_boxes, plan_regions
from moebius.imaging.arrays import Mask
from moebius.imaging.components import _join

SIDES = st.integers(1, 60)
SQUARE = [(512, 512)]
masks = st.builds(
    random_mask, st.integers(0, 2**32), st.sampled_from([0.0, 0.02, 0.2, 0.45, 0.7, 1.0]), SIDES, SIDES
)
PLACES, LENGTHS = st.integers(-20, 20), st.integers(0, 20)
boxes = st.builds(
    lambda x, y, width, height: Box(x, y, x + width, y + height), PLACES, PLACES, LENGTHS, LENGTHS
)


def pixels(box: Box) -> set[tuple[int, int]]:
    return {(x, y) for x in range(box.left, box.right) for y in range(box.top, box.bottom)}


@given(boxes, boxes)
@settings(deadline=None, max_examples=100)
def test_boxes_are_sets_of_pixels(one: Box, other: Box) -> None:
    assert len(pixels(one)) == one.width * one.height
    assert one.intersects(other) == bool(pixels(one) & pixels(other))
    assert pixels(one) | pixels(other) <= pixels(one.union(other))
    assert one.union(other).contains(one)
    assert pixels(one.clip(12, 9)) == {(x, y) for x, y in pixels(one) if 0 <= x < 12 and 0 <= y < 9}
    assert one.expand(3).expand(-3) == one
    assert pixels(one.shift(2, -3)) == {(x + 2, y - 3) for x, y in pixels(one)}
    if one.contains(other):
        assert pixels(other) <= pixels(one)


def test_box_basics() -> None:
    box = Box(2, 1, 5, 3)
    assert (box.width, box.height, box.slices) == (3, 2, (slice(1, 3), slice(2, 5)))
    assert len({box, Box(2, 1, 5, 3)}) == 1
    with pytest.raises(ValueError, match="left <= right"):
        Box(3, 0, 2, 1)


@given(masks)
@settings(deadline=None, max_examples=100)
def test_bounding_box(mask: Mask) -> None:
    rows, columns = np.nonzero(mask)
    expected = Box(columns.min(), rows.min(), columns.max() + 1, rows.max() + 1) if len(rows) else None
    assert bounding_box(mask) == expected


def oracle(mask: Mask) -> list[Box]:
    found = (region.bbox for region in regionprops(label(mask, connectivity=2)))
    return [Box(left, top, right, bottom) for top, left, bottom, right in sorted(found)]


@given(masks)
@settings(deadline=None, max_examples=150)
def test_components_agree_with_skimage(mask: Mask) -> None:
    assert connected_boxes(mask) == oracle(mask)


@given(st.integers(1, 40), st.lists(st.tuples(st.integers(0, 39), st.integers(0, 39)), max_size=60))
@settings(deadline=None, max_examples=300)
def test_union_find_agrees_with_scipy(count: int, pairs: list[tuple[int, int]]) -> None:
    a, b = (np.array([pair[side] % count for pair in pairs], dtype=np.int64) for side in (0, 1))
    graph = coo_array((np.ones(len(pairs)), (a, b)), shape=(count, count))
    _, labels = connected_components(graph, directed=False)
    smallest = [int(np.flatnonzero(labels == each)[0]) for each in labels]
    assert _join(count, a, b).tolist() == smallest


def spiral(size: int) -> Mask:
    """One piece that winds inwards: the worst case for joining runs."""
    mask = np.zeros((size, size), dtype=bool)
    y = x = 0
    dy, dx, length = 0, 1, size - 1
    mask[0, 0] = True
    while length > 0:
        for _ in range(2):
            for _ in range(length):
                y, x = y + dy, x + dx
                mask[y, x] = True
            dy, dx = dx, -dy
        length -= 2
    return mask


@pytest.mark.parametrize("turned", [lambda mask: mask, np.flipud, np.fliplr, np.transpose])
def test_components_that_wind(turned: Callable[[Mask], Mask]) -> None:
    comb = np.zeros((61, 60), dtype=bool)
    comb[:, ::2] = True
    for mask in (spiral(61), comb, comb | (np.arange(61) == 60)[:, None], np.eye(50, dtype=bool)):
        assert connected_boxes(turned(mask)) == oracle(turned(mask))


def test_components_of_twelve_megapixels() -> None:
    y, x = np.ogrid[:3000, :4000]
    mask = ((x // 50 + y // 50) % 3 == 0) & ((x * x + y * y) % 7 < 5)
    assert connected_boxes(mask) == oracle(mask)


def shapes_of(size: int) -> list[tuple[int, int]]:
    """A model's shapes: the square, three quarters and half of it, lying and standing."""
    parts = sorted({max(1, size * 3 // 4), max(1, size // 2)})
    return [(size, size), *((part, size) for part in parts), *((size, part) for part in parts)]


def check_plan(mask: Mask, shapes: Sequence[tuple[int, int]], context: float) -> None:
    height, width = mask.shape
    photo = Box(0, 0, width, height)
    model_size = shapes[0][0]
    regions = plan_regions(mask, shapes=shapes, context=context)
    owners = np.zeros(mask.shape, dtype=int)
    for region in regions:
        owners[region.hole.slices] += 1
        assert bounding_box(mask[region.hole.slices]) == Box(0, 0, region.hole.width, region.hole.height)
        assert photo.contains(region.box)
        assert region.box.contains(region.hole)
        longer = max(region.hole.width, region.hole.height)
        side = max(model_size, context * longer)
        margins = side - longer
        wanted = (region.hole.height + margins, region.hole.width + margins)
        got, limits = (region.box.height, region.box.width), (height, width)
        for size, least, limit in zip(got, wanted, limits, strict=True):
            assert size == limit or math.floor(least) <= size <= math.ceil(side)
        assert region.shape in shapes and region.masked == mask[region.hole.slices].sum()
        # No shape may cost detail that the square would have kept, and none of less area does as well.
        square = max(got) / model_size
        assert region.scale <= square + 1 / min(region.shape) + 1e-9
        if got == tuple(math.ceil(each * side / model_size) for each in region.shape):
            for shape in shapes:
                holds = all(
                    each * side / model_size >= least for each, least in zip(shape, wanted, strict=True)
                )
                assert not holds or shape[0] * shape[1] >= region.shape[0] * region.shape[1]
        for other in regions:
            assert other is region or not region.box.intersects(other.hole)
        for before, after, hole_before, hole_after, limit in (
            (region.box.left, region.box.right, region.hole.left, region.hole.right, width),
            (region.box.top, region.box.bottom, region.hole.top, region.hole.bottom, height),
        ):
            off_centre = (hole_before - before) - (after - hole_after)
            assert abs(off_centre) <= 1 or before == 0 or after == limit
    assert (owners[mask] == 1).all()
    assert [region.index for region in regions] == list(range(len(regions)))
    assert regions == sorted(regions, key=lambda region: (region.hole.top, region.hole.left))
    assert regions == plan_regions(mask.copy(), shapes=shapes, context=context)


@given(masks, st.integers(1, 40), st.sampled_from([1.0, 1.25, 2.0, 3.5]))
@settings(deadline=None, max_examples=100)
def test_plan_of_noise(mask: Mask, model_size: int, context: float) -> None:
    check_plan(mask, [(model_size, model_size)], context)
    check_plan(mask, shapes_of(model_size), context)


@given(
    st.integers(50, 400), st.integers(50, 400), st.integers(8, 64), st.sampled_from([1.25, 2.0, 8.0]),
    st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1), st.integers(1, 30), st.integers(1, 30)), max_size=8),
)  # fmt: skip
@settings(deadline=None, max_examples=150)
def test_plan_of_objects(
    height: int, width: int, model_size: int, context: float, objects: list[tuple[float, float, int, int]]
) -> None:
    mask = np.zeros((height, width), dtype=bool)
    for y, x, h, w in objects:
        top, left = int(y * (height - 1)), int(x * (width - 1))
        mask[top : top + h, left : left + w] = True
    check_plan(mask, [(model_size, model_size)], context)
    check_plan(mask, shapes_of(model_size), context)


def test_plan_by_hand() -> None:
    mask = np.zeros((3000, 4000), dtype=bool)
    assert plan_regions(mask, shapes=SQUARE, context=2) == []
    mask[1000:1100, 2000:2050] = True
    (region,) = plan_regions(mask, shapes=SQUARE, context=2)
    assert (region.box, region.hole) == (Box(1769, 794, 2281, 1306), Box(2000, 1000, 2050, 1100))
    mask[10:810, 3900:4000] = True  # tall, at the right border: its crop is 1600 px wide and moved inwards
    first, second = plan_regions(mask, shapes=SQUARE, context=2)
    assert (first.box, first.hole) == (Box(2400, 0, 4000, 1600), Box(3900, 10, 4000, 810))
    assert second == replace(region, index=1)
    mask[1050:1060, 2300:2310] = True  # outside the crop of the first hole, but with it inside its own
    merged = plan_regions(mask, shapes=SQUARE, context=2)
    assert [each.hole for each in merged] == [Box(3900, 10, 4000, 810), Box(2000, 1000, 2310, 1100)]


def test_context_is_not_lost_to_rounding() -> None:
    mask = np.zeros((100, 100), dtype=bool)
    mask[20:70, 20:70] = True
    (region,) = plan_regions(mask, shapes=[(1, 1)], context=1.1)
    assert region.box.width == 55, "1.1 * 50 is a little more than 55 in floats"


def test_long_holes_take_a_shape_of_their_own() -> None:
    mask = np.zeros((2000, 3000), dtype=bool)
    mask[900:960, 1000:1600] = True  # 600 x 60: with margins of 300 px, 1200 x 660
    (region,) = plan_regions(mask, shapes=shapes_of(512), context=2)
    assert region.shape == (384, 512)  # half the square's height would leave no room: 600 px
    assert (region.box.width, region.box.height) == (1200, 900)
    assert region.scale == pytest.approx(1200 / 512)
    (square,) = plan_regions(mask, shapes=SQUARE, context=2)
    assert (square.box.width, square.box.height) == (1200, 1200) and square.scale == region.scale
    assert not square.sparse
    (turned,) = plan_regions(mask.T, shapes=shapes_of(512), context=2)
    assert turned.shape == (512, 384)


def test_a_small_photo_takes_the_shape_that_fits_it() -> None:
    mask = np.zeros((300, 600), dtype=bool)
    mask[100:200, 200:400] = True
    (region,) = plan_regions(mask, shapes=shapes_of(512), context=2)
    assert region.box.height == 300 and region.shape == (384, 512)


def test_sparse_holes_are_told_apart() -> None:
    mask = np.eye(400, dtype=bool)
    assert plan_regions(mask, shapes=SQUARE, context=2)[0].sparse
    mask[:] = True
    assert not plan_regions(mask, shapes=SQUARE, context=2)[0].sparse


def test_the_whole_photo_as_one_region() -> None:
    mask = np.zeros((300, 400), dtype=bool)
    assert plan_regions(mask, shapes=SQUARE, context=2, whole=True) == []
    mask[10, 10] = mask[290, 390] = True
    (region,) = plan_regions(mask, shapes=SQUARE, context=2, whole=True)
    assert (region.box, region.hole) == (Box(0, 0, 400, 300), Box(10, 10, 391, 291))


@pytest.mark.parametrize(
    ("shapes", "context", "message"),
    [
        ([(0, 0)], 2.0, "a square that holds the others"),
        ([], 2.0, "a square that holds the others"),
        ([(64, 32)], 2.0, "a square that holds the others"),
        ([(64, 64), (32, 65)], 2.0, "a square that holds the others"),
        (SQUARE, 0.9, "context >= 1"),
        (SQUARE, float("nan"), "context >= 1"),
    ],
)
def test_arguments_out_of_range(shapes: list[tuple[int, int]], context: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        plan_regions(np.ones((4, 4), bool), shapes=shapes, context=context)
