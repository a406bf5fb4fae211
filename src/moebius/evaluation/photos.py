"""The `photos` set: pictures with three holes each, a thin, a medium and a thick one.

A folder with `manifest.jsonl`, a line a picture: {"id", "group", "source", "image", "masks": {family: path}},
paths relative to the folder; white in a mask = hole.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from moebius.errors import InputError, MaskError
from moebius.imaging import read_mask, read_photo

FAMILIES = ("thin", "medium", "thick")
MANIFEST = "manifest.jsonl"

Item = TypeVar("Item")


@dataclass(frozen=True)
class EvalPhoto:
    """One line of the manifest."""

    id: str
    group: str
    """What it shows, for the tables: "natural", "portrait"."""
    source: str
    image: Path
    masks: dict[str, Path]
    """By family."""


@dataclass(frozen=True, eq=False)
class Hole:
    """One hole to fill, and what it hides."""

    photo: EvalPhoto
    family: str
    pixels: NDArray[np.uint8]
    """(H, W, 3), the truth."""
    mask: NDArray[np.bool_]
    """(H, W), True = fill."""

    @property
    def key(self) -> str:
        """Names it among all holes; what its noise is drawn from, besides the seed."""
        return f"{self.photo.id}/{self.family}"


def read_manifest(folder: Path) -> list[EvalPhoto]:
    """The set's pictures in the manifest's order.

    Raises:
        InputError: no manifest, no line in it, or a line that lacks a field.
    """
    path = folder / MANIFEST
    photos = []
    for number, line in enumerate(_read(path).decode("utf-8", "replace").splitlines(), start=1):
        try:
            entry = json.loads(line)
            masks = {family: folder / mask for family, mask in entry["masks"].items()}
            image = folder / entry["image"]
            photos.append(EvalPhoto(entry["id"], entry["group"], entry.get("source", ""), image, masks))
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise InputError(
                f"{path}, line {number}: expected id, group, image, masks, got {error!r}"
            ) from error
    if not photos:
        raise InputError(f"{path}: expected a line a picture, found none")
    return photos


def manifest_sha256(folder: Path) -> str:
    """What the set is named by in results.

    Raises:
        InputError: no manifest.
    """
    return hashlib.sha256(_read(folder / MANIFEST)).hexdigest()


def open_hole(photo: EvalPhoto, family: str) -> Hole:
    """Read a picture and one of its masks.

    Raises:
        PhotoError, MaskError: a file is missing, damaged or of another size; the mask is of one colour.
    """
    if family not in photo.masks:
        raise MaskError(f"{photo.id}: expected a mask of family {family!r}, got {', '.join(photo.masks)}")
    pixels = np.array(read_photo(photo.image).to_pil().convert("RGB"))
    mask = read_mask(photo.masks[family], size=(pixels.shape[1], pixels.shape[0]))
    if mask.all() or not mask.any():
        raise MaskError(f"{photo.masks[family]}: expected a hole and something around it, got one colour")
    return Hole(photo, family, pixels, mask)


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


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: expected the list of the set's pictures ({error.strerror})") from error
