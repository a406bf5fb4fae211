"""What is measured: holes in pictures. A `Case` names one, a `Hole` has it in memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from moebius.errors import InputError, MaskError
from moebius.imaging import Box, read_mask, read_photo

Pixels = NDArray[np.uint8]
Mask = NDArray[np.bool_]

Item = TypeVar("Item")


@dataclass(frozen=True, kw_only=True)
class Case:
    """One hole of one picture, not read yet."""

    photo: str
    """Name of the picture; holes of one picture do not count as independent."""
    image: Path
    mask: Path | Callable[[tuple[int, int]], Mask] = field(repr=False)
    """A file (white = hole), or what draws it for a picture of (width, height)."""
    family: str = "all"
    """Kind of hole, for the tables: "thin", "medium", "thick"."""
    group: str = "all"
    """What the picture shows, for the tables: "natural", "portrait"."""
    source: str = ""
    side: int | None = None
    """The picture is cropped to a centred square of this side, px, after reduction; None = as it is."""
    crop: tuple[int, int] | None = None
    """(width, height) of the central part that is looked at, of picture and mask alike; None = all."""
    margin: Callable[[Mask], Mask] | None = field(default=None, repr=False)
    """Grows the mask before anything is filled; None = as it is."""

    @property
    def key(self) -> str:
        """Names the hole among all of a protocol; what its noise is drawn from, besides the seed."""
        return f"{self.photo}/{self.family}"


@dataclass(frozen=True, eq=False)
class Hole:
    """One hole to fill, and what it hides."""

    case: Case
    pixels: Pixels
    """(H, W, 3), the picture as it was, hidden part included."""
    mask: Mask
    """(H, W), True = fill."""

    @property
    def emptied(self) -> Pixels:
        """The picture with its hole black: for methods that want a picture and must not see what is hidden."""
        return np.where(self.mask[..., None], np.uint8(0), self.pixels)


def open_case(case: Case) -> Hole:
    """Read a picture and its mask.

    Raises:
        PhotoError, MaskError: a file is missing, damaged or of another size; the mask is of one colour.
    """
    pixels = np.array(read_photo(case.image).to_pil().convert("RGB"))
    if case.side is not None:
        pixels = centre_square(pixels, case.side)
    size = (pixels.shape[1], pixels.shape[0])
    if isinstance(case.mask, Path):
        mask, name = read_mask(case.mask, size=size), str(case.mask)
    else:
        mask, name = case.mask(size), f"mask of {case.key}"
    if case.margin is not None:
        mask = case.margin(mask)
    if case.crop is not None:
        part = central(size, case.crop).slices
        pixels, mask = np.ascontiguousarray(pixels[part]), mask[part]
    if mask.all() or not mask.any():
        raise MaskError(f"{name}: expected a hole and something around it, got one colour")
    return Hole(case, pixels, mask)


def central(size: tuple[int, int], crop: tuple[int, int]) -> Box:
    """The central part, (width, height) `crop`, of a picture of `size`; cut to it."""
    left, top = ((whole - part) // 2 for whole, part in zip(size, crop, strict=True))
    return Box(left, top, left + crop[0], top + crop[1]).clip(*size)


def centre_square(pixels: Pixels, side: int) -> Pixels:
    """The middle of a picture, reduced (or enlarged) so that its shorter side is `side`: (side, side, 3)."""
    from PIL import Image, ImageOps

    if pixels.shape[:2] == (side, side):
        return pixels
    return np.array(ImageOps.fit(Image.fromarray(pixels), (side, side), Image.Resampling.LANCZOS))


def spread(items: Sequence[Item], limit: int | None) -> list[Item]:
    """At most `limit` items, evenly spaced; all of them for None.

    Raises:
        InputError: limit is below 1.
    """
    if limit is None:
        return list(items)
    if limit < 1:
        raise InputError(f"limit: expected at least 1, got {limit}")
    count = min(limit, len(items))
    return [items[(2 * i + 1) * len(items) // (2 * count)] for i in range(count)]
