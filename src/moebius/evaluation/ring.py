"""The edge of a fill, judged without the truth: does it show more than what the photo itself has anywhere?

Three numbers are taken along the hole's edge: the colour step across it, the difference of mean colour between the
two sides, and the fine texture on the inside over that on the outside. The first two are divided by what the same
outline measures at random places of the unfilled photo, so that 1 means "no more than this photo's own edges".
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from moebius.evaluation.holes import Mask
from moebius.evaluation.metrics import Picture, edge_steps, laplacian
from moebius.imaging import Box, bounding_box

REACH = 8
"""Pixels to each side of the edge that count as its surroundings."""
PLACES = 8
"""Random places at which the photo's own variation is taken."""


@dataclass(frozen=True)
class Edge:
    """What an outline measures in one picture."""

    step: float
    """Mean absolute colour step between neighbours on the two sides, in [0, 1]."""
    tone: float
    """Mean absolute difference of the mean colours within about `REACH` on the two sides, in [0, 1]."""
    grain: float
    """Mean absolute Laplacian of the band inside over the band outside; 1 = the same fineness."""


class Ring:
    """The edge of one hole in one photo.

    Args:
        photo: (H, W, 3) in [0, 1], unfilled: only its parts at random places are looked at.
        hole: (H, W), True = filled; not empty.
        seed: of the random places.
    """

    def __init__(self, photo: Picture, hole: Mask, seed: int):
        height, width = hole.shape
        box = bounding_box(hole)
        assert box is not None
        reach = 2 * REACH
        self._box = Box(
            box.left - reach, box.top - reach, box.right + reach, box.bottom + reach
        ).clip(width, height)  # fmt: skip
        self._outline = _Outline(hole[self._box.slices])
        places = [self._outline.edge(part) for part in _random_parts(photo, self._box, seed)]
        self._step = float(np.mean([place.step for place in places]))
        self._tone = float(np.mean([place.tone for place in places]))

    def __call__(self, image: Picture) -> dict[str, float]:
        """`ring_step`, `ring_tone` and `ring_grain` of a filled picture (H, W, 3); see the module's docstring."""
        edge = self._outline.edge(image[self._box.slices])
        floor = 1 / 255  # a flat photo has no variation of its own; what 8 bits cannot show does not count
        return {
            "ring_step": edge.step / max(self._step, floor),
            "ring_tone": edge.tone / max(self._tone, floor),
            "ring_grain": edge.grain,
        }


class _Outline:
    """A hole's edge, ready to be laid on pictures of its size."""

    def __init__(self, hole: Mask):
        import cv2

        def distance(mask: Mask) -> NDArray[np.float32]:
            to_others: NDArray[np.float32] = cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, 3)
            return to_others

        inside, outside = distance(hole), distance(~hole)
        self._hole = hole
        self._inner, self._outer = hole & (inside <= REACH), ~hole & (outside <= REACH)
        self._inner_texture = self._inner & (inside > 1.5)  # further in than the step itself
        self._outer_texture = self._outer & (outside > 1.5)
        self._at_edge = (self._inner & (inside <= 1)) | (self._outer & (outside <= 1))
        self._inner_weight, self._outer_weight = _spread(self._inner), _spread(self._outer)

    def edge(self, image: Picture) -> Edge:
        steps = edge_steps(image, self._hole)
        if not steps.size:  # the whole picture is hole
            return Edge(0.0, 0.0, 1.0)
        inner = (
            _spread(image * self._inner[..., None])[self._at_edge]
            / self._inner_weight[self._at_edge][:, None]
        )
        outer = (
            _spread(image * self._outer[..., None])[self._at_edge]
            / self._outer_weight[self._at_edge][:, None]
        )
        return Edge(
            step=float(steps.mean(dtype=np.float64)),
            tone=float(np.abs(inner - outer).mean(dtype=np.float64)),
            grain=self._grain(image),
        )

    def _grain(self, image: Picture) -> float:
        if not self._inner_texture.any() or not self._outer_texture.any():
            return 1.0
        texture = laplacian(image)
        inner = float(texture[self._inner_texture].mean(dtype=np.float64))
        outer = float(texture[self._outer_texture].mean(dtype=np.float64))
        return (inner + 1e-4) / (outer + 1e-4)


def _spread(values: NDArray[np.float32] | Mask) -> NDArray[np.float32]:
    """The mean over a square of `REACH` px to each side, of something that is 0 outside a band."""
    import cv2

    side = 2 * REACH + 1
    spread: NDArray[np.float32] = cv2.blur(
        values.astype(np.float32), (side, side), borderType=cv2.BORDER_CONSTANT
    )
    return spread


def _random_parts(photo: Picture, box: Box, seed: int) -> list[Picture]:
    """Parts of the photo as large as the box, at random places and mirrored at random.

    An outline that fills the picture has no other place to go: what is left are the mirrored pictures.
    """
    height, width = photo.shape[:2]
    random = np.random.default_rng(seed)
    parts = []
    for _ in range(PLACES):
        left = int(random.integers(0, width - box.width + 1))
        top = int(random.integers(0, height - box.height + 1))
        part = photo[top : top + box.height, left : left + box.width]
        for axis in np.flatnonzero(random.random(2) < 0.5):
            part = np.flip(part, axis=int(axis))
        parts.append(part)
    return parts
