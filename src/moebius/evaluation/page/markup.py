"""HTML that cannot be broken into: whatever is not `Markup` is escaped on its way into an element."""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

ARROWS = {
    "high": ("↑", "higher is better"),
    "low": ("↓", "lower is better"),
    "one": ("→ 1", "1 is best"),
    "zero": ("→ 0", "0 is best"),
    "half": ("→ 0.5", "0.5 is best"),
}
"""How the ways to be good are shown, and said."""

_VOID = {"img", "link", "meta"}


class Markup(str):
    """HTML."""

    __slots__ = ()


def tag(element: str, /, *content: str, **attributes: str | int | bool) -> Markup:
    """An element around its content.

    `class_` is written "class" and `data_x` "data-x"; an attribute that is False is left out.
    """
    written = ""
    for key, value in attributes.items():
        if value is not False:
            text = "" if value is True else f'="{html.escape(str(value))}"'
            written += f" {key.rstrip('_').replace('_', '-')}{text}"
    if element in _VOID:
        return Markup(f"<{element}{written}>")
    inner = "".join(part if isinstance(part, Markup) else html.escape(part) for part in content)
    return Markup(f"<{element}{written}>{inner}</{element}>")


def join(parts: Iterable[Markup]) -> Markup:
    """Elements one after the other, empty ones left out."""
    return Markup("\n".join(part for part in parts if part))


def table(caption: Markup | str, head: Sequence[Markup], lines: Iterable[Markup]) -> Markup:
    """A table that scrolls inside its own box.

    Args:
        caption: what the table is about.
        head: the cells of its first line.
        lines: the rows below.
    """
    body = tag("tbody", join(lines))
    inner = tag("table", tag("caption", tag("div", caption)), tag("thead", tag("tr", *head)), body)
    return tag("div", inner, class_="scroll", tabindex=0)


def method_head(method: Mapping[str, Any]) -> Markup:
    """The first cell of a method's line."""
    mark = [tag("small", "reference")] if method["kind"] == "reference" else []
    return tag("th", method["title"], *mark, scope="row")


def metric_head(metric: Mapping[str, Any]) -> Markup:
    """The first cell of a metric's column."""
    return tag("th", with_arrow(metric), scope="col", title=metric["about"])


def with_arrow(metric: Mapping[str, Any]) -> Markup:
    """A metric's title and which way is good."""
    arrow, said = ARROWS[metric["best"]]
    shown = tag("span", arrow, class_="arrow", role="img", aria_label=said)
    return tag("span", metric["title"], "\N{NO-BREAK SPACE}", shown)


def estimate(value: Mapping[str, float | None] | None, digits: int) -> Markup:
    """A mean over its interval, or a dash."""
    if value is None:
        return Markup("–")
    low, high = value.get("low"), value.get("high")
    mean = Markup(html.escape(number(value["mean"], digits)))
    if low is None or high is None:
        return mean
    return Markup(mean + tag("small", f"({number(low, digits)}, {number(high, digits)})"))


def number(value: float | None, digits: int, sign: str = "") -> str:
    """A number for people: a true minus, no negative zero, a dash for none."""
    if value is None or not math.isfinite(value):
        return "–"
    return f"{value:{sign}z.{digits}f}".replace("-", "−")


def count(amount: int, thing: str) -> str:
    """`1 photo`, `2,000 photos`."""
    return f"{amount:,} {thing}{'' if amount == 1 else 's'}"


def holes_of(family: str) -> str:
    """`Thin holes`."""
    return f"{family[:1].upper()}{family[1:]} holes"
