"""Arguments of a call of the pipeline, checked and turned into the library's own; and what a call gives back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from moebius.engines.base import FloatArray
from moebius.errors import MaskError, PhotoError, SettingsError
from moebius.imaging import Box, Hole, Photo, connected_boxes
from moebius.integrations.diffusers_fill import Noise, ScheduledFilling
from moebius.integrations.diffusers_pictures import Item
from moebius.settings import RANGES, Settings

OUTPUTS = ("pil", "np", "pt", "latent")
TENSORS = ("latents", "mask", "masked_image_latents")
"""What a callback may see and exchange."""
CONTEXT = (1.25, 8.0)
"""Bounds of the library's setting of that name."""


def check_call(
    image: Any,
    mask_image: Any,
    output_type: str | None,
    padding_mask_crop: int | None,
    strength: float,
    shown: Sequence[str],
) -> None:
    """All that can be said before a picture is read.

    Raises:
        PhotoError, MaskError: no picture, or no mask.
        SettingsError: a value out of its range.
    """
    if image is None:
        raise PhotoError("image: expected a picture, got None")
    if mask_image is None:
        raise MaskError("mask_image: expected a mask, white where it is to be filled, got None")
    if output_type not in OUTPUTS:
        raise SettingsError(f"output_type: expected one of {', '.join(OUTPUTS)}, got {output_type!r}")
    number = isinstance(padding_mask_crop, int) and not isinstance(padding_mask_crop, bool)
    if padding_mask_crop is not None and (not number or padding_mask_crop < 0):
        raise SettingsError(
            f"padding_mask_crop: expected a number of pixels from 0, got {padding_mask_crop!r}"
        )
    if padding_mask_crop is not None and output_type == "latent":
        raise SettingsError(
            'output_type "latent": expected no padding_mask_crop, a photo may have several crops'
        )
    if isinstance(strength, bool) or not isinstance(strength, int | float) or not 0 < strength <= 1:
        raise SettingsError(f"strength: expected a number above 0, up to 1, got {strength!r}")
    unknown = [name for name in shown if name not in TENSORS]
    if unknown:
        wanted = ", ".join(TENSORS)
        raise SettingsError(
            f"callback_on_step_end_tensor_inputs: expected some of {wanted}, got {unknown[0]!r}"
        )


def noise_sources(
    photos: int,
    each: int,
    seed: int | None,
    generator: torch.Generator | Sequence[torch.Generator] | None,
    latents: Tensor | None,
) -> list[Noise]:
    """Where the noise of each picture comes from: `each` of every photo, one after the other.

    Raises:
        SettingsError: not as many generators or rows as pictures, or two sources at once.
    """
    if isinstance(each, bool) or not isinstance(each, int) or each < 1:
        raise SettingsError(f"num_images_per_prompt: expected a whole number from 1, got {each!r}")
    count = photos * each
    if seed is not None:
        RANGES["seed"].check("seed", seed)
        if generator is not None or latents is not None:
            raise SettingsError("seed: expected no generator and no latents beside it")
        return [Noise(seed, str(i % each) if i % each else "") for i in range(count)]
    if latents is not None and (latents.ndim != 4 or len(latents) != count):
        raise SettingsError(f"latents: expected ({count}, c, h, w), got {tuple(latents.shape)}")
    generators: list[Any]
    generators = list(generator) if isinstance(generator, list | tuple) else [generator] * count
    if len(generators) != count:
        raise SettingsError(
            f"generator: expected one, or {count} for {count} pictures, got {len(generators)}"
        )
    return [
        Noise(generator=source, given=None if latents is None else latents[i : i + 1])
        for i, source in enumerate(generators)
    ]


def placed(settings: Settings, hole: NDArray[np.bool_], padding: int | None) -> Settings:
    """The settings for a photo: as a whole, or each hole in a crop with so many pixels around the largest."""
    if padding is None:
        return replace(settings, strategy="whole")
    longest = max((max(box.width, box.height) for box in connected_boxes(hole)), default=1)
    context = min(max(1 + 2 * padding / longest, CONTEXT[0]), CONTEXT[1])
    return replace(settings, strategy="crop", context=context)


def check_fills(
    fills: Sequence[ScheduledFilling], items: Sequence[Item], latents: Tensor | None, output_type: str | None
) -> None:
    """What can be said once the regions are known.

    Raises:
        SettingsError: the start noise, or the kind of output, does not fit them.
    """
    if output_type in ("np", "pt") and len({item.photo.size for item in items}) > 1:
        raise SettingsError(f'output_type "{output_type}": expected photos of one size; "pil" takes any')
    if output_type == "latent":
        if not all(fill.regions for fill in fills):
            raise SettingsError(
                'output_type "latent": expected masks with something to fill, got an empty one'
            )
        shapes = {fill.regions[0].shape for fill in fills}
        if len(shapes) > 1:
            raise SettingsError(f'output_type "latent": expected photos of one aspect, got {sorted(shapes)}')
    if latents is None:
        return
    for fill in fills:
        if fill.runs > 1:
            raise SettingsError(
                f"latents: expected a fill of one network run, got one of {fill.runs} (seed draws noise for all)"
            )
        if fill.runs == 1 and tuple(latents.shape[1:]) != fill.latent_shape:
            raise SettingsError(
                f"latents: expected rows of {fill.latent_shape}, got {tuple(latents.shape[1:])}"
            )


def given_back(
    output_type: str | None,
    fills: Sequence[ScheduledFilling],
    items: Sequence[Item],
    holes: Sequence[Hole],
    device: torch.device,
) -> Any:
    """The pictures in the form that was asked for."""
    if output_type == "pil":
        return [fill.photo.to_pil() for fill in fills]
    if output_type == "latent":
        return torch.cat([fill.latents for fill in fills if fill.latents is not None])
    pictures = np.stack([
        _floats(fill.photo, item.exact, hole.touched(fill.settings.feather))
        for fill, item, hole in zip(fills, items, holes, strict=True)
    ])  # fmt: skip
    if output_type == "np":
        return pictures
    return torch.from_numpy(np.ascontiguousarray(pictures.transpose(0, 3, 1, 2))).to(device)


def _floats(photo: Photo, exact: FloatArray | None, touched: NDArray[np.bool_]) -> FloatArray:
    """A filled photo as (H, W, 3) in [0, 1]; `exact`, as it was given, where the fill does not reach."""
    rgb = photo.crop_rgb(Box(0, 0, photo.width, photo.height))
    return rgb if exact is None else np.where(touched[..., None], rgb, exact)
