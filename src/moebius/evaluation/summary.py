"""From rows to statements: means and distances of sets with their intervals, and differences between methods."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from moebius.evaluation.metrics import METRICS
from moebius.evaluation.rows import Row
from moebius.evaluation.sets import SetStatistics
from moebius.evaluation.statistics import ALL, Estimate, difference, estimate


@dataclass(frozen=True)
class Cell:
    """One method on one part of the holes."""

    method: str
    family: str
    """A mask family, or "all"."""
    group: str
    """A group of photos, or "all"."""
    photos: int
    holes: int
    area: float
    """Median share of the picture that is hole."""
    metrics: dict[str, Estimate]


@dataclass(frozen=True)
class Difference:
    """A metric of one method minus the same of another, over the photos that both filled."""

    method: str
    against: str
    family: str
    metric: str
    mean: float
    low: float
    high: float


def summarise(rows: Sequence[Row], sets: Mapping[str, SetStatistics] | None = None) -> list[Cell]:
    """Means for every method, by mask family and group, and for all of each together.

    Args:
        rows: hole by hole, methods in one order.
        sets: by method: the distances of its whole set, for any part of the holes.

    Returns:
        Families and groups as they come, then "all"; within them the methods as they come.
    """
    cells = []
    for family, group, part in _parts(rows):
        for method, chosen in _by_method(part).items():
            metrics = {}
            for metric in METRICS:
                found = estimate(chosen, metric.name)
                if found is not None:
                    metrics[metric.name] = found
            if sets and method in sets:
                metrics |= sets[method].estimates(chosen)
            photos = len({row.photo for row in chosen})
            area = round(float(np.median([row.area for row in chosen])), 4)
            cells.append(Cell(method, family, group, photos, len(chosen), area, metrics))
    return cells


def differences(
    rows: Sequence[Row], main: str, sets: Mapping[str, SetStatistics] | None = None
) -> list[Difference]:
    """The main method against every other one, by mask family and for all of them together.

    None of a single photo: there is no telling how far that goes for others.
    """
    found = []
    for family, group, part in _parts(rows):
        by_method = _by_method(part)
        if group != ALL or main not in by_method or len({row.photo for row in part}) < 2:
            continue
        for method, others in by_method.items():
            if method == main:
                continue
            values = {metric.name: difference(by_method[main], others, metric.name) for metric in METRICS}
            if sets and main in sets and method in sets:
                values |= sets[main].differences(sets[method], others)
            found += [
                Difference(main, method, family, name, value.mean, value.low, value.high)
                for name, value in values.items()
                if value is not None
            ]
    return found


def _parts(rows: Sequence[Row]) -> Iterator[tuple[str, str, list[Row]]]:
    """(family, group, rows); "all" only where there are several to add up."""
    families = list(dict.fromkeys(row.family for row in rows))
    groups = list(dict.fromkeys(row.group for row in rows))
    for family in [*families, *([ALL] if len(families) > 1 else [])]:
        for group in [*(groups if len(groups) > 1 else []), ALL]:
            part = [row for row in rows if family in (row.family, ALL) and group in (row.group, ALL)]
            if part:
                yield family, group, part


def _by_method(rows: Sequence[Row]) -> dict[str, list[Row]]:
    methods: dict[str, list[Row]] = {}
    for row in rows:
        methods.setdefault(row.method, []).append(row)
    return methods
