"""Seconds a picture as bars on a logarithmic axis, beside other networks at their own steps: an SVG written by hand.

Readable on light and on dark pages: no background, and inks in the middle between both. Computed rows are outlined.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from typing import Any

from moebius.benchmarks.tables import is_part, seconds

WIDTH, LEFT, RIGHT, LINE, BAR = 820, 330, 80, 26, 16
"""Of the picture, of its names, of the room for numbers; of a row, of a bar; px."""
INK, SOFT, OURS, OTHERS = "#808080", "#80808066", "#d9682b", "#4a86c5"


@dataclass(frozen=True)
class Shown:
    """One bar."""

    title: str
    seconds: float
    ours: bool
    computed: bool


def shown(state: Mapping[str, Any], case: str = "pictures:1") -> list[Shown]:
    """The pictures of a case, longest first: one bar a pipeline at its own number of steps, measured if it was; of our
    ways, the fastest. Empty where the case was not measured."""
    found = state["cases"].get(case)
    if found is None:
        return []
    best: dict[str, Shown] = {}
    for name, row in found["summary"].items():
        entry = found["entries"][name]
        if is_part(name):
            continue
        ours = name.startswith("ours-")
        is_sum = bool(entry.get("parts"))
        key = name.split("-", 2)[2] if ours else name.removesuffix("-computed").rpartition("-")[0]
        each = row["seconds"] / entry["images"]
        bar = Shown(entry["title"].removesuffix(", computed"), each, ours, is_sum)
        other = best.get(key)
        if other is None or (ours and each < other.seconds):
            best[key] = bar  # of the others, the first is the one at its own steps, measured if it was
    return sorted(best.values(), key=lambda bar: -bar.seconds)


def svg(rows: list[Shown], title: str) -> str:
    """The plot.

    Raises:
        ValueError: there is nothing to show.
    """
    if not rows:
        raise ValueError("expected one row or more, got none")
    low = math.floor(math.log10(min(row.seconds for row in rows)))
    high = max(low + 1, math.ceil(math.log10(max(row.seconds for row in rows))))
    bottom = 40 + LINE * len(rows)

    def place(value: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * (math.log10(value) - low) / (high - low)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {bottom + 48}" role="img" '
        f'font-family="sans-serif" font-size="13" fill="{INK}">',
        f"<title>{escape(title)}</title>",
        f'<text x="{LEFT}" y="20" font-weight="bold">{escape(title)}</text>',
    ]
    for power in range(low, high + 1):
        x = place(10.0**power)
        parts.append(f'<path d="M{x:.1f} 32V{bottom}" stroke="{SOFT}"/>')
        parts.append(
            f'<text x="{x:.1f}" y="{bottom + 18}" text-anchor="middle">{seconds(10.0**power)}</text>'
        )
    for number, row in enumerate(rows):
        y = 40 + LINE * number
        colour = OURS if row.ours else OTHERS
        width = max(1.0, place(row.seconds) - LEFT)
        look = f'fill="none" stroke="{colour}" stroke-dasharray="4 3"' if row.computed else f'fill="{colour}"'
        parts.append(f'<text x="{LEFT - 8}" y="{y + 13}" text-anchor="end">{escape(row.title)}</text>')
        parts.append(f'<rect x="{LEFT}" y="{y}" width="{width:.1f}" height="{BAR}" {look}/>')
        parts.append(f'<text x="{LEFT + width + 6:.1f}" y="{y + 13}">{seconds(row.seconds)}</text>')
    legend = "filled: measured whole; dashed: steps x step + encode + decode"
    parts.append(f'<text x="{LEFT}" y="{bottom + 38}">{legend}</text>')
    return "\n".join([*parts, "</svg>", ""])
