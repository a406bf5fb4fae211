"""Distances of sets against closed forms and other implementations, and their intervals against many sets."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterator

import numpy as np
import pytest
import scipy.linalg
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from moebius.evaluation.distances import (
    BLOCKS,
    PairedFrechet,
    PairedKid,
    frechet,
    jackknife_blocks,
    jackknife_estimate,
    jackknife_interval,
    kid,
    separability,
)

Floats = NDArray[np.float64]


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Small matrices are not worth two, and on a busy machine two wait for each other."""
    with threadpool_limits(1):
        yield


def normal(seed: int, rows: int, width: int) -> Floats:
    """Features with the decaying spectrum that real ones have, and a mean."""
    spectrum = 1 / np.sqrt(1 + np.arange(width))
    return np.random.default_rng(seed).standard_normal((rows, width)) * spectrum + 0.5


def degraded(features: Floats, seed: int, strength: float = 0.4) -> Floats:
    """The same pictures, worse: pulled together, shifted, with something of their own."""
    return (1 - 0.4 * strength) * features + strength * normal(seed, *features.shape)


def by_roots(a: Floats, b: Floats) -> float:
    """Equation 6 of Heusel et al. with scipy's matrix root."""
    first, second = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    root = scipy.linalg.sqrtm(first @ second).real
    return float(np.square(a.mean(0) - b.mean(0)).sum() + np.trace(first + second - 2 * root))


@pytest.mark.parametrize(("n", "m", "width"), [(80, 90, 12), (40, 300, 30), (31, 31, 30)])
def test_frechet_agrees_with_the_matrix_root(n: int, m: int, width: int) -> None:
    a, b = normal(0, n, width), 1.3 * normal(1, m, width) + 0.1
    assert frechet(a, b) == pytest.approx(by_roots(a, b), rel=1e-8)
    assert frechet(b, a) == pytest.approx(frechet(a, b), rel=1e-12)


@pytest.mark.parametrize(("n", "m"), [(20, 25), (20, 60), (60, 20)])
def test_frechet_with_fewer_pictures_than_features(n: int, m: int) -> None:
    """The eigenvalues of a product of positive matrices are real and positive, of whatever rank."""
    a, b = normal(0, n, 40), 1.3 * normal(1, m, 40)
    first, second = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    root = np.sqrt(np.linalg.eigvals(first @ second).real.clip(min=0)).sum()
    expected = np.square(a.mean(0) - b.mean(0)).sum() + np.trace(first) + np.trace(second) - 2 * root
    assert frechet(a, b) == pytest.approx(expected, rel=1e-5)  # eigenvalues near 0 cost digits, not ours


def test_frechet_of_diagonal_normals_is_the_closed_form() -> None:
    """Whitened samples, scaled: covariances are diag(s^2) and diag(t^2), and the distance is |u-v|^2 + |s-t|^2."""
    random = np.random.default_rng(0)
    raw = random.standard_normal((500, 8))
    raw -= raw.mean(0)
    white = raw @ np.linalg.inv(np.linalg.cholesky(np.cov(raw, rowvar=False)).T)
    s, t, u, v = random.uniform(0.5, 2, (4, 8))
    expected = np.square(u - v).sum() + np.square(s - t).sum()
    assert frechet(white * s + u, white[::-1] * t + v) == pytest.approx(expected, rel=1e-10)


def test_frechet_of_one_feature() -> None:
    a, b = normal(0, 7, 1), 3 * normal(1, 9, 1)
    expected = (a.mean() - b.mean()) ** 2 + (a.std(ddof=1) - b.std(ddof=1)) ** 2
    assert frechet(a, b) == pytest.approx(float(expected), rel=1e-10)


@pytest.mark.parametrize("width", [5, 100])
def test_frechet_of_equal_and_of_shifted_sets(width: int) -> None:
    a = normal(0, 30, width)
    shuffled = a[np.random.default_rng(1).permutation(30)]
    assert frechet(a, shuffled) == pytest.approx(0, abs=1e-10)
    assert frechet(a, a) >= 0
    assert frechet(a, a + 0.25) == pytest.approx(width * 0.25**2, rel=1e-9)
    assert frechet(a.astype(np.float32), a.astype(np.float32)) == pytest.approx(0, abs=1e-10)


@pytest.mark.parametrize("width", [6, 64])
def test_paired_frechet_is_frechet_of_the_same_rows(width: int) -> None:
    a = normal(0, 24, width) + 20  # far from the origin, where raw products would lose digits
    b = degraded(a, 1)
    paired = PairedFrechet(a, b)
    random = np.random.default_rng(2)
    indices = [np.arange(24), np.arange(0, 24, 2), random.permutation(24)[:9], random.integers(0, 24, 24)]
    for index in indices:
        assert paired.value(index) == pytest.approx(frechet(a[index], b[index]), rel=1e-9)
    assert paired.value() == paired.value(np.arange(24))
    assert PairedFrechet(a, a).value() == pytest.approx(0, abs=1e-9)
    with pytest.raises(ValueError, match="at least 2 rows, got 1"):
        paired.value(np.array([3]))


def by_double_loop(a: Floats, b: Floats) -> float:
    """Bińkowski et al., equation 4, one pair of pictures at a time."""

    def kernel(x: Floats, y: Floats) -> float:
        return float((x @ y / len(x) + 1) ** 3)

    within = sum(
        sum(kernel(x, y) for x, y in itertools.permutations(s, 2)) / len(s) / (len(s) - 1) for s in (a, b)
    )
    return within - 2 * sum(kernel(x, y) for x in a for y in b) / len(a) / len(b)


def test_kid_pair_by_pair() -> None:
    a, b = normal(0, 9, 5), normal(1, 12, 5) + 0.3
    assert kid(a, b) == pytest.approx(by_double_loop(a, b), rel=1e-10)
    i, j = np.array([0, 3, 4, 8]), np.array([1, 1, 2, 7, 11])
    assert PairedKid(a, b).value(i, j) == pytest.approx(kid(a[i], b[j]), rel=1e-10)
    assert PairedKid(a, b).value() == pytest.approx(kid(a, b), rel=1e-12)
    with pytest.raises(ValueError, match="got 1 and 5"):
        PairedKid(a, b).value(i[:1], j)


def test_kid_is_unbiased() -> None:
    """Its mean over pairs of sets from one source is 0, where the Fréchet distance of the same sets is not."""
    kids, frechets = [], []
    for seed in range(300):
        a, b = normal(2 * seed, 12, 16), normal(2 * seed + 1, 12, 16)
        kids.append(kid(a, b))
        frechets.append(frechet(a, b))
    error = np.std(kids) / np.sqrt(len(kids))
    assert abs(np.mean(kids)) < 3 * error
    assert np.mean(frechets) > 30 * np.std(frechets) / np.sqrt(len(frechets))


def test_kid_of_pairs_compares_nothing_with_its_own_photo() -> None:
    a = normal(0, 8, 5)
    b = degraded(a, 1)
    photos = ["p", "p", "q", "r", "r", "r", "s", "t"]
    index = np.array([7, 0, 1, 2, 4, 5])
    of = [photos[row] for row in index]
    total, count = 0.0, 0
    for (i, p), (j, q) in itertools.product(zip(index, of, strict=True), repeat=2):
        if p != q:
            total += (a[i] @ a[j] / 5 + 1) ** 3 + (b[i] @ b[j] / 5 + 1) ** 3 - 2 * (a[i] @ b[j] / 5 + 1) ** 3
            count += 1
    assert PairedKid(a, b).apart(index, of) == pytest.approx(total / count, rel=1e-10)
    assert PairedKid(a, a).apart(index, of) == pytest.approx(0, abs=1e-12)
    with pytest.raises(ValueError, match="photos"):
        PairedKid(a, b).apart(index, ["p"] * 6)


def test_kid_of_pairs_is_the_kid_of_sets_without_a_pair() -> None:
    """On average; without leaving the own photo out it is not."""
    apart, plain, strangers = [], [], []
    for seed in range(200):
        a = normal(2 * seed, 14, 12)
        b = degraded(a, 2 * seed + 1, 0.6)
        other = degraded(normal(100_000 + seed, 14, 12), 200_000 + seed, 0.6)
        apart.append(PairedKid(a, b).apart(np.arange(14), list(range(14))))
        plain.append(kid(a, b))
        strangers.append(kid(a, other))
    error = np.hypot(np.std(apart), np.std(strangers)) / np.sqrt(200)
    assert abs(np.mean(apart) - np.mean(strangers)) < 3 * error
    assert abs(np.mean(plain) - np.mean(strangers)) > 5 * error


def test_separability_of_sets_that_can_be_told_apart() -> None:
    real = normal(0, 40, 6)
    fake = real.copy()
    fake[:, 2] += 50
    assert separability(real, fake) == (0.0, 0.0)


def test_separability_of_sets_that_cannot() -> None:
    real = normal(0, 40, 6)
    assert separability(real, real) == (0.5, 0.0)  # nothing is more real than itself
    unpaired, paired = separability(normal(1, 3000, 4), normal(2, 3000, 4))
    assert unpaired == pytest.approx(0.5, abs=0.03)
    assert paired == pytest.approx(0.5, abs=0.05)


def test_separability_in_one_dimension() -> None:
    """The classifier is a threshold, so both shares can be counted off."""
    real, fake = np.array([[1.0], [2], [3], [4], [-9]]), np.array([[-1.0], [-2], [5], [-4], [-3]])
    assert separability(real, fake) == (0.2, 0.4)  # 5 and -9 are on the wrong side; 5 > 3 and -3 > -9


def test_separability_with_few_pictures_is_0_whatever_the_quality() -> None:
    assert separability(normal(0, 20, 200), normal(1, 20, 200)) == (0.0, 0.0)


def test_separability_that_does_not_converge_is_told_not_raised(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sklearn.svm

    hasty = sklearn.svm.LinearSVC(dual=False, max_iter=1)
    monkeypatch.setattr(sklearn.svm, "LinearSVC", lambda dual: hasty)
    with caplog.at_level(logging.WARNING):
        separability(normal(0, 60, 20), normal(1, 60, 20))
    assert "did not converge on 60 pairs" in caplog.text


@pytest.mark.parametrize("distance", [frechet, kid, separability, PairedFrechet, PairedKid])
def test_features_that_cannot_be_compared(distance) -> None:  # type: ignore[no-untyped-def]
    good = normal(0, 5, 4)
    for bad in (good[:1], good[:, :3], good[0], np.full((5, 4), np.nan), np.full((5, 4), np.inf)):
        with pytest.raises(ValueError, match="features: expected"):
            distance(good, bad)
    if distance in (separability, PairedFrechet):
        with pytest.raises(ValueError, match="pairs, got 5 and 4"):
            distance(good, good[:4])


def test_blocks_keep_photos_together_and_hold_each_row_once() -> None:
    photos = [f"photo{row // 3}" for row in range(300)]
    blocks = jackknife_blocks(photos)
    assert len(blocks) == BLOCKS
    assert sorted(np.concatenate(blocks).tolist()) == list(range(300))
    assert {len(block) for block in blocks} == {12}
    owners = [{photos[row] for row in block} for block in blocks]
    assert len(set().union(*owners)) == sum(map(len, owners)) == 100
    assert [block.tolist() for block in jackknife_blocks(photos)] == [block.tolist() for block in blocks]
    steps = [np.unique(np.diff(sorted(int(photo[5:]) for photo in owner))) for owner in owners]
    assert all(len(step) > 1 for step in steps)  # shuffled, not dealt in turn: photos come in an order
    assert len(jackknife_blocks(["a", "b", "a", "c"])) == 3  # no more blocks than photos
    for few in (["a", "a"], []):
        with pytest.raises(ValueError, match="2 photos"):
            jackknife_blocks(few)
    with pytest.raises(ValueError, match="2 blocks"):
        jackknife_blocks(photos, 1)


def test_leaving_single_rows_out_gives_the_means_own_standard_error() -> None:
    """Of a mean the jackknife is exact: s / sqrt(n)."""
    values = np.random.default_rng(0).gamma(2, size=30)
    groups = [np.array([row]) for row in range(30)]
    estimate, low, high = jackknife_interval(lambda index: float(values[index].mean()), groups, 30, 30)
    assert estimate == pytest.approx(values.mean(), rel=1e-12)
    assert (high - low) / 2 == pytest.approx(1.959964 * values.std(ddof=1) / np.sqrt(30), rel=1e-9)
    assert (high + low) / 2 == pytest.approx(estimate, rel=1e-12)


def test_the_interval_from_its_formula() -> None:
    without = np.array([1.0, 2.0, 4.0])
    error = np.sqrt(2 / 3 * ((1 - 7 / 3) ** 2 + (2 - 7 / 3) ** 2 + (4 - 7 / 3) ** 2))
    assert jackknife_estimate(2.5, without) == pytest.approx(
        (2.5, 2.5 - 1.959964 * error, 2.5 + 1.959964 * error)
    )


def test_groups_that_do_not_hold_every_row_once() -> None:
    for groups in ([np.array([0, 1]), np.array([1, 2])], [np.array([0]), np.array([1])], []):
        with pytest.raises(ValueError, match="each of 3 rows once"):
            jackknife_interval(lambda index: 0.0, groups, 3)


@pytest.mark.parametrize(("rows", "width", "sets"), [(60, 256, 100), (90, 64, 100), (150, 128, 50)])
def test_the_interval_holds_the_mean_over_many_sets(rows: int, width: int, sets: int) -> None:
    """19 times of 20, about. Three rows a photo, much alike: were they taken for independent, less often."""
    photos = rows // 3
    together = [np.arange(3 * photo, 3 * photo + 3) for photo in range(photos)]
    singly = [np.array([row]) for row in range(rows)]
    random = np.random.default_rng(0)
    spectrum = 1 / np.sqrt(1 + np.arange(width))

    def draw() -> PairedFrechet:
        scene, loss = np.repeat(random.standard_normal((2, photos, width)) * spectrum, 3, axis=1)
        truth = scene + 0.5 * random.standard_normal((rows, width)) * spectrum
        noise = 0.2 * random.standard_normal((rows, width)) * spectrum
        return PairedFrechet(truth, 0.8 * truth + 0.3 * loss + noise + 0.05)

    mean = np.mean([draw().value() for _ in range(200)])
    held = {"together": 0, "singly": 0}
    for _ in range(sets):
        value = draw().value
        for how, groups in {"together": together, "singly": singly}.items():
            estimate, low, high = jackknife_interval(value, groups, rows)
            assert low < estimate < high
            held[how] += low <= mean <= high
    assert 0.88 <= held["together"] / sets <= 0.99
    assert held["singly"] < held["together"]


def test_resampling_with_replacement_makes_frechet_larger() -> None:
    """Why it is not the bootstrap: its resamples lie several standard errors above what they are to surround."""
    for width in (64, 256):
        a = normal(0, 100, width)
        paired = PairedFrechet(a, degraded(a, 1))
        estimate, low, high = jackknife_interval(paired.value, [np.array([row]) for row in range(100)], 100)
        random = np.random.default_rng(2)
        resampled = [paired.value(random.integers(0, 100, 100)) for _ in range(20)]
        assert np.mean(resampled) > estimate + (high - low) / 4
        assert np.mean(resampled) > high or width == 256
