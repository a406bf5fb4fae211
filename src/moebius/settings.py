"""Every setting of a fill, with its default and its range: the one place where they are decided.

The library, the command line and everything above read defaults and validation from here.
`None` means "the model's own best value", taken from the model's registry entry.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal, get_args

from moebius.errors import SettingsError

Solver = Literal["ddim", "dpm++"]
Start = Literal["noise", "masked", "prefill", "official"]
Strategy = Literal["crop", "whole", "tiles"]
EngineName = Literal["auto", "onnx", "openvino", "torch"]

SOLVERS: tuple[str, ...] = get_args(Solver)
STARTS: tuple[str, ...] = get_args(Start)
STRATEGIES: tuple[str, ...] = get_args(Strategy)
ENGINES: tuple[str, ...] = get_args(EngineName)

DEFAULT_MODEL = "nano"
MAX_STEPS = 1000
MAX_GUIDANCE = 20.0
MAX_SEED = 2**64 - 1
MAX_GROW = 512
MAX_PIXELS = 200_000_000
"""Photos above this many pixels are refused before they are decoded (decompression bombs)."""


@dataclass(frozen=True)
class Whole:
    """Whole numbers from `low` to `high`."""

    low: int
    high: int

    def check(self, name: str, value: object) -> None:
        """Raises SettingsError for a value outside."""
        if isinstance(value, bool) or not isinstance(value, int) or not self.low <= value <= self.high:
            raise SettingsError(
                f"{name}: expected a whole number from {self.low} to {self.high}, got {value!r}"
            )

    def to_dict(self) -> dict[str, Any]:
        return {"minimum": self.low, "maximum": self.high}


@dataclass(frozen=True)
class Number:
    """Numbers from `low` to `high`."""

    low: float
    high: float

    def check(self, name: str, value: object) -> None:
        """Raises SettingsError for a value outside."""
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not is_number or not math.isfinite(value) or not self.low <= value <= self.high:  # type: ignore[arg-type, operator]
            raise SettingsError(
                f"{name}: expected a number from {self.low:g} to {self.high:g}, got {value!r}"
            )

    def to_dict(self) -> dict[str, Any]:
        return {"minimum": self.low, "maximum": self.high}


@dataclass(frozen=True)
class Choice:
    """One of a few words."""

    words: tuple[str, ...]

    def check(self, name: str, value: object) -> None:
        """Raises SettingsError for another word."""
        if value not in self.words:
            raise SettingsError(f"{name}: expected one of {', '.join(self.words)}, got {value!r}")

    def to_dict(self) -> dict[str, Any]:
        return {"choices": list(self.words)}


RANGES: Mapping[str, Whole | Number | Choice] = {
    "steps": Whole(1, MAX_STEPS),
    "guidance": Number(0.0, MAX_GUIDANCE),
    "seed": Whole(0, MAX_SEED),
    "solver": Choice(SOLVERS),
    "start": Choice(STARTS),
    "grow": Whole(0, MAX_GROW),
    "feather": Whole(0, 128),
    "context": Number(1.25, 8.0),
    "strategy": Choice(STRATEGIES),
    "grain": Number(0.0, 1.0),
}
"""What each setting may be, besides those that are true or false."""

HELP: Mapping[str, str] = {
    "steps": "Solver steps; more is slower and mostly better.",
    "guidance": "Category guidance scale; 1 = off.",
    "seed": "The same seed gives the same picture, another one another try.",
    "solver": "How the steps are taken.",
    "start": "Start latents; only official sees what lies under the mask.",
    "grow": "Grow the mask by this many pixels; by default scaled to each object.",
    "feather": "Pixels outside the mask over which the fill fades into the photo.",
    "context": "Side of the crop that the network sees, over the hole's longer side.",
    "strategy": "How a large hole meets the network; tiles is slower, at the photo's own resolution.",
    "grain": "How much of the photo's own noise the fill is given.",
    "invert": "The mask is black where it should be filled.",
    "fit_mask": "Resize a mask whose size is not the photo's.",
}
"""A line on each setting for people who choose one."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How one photo is filled. Validated on construction.

    Raises:
        SettingsError: a value is out of range; the message gives the range and the value.
    """

    steps: int | None = None
    """Solver steps, 1 to 1000; exactly this many are run (except with start="official")."""
    guidance: float | None = None
    """Category guidance scale, 0 to 20; 1.0 runs the network once a step instead of twice."""
    seed: int = 0
    """0 to 2**64 - 1; the same seed gives the same picture."""
    solver: Solver | None = None
    """"ddim" (as published) or "dpm++" (DPM-Solver++ 2M)."""
    start: Start | None = None
    """Start latents: "noise", "masked" and "prefill" never see what lies under the mask; "official" does."""
    grow: int | None = None
    """Pixels of the photo by which the mask is grown, 0 to 512; None scales it to each object."""
    feather: int = 6
    """Pixels outside the grown mask over which the fill fades into the photo, 0 to 128."""
    context: float = 2.0
    """Side of the square crop around a hole, as a multiple of the hole's longer side, 1.25 to 8."""
    strategy: Strategy = "crop"
    """How a hole meets a network of limited size. "crop" fills each hole in a crop of its own, scaled down where the
    hole is large; "whole" scales the whole photo down; "tiles" goes on from the crop's fill with overlapping tiles, at
    twice the resolution each time, up to the photo's own."""
    grain: float = 0.0
    """How much of the photo's own noise the fill is given, 0 to 1: fills are smoother than what is around them."""
    invert: bool = False
    """The mask is black where it should be filled."""
    fit_mask: bool = False
    """Resize a mask whose size is not the photo's, instead of refusing it."""

    def __post_init__(self) -> None:
        for name, allowed in RANGES.items():
            value = getattr(self, name)
            if value is not None:
                allowed.check(name, value)
            elif name in ("seed", "feather", "context", "strategy", "grain"):
                raise SettingsError(f"{name}: expected a value, got None")

    def to_dict(self) -> dict[str, Any]:
        return {field.name: getattr(self, field.name) for field in fields(self)}
