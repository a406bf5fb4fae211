"""Filling one region: photo pixels in, filled pixels out, all inside one square crop.

Nothing under the mask is ever read: the crop is filled smoothly from its known pixels first, at the photo's own
resolution, and only that filled crop is resized and encoded.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from moebius.engines.base import Array, Engine, FloatArray
from moebius.imaging import mask_to_latent, match_tone, push_pull, resize, resize_mask
from moebius.sampling import SamplingPlan, StepState, normal, sample, start_latents
from moebius.settings import Start
from moebius.weights import ModelSpec

Mask = NDArray[np.bool_]


@dataclass
class Timer:
    """Seconds by stage, added up over regions."""

    seconds: dict[str, float]

    def add(self, stage: str, started: float) -> None:
        self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - started


@dataclass(frozen=True)
class Square:
    """A region made ready for the network: padded to a square, filled smoothly, at the model's size."""

    filled: FloatArray
    """(S, S, 3) in [0, 1]: the known pixels, and a smooth fill under the mask."""
    mask: Mask
    """(S, S), True = fill; any masked photo pixel makes its model pixel masked."""
    side: int
    """Side of the padded square in photo pixels."""
    height: int
    width: int


def prepare(crop: FloatArray, mask: Mask, size: int) -> Square:
    """crop (h, w, 3) in [0, 1] and mask (h, w) -> the square that the network sees, `size` px."""
    height, width = mask.shape
    side = max(height, width)
    filled = push_pull(crop, mask)
    if height != width:  # the photo is smaller than the crop: mirror it outwards
        pad = ((0, side - height), (0, side - width))
        filled = np.pad(filled, (*pad, (0, 0)), mode="symmetric")
        mask = np.pad(mask, pad, mode="symmetric")
    if side != size:
        filled, mask = resize(filled, (size, size)), resize_mask(mask, (size, size))
    return Square(filled, mask, side, height, width)


class RegionFill:
    """The denoising of one square: iterate over `steps()`, then take `pixels()`."""

    def __init__(
        self, square: Square, *, engine: Engine, spec: ModelSpec, plan: SamplingPlan, start: Start,
        guidance: float, seed: int, key: str, timer: Timer, leaky: FloatArray | None = None,
    ):  # fmt: skip
        self._square, self._engine, self._spec = square, engine, spec
        self._plan, self._guidance, self._timer = plan, guidance, timer
        began = time.perf_counter()
        hole = square.mask[..., None]
        emptied = np.where(hole, np.float32(0.5), square.filled)
        shown = square.filled if spec.feed == "prefill" else emptied
        self._condition = engine.encode(to_network(shown))  # (1, c, h, w)
        latent_mask = mask_to_latent(square.mask, spec.latent_factor, spec.mask_mode)
        self._mask = engine.array(latent_mask[None, None])  # (1, 1, h, w)
        noise = engine.array(normal(tuple(self._condition.shape), seed=seed, key=key))
        known: Array | None = None
        if start != "noise":
            sources = {"masked": emptied, "prefill": square.filled, "official": leaky}
            source = sources[start]
            assert source is not None, "start 'official' needs the photo's own pixels"
            known = self._condition if source is shown else engine.encode(to_network(source))
            if spec.target == "residual":
                known = (known - self._condition) * spec.residual_scale
        self._x = start_latents(start, noise, known, plan)
        timer.add("encode", began)

    def steps(self) -> Iterator[StepState[Array]]:
        """Run the plan, one network call a step."""

        def predict(x: Array, timestep: int) -> Array:
            return self._engine.predict(x, timestep, self._mask, self._condition, self._guidance)

        began = time.perf_counter()
        for state in sample(predict, self._x, self._plan):
            self._timer.add("denoise", began)
            self._x = state.x
            yield state
            began = time.perf_counter()

    def decode(self, latents: Array) -> FloatArray:
        """Latents of the loop -> the square's pixels (S, S, 3) in [0, 1]."""
        if self._spec.target == "residual":
            # Known cells keep the photo's own latents; only the hole's are generated.
            latents = self._condition + self._mask * latents * (1.0 / self._spec.residual_scale)
        return from_network(self._engine.decode(latents))

    def pixels(self) -> FloatArray:
        """The finished fill at the region's own resolution: (h, w, 3) in [0, 1]."""
        square = self._square
        began = time.perf_counter()
        filled = match_tone(self.decode(self._x), square.filled, square.mask)
        if square.side != len(filled):
            filled = resize(filled, (square.side, square.side))
        self._timer.add("decode", began)
        return filled[: square.height, : square.width]


def to_network(image: FloatArray) -> FloatArray:
    """(S, S, 3) in [0, 1] -> (1, 3, S, S) in [-1, 1]."""
    return np.ascontiguousarray(image.transpose(2, 0, 1)[None] * np.float32(2) - np.float32(1))


def from_network(image: FloatArray) -> FloatArray:
    """(1, 3, S, S), about [-1, 1] -> (S, S, 3) clipped to [0, 1]."""
    return np.clip(image[0].transpose(1, 2, 0) * np.float32(0.5) + np.float32(0.5), 0, 1)
