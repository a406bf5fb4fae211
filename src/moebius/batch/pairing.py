"""Which mask belongs to which photo, by their names alone. Pure: lists of names in, pairs of names out.

Names are paths below their folder with "/" between folders, "holidays/beach.jpg".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from moebius.batch.files import shown
from moebius.batch.names import stem_of
from moebius.errors import InputError


@dataclass(frozen=True)
class Pairing:
    """Who belongs to whom. Sorted by the photos' names."""

    pairs: tuple[tuple[str, str], ...]
    """(photo, mask)"""
    photos_alone: tuple[str, ...]
    """Photos that have no mask."""
    masks_alone: tuple[str, ...]
    """Masks that have no photo."""


def pair_by_stem(photos: Sequence[str], masks: Sequence[str], suffix: str = "") -> Pairing:
    """A photo's mask has the photo's path and stem, with `suffix` behind the stem; the format may be another one.

    Raises:
        InputError: two photos would share a mask, or two masks a photo; the message names both.
    """
    wanted = {stem_of(photo) + suffix for photo in photos}
    mask_of = _unique([mask for mask in masks if stem_of(mask) in wanted], "masks")
    photo_of = _unique([photo for photo in photos if stem_of(photo) + suffix in mask_of], "photos")
    pairs = {photo: mask_of[stem + suffix] for stem, photo in photo_of.items()}
    paired = set(mask_of.values())
    return Pairing(
        tuple((photo, pairs[photo]) for photo in sorted(pairs)),
        tuple(sorted(photo for photo in photos if photo not in pairs)),
        tuple(sorted(mask for mask in masks if mask not in paired)),
    )


def split_by_suffix(names: Sequence[str], suffix: str) -> tuple[list[str], list[str]]:
    """Photos and masks that lie in the same folders: a mask's stem ends in `suffix`."""
    masks = [name for name in names if stem_of(name).endswith(suffix)]
    is_mask = set(masks)
    return [name for name in names if name not in is_mask], masks


def _unique(names: Sequence[str], what: str) -> dict[str, str]:
    """Stem -> name."""
    found: dict[str, str] = {}
    for name in names:
        stem = stem_of(name)
        if stem in found:
            raise InputError(
                f"{what}: expected one for each name, got {shown(found[stem])} and {shown(name)}: "
                "rename one, or say in a table which mask is whose"
            )
        found[stem] = name
    return found
