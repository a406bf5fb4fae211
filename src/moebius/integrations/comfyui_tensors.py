"""ComfyUI's tensors and the library's arrays: IMAGE (B, H, W, C) and MASK (B, H, W), both of floats in [0, 1]."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from moebius.errors import MaskError, PhotoError
from moebius.imaging import read_mask
from moebius.imaging.arrays import FloatImage, Mask, Samples

_NEAR = 1e-3
"""How far from a whole number of 255ths a float may be to count as an 8-bit sample."""
_ROWS = 256
"""That are scaled at a time: a large image is not held a second time in floats."""
_NO_MASK = (64, 64)
"""(H, W) of the empty mask that ComfyUI gives for a picture without one."""


def pair_up(images: Tensor, masks: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Image and mask for each fill: image i with mask i, or all with the one mask.

    Args:
        images: (B, H, W, C).
        masks: (B, H, W) or (1, H, W); one axis more or less is taken for the batch's too.

    Raises:
        PhotoError, MaskError: the shapes do not fit; the message has both sizes.
    """
    if images.ndim != 4 or not images.numel():
        raise PhotoError(f"image: expected a batch (B, H, W, C), got {tuple(images.shape)}")
    masks = as_masks(masks)
    count, height, width = images.shape[:3]
    if tuple(masks.shape[1:]) != (height, width):
        size = f"{masks.shape[2]} x {masks.shape[1]}"
        hint = ""
        if tuple(masks.shape[1:]) == _NO_MASK and not masks.any():
            hint = ": it is what ComfyUI gives for a picture without a mask; paint one or connect one"
        raise MaskError(f"mask: expected the image's size, {width} x {height}, got {size}{hint}")
    if len(masks) not in (1, count):
        expected = "1 mask" if count == 1 else f"1 mask or {count}, one for each image"
        raise MaskError(f"mask: expected {expected}, got {len(masks)}")
    return list(zip(images, masks.expand(count, -1, -1), strict=True))


def as_masks(masks: Tensor) -> Tensor:
    """A MASK of two to four axes as (B, H, W).

    Raises:
        MaskError: it has fewer axes.
    """
    if masks.ndim < 2:
        raise MaskError(f"mask: expected a batch (B, H, W), got {tuple(masks.shape)}")
    return masks.reshape(-1, *masks.shape[-2:])


def to_samples(image: Tensor) -> Samples:
    """(H, W, C) floats -> (H, W, C) uint8 where all are 255ths, as of a picture that was loaded, else uint16.

    Values outside [0, 1] are clipped.

    Raises:
        PhotoError: a value is not finite.
    """
    values = image.detach().to("cpu", torch.float32).numpy()
    if not np.isfinite(values).all():
        raise PhotoError("image: expected numbers in [0, 1], got one that is not finite")
    eight, off = _scaled(values, np.zeros(values.shape, np.uint8))
    return eight if off < _NEAR else _scaled(values, np.zeros(values.shape, np.uint16))[0]


def _scaled(values: FloatImage, samples: Samples) -> tuple[Samples, float]:
    """`samples` with the values in them, a few rows at a time, and how far off the farthest is."""
    white, off = np.float32(np.iinfo(samples.dtype).max), 0.0
    for top in range(0, len(values), _ROWS):
        rows = slice(top, top + _ROWS)
        scaled = np.clip(values[rows], 0, 1) * white
        samples[rows] = np.rint(scaled)
        off = max(off, float(np.abs(scaled - samples[rows]).max()))
    return samples, off


def to_mask(mask: Tensor) -> Mask:
    """(H, W) floats -> (H, W) bool, True = fill: what is at least half white.

    Raises:
        MaskError: a value is not a number.
    """
    values = mask.detach().to("cpu", torch.float32).clamp(0, 1).numpy()
    return read_mask(values, size=(values.shape[1], values.shape[0]))


def put(samples: Samples, changed: Mask, image: Tensor) -> None:
    """Write samples (H, W, C) into the image (H, W, C or more) where `changed` (H, W) says so, and nowhere else."""
    white = np.float32(np.iinfo(samples.dtype).max)
    values = torch.from_numpy(samples[changed].astype(np.float32) / white)  # (n, C)
    where = torch.from_numpy(changed).to(image.device)
    image[..., : samples.shape[2]][where] = values.to(image.device, image.dtype)


def from_mask(mask: Mask, like: Tensor) -> Tensor:
    """(H, W) bool -> (H, W) floats, 1 = filled, on the device of `like`."""
    return torch.from_numpy(mask.astype(np.float32)).to(like.device)
