"""From rows to statements: means, how sure they are, and tables that a model card can include."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from moebius.evaluation.metrics import METRICS, Metric
from moebius.evaluation.rows import Row

ALL = "all"
RESAMPLES = 2000
"""Of the bootstrap."""
COVERAGE = 0.95

_ARROWS = {"high": "↑", "low": "↓", "one": "→ 1", "zero": "→ 0"}

LEGEND = """\
Numbers are means with their 95 % interval (bootstrap over photos). All methods fill exactly the same holes,
and only the hole's pixels are replaced. PSNR, MAE (of values in [0, 1]) and SSIM count the hole alone;
LPIPS-squeeze the whole picture, and the smallest square around the hole. Sharpness: mean absolute Laplacian
inside the hole over the truth's. Seam: mean colour step across the hole's edge minus the truth's.

LPIPS-squeeze is LPIPS v0.1 on SqueezeNet 1.1: not comparable with published LPIPS (AlexNet or VGG). It
rewards texture of any kind: compare the model with the row "smooth fill, autoencoder", which has no denoiser,
and take differences below 0.01 for nothing."""


@dataclass(frozen=True)
class Estimate:
    """A mean and its interval."""

    mean: float
    low: float
    high: float


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


def summarise(rows: Sequence[Row]) -> list[Cell]:
    """Means for every method, by mask family and group, and for all of each together.

    Order: families and groups as they come, then "all"; within them the methods as they come.
    """
    methods = list(dict.fromkeys(row.method for row in rows))
    families = [*dict.fromkeys(row.family for row in rows), ALL]
    groups = [*dict.fromkeys(row.group for row in rows), ALL]
    cells = []
    for family in families:
        for group in groups:
            part = [row for row in rows if family in (row.family, ALL) and group in (row.group, ALL)]
            for method in methods:
                chosen = [row for row in part if row.method == method]
                if chosen:
                    cells.append(_cell(method, family, group, chosen))
    return cells


def _cell(method: str, family: str, group: str, rows: Sequence[Row]) -> Cell:
    # Holes of one photo are much alike, so photos are what is drawn again, each with the mean over its holes.
    by_photo: dict[str, list[list[float]]] = {}
    for row in rows:
        by_photo.setdefault(row.photo, []).append([row.metrics[metric.name] for metric in METRICS])
    values = np.array([np.mean(holes, axis=0) for holes in by_photo.values()])  # (photos, metrics)
    estimates = bootstrap(values)
    area = float(np.median([row.area for row in rows]))
    metrics = {metric.name: estimate for metric, estimate in zip(METRICS, estimates, strict=True)}
    return Cell(method, family, group, len(by_photo), len(rows), round(area, 4), metrics)


def bootstrap(values: NDArray[np.float64]) -> list[Estimate]:
    """Percentile bootstrap of the mean (Efron & Tibshirani, An Introduction to the Bootstrap, section 13.3).

    Args:
        values: (n, m), n independent observations of m quantities.

    Returns:
        m estimates, rounded to 6 digits after the point. The resamples depend on n alone, so methods that
        were measured on the same photos are drawn alike.
    """
    n = len(values)
    counts = np.random.default_rng(n).multinomial(n, np.full(n, 1 / n), size=RESAMPLES)  # (resamples, n)
    means = counts @ values / n  # (resamples, m)
    low, high = np.quantile(means, [(1 - COVERAGE) / 2, (1 + COVERAGE) / 2], axis=0)
    triples = np.stack([values.mean(axis=0), low, high], axis=1)
    return [Estimate(*(round(float(number), 6) for number in triple)) for triple in triples]


def markdown(cells: Sequence[Cell], titles: dict[str, str]) -> str:
    """Tables: each mask family over all photos, then each group of photos over all holes, and what they mean.

    Args:
        cells: from `summarise`.
        titles: method ids to what people call them.
    """
    families = list(dict.fromkeys(cell.family for cell in cells))
    groups = [group for group in dict.fromkeys(cell.group for cell in cells) if group != ALL]
    parts = [(family, ALL) for family in families] + [(ALL, group) for group in groups if len(groups) > 1]
    tables = []
    for family, group in parts:
        chosen = [cell for cell in cells if (cell.family, cell.group) == (family, group)]
        tables.append(_table(chosen, titles))
    return "\n\n".join([*tables, LEGEND]) + "\n"


def _table(cells: Sequence[Cell], titles: dict[str, str]) -> str:
    first = cells[0]
    of_group = "" if first.group == ALL else f", {first.group}"
    photos = f"{first.photos} photo{'s' if first.photos > 1 else ''}{of_group}"
    caption = f"**{first.family.capitalize()} holes** ({first.area:.0%} of the picture, median; {photos})"
    head = ["", *(f"{metric.title} {_ARROWS[metric.best]}" for metric in METRICS)]
    lines = [head, ["---"] + ["---:"] * len(METRICS)]
    for cell in cells:
        numbers = [_number(cell.metrics[metric.name], metric) for metric in METRICS]
        lines.append([titles.get(cell.method, cell.method), *numbers])
    return caption + "\n\n" + "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _number(estimate: Estimate, metric: Metric) -> str:
    mean, low, high = (
        f"{value:z.{metric.digits}f}" for value in (estimate.mean, estimate.low, estimate.high)
    )
    return f"{mean} ({low}, {high})"
