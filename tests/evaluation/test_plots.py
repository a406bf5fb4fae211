"""Plots: the same bytes for the same numbers, whatever matplotlib is set to, and safe inside a page."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from dataclasses import replace
from typing import Any

import matplotlib
import pytest
from report_data import METRICS, make_results, make_rows

from moebius.evaluation.plots import Plots, area_curves, short_names
from moebius.evaluation.rows import Row

LPIPS = METRICS[1]
KINDS = "families", "area", "time", "steps"


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    return make_rows(20)


@pytest.fixture(scope="module")
def results(rows: list[Row]) -> dict[str, Any]:
    return make_results(rows)


def draw(results: dict[str, Any], rows: list[Row], metric: dict[str, Any] = LPIPS) -> dict[str, str | None]:
    plots = Plots(results, rows)
    return {kind: getattr(plots, kind)(metric) for kind in KINDS}


def parse(svg: str) -> ET.Element:
    """As a page does, which knows these prefixes without being told."""
    names = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
    return ET.fromstring(svg.replace("<svg ", f"<svg {names} ", 1))


def words(svg: str) -> list[str]:
    return [element.text or "" for element in parse(svg).iter() if element.tag.endswith("}text")]


def test_the_same_numbers_give_the_same_bytes(results: dict[str, Any], rows: list[Row]) -> None:
    first = draw(results, rows)
    before = dict(matplotlib.rcParams)
    with matplotlib.rc_context(
        {"lines.linewidth": 9, "font.size": 30, "axes.facecolor": "red", "text.usetex": True}
    ):
        assert draw(results, rows) == first
    assert dict(matplotlib.rcParams) == before
    assert None not in first.values()


def test_pages_can_hold_all_of_them(results: dict[str, Any], rows: list[Row]) -> None:
    plots = Plots(results, rows)
    drawn = [
        svg for metric in METRICS[1::2] for kind in KINDS if (svg := getattr(plots, kind)(metric)) is not None
    ]
    drawn += [plots.swatch(method["id"]) for method in results["methods"]]
    ids = [set(re.findall(r' id="([^"]+)"', svg)) for svg in drawn]
    assert len(set().union(*ids)) == sum(map(len, ids))  # none twice
    for svg in drawn:
        parse(svg)
        assert not re.search(r"#0000[0-9a-f]{2}\b", svg)  # every colour is the page's
        assert "var(--" in svg and "<style" not in svg
        assert "http" not in svg and "2026" not in svg


def test_names_are_on_the_points(results: dict[str, Any], rows: list[Row]) -> None:
    plots = Plots(results, rows)
    families, time = plots.families(LPIPS), plots.time(LPIPS)
    assert families is not None and time is not None
    named = words(families)
    for title in ("Thin holes", "Medium holes", "Thick holes", "All holes"):
        assert named.count(title) == 1
    assert named.count("Telea") == 4
    assert {"Telea", "nano", "nano:4", "smooth fill", "seconds for one fill"} <= set(words(time))


def test_a_set_metric_has_no_curve_over_areas(results: dict[str, Any], rows: list[Row]) -> None:
    drawn = draw(results, rows, METRICS[-1])
    assert drawn["area"] is None
    assert drawn["families"] is not None and drawn["time"] is not None


def test_nothing_to_draw(results: dict[str, Any], rows: list[Row]) -> None:
    bare = results | {
        "cost": [],
        "cells": [],
        "methods": [method | {"steps": 1} for method in results["methods"]],
    }
    assert set(draw(bare, []).values()) == {None}
    missing = METRICS[0] | {"name": "of nobody"}
    assert set(draw(results, rows, missing).values()) == {None}


def test_an_interval_may_be_missing(results: dict[str, Any], rows: list[Row]) -> None:
    cells = [cell | {"metrics": {"lpips_crop": {"mean": 0.1, "low": None}}} for cell in results["cells"]]
    assert Plots(results | {"cells": cells}, rows).families(LPIPS) is not None


@pytest.mark.parametrize("title", ["<script>alert(1)</script>", "costs $1 & $2^x$", "補間", 'a "quoted" one'])
def test_any_title(results: dict[str, Any], rows: list[Row], title: str) -> None:
    methods = [
        method | {"title": title} if method["id"] == "telea" else method for method in results["methods"]
    ]
    svg = Plots(results | {"methods": methods}, rows).time(LPIPS)
    assert svg is not None
    assert title.split("(")[0] in words(svg)
    assert "<script" not in svg


def test_area_curves(rows: list[Row]) -> None:
    curve = area_curves(rows, ["lpips_crop"])["lpips_crop"]["telea"]
    areas, means = [area for area, _ in curve], [found.mean for _, found in curve]
    assert areas == sorted(areas) and len(areas) == 60 // 15
    assert means == sorted(means)
    assert all(found.low <= found.mean <= found.high for _, found in curve)


def test_area_curves_leave_out_what_is_missing(rows: list[Row]) -> None:
    without = [replace(row, metrics={}) if row.method == "telea" else row for row in rows]
    assert set(area_curves(without, ["psnr"])["psnr"]) == {row.method for row in rows} - {"telea"}
    assert area_curves(rows[:6], ["psnr"]) == {"psnr": {}}
    assert area_curves([], ["psnr"]) == {}


def test_short_names() -> None:
    titles = {
        "a": "Telea (OpenCV)",
        "b": "nano, 1 step",
        "c": "nano, 4 steps at each of 2 sizes, ddim",
        "d": "x" * 40,
    }
    assert short_names(titles) == {"a": "Telea", "b": "nano, 1 step", "c": "c", "d": "x" * 24 + "…"}
