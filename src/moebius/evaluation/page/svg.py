"""Matplotlib's figures as SVG for a page: text stays text, colours are the page's CSS variables.

The same figure gives the same bytes. Nothing depends on, or changes, matplotlib's global state.
"""

from __future__ import annotations

import html
import io
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator, ScalarFormatter

PALETTE = 6
"""Colours for methods besides the main one: --m1 to --m6."""
WIDTH = 360
"""Of every plot, px: what a phone shows without shrinking the text."""
RIGHT = 14
"""Room right of the axes, px."""

_VARIABLES = ("ink", "soft", "line", "main", "reference", *(f"m{i}" for i in range(1, PALETTE + 1)))
INKS = {name: f"#0000{i:02x}" for i, name in enumerate(_VARIABLES, 1)}
"""Colours to draw with: stand-ins, each for a CSS variable."""
LETTER = 6.0
"""Width of text at 11 px, px a letter: the reader's font is unknown, so this is on the wide side."""


def lettering(strong: bool) -> dict[str, Any]:
    """How text is set."""
    return {"weight": "bold" if strong else "normal", "color": INKS["ink" if strong else "soft"]}


@contextmanager
def own_settings() -> Iterator[None]:
    """Matplotlib's defaults while something is drawn, whatever the user's are; dollars in titles are dollars."""
    with matplotlib.rc_context(), warnings.catch_warnings():
        # Text is set by the browser; that matplotlib's font lacks a letter does not matter.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        matplotlib.rcdefaults()
        matplotlib.rcParams.update({"svg.fonttype": "none", "text.parse_math": False, "font.size": 11})
        yield


def figure_of(height: int) -> Figure:
    """A figure of `WIDTH` x height px, at 1 px to the point."""
    return Figure(figsize=(WIDTH / 72, height / 72), dpi=72)


def add_axes(figure: Figure, *, left: int, bottom: float, top: float, grid: Literal["x", "y"]) -> Axes:
    """Quiet axes.

    Args:
        figure: where to.
        left: room for labels, px.
        bottom, top: px from the figure's lower edge.
        grid: which axis has lines, and numbers to read from.
    """
    height = 72 * figure.get_figheight()
    size = (WIDTH - left - RIGHT) / WIDTH, (top - bottom) / height
    axes = figure.add_axes((left / WIDTH, bottom / height, *size))
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(INKS["line"])
    axes.tick_params(length=0, pad=5, labelcolor=INKS["soft"], labelsize=11)
    axes.grid(axis=grid, color=INKS["line"], linewidth=0.8)
    axes.set_axisbelow(True)
    axes.xaxis.label.set_color(INKS["soft"])
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(4))
        axis.set_major_formatter(ScalarFormatter(useOffset=False))
    axes.ticklabel_format(style="plain")
    return axes


def fixed_ticks(axes: Axes, places: Sequence[float]) -> None:
    """Ticks of the x axis at these places and nowhere else."""
    axes.xaxis.set_major_locator(FixedLocator(list(places)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))


def write_svg(figure: Figure, name: str, label: str | None) -> str:
    """The figure as an element.

    Args:
        figure: drawn with `INKS`.
        name: another for every figure of a page; its ids come from it.
        label: what it shows, for those who do not see it; None = decoration.
    """
    raw = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": name}):
        figure.savefig(raw, format="svg", transparent=True, metadata={"Date": None})
    text = raw.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(
        r"<(metadata|style)\b.*?</\1>\s*", "", text, flags=re.DOTALL
    )  # the style is for the whole page
    used = set(re.findall(r"#([\w-]+)", text))
    text = re.sub(r' id="([^"]+)"', lambda found: found[0] if found[1] in used else "", text)
    variables = {ink: f"var(--{variable})" for variable, ink in INKS.items()}
    text = re.sub(r"(?<=: )#0000[0-9a-f]{2}\b", lambda found: variables.get(found[0], found[0]), text)
    text = re.sub(r"\n\s*", "\n", text)
    width, height = (round(72 * side) for side in figure.get_size_inches())
    about = f'role="img" aria-label="{html.escape(label)}"' if label else 'aria-hidden="true"'
    head = f'<svg width="{width}" height="{height}" viewBox="0 0 {width} {height}" {about}>'
    return head + text[text.index(">") + 1 :]
