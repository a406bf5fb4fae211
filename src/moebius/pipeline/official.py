"""The published inference, step by step, over three functions: encode, predict, decode.

For parity with published numbers. It starts from the noised photo itself, hole included, so what is to be
removed leaks into the result, and it gives back a resized photo with altered borders: `Moebius` does neither.

    prepare -> encode photo and masked photo -> noise the photo -> guided DDIM -> decode -> paste

Numpy throughout: a network on another device converts inside its own function (64 KB a step for one photo).
Every stage is a function of its own, so that other front ends can be built from them.

Source: the inference pipeline released with the Moebius paper, as measured in this project's golden data.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from moebius.errors import InputError, SettingsError
from moebius.pipeline.official_images import (
    IMAGE_SIZE,
    Floats,
    Morphology,
    Pixels,
    Prepared,
    paste,
    paste_compensated,
    prepare,
    preprocess_image_and_mask,
    to_bytes,
)
from moebius.sampling import (
    SamplingPlan,
    StepState,
    leading_timesteps,
    make_plan,
    sample,
    scaled_linear,
    start_latents,
)
from moebius.settings import Start

__all__ = [
    "OfficialInputs",
    "OfficialResult",
    "category_ids",
    "denoise_official",
    "encode_inputs",
    "guided",
    "official_plan",
    "official_start",
    "offset_noise",
    "preprocess_image_and_mask",
    "reconstruct_official",
]

STEPS = 20
STRENGTH = 0.99
GUIDANCE = 2.0
"""The release's README; its command line says 2.5, its pipeline 4.5."""
NOISE_OFFSET = 0.0357
CATEGORIES = 10
"""Ids a network is given: 0 to 9 mean background, 10 to 19 foreground (the "unconditional" half)."""
FACTOR = 8
"""Pixels a latent cell."""

Ids = NDArray[np.int64]
Encode = Callable[[Floats], Floats]
"""(B, 3, H, W) in [-1, 1] -> latents (B, 4, H/8, W/8), scaled."""
Predict = Callable[[Floats, int, Ids], Floats]
"""(2B, 9, h, w) noisy latents, mask, masked latents; timestep; ids (2B, 10) -> noise (2B, 4, h, w)."""
Decode = Callable[[Floats], Floats]
"""Latents (B, 4, h, w), scaled -> (B, 3, 8h, 8w), about [-1, 1]."""


@dataclass(frozen=True, eq=False)
class OfficialInputs:
    """What the network is told of a batch; float32."""

    latents: Floats
    """(B, 4, h, w): of the photos as they are, hole included."""
    masked_latents: Floats
    """(B, 4, h, w): of the photos with the hole at mid-grey."""
    mask: Floats
    """(B, 1, h, w), 0 or 1 = fill: the top left pixel of every 8 x 8."""


@dataclass(frozen=True, eq=False)
class OfficialResult:
    """The pictures and everything on the way to them."""

    pictures: tuple[Pixels, ...]
    """(H, W, 3) uint8 each, at the resized size."""
    prepared: tuple[Prepared, ...]
    inputs: OfficialInputs
    plan: SamplingPlan
    start: Floats
    """(B, 4, h, w)"""
    latents: Floats
    """(B, 4, h, w): the sampler's result, scaled."""
    decoded: Floats
    """(B, 3, H, W), about [-1, 1]."""


def reconstruct_official(
    encode: Encode,
    predict: Predict,
    decode: Decode,
    images: Sequence[Image.Image | Pixels],
    masks: Sequence[Image.Image | Pixels],
    noise: Floats,
    *,
    steps: int = STEPS,
    strength: float = STRENGTH,
    guidance: float = GUIDANCE,
    image_size: int | tuple[int, int] = IMAGE_SIZE,
    kernel: int = 0,
    morphology: Morphology = "dilate",
    pasted: bool = True,
    compensated: bool = False,
) -> OfficialResult:
    """Run the published inference on a batch.

    Args:
        encode, predict, decode: the networks; see `Encode`, `Predict`, `Decode`. `encode` is called with the
            photos and then with the masked photos (the release draws from the posterior in that order).
        images, masks, image_size, kernel, morphology: as in `prepare`; all photos must resize to one size.
        noise: (B, 4, h, w) float32, standard normal, or from `offset_noise`.
        steps, strength: see `official_plan`.
        guidance: weight of the background over the foreground category.
        pasted: fade the fill into the photo; else the decoded picture is the result.
        compensated: shift the fill's colours too; only with `pasted`, as released.

    Raises:
        InputError: counts or sizes that do not fit together.
        SettingsError: a value out of range.
    """
    plan = official_plan(steps, strength)
    if len(images) != len(masks) or not images:
        raise InputError(
            f"batch: expected as many masks as photos, at least one, got {len(images)} and {len(masks)}"
        )
    prepared = tuple(
        prepare(image, mask, image_size=image_size, kernel=kernel, morphology=morphology)
        for image, mask in zip(images, masks, strict=True)
    )
    inputs = encode_inputs(encode, prepared)
    start = official_start(noise, inputs.latents, plan, strength)
    latents = start
    for state in denoise_official(predict, start, inputs.mask, inputs.masked_latents, plan, guidance):
        latents = state.x
    decoded = np.asarray(decode(latents), np.float32)

    pictures = [to_bytes(picture) for picture in decoded]
    if pasted:
        fade = paste_compensated if compensated else paste
        pictures = [fade(picture, item) for picture, item in zip(pictures, prepared, strict=True)]
    return OfficialResult(tuple(pictures), prepared, inputs, plan, start, latents, decoded)


def official_plan(steps: int = STEPS, strength: float = STRENGTH) -> SamplingPlan:
    """DDIM over the published timesteps: 20 steps at strength 0.99 are 19, from 900 down to 0.

    Raises:
        SettingsError: out of range, or so few steps that none is left (the release crashes on 1).
    """
    timesteps = leading_timesteps(steps, strength)
    if not timesteps:
        raise SettingsError(
            f"steps: expected at least one step after strength {strength:g}, got {steps} and so none"
        )
    return make_plan(scaled_linear(), timesteps, "ddim", "epsilon")


def encode_inputs(encode: Encode, prepared: Sequence[Prepared]) -> OfficialInputs:
    """Encode the photos and the masked photos; take the mask to the latent grid by nearest neighbour.

    A stroke thinner than 8 pixels may miss every top left pixel and be lost, as released. NaN in the latents
    becomes 0, as released.

    Raises:
        InputError: the photos have different sizes.
    """
    sizes = {item.grey_mask.shape for item in prepared}
    if len(sizes) != 1:
        found = ", ".join(f"{width}x{height}" for height, width in sorted(sizes))
        raise InputError(f"batch: expected photos that resize to one size, got {found}")
    latents = encode(np.stack([item.image for item in prepared]))
    masked = encode(np.stack([item.masked_image for item in prepared]))
    mask = np.stack([item.mask for item in prepared])[:, :, ::FACTOR, ::FACTOR]
    return OfficialInputs(_without_nan(latents), _without_nan(masked), np.ascontiguousarray(mask))


def offset_noise(base: Floats, channel: Floats, strength: float = NOISE_OFFSET) -> Floats:
    """Noise with a common offset a channel, as in training: base + strength * channel.

    Args:
        base: (B, 4, h, w), standard normal.
        channel: (B, 4, 1, 1), standard normal.
    """
    return base + np.float32(strength) * channel


def official_start(noise: Floats, latents: Floats, plan: SamplingPlan, strength: float = STRENGTH) -> Floats:
    """The noised photo, or from strength 1 up the noise alone; (B, 4, h, w) float32.

    Below strength 1 the start holds what lies under the mask: see `start_latents`.
    """
    kind: Start = "noise" if strength >= 1 else "official"
    if noise.shape != latents.shape:
        raise InputError(f"noise: expected shape {latents.shape}, got {noise.shape}")
    return start_latents(kind, noise, latents, plan)


def denoise_official(
    predict: Predict,
    start: Floats,
    mask: Floats,
    masked_latents: Floats,
    plan: SamplingPlan,
    guidance: float = GUIDANCE,
) -> Generator[StepState[Floats], None, None]:
    """The guided loop in latent space; one `StepState` a step, the last one's `x` is the result.

    Args:
        start, masked_latents: (B, 4, h, w) float32.
        mask: (B, 1, h, w) float32, 0 or 1 = fill.
    """
    return sample(guided(predict, mask, masked_latents, guidance), start, plan)


def guided(
    predict: Predict, mask: Floats, masked_latents: Floats, guidance: float
) -> Callable[[Floats, int], Floats]:
    """Category guidance: noise = u + guidance (c - u), u and c of one batch of twice the size.

    At guidance 1 the noise is c: the half for u is then left out (the release computes it all the same).

    Returns:
        (x (B, 4, h, w), timestep) -> noise (B, 4, h, w).

    Raises:
        SettingsError: guidance is NaN or infinite.
    """
    if not np.isfinite(guidance):
        raise SettingsError(f"guidance: expected a finite number, got {guidance}")
    told = np.concatenate([mask, masked_latents], axis=1)  # (B, 5, h, w)
    batch = len(told)
    ids = category_ids(batch)

    def noise_at(x: Floats, timestep: int) -> Floats:
        inputs = np.concatenate([x, told], axis=1)  # (B, 9, h, w)
        if guidance == 1:
            return predict(inputs, timestep, ids[batch:])
        both = predict(np.concatenate([inputs, inputs]), timestep, ids)
        foreground, background = both[:batch], both[batch:]
        return foreground + np.float32(guidance) * (background - foreground)

    return noise_at


def category_ids(batch: int) -> Ids:
    """(2 batch, 10) int64: the foreground ids 10 to 19 a row, then the background ids 0 to 9 a row."""
    background = np.tile(np.arange(CATEGORIES), (batch, 1))
    return np.concatenate([background + CATEGORIES, background]).astype(np.int64)


def _without_nan(latents: Floats) -> Floats:
    return np.where(np.isnan(latents), np.float32(0), latents).astype(np.float32)
