"""Distances of sets for parts of the holes, and intervals that leave out photos, not holes."""

from __future__ import annotations

import numpy as np
import pytest

from moebius.evaluation import sets
from moebius.evaluation.distances import frechet, kid
from moebius.evaluation.rows import Row
from moebius.evaluation.sets import SetStatistics

FAMILIES = ("thin", "thick")


def made(
    photos: int, width: int = 12, seed: int = 0, shift: float = 0.5
) -> tuple[SetStatistics, list[Row], np.ndarray, np.ndarray]:
    """Truths of photos that have two holes each, and fills beside them."""
    random = np.random.default_rng(seed)
    keys = [(f"p{i}", family) for i in range(photos) for family in FAMILIES]
    truths = random.standard_normal((photos, 1, width)) + 0.3 * random.standard_normal((photos, 2, width))
    truths = truths.reshape(-1, width).astype(np.float32)
    fills = (truths + shift * random.standard_normal(truths.shape)).astype(np.float32)
    rows = [Row(photo, "all", "", family, 0.2, "m", {}) for photo, family in keys]
    return SetStatistics(keys, {"mobilenetv2": fills}, {"mobilenetv2": truths}), rows, fills, truths


def test_parts_are_the_distance_of_their_rows() -> None:
    statistics, rows, fills, truths = made(20)
    thin = [row for row in rows if row.family == "thin"]
    for part, chosen in ((rows, slice(None)), (thin, slice(0, None, 2))):
        found = statistics.estimates(part)["fd_mobilenetv2"]
        assert found.mean == pytest.approx(frechet(fills[chosen], truths[chosen]), rel=1e-5)
        assert found.low < found.mean < found.high


def test_perfect_fills_have_no_distance_and_worse_ones_more() -> None:
    means = [made(20, shift=shift)[0].estimates(made(20)[1]) for shift in (0.0, 0.3, 0.9)]
    for name in ("fd_mobilenetv2", "kid_mobilenetv2"):
        values = [mean[name].mean for mean in means]
        assert values[0] == pytest.approx(0, abs=1e-4) and values == sorted(values), name


def test_differences_of_two_methods() -> None:
    near, rows, *_ = made(30, shift=0.2)
    far, *_ = made(30, shift=0.8)
    found = near.differences(far, rows)["fd_mobilenetv2"]
    expected = near.estimates(rows)["fd_mobilenetv2"].mean - far.estimates(rows)["fd_mobilenetv2"].mean
    assert found.mean == pytest.approx(expected, abs=1e-5) and found.high < 0
    none = near.differences(near, rows)["fd_mobilenetv2"]
    assert (none.mean, none.low, none.high) == (0, 0, 0)


def test_few_photos_are_no_set() -> None:
    statistics, rows, *_ = made(sets.FEW - 1)
    assert statistics.estimates(rows) == {}
    assert set(made(sets.FEW)[0].estimates(made(sets.FEW)[1])) == {"fd_mobilenetv2", "kid_mobilenetv2"}


def test_large_sets_are_computed_without_all_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    small, rows, fills, truths = made(40)
    monkeypatch.setattr(sets, "MANY", 30)
    large, *_ = made(40)
    a, b = (each.estimates(rows)["fd_mobilenetv2"] for each in (small, large))
    assert (a.mean, a.low, a.high) == pytest.approx((b.mean, b.low, b.high), rel=1e-4, abs=1e-4)
    assert large.estimates(rows)["kid_mobilenetv2"].mean == pytest.approx(kid(fills, truths), abs=2)


def test_separability_needs_more_pictures_than_features() -> None:
    random = np.random.default_rng(0)
    truths = random.standard_normal((60, 4)).astype(np.float32)
    keys = [(f"p{i}", "all") for i in range(60)]
    rows = [Row(photo, "all", "", family, 0.2, "m", {}) for photo, family in keys]
    for shift, low, high in ((0.0, 0.2, 0.6), (9.0, 0.0, 0.01)):
        fills = truths[random.permutation(60)] + np.float32(shift)
        found = SetStatistics(keys, {"inception": fills}, {"inception": truths}).estimates(rows)
        assert low <= found["uids"].mean <= high
        assert found["uids"].low <= found["uids"].mean <= found["uids"].high
    few = SetStatistics(keys[:8], {"inception": truths[:8]}, {"inception": truths[:8]})
    assert "uids" not in few.estimates(rows[:8])
