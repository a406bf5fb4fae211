"""Distances and feathering against the exact Euclidean distance transform of SciPy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_files import random_mask
from scipy import ndimage

from moebius.imaging import distance_outside, feather_weight
from moebius.imaging.arrays import Mask
from moebius.imaging.distance import squared_distances

masks = st.builds(
    random_mask,
    st.integers(0, 2**32),
    st.sampled_from([0.0005, 0.01, 0.3, 1.0]),
    st.integers(1, 200),
    st.integers(1, 60),
)


def oracle(mask: Mask) -> np.ndarray:
    if not mask.any():
        return np.full(mask.shape, np.inf)
    return ndimage.distance_transform_edt(~mask)


@given(masks, st.one_of(st.integers(0, 100), st.floats(0, 100)))
@settings(deadline=None, max_examples=100)
def test_distance_is_exact_up_to_the_limit(mask: Mask, limit: float) -> None:
    expected = oracle(mask)
    distance = distance_outside(mask, limit)
    assert distance.dtype == np.float32
    near = expected**2 <= limit**2
    np.testing.assert_array_equal(distance[near], expected[near].astype(np.float32))
    assert np.isinf(distance[~near]).all()


def test_distance_at_the_largest_limit() -> None:
    """The squares do not overflow."""
    mask = np.zeros((2, 32_768), dtype=bool)
    mask[0, 0] = True
    distance = distance_outside(mask, 32_767)
    assert distance[0, -1] == 32_767
    assert np.isinf(distance[1, -1])
    assert np.isinf(distance_outside(mask[:, ::-1][:, :1], 32_767)).all()


@pytest.mark.parametrize("limit", [-1, 32_768, float("nan"), float("inf")])
def test_limits_out_of_range(limit: float) -> None:
    with pytest.raises(ValueError, match="expected 0 to 32767"):
        distance_outside(np.ones((2, 2), bool), limit)


def test_strips_cover_what_is_near_once() -> None:
    mask = np.zeros((500, 300), dtype=bool)
    mask[100:320, 50] = True
    covered = np.zeros(mask.shape, dtype=int)
    for box, squared in squared_distances(mask, 10):
        assert squared.shape == (box.height, box.width)
        covered[box.slices] += 1
    assert covered.max() == 1
    assert (covered[oracle(mask) <= 10] == 1).all()
    assert not covered[:, 61:].any(), "work is bounded by the mask's box and the limit"


@given(st.integers(0, 2**32), st.sampled_from([0.00002, 0.0005, 0.01]), st.integers(0, 40))
@settings(deadline=None, max_examples=25)
def test_parts_that_are_far_apart_do_not_overlap_and_leave_nothing_out(
    seed: int, density: float, reach: int
) -> None:
    mask = random_mask(seed, density, 250, 1500)
    near, covered = oracle(mask) ** 2 <= reach * reach, np.zeros(mask.shape, dtype=int)
    for box, squared in squared_distances(mask, reach):
        covered[box.slices] += 1
        np.testing.assert_array_equal(squared <= reach * reach, near[box.slices])
    assert covered.max() <= 1
    assert (covered[near] == 1).all()


def test_parts_do_not_overlap_at_a_long_reach() -> None:
    mask, covered = np.zeros((2, 2000), dtype=bool), np.zeros((2, 2000), dtype=int)
    mask[0, [500, 1200]] = True
    for box, _ in squared_distances(mask, 400):
        covered[box.slices] += 1
    assert covered.max() == 1 and covered[oracle(mask) <= 400].all()


def test_objects_far_apart_cost_what_they_cost_alone() -> None:
    mask = np.zeros((3000, 4000), dtype=bool)
    for y in (10, 2900):
        for x in (10, 3900):
            mask[y : y + 50, x : x + 50] = True
    worked_on = sum(box.width * box.height for box, _ in squared_distances(mask, 10))
    assert worked_on == 4 * 70 * 70


@given(masks, st.integers(0, 30))
@settings(deadline=None, max_examples=100)
def test_feather_is_outward_only_and_ends(mask: Mask, feather: int) -> None:
    distance, weight = oracle(mask), feather_weight(mask, feather)
    assert weight.dtype == np.float32
    assert (weight[mask] == 1).all()
    assert (weight[distance > feather] == 0).all()
    ramp = ~mask & (distance <= feather)
    assert ((weight[ramp] > 0) & (weight[ramp] < 1)).all()
    order = np.argsort(distance[ramp])
    assert (np.diff(weight[ramp][order]) <= 1e-6).all()


def test_feather_values() -> None:
    mask = np.zeros((1, 6), dtype=bool)
    mask[0, 0] = True
    np.testing.assert_array_equal(feather_weight(mask, 0), [[1, 0, 0, 0, 0, 0]])
    np.testing.assert_array_equal(feather_weight(mask, 1), [[1, 0.5, 0, 0, 0, 0]])
    np.testing.assert_allclose(feather_weight(mask, 3), [[1, 27 / 32, 0.5, 5 / 32, 0, 0]], atol=1e-7)
