"""Means, intervals, tables; rows on disk."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from moebius.errors import OutputError
from moebius.evaluation.metrics import METRICS
from moebius.evaluation.rows import Row, RowFile, digest, write_csv
from moebius.evaluation.summary import LEGEND, bootstrap, markdown, summarise


def row(photo: str, family: str, value: float, method: str = "a", group: str = "natural") -> Row:
    return Row(photo, group, "s", family, 0.25, method, {metric.name: value for metric in METRICS})


def test_means_by_family_and_group() -> None:
    rows = [
        row("p", "thin", 1), row("p", "thick", 3), row("q", "thin", 5), row("q", "thick", 9),
        row("r", "thin", 2, group="portrait"), row("r", "thick", 10, group="portrait"),
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


def test_holes_of_one_photo_do_not_count_as_independent() -> None:
    """Three copies of every observation must not narrow the interval."""
    values = np.random.default_rng(0).random(20)
    once = summarise([row(str(i), "thin", v) for i, v in enumerate(values)])[-1]
    thrice = [row(str(i), family, v) for i, v in enumerate(values) for family in ("thin", "medium", "thick")]
    assert summarise(thrice)[-1].metrics == once.metrics


def test_intervals_cover_the_truth_as_often_as_they_say() -> None:
    random = np.random.default_rng(1)
    samples = random.gamma(2.0, 0.5, (60, 400))  # 400 experiments of 60 photos each, true mean 1
    estimates = bootstrap(samples)
    covered = np.mean([estimate.low <= 1 <= estimate.high for estimate in estimates])
    assert 0.90 <= covered <= 0.98
    width = np.mean([estimate.high - estimate.low for estimate in estimates])
    assert width == pytest.approx(2 * 1.96 * np.sqrt(0.5 / 60), rel=0.06)
    assert bootstrap(samples) == estimates


def test_markdown() -> None:
    rows = [row("p", family, 0.5, method) for family in ("thin", "thick") for method in ("a", "b")]
    rows += [
        row("q", family, 1.5, method, "portrait") for family in ("thin", "thick") for method in ("a", "b")
    ]
    text = markdown(summarise(rows), {"a": "Method A"})
    assert text.count("| Method A |") == text.count("| b |") == 5  # thin, thick, all; natural, portrait
    assert "**Thin holes** (25% of the picture, median; 2 photos)" in text
    assert "**All holes** (25% of the picture, median; 1 photo, portrait)" in text
    assert "| Method A | 1.00 (0.50, 1.50) | 1.000 (0.500, 1.500) |" in text
    assert text.endswith(LEGEND + "\n")
    table = [line for line in text.splitlines() if line.startswith("|")]
    assert {line.count("|") for line in table} == {len(METRICS) + 2}


def test_rows_come_back_and_cut_lines_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    file = RowFile(path)
    file.add([("x", row("p", "thin", 0.1)), ("y", row("p", "thin", 0.2))])
    whole = path.read_bytes()
    path.write_bytes(whole + whole[: len(whole) // 3])  # killed in the middle of a line
    file = RowFile(path)
    assert file.get("x", "p", "thin") == row("p", "thin", 0.1)
    assert file.get("y", "p", "thin") == row("p", "thin", 0.2)
    assert file.get("z", "p", "thin") is None
    file.add([("z", row("q", "thick", 1 / 3))])
    assert RowFile(path).get("z", "q", "thick") == row("q", "thick", 1 / 3)
    path.write_bytes(b'\x00\xff\n[1]\n"a"\n{"fingerprint": "x"}\n' + whole)
    assert RowFile(path).get("x", "p", "thin") == row("p", "thin", 0.1)


def test_rows_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="cannot be read"):
        RowFile(tmp_path)
    with pytest.raises(OutputError, match="cannot be written"):
        RowFile(tmp_path / "missing" / "rows.jsonl").add([("x", row("p", "thin", 0.1))])


def test_digest_is_of_the_values() -> None:
    assert digest({"a": 1, "b": [2, "c"]}) == digest({"b": [2, "c"], "a": 1})
    assert digest({"a": 1}) != digest({"a": 2})


def test_csv(tmp_path: Path) -> None:
    write_csv(tmp_path / "rows.csv", [row("p,q", "thin", 1 / 3), row("r", "thick", 2)])
    with (tmp_path / "rows.csv").open(newline="") as file:
        first, second = csv.DictReader(file)
    assert (first["photo"], first["family"], float(first["ssim"])) == ("p,q", "thin", 1 / 3)
    assert list(second) == [
        "photo",
        "group",
        "source",
        "family",
        "area",
        "method",
        *(m.name for m in METRICS),
    ]
