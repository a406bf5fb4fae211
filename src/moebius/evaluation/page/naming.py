"""Names beside the dots of a plot, where they hide neither each other nor a dot."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from matplotlib.axes import Axes

from moebius.evaluation.page.svg import LETTER, WIDTH, lettering


class Point(NamedTuple):
    """A dot with its bar and its name; rank 0 chooses its place first."""

    x: float
    y: float
    low: float
    high: float
    name: str
    rank: int


def name_points(axes: Axes, points: Sequence[Point]) -> None:
    """Write each name beside its dot or at an end of its bar, where it hides nothing, as far as possible."""
    axes.set_ylim(axes.get_ylim())  # from here on nothing moves
    frame = axes.get_window_extent()
    place = axes.transData.transform
    spots = [(*place((p.x, p.y)), place((p.x, p.low))[1], place((p.x, p.high))[1]) for p in points]
    taken = [(x - 5, y - 5, x + 5, y + 5) for x, y, *_ in spots]
    taken += [(x - 2, low, x + 2, high) for x, _, low, high in spots]
    for point, (x, y, low, high) in sorted(zip(points, spots, strict=True), key=lambda pair: pair[0].rank):
        width = LETTER * len(point.name)
        lefts = x - width / 2, x, x - width
        offers = [(x + 8, y), (x - 8 - width, y)]
        offers += [(left, end) for up in (9, 22, 35) for end in (high + up, low - up) for left in lefts]
        boxes = [(left, middle - 6, left + width, middle + 6) for left, middle in offers]
        inside = [
            b for b in boxes if frame.x0 <= b[0] and b[2] <= WIDTH and frame.y0 <= b[1] and b[3] <= frame.y1
        ]
        free = [box for box in inside if not any(_overlap(box, other) for other in taken)]
        box = (free or inside or boxes)[0]
        taken.append(box)
        at = axes.transData.inverted().transform((box[0], (box[1] + box[3]) / 2))
        axes.text(float(at[0]), float(at[1]), point.name, va="center", zorder=6, **lettering(point.rank == 0))


def _overlap(a: tuple[float, ...], b: tuple[float, ...]) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
