"""Intervals that cover what they should, differences that are none where there are none."""

from __future__ import annotations

import numpy as np
import pytest

from moebius.evaluation.rows import Row
from moebius.evaluation.statistics import bootstrap, by_photo, difference, estimate
from moebius.evaluation.summary import differences, summarise


def row(photo: str, value: float, family: str = "thin", method: str = "a", group: str = "natural") -> Row:
    return Row(photo, group, "s", family, 0.25, method, {"mae": value, "psnr": 10 * value})


def test_intervals_cover_the_truth_as_often_as_they_say() -> None:
    random = np.random.default_rng(1)
    samples = random.gamma(2.0, 0.5, (60, 400))  # 400 experiments of 60 photos each, true mean 1
    estimates = bootstrap(samples)
    covered = np.mean([estimate.low <= 1 <= estimate.high for estimate in estimates])
    assert 0.90 <= covered <= 0.98
    width = np.mean([estimate.high - estimate.low for estimate in estimates])
    assert width == pytest.approx(2 * 1.96 * np.sqrt(0.5 / 60), rel=0.06)


def test_intervals_of_differences_cover_the_truth() -> None:
    """Two methods that share what makes a photo hard; the second is worse by 0.1 on average."""
    random = np.random.default_rng(2)
    covered, widths = 0, []
    for _ in range(300):
        hard = random.gamma(2.0, 0.5, 60)
        first, second = hard + random.normal(0, 0.1, 60), hard + 0.1 + random.normal(0, 0.1, 60)
        names = [f"p{i}" for i in range(60)]
        found = difference(
            [row(*pair) for pair in zip(names, first, strict=True)],
            [row(*pair) for pair in zip(names, second, strict=True)],
            "mae",
        )
        assert found is not None
        covered += found.low <= -0.1 <= found.high
        widths.append(found.high - found.low)
    assert 0.90 <= covered / 300 <= 0.98
    assert np.mean(widths) == pytest.approx(
        2 * 1.96 * np.sqrt(0.02 / 60), rel=0.06
    )  # photos' own spread is gone


def test_shuffled_labels_show_no_difference() -> None:
    """Which of two fills is called which is drawn for every hole: about one interval in twenty may miss 0."""
    random = np.random.default_rng(3)
    missed = 0
    for _ in range(200):
        first, second = [], []
        for i in range(50):
            values = random.gamma(2.0, 0.5) + np.array([0.0, 0.3])  # one is really better by 0.3
            random.shuffle(values)
            first.append(row(f"p{i}", values[0]))
            second.append(row(f"p{i}", values[1], method="b"))
        found = difference(first, second, "mae")
        assert found is not None
        missed += not found.low <= 0 <= found.high
    assert missed <= 20


def test_differences_of_the_main_method_by_family() -> None:
    rows = [
        row(f"p{i}", value + i, family, method)
        for i in range(12)
        for family in ("thin", "thick")
        for method, value in (("a", 1.0), ("b", 3.0), ("c", 1.0))
    ]
    found = {(d.against, d.family, d.metric): d for d in differences(rows, "a")}
    assert {(against, family) for against, family, _ in found} == {
        (against, family) for against in "bc" for family in ("thin", "thick", "all")
    }
    against_b = found["b", "all", "mae"]
    assert (against_b.mean, against_b.low, against_b.high) == (-2, -2, -2)
    assert found["c", "thin", "psnr"].mean == 0
    assert all(d.method == "a" for d in found.values())


def test_means_by_family_and_group() -> None:
    rows = [
        row("p", 1), row("p", 3, "thick"), row("q", 5), row("q", 9, "thick"),
        row("r", 2, group="portrait"), row("r", 10, "thick", group="portrait"),
    ]  # fmt: skip
    cells = {(cell.family, cell.group): cell for cell in summarise(rows)}
    means = {place: cell.metrics["mae"].mean for place, cell in cells.items()}
    assert means == pytest.approx(
        {
            ("thin", "natural"): 3, ("thin", "portrait"): 2, ("thin", "all"): 8 / 3,
            ("thick", "natural"): 6, ("thick", "portrait"): 10, ("thick", "all"): 22 / 3,
            ("all", "natural"): 4.5, ("all", "portrait"): 6, ("all", "all"): 5,
        },
        abs=1e-6,
    )  # fmt: skip
    assert (cells["all", "all"].photos, cells["all", "all"].holes) == (3, 6)
    alone = cells["thin", "portrait"].metrics["psnr"]
    assert (alone.low, alone.high) == (alone.mean, alone.mean)


def test_one_family_and_group_need_no_sum() -> None:
    assert [(cell.family, cell.group) for cell in summarise([row("p", 1), row("q", 2)])] == [("thin", "all")]


def test_holes_of_one_photo_do_not_count_as_independent() -> None:
    """Three copies of every observation must not narrow the interval."""
    values = np.random.default_rng(0).random(20)
    once = summarise([row(str(i), v) for i, v in enumerate(values)])[-1]
    thrice = [row(str(i), v, family) for i, v in enumerate(values) for family in ("thin", "medium", "thick")]
    assert summarise(thrice)[-1].metrics == once.metrics


def test_metrics_that_only_some_holes_have() -> None:
    rows = [row("p", 1), row("q", 3)]
    rows[0].metrics["object_left"] = 0.5
    assert by_photo(rows, "object_left") == {"p": 0.5}
    found = estimate(rows, "object_left")
    assert found is not None and found.mean == 0.5
    assert estimate(rows, "lpips") is None
    assert difference(rows, [row("q", 1)], "object_left") is None
    assert "object_left" in summarise(rows)[-1].metrics
