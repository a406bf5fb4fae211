"""The report's numbers as tables: the verdict, what was measured, what it costs, what others have published."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from moebius.evaluation.page.markup import (
    Markup,
    count,
    estimate,
    holes_of,
    join,
    method_head,
    metric_head,
    number,
    table,
    tag,
    with_arrow,
)
from moebius.evaluation.plots import IDEALS
from moebius.evaluation.statistics import ALL

VERDICTS = {"better": "▲", "worse": "▼", "no difference": "≈"}
"""And the sign of each."""

_SCOPES = {
    "hole": "inside the hole",
    "whole": "whole picture",
    "crop": "square around the hole",
    "ring": "at the hole's edge",
    "known": "known pixels",
    "set": "the whole set at once",
}
_PUBLISHED = {"uids": "U-IDS", "pids": "P-IDS"}  # others are written as they are, short ones in capitals


def glance(results: Mapping[str, Any]) -> Markup:
    """The main method against every competitor: a line for each metric, by family of holes."""
    rivals = [m for m in results["methods"] if m["kind"] != "reference" and m["id"] != results["main"]]
    found = {
        (one["family"], one["against"], one["metric"]): one
        for one in results["differences"]
        if one["method"] == results["main"]
    }
    if not rivals:
        return tag("p", "One method alone: there is nothing to compare it with.", class_="prose")
    rivals = [method for method in rivals if any(against == method["id"] for _, against, _ in found)]
    if not rivals:
        return tag("p", "No differences between methods were measured.", class_="prose")
    families = list(dict.fromkeys(family for family, _, _ in found))
    return tag("div", *(_matrix(results, found, family, rivals) for family in families), data_switch="holes")


def _matrix(
    results: Mapping[str, Any],
    found: Mapping[tuple[str, str, str], Mapping[str, Any]],
    family: str,
    rivals: Sequence[Mapping[str, Any]],
) -> Markup:
    main = next(method["title"] for method in results["methods"] if method["id"] == results["main"])
    lines, verdicts = [], Counter[str]()
    for metric in results["metrics"]:
        if not any((family, rival["id"], metric["name"]) in found for rival in rivals):
            continue
        cells = [tag("th", with_arrow(metric), scope="row", title=metric["about"])]
        for rival in rivals:
            difference = found.get((family, rival["id"], metric["name"]))
            if difference is None:
                cells.append(tag("td", "–"))
                continue
            said = verdict(results["cells"], metric, difference)
            verdicts[said] += 1
            cells.append(_verdict_cell(said, difference, metric["digits"]))
        lines.append(tag("tr", *cells))
    head = [tag("th", "difference to", scope="col")]
    head += [tag("th", rival["title"], scope="col") for rival in rivals]
    whole = sum(verdicts.values())
    told = ", ".join(f"{VERDICTS[said]} {verdicts[said]} {said}" for said in VERDICTS)
    summary = tag(
        "p", tag("strong", main), f" against {count(len(rivals), 'other')}, {holes_of(family).lower()}: of "
        f"{count(whole, 'comparison')} {told} that the intervals can tell.", class_="prose",
    )  # fmt: skip
    caption = f"{holes_of(family)}: {main}, minus each of the others"
    return tag("div", summary, table(caption, head, lines), data_holes=family)


def _verdict_cell(said: str, difference: Mapping[str, Any], digits: int) -> Markup:
    mean, low, high = (number(difference[key], digits, "+") for key in ("mean", "low", "high"))
    sign = tag("span", VERDICTS[said], role="img", aria_label=said)
    shown = tag("span", sign, f" {mean}", class_="verdict")
    return tag("td", shown, tag("small", f"({low}, {high})"), class_=said.split()[0], title=said)


def verdict(
    cells: Sequence[Mapping[str, Any]], metric: Mapping[str, Any], difference: Mapping[str, Any]
) -> str:
    """Whether the main method is better, as far as the interval of the difference tells.

    For a metric with an ideal value, nearer is better. Where the two lie on different sides of it, the difference
    says nothing about nearness, and they count as different if the intervals of their distances do not meet.
    """
    sign = {"high": 1, "low": -1}.get(metric["best"])
    if sign is None:
        place = difference["family"], ALL
        both = [
            cell["metrics"].get(metric["name"])
            for method in (difference["method"], difference["against"])
            for cell in cells
            if cell["method"] == method and (cell["family"], cell["group"]) == place
        ]
        if len(both) < 2 or None in both:
            return "no difference"
        ideal = IDEALS[metric["best"]]
        below = [value["mean"] < ideal for value in both]
        if below[0] != below[1]:
            (near, far), (other_near, other_far) = (_distance(value, ideal) for value in both)
            return "better" if far < other_near else "worse" if other_far < near else "no difference"
        sign = 1 if below[0] else -1
    if difference["low"] <= 0 <= difference["high"]:
        return "no difference"
    return "better" if sign * difference["mean"] > 0 else "worse"


def _distance(value: Mapping[str, float], ideal: float) -> tuple[float, float]:
    """The least and the largest distance from the ideal within an interval."""
    ends = [abs(value["low"] - ideal), abs(value["high"] - ideal)]
    return (0.0 if value["low"] <= ideal <= value["high"] else min(ends)), max(ends)


def measured(results: Mapping[str, Any]) -> Markup:
    """A table for each family of holes and group of photos, and what the columns mean."""
    parts: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for cell in results["cells"]:
        parts.setdefault((cell["family"], cell["group"]), []).append(cell)
    tables = [
        tag("div", _part(results, cells), data_holes=family, data_photos=group)
        for (family, group), cells in parts.items()
    ]
    terms = []
    for metric in results["metrics"]:
        where = _SCOPES.get(metric.get("scope", ""), metric.get("scope", ""))
        term = tag("dt", with_arrow(metric), tag("small", where))
        terms.append(tag("div", term, tag("dd", metric["about"])))
    meanings = tag("details", tag("summary", "What the columns mean"), tag("dl", join(terms), class_="terms"))
    text = "Means over photos, or distances of sets, with 95 % intervals. Bold: best of a column, references apart."
    note = tag("p", text, class_="note")
    return join([tag("div", join(tables), data_switch="holes photos"), note, meanings])


def _part(results: Mapping[str, Any], cells: Sequence[Mapping[str, Any]]) -> Markup:
    methods = {method["id"]: method for method in results["methods"]}
    metrics = [m for m in results["metrics"] if any(m["name"] in cell["metrics"] for cell in cells)]
    best = {metric["name"]: _best(cells, methods, metric) for metric in metrics}
    lines = []
    for cell in cells:
        method, numbers = methods[cell["method"]], cell["metrics"]
        shown = [method_head(method)]
        for metric in metrics:
            inner = estimate(numbers.get(metric["name"]), metric["digits"])
            shown.append(tag("td", inner, class_="best" if cell["method"] in best[metric["name"]] else False))
        kind = "main" if method["id"] == results["main"] else method["kind"]
        lines.append(tag("tr", *shown, class_=kind))
    first = cells[0]
    group = "" if first["group"] == ALL else f"{first['group']} "
    caption = join([
        tag("strong", holes_of(first["family"])),
        tag("span", f"{first['area']:.0%} of the picture (median), {count(first['photos'], f'{group}photo')}, "
            f"{count(first['holes'], 'hole')}"),
    ])  # fmt: skip
    return table(caption, [tag("th", "method", scope="col"), *map(metric_head, metrics)], lines)


def _best(
    cells: Sequence[Mapping[str, Any]], methods: Mapping[str, Mapping[str, Any]], metric: Mapping[str, Any]
) -> set[str]:
    """Ids of the best methods, references apart; several where the shown numbers are equal, none where all are."""
    values = {
        cell["method"]: round(
            _loss(cell["metrics"][metric["name"]]["mean"], metric["best"]), metric["digits"]
        )
        for cell in cells
        if metric["name"] in cell["metrics"] and methods[cell["method"]]["kind"] != "reference"
    }
    if len(set(values.values())) < 2:
        return set()
    return {method for method, value in values.items() if value == min(values.values())}


def _loss(value: float, best: str) -> float:
    return {"high": -value, "low": value}.get(best, abs(value - IDEALS.get(best, 0.0)))


def cost(results: Mapping[str, Any]) -> Markup:
    """Time and memory of a fill; nothing where none was measured."""
    costs, methods = results.get("cost", ()), {method["id"]: method for method in results["methods"]}
    if not costs:
        return Markup()
    lines = []
    for one in costs:
        seconds = {"mean": one["seconds"], "low": one.get("seconds_low"), "high": one.get("seconds_high")}
        cells = [
            method_head(methods[one["method"]]),
            tag("td", estimate(seconds, 2 if one["seconds"] >= 0.1 else 4)),
            tag("td", number(one.get("cpu_seconds"), 2)),
            tag("td", number(one.get("start_seconds"), 1)),
            tag("td", number(one.get("peak_mb"), 0)),
        ]
        lines.append(tag("tr", *cells, class_="main" if one["method"] == results["main"] else False))
    heads = "method", "seconds a fill", "processor seconds", "seconds to the first fill", "peak memory, MiB"
    machines = ", ".join(dict.fromkeys(one["machine"] for one in costs if one.get("machine")))
    caption = f"{f'On {machines}; in' if machines else 'In'} brackets the fastest and the slowest run"
    return table(caption, [tag("th", head, scope="col") for head in heads], lines)


def published(results: Mapping[str, Any]) -> Markup:
    """What papers say, apart from what was measured; nothing where nothing is cited."""
    cited = results.get("published", ())
    if not cited:
        return Markup()
    names = list(dict.fromkeys(name for row in cited for name in row["values"]))
    lines = []
    for row in cited:
        mark = [tag("sup", "†", role="img", aria_label="copied")] if row.get("copied") else []
        values = [tag("td", f"{row['values'][name]:g}" if name in row["values"] else "–") for name in names]
        lines.append(tag("tr", tag("th", row["method"], *mark, scope="row"), *values))
    heads = [
        _PUBLISHED.get(name, name.upper() if len(name) <= 5 else name.replace("_", " ")) for name in names
    ]
    text = "Numbers from papers, not measured here: other code, other networks and other holes may be behind them."
    if any(row.get("copied") for row in cited):
        text += " †: the paper took them over from another."
    head = [tag("th", head, scope="col") for head in ("method", *heads)]
    return tag("div", tag("p", text, class_="prose"), table("As published", head, lines), class_="published")
