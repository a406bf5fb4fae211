"""Every setting of a fill, with its default and its range: the one place where they are decided.

The library, the command line and everything above read defaults and validation from here.
`None` means "the model's own best value", taken from the model's registry entry.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any, Literal, get_args

from moebius.errors import SettingsError

Solver = Literal["ddim", "dpm++"]
Start = Literal["noise", "masked", "prefill", "official"]
Strategy = Literal["crop", "whole", "tiles"]
EngineName = Literal["auto", "onnx", "torch"]

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
        _whole("steps", self.steps, 1, MAX_STEPS)
        _number("guidance", self.guidance, 0.0, MAX_GUIDANCE)
        _whole("seed", self.seed, 0, MAX_SEED)
        _choice("solver", self.solver, SOLVERS)
        _choice("start", self.start, STARTS)
        _whole("grow", self.grow, 0, MAX_GROW)
        _whole("feather", self.feather, 0, 128)
        _number("context", self.context, 1.25, 8.0)
        _choice("strategy", self.strategy, STRATEGIES)
        _number("grain", self.grain, 0.0, 1.0)
        for name in ("seed", "feather", "context", "strategy", "grain"):
            if getattr(self, name) is None:
                raise SettingsError(f"{name}: expected a value, got None")

    def to_dict(self) -> dict[str, Any]:
        return {field.name: getattr(self, field.name) for field in fields(self)}


def _whole(name: str, value: object, low: int, high: int) -> None:
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise SettingsError(f"{name}: expected a whole number from {low} to {high}, got {value!r}")


def _number(name: str, value: object, low: float, high: float) -> None:
    if value is None:
        return
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not is_number or not math.isfinite(value) or not low <= value <= high:  # type: ignore[arg-type, operator]
        raise SettingsError(f"{name}: expected a number from {low:g} to {high:g}, got {value!r}")


def _choice(name: str, value: object, choices: tuple[str, ...]) -> None:
    if value is not None and value not in choices:
        raise SettingsError(f"{name}: expected one of {', '.join(choices)}, got {value!r}")
