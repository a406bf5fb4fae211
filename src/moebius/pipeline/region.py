"""Filling one region: photo pixels in, filled pixels out, all inside one square crop.

Nothing under the mask is ever read: the crop is filled smoothly from its known pixels first, at the photo's
own resolution, and only that filled crop is resized and encoded.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from moebius.engines.base import Array, Engine, FloatArray
from moebius.errors import MoebiusError
from moebius.imaging import mask_to_latent, match_tone, push_pull, resize, resize_mask
from moebius.sampling import SamplingPlan, StepState, normal, sample, start_latents
from moebius.settings import Start
from moebius.weights import ModelSpec

Mask = NDArray[np.bool_]

MID_GREY = np.float32(0.5)
"""What an emptied hole holds, in [0, 1]."""


@dataclass
class Timer:
    """Seconds by stage, added up over regions."""

    seconds: dict[str, float]

    def add(self, stage: str, started: float) -> None:
        self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - started


@dataclass(frozen=True)
class Square:
    """A region made ready for the network: filled smoothly, at the model's size, padded to a square."""

    filled: FloatArray
    """(S, S, 3) in [0, 1]: the known pixels, and a smooth fill under the mask."""
    mask: Mask
    """(S, S), True = fill; any masked photo pixel makes its model pixel masked."""
    inner: tuple[int, int]
    """(height, width) of the crop inside the square, from its top left corner on; the rest mirrors it."""
    outer: tuple[int, int]
    """(height, width) of the crop in photo pixels."""

    @property
    def emptied(self) -> FloatArray:
        """(S, S, 3) in [0, 1]: the known pixels, and mid-grey under the mask, as published."""
        return np.where(self.mask[..., None], MID_GREY, self.filled)

    def at(self, size: int) -> Square:
        """The same square at another size of the model's."""
        if size == len(self.mask):
            return self
        filled, mask = resize(self.filled, (size, size)), resize_mask(self.mask, (size, size))
        return replace(self, filled=filled, mask=mask)

    def refilled(self, coarse: FloatArray) -> Square:
        """The same square with its hole filled from `coarse`, (s, s, 3) in [0, 1], a smaller fill of it."""
        size = len(self.mask)
        enlarged = resize(coarse, (size, size))
        return replace(self, filled=np.where(self.mask[..., None], enlarged, self.filled))


def prepare(crop: FloatArray, mask: Mask, size: int) -> Square:
    """crop (h, w, 3) in [0, 1] and mask (h, w) -> the square that the network sees, `size` px.

    A crop that is not square (the photo is smaller than the crop would be) is brought to the model's scale
    first and mirrored outwards there: a long thin photo needs no more memory than any other.
    """
    outer = mask.shape
    longer = max(outer)
    height, width = (max(1, round(side * size / longer)) for side in outer)
    filled = resize(push_pull(crop, mask), (height, width))
    mask = resize_mask(mask, (height, width))
    if height != width:
        pad = ((0, size - height), (0, size - width))
        filled = np.pad(filled, (*pad, (0, 0)), mode="symmetric")
        mask = np.pad(mask, pad, mode="symmetric")
    return Square(filled, mask, (height, width), (outer[0], outer[1]))


class LatentFill:
    """Denoising in latent space, one photo at a time: iterate over `steps()`, then take `latents()`.

    Args:
        condition: (1, c, h, w) latents of the photo as the network is shown it.
        mask: (1, 1, h, w), 1 = fill.
        known: (1, c, h, w) latents that the start is made from; None for start "noise".
        seed, key: of the noise; see `moebius.sampling.normal`.
    """

    def __init__(
        self, *, engine: Engine, spec: ModelSpec, plan: SamplingPlan, start: Start, guidance: float,
        seed: int, key: str, condition: Array, mask: Array, known: Array | None,
    ):  # fmt: skip
        self._engine, self._spec, self._plan, self._guidance = engine, spec, plan, guidance
        self._condition, self._mask = condition, mask
        if known is not None and spec.target == "residual":
            known = (known - condition) * spec.residual_scale
        noise = engine.array(normal(tuple(condition.shape), seed=seed, key=key))
        self._x = start_latents(start, noise, known, plan)

    def steps(self) -> Iterator[StepState[Array]]:
        """Run the plan, one network call a step."""

        def predict(x: Array, timestep: int) -> Array:
            return self._engine.predict(x, timestep, self._mask, self._condition, self._guidance)

        for state in sample(predict, self._x, self._plan):
            self._x = state.x
            yield state

    def latents(self, x: Array | None = None) -> Array:
        """The autoencoder's latents (1, c, h, w) for the loop's own: where it stands, or `x`, a step's x0."""
        x = self._x if x is None else x
        if self._spec.target == "image":
            return x
        # Known cells keep the photo's own latents; only the hole's are generated.
        return self._condition + self._mask * x * (1.0 / self._spec.residual_scale)


class RegionFill:
    """The denoising of one square: iterate over `steps()`, then take `pixels()`.

    Args:
        leaky: (S, S, 3) in [0, 1], the photo as it is, hole included; for start "official" alone.
    """

    def __init__(
        self, square: Square, *, engine: Engine, spec: ModelSpec, plan: SamplingPlan, start: Start,
        guidance: float, seed: int, key: str, timer: Timer, leaky: FloatArray | None = None,
    ):  # fmt: skip
        began = time.perf_counter()
        self._square, self._engine, self._timer = square, engine, timer
        pictures = {"masked": square.emptied, "prefill": square.filled, "official": leaky}
        condition = engine.encode(to_network(pictures[spec.feed]))
        known = None
        if start != "noise":
            known = condition if start == spec.feed else engine.encode(to_network(pictures[start]))
        latent_mask = mask_to_latent(square.mask, spec.latent_factor, spec.mask_mode)
        self._fill = LatentFill(
            engine=engine, spec=spec, plan=plan, start=start, guidance=guidance, seed=seed, key=key,
            condition=condition, mask=engine.array(latent_mask[None, None]), known=known,
        )  # fmt: skip
        timer.add("encode", began)

    def steps(self) -> Iterator[StepState[Array]]:
        """Run the plan, one network call a step."""
        began = time.perf_counter()
        for state in self._fill.steps():
            self._timer.add("denoise", began)
            yield state
            began = time.perf_counter()

    def latents(self) -> Array:
        """The autoencoder's latents (1, c, h, w) where the loop stands."""
        return self._fill.latents()

    def decode(self, x: Array | None = None) -> FloatArray:
        """The square's pixels (S, S, 3) in [0, 1], from where the loop stands or from `x`, a step's x0."""
        return from_network(self._engine.decode(self._fill.latents(x)))

    def pixels(self) -> FloatArray:
        """The finished square: (S, S, 3) in [0, 1], in the photo's tone."""
        began = time.perf_counter()
        filled = match_tone(self.decode(), self._square.filled, self._square.mask)
        self._timer.add("decode", began)
        return filled

    def crop(self, pixels: FloatArray) -> FloatArray:
        """The crop's part of the finished square at the photo's own resolution: (h, w, 3) in [0, 1]."""
        height, width = self._square.inner
        return resize(pixels[:height, :width], self._square.outer)


def to_network(image: FloatArray | None) -> FloatArray:
    """(S, S, 3) in [0, 1] -> (1, 3, S, S) in [-1, 1]."""
    assert image is not None, "start 'official' needs the photo's own pixels"
    return np.ascontiguousarray(image.transpose(2, 0, 1)[None] * np.float32(2) - np.float32(1))


def from_network(image: FloatArray) -> FloatArray:
    """(1, 3, S, S), about [-1, 1] -> (S, S, 3) clipped to [0, 1].

    Raises:
        MoebiusError: NaN, which would become arbitrary pixels.
    """
    if np.isnan(image).any():
        raise MoebiusError("decoded picture: expected numbers, got NaN (try a wider number format)")
    pixels: FloatArray = np.clip(image[0].transpose(1, 2, 0) * np.float32(0.5) + np.float32(0.5), 0, 1)
    return pixels
