"""What of a crop is hidden: drawn or annotated, combined, grown, of a size that is enforced."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, cast

import numpy as np

from moebius.errors import InputError, MaskError
from moebius.training.data.crops import Crop, bounds, nearest, place_crop
from moebius.training.data.recipe import BankMode, DataRecipe
from moebius.training.masks import Family, Mask, random_mask
from moebius.training.published_masks import free_form_mask, lama_mask

TRIES = 100
"""Masks that are drawn for a sample; the later half plain, neither annotated nor combined."""
TINY = 1 / 2048
"""Smallest share of a crop that a combined mask may leave hidden."""
NEAR = 0.02
"""How far from the range of hole shares a mask may be if none of all tries was within."""

Where = Literal["photo", "crop"]


@dataclass(frozen=True)
class Hidden:
    """A crop, and what of it is hidden."""

    crop: Crop
    mask: Mask
    """(size, size) bool, True = hole."""
    generator: str
    """Where the mask is from: "annotated" or a name of `recipe.GENERATORS`, and " and bank" if combined."""


def hide(
    recipe: DataRecipe,
    crop: Crop,
    rng: np.random.Generator,
    *,
    fixed: bool,
    annotated: Mask | None,
    is_object: bool,
    bank: Callable[[np.random.Generator], Mask | None],
) -> Hidden:
    """A place for the crop, and its hole.

    Args:
        crop: planned; where it is is decided here unless it is `fixed`.
        annotated: (H, W) of the photo's own size, with a hole; None = none.
        is_object: a foreground record: its annotated mask and no other.
        bank: draws a foreground record's mask, of any size; None if there is none.

    Raises:
        MaskError: no mask came near the recipe's range of hole shares.
    """
    use_own = annotated is not None and (is_object or rng.random() < recipe.annotated)
    combine = not is_object and rng.random() < recipe.bank
    own = nearest(annotated, (crop.height, crop.width)) if use_own and annotated is not None else None
    best: tuple[float, Hidden] | None = None
    shares = []
    for attempt in range(TRIES):
        plain = attempt >= TRIES // 2 and not is_object
        hidden = _attempt(
            recipe, crop, rng, fixed, None if plain else own, bank if combine and not plain else None
        )
        share = float(hidden.mask.mean())
        shares.append(share)
        low, high = recipe.hole
        if hidden.generator.endswith(_BANK):
            low = max(low, TINY)
        away = max(low - share, share - high, 0.0)
        if 0 < share < 1 and (best is None or away < best[0]):
            best = away, hidden
        if best is not None and best[0] == 0:
            return hidden
    if best is not None and best[0] <= NEAR:
        return best[1]
    found = f"{min(shares):.1%} to {max(shares):.1%}"
    wanted = " to ".join(f"{share:.1%}" for share in recipe.hole)
    raise MaskError(f"hole share: expected {wanted} within {TRIES} masks, got {found}")


_BANK = " and bank"


def _attempt(
    recipe: DataRecipe,
    crop: Crop,
    rng: np.random.Generator,
    fixed: bool,
    own: Mask | None,
    bank: Callable[[np.random.Generator], Mask | None] | None,
) -> Hidden:
    name = "annotated" if own is not None else _choose(recipe, rng)
    whole = own is not None or (recipe.crop == "hole" and name.startswith("lama:"))
    if own is not None:
        mask = own
    elif whole:
        mask = draw(name, (crop.height, crop.width), rng)
    else:
        mask = draw(name, (crop.size, crop.size), rng)
    other = None if bank is None else bank(rng)
    if other is not None:
        mask = combine_masks(mask, nearest(other, (mask.shape[0], mask.shape[1])), recipe.bank_mode)
        name += _BANK
    if recipe.dilate and rng.random() < recipe.dilate:
        mask = dilate(mask, int(rng.choice((3, 5, 7))), int(rng.integers(1, 3)))
    if not fixed:
        crop = place_crop(crop, bounds(mask) if whole else None, rng)
    return Hidden(crop, crop.mask(mask) if whole else mask, name)


def draw(name: str, shape: tuple[int, int], rng: np.random.Generator) -> Mask:
    """A mask (height, width) of a generator, of any hole share. Only LaMa's need not be square.

    Published generators draw from numpy's legacy generator, seeded by a number from `rng`.

    Raises:
        InputError: the table needs a larger mask, or LaMa's strokes need OpenCV, which is not installed.
    """
    kind, _, table = name.partition(":")
    if not table:
        return random_mask(shape[0], rng, cast(Family, name))
    legacy = np.random.RandomState(int(rng.integers(2**32)))
    if kind == "free-form":
        return free_form_mask(table, shape[0], legacy)
    try:
        return lama_mask(table, shape, legacy)
    except ModuleNotFoundError as error:
        raise InputError(f"masks: {name} needs OpenCV: pip install 'moebius-inpaint[eval]'") from error


def combine_masks(mask: Mask, other: Mask, mode: BankMode) -> Mask:
    """Both (H, W): what both hide, what either hides, or what only the first does."""
    if mode == "intersect":
        return mask & other
    return mask | other if mode == "union" else mask & ~other


def dilate(mask: Mask, side: int, times: int) -> Mask:
    """mask (H, W) grown by a square of `side` px (odd), `times` times."""
    reach = (side - 1) // 2 * times  # squares add up
    for _ in range(2):
        mask = _dilate_rows(mask, reach).T
    return np.ascontiguousarray(mask)


def _dilate_rows(mask: Mask, reach: int) -> Mask:
    """By `reach` rows up and down: runs of 1, 2, 4, ... rows, each twice the last one."""
    padded = np.zeros((len(mask) + 2 * reach, mask.shape[1]), bool)
    padded[reach : reach + len(mask)] = mask
    run, wanted = 1, 2 * reach + 1
    while run < wanted:
        step = min(run, wanted - run)
        padded = padded[:-step] | padded[step:]
        run += step
    return padded


def _choose(recipe: DataRecipe, rng: np.random.Generator) -> str:
    names, weights = list(recipe.masks), np.array(list(recipe.masks.values()), np.float64)
    return names[int(rng.choice(len(names), p=weights / weights.sum()))]
