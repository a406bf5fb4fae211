"""Pictures and masks as diffusers' inpainting pipelines take them -> photos and holes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from moebius.engines.base import FloatArray
from moebius.errors import InputError, MaskError, PhotoError
from moebius.imaging import Box, Photo, push_pull, read_mask, read_photo, resize, resize_mask

Picture = Image.Image | NDArray[Any] | torch.Tensor
Pictures = Picture | Sequence[Picture]

_ORIENTATION = 0x0112


@dataclass(frozen=True)
class Item:
    """One photo to fill."""

    photo: Photo
    hole: NDArray[np.bool_]
    """(H, W), True = fill, as it was given."""
    exact: FloatArray | None
    """(H, W, 3) in [0, 1], where the photo was given in floats: `photo` has them in 8 bits."""


def read_items(
    image: Pictures, mask_image: Pictures, height: int | None, width: int | None, count: int = 1
) -> list[Item]:
    """Photos and their holes, side by side; one of either goes with any number of the other.

    Args:
        image: a Pillow image, an array (H, W[, C]) or (B, H, W, C) of uint8 or floats in [0, 1], a tensor (C, H, W)
            or (B, C, H, W) of floats in [0, 1], or a list of one kind.
        mask_image: the same, white = fill; arrays (H, W), (B, H, W) or (B, H, W, 1), tensors (H, W), (B, H, W) or
            (B, 1, H, W). One of another size than its photo is brought to the photo's.
        height, width: of the pictures that come back; a photo's own by default.
        count: at least as many items, of one photo and one mask.

    Raises:
        PhotoError, MaskError: not pictures of these kinds.
        InputError: numbers of photos and masks that do not fit together, or a size below 1.
    """
    for name, side in (("height", height), ("width", width)):
        if side is not None and (isinstance(side, bool) or not isinstance(side, int) or side < 1):
            raise InputError(f"{name}: expected a whole number of pixels from 1, got {side!r}")
    photos = [_read_photo(one) for one in _split(image, 3, "image", PhotoError)]
    masks = _split(mask_image, 2, "mask_image", MaskError)
    most = max(len(photos), len(masks), count)
    for name, found in (("image", len(photos)), ("mask_image", len(masks))):
        if found not in (1, most):
            raise InputError(f"{name}: expected 1 or {most} pictures, got {found}")
    photos, masks = photos * (most // len(photos)), masks * (most // len(masks))
    return [
        _sized(photo, exact, read_mask(mask, size=photo.size, fit=True), height, width)
        for (photo, exact), mask in zip(photos, masks, strict=True)
    ]


def _sized(
    photo: Photo, exact: FloatArray | None, hole: NDArray[np.bool_], height: int | None, width: int | None
) -> Item:
    """The photo at the size that is asked for; what lies under its hole is not read."""
    shape = (height or photo.height, width or photo.width)
    if shape == (photo.height, photo.width):
        return Item(photo, hole, exact)
    whole = photo.crop_rgb(Box(0, 0, photo.width, photo.height)) if exact is None else exact
    smaller = np.clip(resize(push_pull(whole, hole), shape), 0, 1)
    return Item(read_photo(smaller), resize_mask(hole, shape), None if exact is None else smaller)


def _split(pictures: Any, depth: int, name: str, error: type[InputError]) -> list[Any]:
    """Pillow images or arrays (H, W[, C]), one a picture. `depth`: dimensions of one picture."""
    if isinstance(pictures, list | tuple):
        return [one for part in pictures for one in _split(part, depth, name, error)]
    if isinstance(pictures, Image.Image):
        return [pictures]
    if isinstance(pictures, torch.Tensor):
        return [_channels_last(one, name, error) for one in _rows(pictures, depth, name, error, first=True)]
    if isinstance(pictures, np.ndarray):
        return _rows(pictures, depth, name, error, first=False)
    kind = type(pictures).__name__
    raise error(f"{name}: expected a Pillow image, an array, a tensor or a list of these, got {kind}")


def _rows(pictures: Any, depth: int, name: str, error: type[InputError], *, first: bool) -> list[Any]:
    """The pictures of an array or tensor, whose channels come `first` or last; masks may have none."""
    if pictures.ndim not in (2, 3, 4) or 0 in pictures.shape:
        raise error(f"{name}: expected 2 to 4 dimensions, none of them empty, got {tuple(pictures.shape)}")
    if pictures.ndim == 4:
        return list(pictures)
    if pictures.ndim == 2 or depth == 3:
        return [pictures]
    if first or pictures.shape[2] not in (1, 3, 4):
        return list(pictures)  # (B, H, W)
    if pictures.shape[2] > 1 and pictures.dtype != np.uint8:
        pictures = pictures[..., :3].mean(axis=2)
    return [pictures]  # (H, W, C)


def _channels_last(picture: torch.Tensor, name: str, error: type[InputError]) -> NDArray[Any]:
    """(C, H, W) or (H, W) -> (H, W, C) or (H, W)"""
    picture = picture.detach().cpu()
    picture = picture.float() if picture.is_floating_point() else picture
    if picture.ndim == 3:
        if picture.shape[0] not in (1, 3, 4):
            raise error(
                f"{name}: expected a tensor (C, H, W) of 1, 3 or 4 channels, got {tuple(picture.shape)}"
            )
        picture = picture.permute(1, 2, 0)
    array: NDArray[Any] = picture.contiguous().numpy()
    return array


def _read_photo(picture: Any) -> tuple[Photo, FloatArray | None]:
    """The photo, and its floats (H, W, 3) where it was given in floats."""
    if isinstance(picture, Image.Image):
        if picture.getexif().get(_ORIENTATION, 1) != 1:  # pixels are taken as they lie, as the mask is
            kept = picture.mode if picture.mode in ("L", "RGB", "RGBA") else "RGB"
            picture = Image.fromarray(np.asarray(picture.convert(kept)))
        return read_photo(picture), None
    photo = read_photo(picture)
    if not np.issubdtype(picture.dtype, np.floating) or picture.shape[2:] == (4,):
        return photo, None
    grey = picture.astype(np.float32)
    grey = grey if grey.ndim == 3 else grey[..., None]
    return photo, np.ascontiguousarray(np.broadcast_to(grey, (*grey.shape[:2], 3)))
