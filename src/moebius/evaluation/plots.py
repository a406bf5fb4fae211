"""The report's plots, as SVG for its page. The same numbers give the same bytes."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from moebius.evaluation.page.markup import holes_of
from moebius.evaluation.page.naming import Point, name_points
from moebius.evaluation.page.svg import (
    INKS,
    LETTER,
    PALETTE,
    WIDTH,
    add_axes,
    figure_of,
    fixed_ticks,
    lettering,
    own_settings,
    write_svg,
)
from moebius.evaluation.rows import Row
from moebius.evaluation.statistics import ALL, Estimate, by_photo, estimate

IDEALS = {"one": 1.0, "zero": 0.0, "half": 0.5}
"""What a metric should be, where neither high nor low is best."""
_MARKERS = "os^Dv<>"  # 7: with 6 colours, 42 methods look different
_HEAD, _LINE, _FOOT = 20, 15, 28  # px: a family's title, a method's line, the axis and a gap
_LEAST_PHOTOS = 5  # in a bin of areas

Curve = list[tuple[float, Estimate]]
"""Where, and how good."""


@dataclass(frozen=True)
class Look:
    """How a method is drawn, in all plots alike."""

    variable: str
    """A CSS variable of the page, without the dashes."""
    marker: str
    emphasis: Literal["main", "other", "reference"]

    @property
    def ink(self) -> str:
        return INKS[self.variable]

    @property
    def line(self) -> dict[str, Any]:
        """For matplotlib: the main method is heavier and above the others, references are dashed."""
        width, order = {"main": (2.2, 4), "other": (1.3, 3), "reference": (1.3, 2)}[self.emphasis]
        style = "--" if self.emphasis == "reference" else "-"
        return {"color": self.ink, "linewidth": width, "zorder": order, "linestyle": style}

    @property
    def shade(self) -> float:
        """Of a band: others lie on top of each other."""
        return 0.2 if self.emphasis == "main" else 0.08

    @property
    def dot(self) -> dict[str, Any]:
        size = 6.5 if self.emphasis == "main" else 5.0
        return {"marker": self.marker, "markersize": size, "markeredgewidth": 0, "color": self.ink}


class Plots:
    """Every plot of a report. What has nothing to show is None.

    Args:
        results: of format 2, as `write_report` takes them.
        rows: one for each fill; may be empty.
    """

    def __init__(self, results: Mapping[str, Any], rows: Sequence[Row]):
        self._methods = results["methods"]
        self._cells = [cell for cell in results["cells"] if cell["group"] == ALL]
        self._cost = results.get("cost", ())
        self._looks = _looks(self._methods, results["main"])
        self.names = short_names({method["id"]: method["title"] for method in self._methods})
        """What the methods are called in the plots, by id."""
        self._curves = area_curves(rows, [metric["name"] for metric in results["metrics"]])

    @own_settings()
    def swatch(self, method: str) -> str:
        """A piece of the method's line, for a legend."""
        look = self._looks[method]
        figure = Figure(figsize=(26 / 72, 12 / 72), dpi=72)
        axes = figure.add_axes((0.0, 0.0, 1.0, 1.0), xlim=(0, 26), ylim=(-6, 6))
        axes.set_axis_off()
        axes.plot([1, 25], [0, 0], **look.line)
        axes.plot([13], [0], zorder=5, **look.dot)
        return write_svg(figure, f"swatch {method}", None)

    @own_settings()
    def families(self, metric: Mapping[str, Any]) -> str | None:
        """Dots with their intervals: a block for each family of holes, a line for each method."""
        blocks: dict[str, list[tuple[str, Mapping[str, float]]]] = {}
        for cell in self._cells:
            if (number := _number(cell, metric)) is not None:
                blocks.setdefault(cell["family"], []).append((cell["method"], number))
        if not blocks:
            return None
        names = [self.names[method] for block in blocks.values() for method, _ in block]
        left = 22 + round(LETTER * max(map(len, names)))
        heights = [_HEAD + _LINE * len(block) + _FOOT for block in blocks.values()]
        figure = figure_of(sum(heights))
        for i, (family, block) in enumerate(blocks.items()):
            foot = sum(heights[i + 1 :])
            axes = add_axes(figure, left=left, bottom=foot + _FOOT, top=foot + heights[i] - _HEAD, grid="x")
            axes.set_ylim(len(block) - 0.5, -0.5)
            for line, (method, found) in enumerate(block):
                look, side = self._looks[method], axes.get_yaxis_transform()
                axes.plot([found["low"], found["high"]], [line, line], **look.line | {"linestyle": "-"})
                axes.plot([found["mean"]], [line], **look.dot | {"zorder": 5})
                words = {"ha": "right", "va": "center", **lettering(look.emphasis == "main")}
                axes.text(-0.03, line, self.names[method], transform=side, **words)
            _ideal(axes, metric, "v")
            axes.yaxis.set_major_locator(NullLocator())
            top = (foot + heights[i] - _HEAD / 2) / sum(heights)
            figure.text(2 / WIDTH, top, holes_of(family), va="center", **lettering(True))
        return write_svg(figure, f"families {metric['name']}", f"{metric['title']} by family of holes")

    @own_settings()
    def area(self, metric: Mapping[str, Any]) -> str | None:
        """Means over holes of like size, with their intervals as bands."""
        curves = {m: c for m, c in self._curves.get(metric["name"], {}).items() if m in self._looks}
        if not curves:
            return None
        figure, axes = _plain(250)
        for method, curve in curves.items():
            look = self._looks[method]
            x = [100 * area for area, _ in curve]
            low, high = [e.low for _, e in curve], [e.high for _, e in curve]
            axes.fill_between(x, low, high, color=look.ink, alpha=look.shade, linewidth=0, zorder=1)
            axes.plot(x, [e.mean for _, e in curve], **look.line, **_only_marker(look))
        _ideal(axes, metric, "h")
        axes.set_xlabel("hole, % of the picture")
        return write_svg(figure, f"area {metric['name']}", f"{metric['title']} against the size of the hole")

    @own_settings()
    def time(self, metric: Mapping[str, Any]) -> str | None:
        """A named point for each method whose cost was measured."""
        numbers = self._overall(metric)
        costs = [cost for cost in self._cost if cost["method"] in numbers and cost["seconds"] > 0]
        if not costs:
            return None
        figure, axes = _plain(270)
        points = []
        for cost in costs:
            look, number, at = self._looks[cost["method"]], numbers[cost["method"]], cost["seconds"]
            span = [cost.get("seconds_low") or at, cost.get("seconds_high") or at]
            line = look.line | {"linestyle": "-"}
            axes.plot([at, at], [number["low"], number["high"]], **line)
            axes.plot(span, [number["mean"]] * 2, **line)
            axes.plot([at], [number["mean"]], **look.dot | {"zorder": 5})
            rank = 0 if look.emphasis == "main" else 1
            points.append(
                Point(at, number["mean"], number["low"], number["high"], self.names[cost["method"]], rank)
            )
        _seconds(axes, [point.x for point in points])
        _ideal(axes, metric, "h")
        axes.margins(y=0.15)
        name_points(axes, points)
        axes.set_xlabel("seconds for one fill")
        return write_svg(figure, f"time {metric['name']}", f"{metric['title']} against the time of a fill")

    @own_settings()
    def steps(self, metric: Mapping[str, Any]) -> str | None:
        """A line for each model that was run with several numbers of steps."""
        numbers = self._overall(metric)
        lines: dict[str, list[tuple[int, str]]] = {}
        for method in self._methods:
            if method["id"] in numbers and "steps" in method and "model" in method:
                lines.setdefault(method["model"], []).append((method["steps"], method["id"]))
        lines = {m: sorted(line) for m, line in lines.items() if len({steps for steps, _ in line}) > 1}
        if not lines:
            return None
        figure, axes = _plain(250)
        for model, line in lines.items():
            x = [steps for steps, _ in line]
            look = self._looks[line[0][1]]
            estimates = [numbers[method] for _, method in line]
            axes.vlines(x, [e["low"] for e in estimates], [e["high"] for e in estimates], **look.line)
            y = [e["mean"] for e in estimates]
            axes.plot(x, y, **look.line, **_only_marker(look))
            if len(lines) > 1:
                axes.annotate(model, (x[-1], y[-1]), (0, 8), textcoords="offset points", ha="right")
        axes.set_xscale("log", base=2)
        fixed_ticks(axes, sorted({steps for line in lines.values() for steps, _ in line}))
        axes.margins(x=0.06, y=0.12)
        axes.set_xlabel("denoising steps")
        return write_svg(figure, f"steps {metric['name']}", f"{metric['title']} against denoising steps")

    def _overall(self, metric: Mapping[str, Any]) -> dict[str, Mapping[str, float]]:
        """The metric over all holes; over the first family's, where nothing is said about all."""
        families = list(dict.fromkeys(cell["family"] for cell in self._cells))
        family = ALL if ALL in families else next(iter(families), ALL)
        pairs = [(cell["method"], _number(cell, metric)) for cell in self._cells if cell["family"] == family]
        return {method: number for method, number in pairs if number is not None}


def area_curves(rows: Sequence[Row], metrics: Sequence[str]) -> dict[str, dict[str, Curve]]:
    """By metric and method: means over holes of like size, at the bin's median area.

    Bins hold about the same number of holes, and are the same for all methods. One with too few photos for an
    interval is left out, and so is a curve of fewer than two points.
    """
    areas = {(row.photo, row.family): row.area for row in rows}
    if not areas:
        return {}
    bins = min(max(len(areas) // 15, 2), 8)
    edges = np.quantile(list(areas.values()), np.linspace(0, 1, bins + 1)[1:-1])
    parts: dict[tuple[int, str], list[Row]] = {}
    for row in rows:
        parts.setdefault((int(np.searchsorted(edges, row.area)), row.method), []).append(row)
    curves: dict[str, dict[str, Curve]] = {name: {} for name in metrics}
    for (_, method), part in sorted(parts.items(), key=lambda item: item[0][0]):
        middle = float(np.median([row.area for row in part]))
        for name in metrics:
            found = estimate(part, name)
            if found is not None and len(by_photo(part, name)) >= _LEAST_PHOTOS:
                curves[name].setdefault(method, []).append((middle, found))
    return {name: {m: c for m, c in lines.items() if len(c) > 1} for name, lines in curves.items()}


def short_names(titles: Mapping[str, str], longest: int = 25) -> dict[str, str]:
    """By id, what fits into a plot: titles up to their first comma or bracket, where that tells them apart.

    Where it does not, long titles give way to the id.
    """
    heads = {key: re.split(r"[,(]", title)[0].strip() or title for key, title in titles.items()}
    names = {}
    for key, title in titles.items():
        alone = sum(head == heads[key] for head in heads.values()) == 1
        name = heads[key] if alone else title if len(title) <= longest else key
        names[key] = name if len(name) <= longest else name[: longest - 1].rstrip() + "…"
    return names


def _looks(methods: Sequence[Mapping[str, Any]], main: str) -> dict[str, Look]:
    looks, others = {}, 0
    for i, method in enumerate(methods):
        if method["id"] == main:
            looks[main] = Look("main", "o", "main")
        elif method["kind"] == "reference":
            looks[method["id"]] = Look("reference", _MARKERS[i % len(_MARKERS)], "reference")
        else:
            others += 1
            variable = f"m{(others - 1) % PALETTE + 1}"
            looks[method["id"]] = Look(variable, _MARKERS[others % len(_MARKERS)], "other")
    return looks


def _number(cell: Mapping[str, Any], metric: Mapping[str, Any]) -> dict[str, float] | None:
    number = cell["metrics"].get(metric["name"])
    if number is None or not _finite(number["mean"]):
        return None
    bounds = {end: number[end] if _finite(number.get(end)) else number["mean"] for end in ("low", "high")}
    return {"mean": number["mean"], **bounds}


def _finite(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def _plain(height: int) -> tuple[Figure, Axes]:
    figure = figure_of(height)
    return figure, add_axes(figure, left=46, bottom=40, top=height - 10, grid="y")


def _only_marker(look: Look) -> dict[str, Any]:
    return {name: value for name, value in look.dot.items() if name != "color"}


def _ideal(axes: Axes, metric: Mapping[str, Any], way: Literal["h", "v"]) -> None:
    """A line at the value to be at, for metrics that have one."""
    if metric["best"] in IDEALS:
        draw = axes.axhline if way == "h" else axes.axvline
        draw(IDEALS[metric["best"]], color=INKS["soft"], linewidth=1, linestyle=":", zorder=1)


def _seconds(axes: Axes, seconds: Sequence[float]) -> None:
    """A logarithmic axis with room beside the points, and round numbers."""
    low, high = min(seconds) / 2, max(seconds) * 2
    axes.set_xscale("log")
    axes.set_xlim(low, high)
    places = [m * 10.0**p for p in range(-6, 7) for m in (1, 2, 5) if low <= m * 10.0**p <= high]
    fixed_ticks(axes, places if len(places) <= 7 else [x for x in places if f"{x:e}"[0] == "1"])
