"""What a training sample is made of, as one frozen, validated value."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from moebius.errors import SettingsError
from moebius.training.masks import HOLE_RANGE
from moebius.training.published_masks import FREE_FORM_TABLES, LAMA_TABLES
from moebius.weights.spec import Feed

CropRule = Literal["hole", "random"]
BankMode = Literal["intersect", "union", "subtract"]
Opposite = Literal["foreground", "null", "none"]

GENERATORS = (
    *HOLE_RANGE,
    *(f"lama:{table}" for table in LAMA_TABLES),
    *(f"free-form:{table}" for table in FREE_FORM_TABLES),
)
"""Names of everything that draws masks."""


@dataclass(frozen=True, kw_only=True)
class DataRecipe:
    """Everything that decides a training sample, besides the photos, the seed and the position.

    As published: `DataRecipe(hole=(0.0, 1.0), bank=0.5, dilate=0.99, opposite="foreground")` on photos with
    background and foreground masks.

    Raises:
        SettingsError: a value that cannot be; the message says what was expected and what came.
    """

    sizes: tuple[int, ...] = (512,)
    """Sides of the square crops, px, multiples of 8; step s uses number s mod their count."""
    crop: CropRule = "hole"
    """hole: the photo's short side is resized to the crop's, masks are drawn over the whole photo where their
    generator can (annotated ones and LaMa's), and the crop contains the middle of the hole, as published.
    random: a random square of the photo; masks are drawn on it, annotated ones have their middle in it."""
    scale_jitter: float = 1.0
    """random: squares of up to side / scale_jitter px are cut and reduced; in (0, 1], 1 = native scale."""
    flip: float = 0.5
    """Probability of mirroring left and right."""
    masks: Mapping[str, float] = field(default_factory=lambda: {"lama:medium_512": 1.0})
    """Generator -> weight: our thin, medium, thick and object, "lama:<table>", "free-form:<table>"."""
    annotated: float = 0.5
    """Probability that a background sample takes its own annotated mask where there is one."""
    bank: float = 0.0
    """Probability that a background sample's mask is combined with some foreground record's; published 0.5."""
    bank_mode: BankMode = "intersect"
    """What of the mask stays: what both hide, what either hides, what the other does not. Published: intersect."""
    dilate: float = 0.0
    """Probability of growing a mask, drawn or annotated, by a square of 3, 5 or 7 px, once or twice, at the scale
    it is cut at; published 0.99."""
    hole: tuple[float, float] = (0.0, 0.5)
    """Smallest and largest share of the crop that is hole; never nothing, never everything. Published: (0, 1).
    Masks are drawn until one fits. If none of 100 does, one that is at most 0.02 outside is taken."""
    foreground: float = 0.0
    """Share of samples from foreground records; 0 = as many as there are among the records."""
    opposite: Opposite = "null"
    """What the second half of the category table stands for, against which guidance contrasts the first.
    foreground: foreground samples are trained, with its ids, as published. null: any sample has its ids with
    probability `id_dropout`. none: it is not trained. In the last two, foreground records only lend masks."""
    id_dropout: float = 0.1
    """null: probability of the second half's ids."""
    feed: Feed = "masked"
    """What the network is shown in the hole: mid-grey, or a smooth fill."""
    views: int = 0
    """Crops a photo has, each a function of (seed, photo), whose latents can be kept; 0 = a new one every time."""
    holdout: float = 0.02
    """Share of photos that are kept for validation; which ones depends on their keys alone."""

    def __post_init__(self) -> None:
        if not self.sizes:
            raise SettingsError("sizes: expected at least one side in px, got none")
        for size in self.sizes:
            if size < 8 or size % 8:
                raise SettingsError(f"sizes: expected multiples of 8 px, got {size}")
        for name, choices in (
            ("crop", CropRule),
            ("bank_mode", BankMode),
            ("opposite", Opposite),
            ("feed", Feed),
        ):
            _choice(name, getattr(self, name), get_args(choices))
        for name in ("flip", "annotated", "bank", "dilate", "foreground", "id_dropout", "holdout"):
            _share(name, getattr(self, name))
        if not 0 < self.scale_jitter <= 1:
            raise SettingsError(
                f"scale_jitter: expected more than 0 and at most 1, got {self.scale_jitter:g}"
            )
        if self.views < 0:
            raise SettingsError(f"views: expected 0 or more, got {self.views}")
        if len(self.hole) != 2 or not 0 <= self.hole[0] < self.hole[1] <= 1:
            got = ", ".join(f"{share:g}" for share in self.hole)
            raise SettingsError(f"hole: expected two shares with 0 <= smallest < largest <= 1, got {got}")
        _check_masks(self.masks)

    def rows(self, step: int, batch: int) -> tuple[int, int]:
        """(rows, side in px) of a batch at `step`, if `batch` is what fits at the first size: as many pixels."""
        size = self.sizes[step % len(self.sizes)]
        return max(1, round(batch * (self.sizes[0] / size) ** 2)), size


def _check_masks(masks: Mapping[str, float]) -> None:
    if not masks:
        raise SettingsError(f"masks: expected at least one of {', '.join(GENERATORS)}, got none")
    for name, weight in masks.items():
        _choice("masks", name, GENERATORS)
        if not (math.isfinite(weight) and weight >= 0):
            raise SettingsError(f"masks.{name}: expected a weight of 0 or more, got {weight:g}")
    if not sum(masks.values()) > 0:
        raise SettingsError("masks: expected a weight above 0, got only zeros")


def _choice(name: str, value: Any, choices: Sequence[str]) -> None:
    if value not in choices:
        near = difflib.get_close_matches(str(value), choices, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise SettingsError(f"{name}: expected one of {', '.join(choices)}, got {value!r}{hint}")


def _share(name: str, value: float) -> None:
    if not 0 <= value <= 1:
        raise SettingsError(f"{name}: expected a number from 0 to 1, got {value:g}")
