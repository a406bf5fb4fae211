"""How sure a mean is: intervals from resampling whole photos, for one method and for the difference of two."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from moebius.evaluation.rows import Row

ALL = "all"
"""The family, and the group, of everything."""
RESAMPLES = 2000
COVERAGE = 0.95


@dataclass(frozen=True)
class Estimate:
    """A value and its 95 % interval."""

    mean: float
    low: float
    high: float


def bootstrap(values: NDArray[np.float64]) -> list[Estimate]:
    """Percentile bootstrap of the mean (Efron & Tibshirani, An Introduction to the Bootstrap, section 13.3).

    Args:
        values: (n, m), n independent observations of m quantities.

    Returns:
        m estimates, rounded to 6 digits after the point. The resamples depend on n alone, so methods that
        were measured on the same photos are drawn alike.
    """
    means = _counts(len(values)) @ values / len(values)  # (resamples, m)
    low, high = np.quantile(means, [(1 - COVERAGE) / 2, (1 + COVERAGE) / 2], axis=0)
    triples = np.stack([values.mean(axis=0), low, high], axis=1)
    return [Estimate(*(round(float(number), 6) for number in triple)) for triple in triples]


@lru_cache(maxsize=16)
def _counts(n: int) -> NDArray[np.int64]:
    counts: NDArray[np.int64] = np.random.default_rng(n).multinomial(n, np.full(n, 1 / n), size=RESAMPLES)
    return counts


def by_photo(rows: Sequence[Row], metric: str) -> dict[str, float]:
    """A metric's mean over the holes of each photo: holes of one photo are much alike, photos are independent."""
    holes: dict[str, list[float]] = {}
    for row in rows:
        if metric in row.metrics:
            holes.setdefault(row.photo, []).append(row.metrics[metric])
    return {photo: float(np.mean(numbers)) for photo, numbers in holes.items()}


def estimate(rows: Sequence[Row], metric: str) -> Estimate | None:
    """A metric's mean over photos; None where nothing was measured."""
    values = list(by_photo(rows, metric).values())
    return bootstrap(np.array(values)[:, None])[0] if values else None


def difference(rows: Sequence[Row], others: Sequence[Row], metric: str) -> Estimate | None:
    """Mean difference of a metric between two methods, over the photos on which both were measured.

    Pairs of photos are resampled, so what is hard for both methods does not widen the interval.
    """
    first, second = by_photo(rows, metric), by_photo(others, metric)
    values = [first[photo] - second[photo] for photo in first if photo in second]
    return bootstrap(np.array(values)[:, None])[0] if values else None
