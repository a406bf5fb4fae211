"""One training sample: a square of a photo, what of it is hidden, and what the network is shown of it."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass, replace
from functools import cache, partial

import numpy as np
from numpy.typing import NDArray

from moebius.errors import InputError, MaskError, PhotoError
from moebius.imaging import push_pull, read_mask
from moebius.imaging.decode import ImageSource
from moebius.settings import MAX_PIXELS
from moebius.training.data.crops import Crop, bounds, place_crop, plan_crop
from moebius.training.data.holes import Hidden, hide
from moebius.training.data.order import index_at, kind_at
from moebius.training.data.pixels import read_pixels
from moebius.training.data.recipe import DataRecipe
from moebius.training.data.records import Source
from moebius.training.masks import Mask

log = logging.getLogger(__name__)

_CROP, _HOLE, _CATEGORY, _SPARE, _VIEW = 21, 22, 23, 24, 25
"""What random numbers are for: their place in a generator's seed."""
TRIES = 100
"""Records that are tried for a sample."""
VERSION = 1
"""Of how pixels are made from a photo and a crop; part of every digest."""


@dataclass(frozen=True, eq=False)
class Sample:
    """A sample of side S."""

    key: str
    position: int
    image: NDArray[np.float32]
    """(3, S, S) in [-1, 1]: the photo."""
    condition: NDArray[np.float32]
    """(3, S, S) in [-1, 1]: the photo with its hole emptied or filled smoothly. Nothing hidden is in it."""
    mask: NDArray[np.float32]
    """(1, S, S), 1 = hole."""
    category: int
    """0 = the first half of the category table (background), 1 = the second."""
    view: int
    """Which of the photo's fixed crops; -1 = a new one."""
    row: int
    """Where the latents of the photo's crop are kept: index * views + view; -1 = nowhere."""
    digest: str
    """Of the photo's bytes and the crop: all that its latents depend on besides the autoencoder."""
    generator: str
    """Where the mask is from."""
    broken: tuple[tuple[str, str], ...]
    """(key, reason) of the records that were passed over."""


@dataclass(frozen=True)
class Place:
    """A record, and how it came to be chosen."""

    index: int
    epoch: int
    is_object: bool
    """To be trained as foreground."""


def check_source(source: Source, recipe: DataRecipe) -> None:
    """Say what will not work before work begins; what works otherwise than one may think is logged, once.

    Raises:
        InputError: there is no record that the recipe can use.
    """
    objects = len(source.foreground)
    if len(source) == 0:
        raise InputError("expected photos, got an empty source")
    if recipe.opposite == "foreground":
        if not objects:
            _warn_once(
                "opposite = foreground, but there are no foreground records: the second half of the category "
                "table stays untrained, and guidance against it makes pictures worse"
            )
        if recipe.foreground == 1 and not objects:
            raise InputError("foreground = 1: expected foreground records, got none")
        return
    if objects == len(source):
        raise InputError(
            f"expected background records for opposite = {recipe.opposite}, got {objects} foreground ones only"
        )
    if objects and not recipe.bank:
        _warn_once(f"{objects} foreground records are not used: opposite = {recipe.opposite} and bank = 0")
    if recipe.bank and not objects:
        _warn_once("bank > 0, but there are no foreground records whose masks it could lend")


def make_sample(source: Source, recipe: DataRecipe, seed: int, position: int, size: int) -> Sample:
    """The sample at `position`, a side of `size` px. Nothing but the arguments decides.

    A record with a broken photo or mask, a mask of another size than the photo, or no hole in the recipe's range
    is passed over for another one of its kind.

    Raises:
        InputError: none of 100 records could be used.
    """
    broken: list[tuple[str, str]] = []
    place = place_at(source, recipe, seed, position)
    spare = np.random.default_rng([seed, _SPARE, position])
    for attempt in range(TRIES):
        try:
            return _make(source, recipe, seed, position, size, place, attempt, tuple(broken))
        except (PhotoError, MaskError) as error:
            broken.append((source.key(place.index), str(error)))
        pool = source.foreground if place.is_object else source.background
        place = replace(place, index=int(spare.choice(pool)))
    key, reason = broken[-1]
    raise InputError(
        f"expected a photo that can be used, got none in {TRIES} tries; the last, {key}: {reason}"
    )


def place_at(source: Source, recipe: DataRecipe, seed: int, position: int) -> Place:
    """The record that stands at `position`; every one once an epoch, of each kind if they are mixed by share."""
    objects, window = source.foreground, source.window
    if recipe.opposite != "foreground" or not len(objects):
        index, epoch = _from(source.background, position, seed, window)
        return Place(index, epoch, False)
    if not recipe.foreground or len(objects) == len(source):
        index = index_at(len(source), position, seed, window=window)
        at = int(np.searchsorted(objects, index))
        return Place(index, position // len(source), at < len(objects) and objects[at] == index)
    is_object, own = kind_at(recipe.foreground, position, seed)
    index, epoch = _from(objects if is_object else source.background, own, seed, window)
    return Place(index, epoch, is_object)


def _from(pool: NDArray[np.int64], position: int, seed: int, window: int | None) -> tuple[int, int]:
    return int(pool[index_at(len(pool), position, seed, window=window)]), position // len(pool)


def _make(
    source: Source,
    recipe: DataRecipe,
    seed: int,
    position: int,
    size: int,
    place: Place,
    attempt: int,
    broken: tuple[tuple[str, str], ...],
) -> Sample:
    record = source.record(place.index)
    pixels, shape = read_pixels(record.photo, least=size if recipe.crop == "hole" else None)
    annotated = None if record.mask is None else _read_annotated(record.mask, shape)
    if recipe.views:
        view, crop = _view(recipe, seed, record.key, place, shape, size, annotated)
    else:
        rng = np.random.default_rng([seed, _CROP, position, attempt])
        view, crop = -1, plan_crop(shape, size, recipe.crop, recipe.scale_jitter, rng)
        crop = replace(crop, flip=bool(rng.random() < recipe.flip))
    hidden = hide(
        recipe,
        crop,
        np.random.default_rng([seed, _HOLE, position, attempt]),
        fixed=recipe.views > 0,
        annotated=annotated,
        is_object=place.is_object,
        bank=partial(_lend, source),
    )
    image, condition = _show(recipe, pixels, hidden)
    return Sample(
        key=record.key,
        position=position,
        image=image,
        condition=condition,
        mask=hidden.mask[None].astype(np.float32),
        category=_category(recipe, seed, position, place),
        view=view,
        row=place.index * recipe.views + view if recipe.views else -1,
        digest=_digest(record.photo, hidden.crop),
        generator=hidden.generator,
        broken=broken,
    )


def _show(
    recipe: DataRecipe, pixels: NDArray[np.uint8], hidden: Hidden
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """(image, condition), each (3, S, S) in [-1, 1]."""
    cut, hole = hidden.crop.pixels(pixels), hidden.mask
    image = cut.transpose(2, 0, 1).astype(np.float32, order="C")
    _to_network(image)
    if recipe.feed == "masked":
        return image, np.where(hole, np.float32(0), image)
    filled = push_pull(cut.astype(np.float32) / np.float32(255), hole) * 2 - 1
    return image, np.ascontiguousarray(filled.transpose(2, 0, 1))


def _to_network(levels: NDArray[np.float32]) -> None:
    """[0, 255] -> [-1, 1], in place."""
    levels /= 255
    levels *= 2
    levels -= 1


def _read_annotated(mask: bytes, shape: tuple[int, int]) -> Mask:
    read = read_mask(mask, size=(shape[1], shape[0]))
    if not read.any():
        raise MaskError("mask: expected a hole, got none")
    return read


def _view(
    recipe: DataRecipe,
    seed: int,
    key: str,
    place: Place,
    shape: tuple[int, int],
    size: int,
    annotated: Mask | None,
) -> tuple[int, Crop]:
    """One of the photo's crops: taken in turn by epoch, each photo beginning with another one."""
    number = int.from_bytes(hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()[:8])
    view = (number + place.epoch) % recipe.views
    rng = np.random.default_rng([seed, _VIEW, number, view])
    crop = plan_crop(shape, size, recipe.crop, recipe.scale_jitter, rng)
    hole = None if annotated is None else bounds(annotated)
    if hole is not None:
        across, down = crop.width / shape[1], crop.height / shape[0]
        hole = int(hole[0] * across), int(hole[1] * down), int(hole[2] * across), int(hole[3] * down)
    return view, replace(place_crop(crop, hole, rng), flip=bool(rng.random() < recipe.flip))


def _lend(source: Source, rng: np.random.Generator) -> Mask | None:
    """Some foreground record's mask, at its own size; None if there is none or it is broken."""
    if not len(source.foreground):
        return None
    try:
        mask = source.mask(int(rng.choice(source.foreground)))
        if mask is None:
            return None
        with ImageSource(mask, noun="mask", error=MaskError, max_pixels=MAX_PIXELS) as opened:
            size = opened.open().size
        return read_mask(mask, size=size)
    except MaskError:
        return None


def _category(recipe: DataRecipe, seed: int, position: int, place: Place) -> int:
    if recipe.opposite == "null":
        return int(np.random.default_rng([seed, _CATEGORY, position]).random() < recipe.id_dropout)
    return int(place.is_object)


def _digest(photo: bytes, crop: Crop) -> str:
    content = hashlib.sha256(photo)
    content.update(f"{VERSION} {crop}".encode())
    return content.hexdigest()


@cache
def _warn_once(text: str) -> None:
    log.warning("%s", text)
