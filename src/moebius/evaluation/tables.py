"""Results as Markdown, for a model's card and for the docs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from moebius.evaluation.metrics import BY_NAME, Metric

ARROWS = {"high": "↑", "low": "↓", "one": "→ 1", "zero": "→ 0"}

LEGEND = """\
Numbers are means with their 95 % interval (bootstrap over photos; for distances of sets a jackknife over photos). All
methods fill exactly the same holes, and only the hole's pixels are replaced. LPIPS-squeeze is LPIPS v0.1 on
SqueezeNet 1.1, FD-MobileNetV2 the Fréchet distance of MobileNetV2 features between the filled crops and the same
photos' crops: neither can be compared with published LPIPS (AlexNet or VGG) or FID (Inception). LPIPS-squeeze rewards
texture of any kind: compare a model with the row of its own autoencoder, which has no denoiser."""


def markdown(results: Mapping[str, Any], *, every: bool = False) -> str:
    """Tables of results.json: each mask family over all photos, then each group of photos over all holes.

    Args:
        results: format 2.
        every: all metrics that were measured, instead of those that a card shows.
    """
    titles = {method["id"]: method["title"] for method in results["methods"]}
    families = list(dict.fromkeys(cell["family"] for cell in results["cells"]))
    groups = [group for group in dict.fromkeys(cell["group"] for cell in results["cells"]) if group != "all"]
    last = families[-1]
    parts = [(family, "all") for family in families] + [(last, group) for group in groups]
    shown = [BY_NAME[metric["name"]] for metric in results["metrics"]]
    paired = results["protocol"]["paired"]
    shown = [metric for metric in shown if every or metric.card or not paired]
    tables = []
    for family, group in parts:
        chosen = [cell for cell in results["cells"] if (cell["family"], cell["group"]) == (family, group)]
        tables.append(_table(chosen, titles, shown))
    return "\n\n".join([*tables, *([LEGEND] if paired else [])]) + "\n"


def differences_markdown(results: Mapping[str, Any], metrics: Sequence[str]) -> str:
    """The main method against the others: mean difference, and what the interval allows to say."""
    titles = {method["id"]: method["title"] for method in results["methods"]}
    shown = [BY_NAME[name] for name in metrics if any(d["metric"] == name for d in results["differences"])]
    lines = [["holes", "against", *(f"{metric.title} {ARROWS[metric.best]}" for metric in shown)]]
    lines.append(["---", "---"] + ["---:"] * len(shown))
    keys = list(dict.fromkeys((d["family"], d["against"]) for d in results["differences"]))
    for family, against in keys:
        found = {
            d["metric"]: d for d in results["differences"] if (d["family"], d["against"]) == (family, against)
        }
        numbers = [
            _difference(found[metric.name], metric) if metric.name in found else "" for metric in shown
        ]
        lines.append([family, titles.get(against, against), *numbers])
    return table_lines(lines) + "\n"


def cost_markdown(results: Mapping[str, Any], cost: Sequence[Mapping[str, Any]]) -> str:
    """Time and memory as a table."""
    if not cost:
        return ""
    titles = {method["id"]: method["title"] for method in results["methods"]}
    lines = [["", "seconds a fill", "processor seconds", "from start to first fill, s", "peak memory, MiB"]]
    lines.append(["---"] + ["---:"] * 4)
    for one in cost:
        fill = f"{one['seconds']:.2f} ({one['seconds_low']:.2f}, {one['seconds_high']:.2f})"
        numbers = [fill, f"{one['cpu_seconds']:.2f}", f"{one['start_seconds']:.1f}", f"{one['peak_mb']:.0f}"]
        lines.append([titles.get(one["method"], one["method"]), *numbers])
    note = f"One hole, of medium size; median, in brackets the fastest and the slowest fill; {cost[0]['machine']}."
    return f"{table_lines(lines)}\n\n{note}\n"


def _table(cells: Sequence[Mapping[str, Any]], titles: Mapping[str, str], metrics: Sequence[Metric]) -> str:
    first = cells[0]
    metrics = [metric for metric in metrics if any(metric.name in cell["metrics"] for cell in cells)]
    of_group = "" if first["group"] == "all" else f", {first['group']}"
    photos = f"{first['photos']} photo{'s' if first['photos'] > 1 else ''}{of_group}"
    kind = first["family"].capitalize()
    caption = (
        f"**{kind} holes** ({first['area']:.0%} of the picture, median; {photos}, {first['holes']} holes)"
    )
    lines = [["", *(f"{metric.title} {ARROWS[metric.best]}" for metric in metrics)]]
    lines.append(["---"] + ["---:"] * len(metrics))
    for cell in cells:
        numbers = [_number(cell["metrics"].get(metric.name), metric) for metric in metrics]
        lines.append([titles.get(cell["method"], cell["method"]), *numbers])
    return caption + "\n\n" + table_lines(lines)


def table_lines(lines: Sequence[Sequence[str]]) -> str:
    """Rows of cells, the head and its rule included, as a Markdown table."""
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _number(estimate: Mapping[str, float] | None, metric: Metric) -> str:
    if estimate is None:
        return ""
    mean, low, high = (f"{estimate[name]:z.{metric.digits}f}" for name in ("mean", "low", "high"))
    return f"{mean} ({low}, {high})"


def _difference(value: Mapping[str, Any], metric: Metric) -> str:
    mean, low, high = (f"{value[name]:+z.{metric.digits}f}" for name in ("mean", "low", "high"))
    verdict = ""
    if metric.best in ("high", "low") and not value["low"] <= 0 <= value["high"]:
        verdict = " better" if (value["mean"] > 0) == (metric.best == "high") else " worse"
    return f"{mean} ({low}, {high}){verdict}"
