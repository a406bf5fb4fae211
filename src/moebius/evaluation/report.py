"""The evaluation as one HTML file that needs nothing else: verdict, tables, plots, pictures, where it comes from."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from moebius.evaluation.page import tables
from moebius.evaluation.page.markup import Markup, count, join, number, tag, with_arrow
from moebius.evaluation.plots import Plots
from moebius.evaluation.rows import Row
from moebius.imaging import atomic_file

FORMAT = 2
"""Of results.json."""
WEBP_QUALITY = 92

_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
_CAPTIONED = 6  # metrics below a picture whose caption says none


@dataclass(frozen=True, eq=False)
class Picture:
    """One picture of a case."""

    caption: str
    """A method's title (its numbers are added), its title and ": " and more, or anything else."""
    pixels: NDArray[np.uint8]
    """(H, W, 3)."""


@dataclass(frozen=True, eq=False)
class ShownCase:
    """A hole as everybody filled it."""

    key: str
    """`Case.key`."""
    note: str
    pictures: tuple[Picture, ...]


@dataclass(frozen=True, eq=False)
class ShownGroup:
    """Cases under one heading: "The worst of nano", for example."""

    title: str
    about: str
    cases: tuple[ShownCase, ...]


def write_report(
    path: Path, results: Mapping[str, Any], rows: Sequence[Row], groups: Sequence[ShownGroup]
) -> None:
    """Write the page; replaces the file at once.

    Args:
        path: where to.
        results: what results.json holds, of format `FORMAT`. Differences are "method minus against".
        rows: one for each fill, for the plots and the captions; may be empty.
        groups: the pictures to show.

    Raises:
        ValueError: results of another format, or a picture that is not (H, W, 3) of bytes.
        OutputError: it cannot be written.
    """
    if results.get("format") != FORMAT:
        raise ValueError(f"expected results of format {FORMAT}, got {results.get('format')!r}")
    page = _page(results, rows, groups)
    with atomic_file(path, overwrite=True) as file:
        file.write(page.encode())


def choose_cases(
    rows: Sequence[Row], method: str, metric: str, count: int, *, lower_is_better: bool
) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """The method's best and worst fills, as (photo, family).

    No photo is chosen twice, so there are fewer than `count` of each where photos run short. Of equal ones the
    first by name is taken.
    """
    sign = 1 if lower_is_better else -1
    ranked = sorted(
        (sign * row.metrics[metric], row.photo, row.family)
        for row in rows
        if row.method == method and math.isfinite(row.metrics.get(metric, math.nan))
    )
    backwards = sorted(ranked, key=lambda item: (-item[0], *item[1:]))
    chosen: tuple[list[tuple[str, str]], list[tuple[str, str]]] = ([], [])
    seen: set[str] = set()
    for _ in range(count):
        for kept, order in zip(chosen, (ranked, backwards), strict=True):
            found = next((item for item in order if item[1] not in seen), None)
            if found is not None:
                seen.add(found[1])
                kept.append(found[1:])
    return chosen


def _page(results: Mapping[str, Any], rows: Sequence[Row], groups: Sequence[ShownGroup]) -> str:
    protocol = results["protocol"]
    sections = {
        "At a glance": _glance(results),
        "Results": tables.measured(results),
        "Cost": tables.cost(results),
        "Plots": _plots(results, rows),
        "Published": tables.published(results),
        "Pictures": _pictures(results, rows, groups),
        "Open points": tag("ul", *(tag("li", point) for point in protocol["open_points"]), class_="prose")
        if protocol["open_points"]
        else Markup(),
        "Provenance": _values(results.get("provenance", {})),
    }
    ids = {title: title.lower().replace(" ", "-") for title, inner in sections.items() if inner}
    links = [tag("a", title, href=f"#{ids[title]}") for title in ids]
    header = tag(
        "header",
        tag("p", f"Moebius evaluation / {protocol['name']}", class_="eyebrow"),
        tag("h1", protocol["title"]),
        tag("p", _measured(results), class_="lead"),
        tag("p", protocol["about"], class_="prose"),
        tag("nav", join(links), aria_label="Sections"),
    )
    parts = [
        tag("section", tag("h2", title), sections[title], id=key, aria_label=title)
        for title, key in ids.items()
    ]
    owners = "The photos belong to their owners. This page is for looking, not for publishing."
    script = tag("script", _file("report.js"))
    body = tag("body", header, tag("main", join(parts)), tag("footer", tag("p", owners)), _VIEWER, script)
    return f"<!DOCTYPE html>\n{tag('html', _head(protocol['title']), body, lang='en')}\n"


def _head(title: str) -> Markup:
    return tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("link", rel="icon", href="data:,"),
        tag("title", f"{title}: Moebius evaluation"),
        tag("style", _file("report.css")),
    )


def _file(name: str) -> Markup:
    return Markup((resources.files("moebius.evaluation.page") / name).read_text("utf-8"))


def _measured(results: Mapping[str, Any]) -> str:
    """What was done, in a sentence or two."""
    size, methods = results["protocol"].get("resolution"), len(results["methods"])
    of_size = "" if size is None else f" of {f'{size} × {size} px' if isinstance(size, int) else size}"
    same = "" if methods == 1 else "the same "
    text = f"{count(methods, 'method')} filled {same}{count(results['holes'], 'hole')}"
    text += f" in {count(results['photos'], 'photo')}{of_size}."
    if not results["protocol"]["paired"]:
        text += " What is behind the holes is unknown: there is no truth to compare the fills with."
    return text


def _glance(results: Mapping[str, Any]) -> Markup:
    verdict = tables.glance(results)
    text = (
        "Better and worse: the 95 % interval of the difference (main method minus the other, on the same photos) "
        "does not hold zero; for two that lie on different sides of an ideal value, the intervals of their "
        "distances from it do not meet. Among equals, one in twenty would differ by chance, and metrics overlap: "
        "look for patterns, not for single signs."
    )
    return join([verdict, tag("p", text, class_="note")]) if results["differences"] else verdict


def _plots(results: Mapping[str, Any], rows: Sequence[Row]) -> Markup:
    """A part for each metric with all that can be drawn of it."""
    plots = Plots(results, rows)
    parts = []
    for metric in results["metrics"]:
        drawn = {
            "by family of holes": plots.families(metric),
            "against the size of the hole": plots.area(metric),
            "against time": plots.time(metric),
            "against denoising steps": plots.steps(metric),
        }
        figures = [
            tag("figure", Markup(svg), tag("figcaption", said))
            for said, svg in drawn.items()
            if svg is not None
        ]
        if figures:
            head = tag("h3", with_arrow(metric))
            inner = tag("div", *figures, class_="plots")
            parts.append(tag("div", head, inner, data_metric=metric["title"]))
    if not parts:
        return Markup()
    legend = []
    for method in results["methods"]:
        name = plots.names[method["id"]]
        also = [] if method["title"].startswith(name.rstrip("…")) else [tag("small", f"({name})")]
        swatch = Markup(plots.swatch(method["id"]))
        legend.append(tag("li", swatch, tag("span", method["title"], *also)))
    note = (
        "Bars and bands are 95 % intervals; along time, bars go from the fastest to the slowest run. "
        "Each family has a scale of its own. Dashed: references. Dotted: the value to be at, where there is one."
    )
    drawn_as = tag("ul", *legend, class_="legend")
    return join([drawn_as, tag("div", join(parts), data_switch="metric"), tag("p", note, class_="note")])


def _pictures(results: Mapping[str, Any], rows: Sequence[Row], groups: Sequence[ShownGroup]) -> Markup:
    titles = {method["id"]: method["title"] for method in results["methods"]}
    numbers = {(f"{row.photo}/{row.family}", titles.get(row.method)): row.metrics for row in rows}
    parts = []
    for group in groups:
        parts += [tag("h3", group.title), tag("p", group.about, class_="prose")]
        for case in group.cases:
            figures = []
            for picture in case.pictures:
                title, said = _caption(picture.caption, list(titles.values()))
                said = said or _numbers(numbers.get((case.key, title), {}), results["metrics"])
                words = tag("figcaption", tag("strong", title), *([tag("span", said)] if said else []))
                figures.append(tag("figure", _image(picture.pixels, f"{case.key}, {title}"), words))
            head = tag("h4", case.key, tag("small", case.note))
            strip = tag("div", *figures, class_="strip", tabindex=0, role="group", aria_label=case.key)
            parts.append(tag("article", head, strip, class_="case"))
    return join(parts)


def _caption(caption: str, titles: Sequence[str]) -> tuple[str, str]:
    """The method and what is said of it; a title may itself hold a colon."""
    for title in sorted(titles, key=len, reverse=True):
        if caption.startswith(f"{title}: "):
            return title, caption[len(title) + 2 :]
    return caption, ""


def _numbers(measured: Mapping[str, float], metrics: Sequence[Mapping[str, Any]]) -> str:
    known = [metric for metric in metrics if metric["name"] in measured][:_CAPTIONED]
    return " · ".join(f"{m['title']} {number(measured[m['name']], m['digits'])}" for m in known)


def _image(pixels: NDArray[np.uint8], alt: str) -> Markup:
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
        raise ValueError(f"{alt}: expected (H, W, 3) uint8, got {pixels.shape} {pixels.dtype}")
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "WEBP", quality=WEBP_QUALITY)
    source = "data:image/webp;base64," + base64.b64encode(file.getvalue()).decode()
    height, width, _ = pixels.shape
    size: dict[str, Any] = {"width": width, "height": height, "style": f"--ratio: {width / height:.4f}"}
    return tag("img", src=source, alt=alt, **size, loading="lazy", decoding="async")


def _values(values: Any) -> Markup:
    """Plain values as a list of definitions, those inside others included."""
    if not isinstance(values, Mapping):
        inner = ", ".join(map(str, values)) if isinstance(values, list | tuple) else str(values)
        return tag("code", inner)
    if not values:
        return Markup()
    pairs = [tag("div", tag("dt", str(key)), tag("dd", _values(value))) for key, value in values.items()]
    return tag("dl", *pairs, class_="values")


_VIEWER = tag(
    "dialog",
    tag("div", class_="stage", tabindex=-1, autofocus=True),
    tag(
        "div",
        tag("button", "←", type="button", data_go="-1", aria_label="previous picture"),
        tag("span", class_="place"),
        tag("button", "→", type="button", data_go="1", aria_label="next picture"),
        tag("small", "arrow keys flip, Escape closes", class_="keys"),
        tag("button", "close", type="button", data_close=True),
        class_="bar",
    ),
    tag("p", tag("strong"), tag("span"), class_="said", aria_live="polite"),
    id="viewer",
    aria_label="Pictures at the same place",
)
"""Opened by the script."""
