"""Filling regions in latent space: several of one shape in the same network calls, each with noise of its own."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from moebius.engines.base import Array, Engine, FloatArray
from moebius.errors import MoebiusError
from moebius.imaging import mask_to_latent, match_tone
from moebius.pipeline.frame import Frame
from moebius.sampling import SamplingPlan, StepState, normal, sample, start_latents
from moebius.settings import Start
from moebius.weights import ModelSpec


@dataclass
class Timer:
    """Seconds by stage, added up over regions."""

    seconds: dict[str, float]

    def add(self, stage: str, started: float) -> None:
        self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - started


class LatentFill:
    """Denoising in latent space: iterate over `steps()`, then take `latents()`. Rows do not know of one another.

    Args:
        condition: (B, c, h, w) latents of the photos as the network is shown them.
        mask: (B, 1, h, w), 1 = fill.
        known: (B, c, h, w) latents that the start is made from; None for start "noise".
        seed, keys: of the noise, a key a row; see `moebius.sampling.normal`.
    """

    def __init__(
        self, *, engine: Engine, spec: ModelSpec, plan: SamplingPlan, start: Start, guidance: float,
        seed: int, keys: Sequence[str], condition: Array, mask: Array, known: Array | None,
    ):  # fmt: skip
        self._engine, self._spec, self._plan, self._guidance = engine, spec, plan, guidance
        self._condition, self._mask = condition, mask
        if known is not None and spec.target == "residual":
            known = (known - condition) * spec.residual_scale
        shape = (1, *condition.shape[1:])
        noise = engine.array(np.concatenate([normal(shape, seed=seed, key=key) for key in keys]))
        self.x = start_latents(start, noise, known, plan)
        """The loop's latents where it stands."""

    def steps(self) -> Iterator[StepState[Array]]:
        """Run the plan, one network call a step."""

        def predict(x: Array, timestep: int) -> Array:
            return self._engine.predict(x, timestep, self._mask, self._condition, self._guidance)

        for state in sample(predict, self.x, self._plan):
            self.x = state.x
            yield state

    def latents(self, x: Array | None = None) -> Array:
        """The autoencoder's latents (B, c, h, w) for the loop's own: where it stands, or `x`, a step's x0."""
        x = self.x if x is None else x
        if self._spec.target == "image":
            return x
        # Known cells keep the photo's own latents; only the hole's are generated.
        return self._condition + self._mask * x * (1.0 / self._spec.residual_scale)


class RegionFill:
    """The denoising of frames of one shape: iterate over `steps()`, then take `pixels()`.

    Args:
        frames: as many as the engine takes rows at once.
        keys: of the noise, one a frame.
        leaky: (H, W, 3) in [0, 1] for each frame, the photo as it is, hole included; for start "official" alone.
    """

    def __init__(
        self, frames: Sequence[Frame], *, engine: Engine, spec: ModelSpec, plan: SamplingPlan, start: Start,
        guidance: float, seed: int, keys: Sequence[str], timer: Timer, leaky: Sequence[FloatArray] | None = None,
    ):  # fmt: skip
        began = time.perf_counter()
        self._frames, self._engine, self._timer = frames, engine, timer

        def encoded(kind: str) -> Array:
            if kind == "official":
                assert leaky is not None, "start 'official' needs the photo's own pixels"
                return engine.encode(to_network(leaky))
            pictures = [frame.emptied if kind == "masked" else frame.filled for frame in frames]
            return engine.encode(to_network(pictures))

        condition = encoded(spec.feed)
        known = None
        if start != "noise":
            known = condition if start == spec.feed else encoded(start)
        masks = [mask_to_latent(frame.mask, spec.latent_factor, spec.mask_mode) for frame in frames]
        self._fill = LatentFill(
            engine=engine, spec=spec, plan=plan, start=start, guidance=guidance, seed=seed, keys=keys,
            condition=condition, mask=engine.array(np.stack(masks)[:, None]), known=known,
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
        """The autoencoder's latents (B, c, h, w) where the loop stands."""
        return self._fill.latents()

    def decode(self, x: Array | None = None) -> list[FloatArray]:
        """The frames' pixels (H, W, 3) in [0, 1], from where the loop stands or from `x`, a step's x0."""
        return from_network(self._engine.decode(self._fill.latents(x)))

    def preview(self, x: Array) -> FloatArray:
        """The first frame's pixels (H, W, 3) in [0, 1] from a step's x0."""
        return from_network(self._engine.decode(self._fill.latents(x)[:1]))[0]

    def pixels(self) -> list[FloatArray]:
        """The finished frames: (H, W, 3) in [0, 1], in the photo's tone."""
        began = time.perf_counter()
        filled = [
            match_tone(decoded, frame.filled, frame.mask)
            for decoded, frame in zip(self.decode(), self._frames, strict=True)
        ]
        self._timer.add("decode", began)
        return filled


def to_network(pictures: Sequence[FloatArray]) -> FloatArray:
    """B pictures (H, W, 3) in [0, 1] -> (B, 3, H, W) in [-1, 1]."""
    stacked = np.stack(pictures).transpose(0, 3, 1, 2)
    return np.ascontiguousarray(stacked * np.float32(2) - np.float32(1))


def from_network(images: FloatArray) -> list[FloatArray]:
    """(B, 3, H, W), about [-1, 1] -> B pictures (H, W, 3) clipped to [0, 1].

    Raises:
        MoebiusError: NaN, which would become arbitrary pixels.
    """
    if np.isnan(images).any():
        raise MoebiusError("decoded picture: expected numbers, got NaN (try a wider number format)")
    pixels = np.clip(images.transpose(0, 2, 3, 1) * np.float32(0.5) + np.float32(0.5), 0, 1)
    return list(pixels)
