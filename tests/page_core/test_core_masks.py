"""Growth, pieces, regions and the latent grid: exactly Python's, on hundreds of masks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from core_client import Call, Core, as_array, as_box, as_mask
from hypothesis import given, settings
from hypothesis import strategies as st

from moebius.imaging import connected_boxes, grow_objects, mask_to_latent, plan_regions, resize_mask
from moebius.imaging.arrays import Mask
from moebius.imaging.distance import distance_outside
from moebius.imaging.mask import default_growth
from moebius.weights.registry import find


def random_masks(count: int, largest: int, seed: int) -> list[Mask]:
    """Noise, boxes, lines and discs of all sizes, alone and together; an empty and a full one first."""
    random = np.random.default_rng(seed)
    masks = [np.zeros((7, 9), bool), np.ones((9, 7), bool), np.ones((1, 1), bool)]
    while len(masks) < count:
        height, width = random.integers(1, largest, 2)
        mask = np.zeros((height, width), bool)
        rows, columns = np.mgrid[0:height, 0:width]
        for _ in range(random.integers(1, 6)):
            y, x = random.integers(0, height), random.integers(0, width)
            kind = random.integers(0, 4)
            if kind == 0:
                mask[y : y + random.integers(1, height + 1), x : x + random.integers(1, width + 1)] = True
            elif kind == 1:
                radius = random.integers(0, 1 + max(height, width) // 6)
                mask |= (rows - y) ** 2 + (columns - x) ** 2 <= radius**2
            elif kind == 2:
                mask |= np.abs((rows - y) - random.normal() * (columns - x)) < 1
            else:
                mask |= random.random((height, width)) < 10 ** random.uniform(-4, -0.3)
        masks.append(mask)
    return masks


MASKS = random_masks(300, 160, seed=1)
LARGE = random_masks(20, 700, seed=2)


def test_growth_by_pixels(core: Core) -> None:
    growths = [0, 1, 2, 5, 13, 40]
    calls: list[Call] = [
        ("core/mask.js", "growObjects", [as_mask(mask), growths[index % len(growths)]])
        for index, mask in enumerate(MASKS)
    ]
    for index, (mask, grown) in enumerate(zip(MASKS, core.all(calls), strict=True)):
        assert np.array_equal(as_array(grown), grow_objects(mask, growths[index % len(growths)]))


def test_growth_scaled_to_objects(core: Core) -> None:
    masks = MASKS[:100] + LARGE
    for mask, grown in zip(
        masks, core.all([("core/mask.js", "growObjects", [as_mask(m), None]) for m in masks]), strict=True
    ):
        assert np.array_equal(as_array(grown), grow_objects(mask, None))


def test_growth_of_one_object(core: Core) -> None:
    sizes = [
        (w, h, min(w * h, area))
        for w in (1, 7, 180, 300, 2900)
        for h in (1, 60, 4000)
        for area in (1, 90, 10**7)
    ]
    found = core.all([("core/mask.js", "defaultGrowth", size) for size in sizes])
    assert found == [default_growth(*size) for size in sizes]


def test_growth_of_a_mask_shown_smaller(core: Core) -> None:
    """Shown at a quarter, a mask grows by a quarter of what it grows by in full."""
    small = np.zeros((90, 120), bool)
    small[30:60, 40:80] = True
    full = np.kron(small, np.ones((4, 4), bool))
    shown = as_array(core("core/mask.js", "growObjects", as_mask(small), None, 0.25))
    assert shown.sum() == pytest.approx(grow_objects(full, None).sum() / 16, rel=0.03)
    assert np.array_equal(
        as_array(core("core/mask.js", "growObjects", as_mask(small), 8, 0.25)), grow_objects(small, 2)
    )


def test_pieces(core: Core) -> None:
    for mask, boxes in zip(
        MASKS, core.all([("core/components.js", "connectedBoxes", [as_mask(m)]) for m in MASKS]), strict=True
    ):
        assert boxes == [as_box(box) for box in connected_boxes(mask)]


@pytest.mark.parametrize("side", [16, 64, 512])
def test_regions(core: Core, side: int) -> None:
    spec = find("nano")
    unit_shapes = spec.shapes(side)
    contexts = [2.0, 1.25, 1.3, 2.7, 3.0, 8.0]
    masks = MASKS[side % 3 :: 3] + LARGE[:4]
    calls: list[Call] = [
        (
            "core/regions.js",
            "planRegions",
            [as_mask(mask), [list(shape) for shape in unit_shapes], contexts[i % 6]],
        )
        for i, mask in enumerate(masks)
    ]
    for index, (mask, regions) in enumerate(zip(masks, core.all(calls), strict=True)):
        expected = plan_regions(mask, shapes=unit_shapes, context=contexts[index % 6])
        assert regions == [
            {
                "index": region.index, "box": as_box(region.box), "hole": as_box(region.hole),
                "shape": list(region.shape), "masked": region.masked,
            }
            for region in expected
        ]  # fmt: skip


def test_shapes(core: Core) -> None:
    spec = find("nano")
    model = {"latent_factor": 8, "aspects": list(spec.aspects)}
    for side in (32, 64, 256, 320, 512, 1024):
        assert core("core/regions.js", "modelShapes", model, side) == [
            list(shape) for shape in spec.shapes(side)
        ]


def test_distances(core: Core) -> None:
    masks = MASKS[:80]
    for mask, squared in zip(
        masks,
        core.all([("core/distance.js", "squaredDistances", [as_mask(m), 9]) for m in masks]),
        strict=True,
    ):
        expected = distance_outside(mask, 9)
        near = squared <= 81
        assert np.array_equal(near.reshape(mask.shape), np.isfinite(expected))
        assert np.array_equal(np.sqrt(squared[near].astype(np.float32)), expected.ravel()[near])


def test_other_sizes_and_the_latent_grid(core: Core) -> None:
    shapes = [(8, 8), (40, 16), (64, 64), (3, 200)]
    calls: list[Call] = [
        ("core/mask.js", "resizeMask", [as_mask(m), list(shapes[i % 4])]) for i, m in enumerate(MASKS)
    ]
    for index, (mask, resized) in enumerate(zip(MASKS, core.all(calls), strict=True)):
        assert np.array_equal(as_array(resized), resize_mask(mask, shapes[index % 4]))
    grids = [
        (np.random.default_rng(seed).random((24, 40)) < 0.05, mode)
        for seed in range(20)
        for mode in ("max", "nearest")
    ]
    calls = [("core/mask.js", "maskToLatent", [as_mask(mask), 8, mode]) for mask, mode in grids]
    for (mask, mode), cells in zip(grids, core.all(calls), strict=True):
        expected: Any = mask_to_latent(mask, 8, mode)  # type: ignore[arg-type]
        assert np.array_equal(cells, expected.ravel())


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=3, deadline=None, derandomize=True, database=None)
def test_more_regions(core: Core, seed: int) -> None:
    masks = random_masks(60, 300, seed)
    shapes = find("nano").shapes(64)
    calls: list[Call] = [
        ("core/regions.js", "planRegions", [as_mask(m), [list(s) for s in shapes], 1.5]) for m in masks
    ]
    for mask, regions in zip(masks, core.all(calls), strict=True):
        expected = plan_regions(mask, shapes=shapes, context=1.5)
        assert [(r["box"], r["hole"], r["shape"]) for r in regions] == [
            (as_box(r.box), as_box(r.hole), list(r.shape)) for r in expected
        ]
