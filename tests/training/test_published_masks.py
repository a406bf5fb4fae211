"""The published mask generators, against masks that the published code drew (tests/data/masks).

The files hold packed bits, of LaMa's masks True = hole, of the free-form ones True = known, drawn after
`RandomState(k)`, k = 0 to 5; and statistics of 300 masks of each LaMa table.
"""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.random import RandomState

from moebius.errors import InputError
from moebius.training.masks import Mask
from moebius.training.published_masks import (
    FREE_FORM_TABLES,
    LAMA_TABLES,
    FreeFormTable,
    LamaTable,
    free_form_mask,
    hole_between,
    lama_mask,
)

DATA = Path(__file__).parents[1] / "data" / "masks"
LAMA = np.load(DATA / "lama_masks_seeds0-5.npz")
FREE_FORM = np.load(DATA / "infer_randommask_512_seeds0-5.npz")
SHARES = json.loads((DATA / "lama_mask_hole_fraction.json").read_text())
SEEDS = range(6)
FEW_PIXELS = 40
"""What another OpenCV may draw differently along edges; with 5.0 it is none."""


def side_of(table: str) -> int:
    return int(table.split("_")[1])


def unpacked(bits: np.ndarray, side: int) -> Mask:
    mask: Mask = np.unpackbits(bits).astype(bool).reshape(side, side)
    return mask


def lama_differences(table: str, seed: int) -> int:
    side = side_of(table)
    golden = unpacked(LAMA[f"{table}_seed{seed}"], side)
    return int((lama_mask(table, side, RandomState(seed)) != golden).sum())


def free_form_differences(seed: int) -> int:
    golden = ~unpacked(FREE_FORM[f"seed{seed}"], 512)
    return int((free_form_mask("comodgan", 512, RandomState(seed)) != golden).sum())


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("table", LAMA_TABLES)
def test_lama_masks_are_the_published_ones(table: str, seed: int) -> None:
    assert lama_differences(table, seed) <= FEW_PIXELS


@pytest.mark.parametrize("seed", SEEDS)
def test_free_form_masks_are_the_published_ones(seed: int) -> None:
    assert free_form_differences(seed) <= FEW_PIXELS


# One number at a time, by enough to show in six masks: numpy draws a whole number below n from the bits up to n's
# highest and throws away what is not below it, so that one more or less seldom changes a draw.
LAMA_CHANGES: dict[str, Any] = {
    "strokes": (2, 5),
    "width": 220,
    "length": 400,
    "angles": 3,
    "box_weight": 1.5,
    "margin": 9,
    "sides": (31, 300),
    "boxes": (2, 4),
}
FREE_FORM_CHANGES = {"half_rectangles": 7, "rectangles": 4, "strokes": 12}


@pytest.mark.parametrize("field", asdict(LAMA_TABLES["thick_512"]))
def test_a_wrong_number_in_a_lama_table_shows(field: str, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = replace(LAMA_TABLES["thick_512"], **{field: LAMA_CHANGES[field]})
    monkeypatch.setitem(LAMA_TABLES, "thick_512", wrong)
    assert max(lama_differences("thick_512", seed) for seed in SEEDS) > 10 * FEW_PIXELS


@pytest.mark.parametrize("field", asdict(FREE_FORM_TABLES["comodgan"]))
def test_a_wrong_number_in_a_free_form_table_shows(field: str, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = replace(FREE_FORM_TABLES["comodgan"], **{field: FREE_FORM_CHANGES[field]})
    monkeypatch.setitem(FREE_FORM_TABLES, "comodgan", wrong)
    assert max(free_form_differences(seed) for seed in SEEDS) > 10 * FEW_PIXELS


@pytest.mark.parametrize("table", LAMA_TABLES)
def test_lama_holes_are_as_large_as_the_published_ones(table: str) -> None:
    """Means of 100 masks here and 300 there: four standard errors of their difference."""
    random = RandomState(1)
    shares = [lama_mask(table, side_of(table), random).mean() for _ in range(100)]
    published = SHARES[table]
    tolerance = 4 * published["std"] * np.sqrt(1 / 100 + 1 / 300)
    assert abs(np.mean(shares) - published["mean"]) < tolerance
    assert abs(np.mean(np.array(shares) > 0.5) - published["frac_above_half"]) < 4 * np.sqrt(0.25 / 75)


def test_free_form_holes_grow_with_their_table() -> None:
    """CoModGAN's hide 0.67 on average (official code, 512 px); MAT's large ones less, its small ones least."""
    means = {}
    for table in FREE_FORM_TABLES:
        random = RandomState(0)
        means[table] = np.mean([free_form_mask(table, 256, random).mean() for _ in range(60)])
    assert abs(means["comodgan"] - 0.67) < 0.09
    assert means["mat_small"] + 0.1 < means["mat_large"] < means["comodgan"] - 0.1


def test_tables_are_the_published_ones() -> None:
    assert LAMA_TABLES["medium_512"] == LamaTable(
        strokes=(4, 10), width=100, length=200, box_weight=0.3, margin=0, sides=(30, 150), boxes=(1, 5)
    )
    published = {
        "comodgan": FreeFormTable(10, 5, 20),
        "mat_large": FreeFormTable(5, 3, 9),
        "mat_small": FreeFormTable(3, 2, 4),
    }
    assert published == FREE_FORM_TABLES


@pytest.mark.parametrize(("low", "high"), [(0.4, 0.5), (0.1, 0.3)])
def test_ranges_are_held(low: float, high: float) -> None:
    random = RandomState(0)
    for _ in range(5):
        mask = hole_between(lambda: lama_mask("medium_256", 256, random), low, high)
        assert low < mask.mean() < high
        mask = free_form_mask("comodgan", 128, random, low, high)
        assert low < mask.mean() < high and mask.dtype == bool and mask.shape == (128, 128)


def test_the_same_seed_draws_the_same_mask() -> None:
    one, same, other = (lama_mask("thick_256", 256, RandomState(seed)) for seed in (7, 7, 8))
    assert np.array_equal(one, same) and not np.array_equal(one, other)
    one, same, other = (free_form_mask("mat_large", 256, RandomState(seed)) for seed in (7, 7, 8))
    assert np.array_equal(one, same) and not np.array_equal(one, other)


def test_a_range_that_no_mask_meets_ends() -> None:
    drawn = 0

    def quarter() -> Mask:
        nonlocal drawn
        drawn += 1
        mask = np.zeros((4, 4), bool)
        mask[:2, :2] = True
        return mask

    message = r"between 50.0% and 60.0% within 20 masks, got 25.0% to 25.0%$"
    with pytest.raises(InputError, match=message):
        hole_between(quarter, 0.5, 0.6, tries=20)
    assert drawn == 20
    with pytest.raises(InputError, match="within 20 masks"):
        hole_between(quarter, 0.25, 0.6, tries=20)  # the bound itself is left out


@pytest.mark.parametrize(("low", "high"), [(0.5, 0.4), (0.4, 0.4), (-0.1, 0.5), (0.5, 1.1), (np.nan, 1.0)])
def test_no_range(low: float, high: float) -> None:
    with pytest.raises(InputError, match=r"^hole share: expected 0 <= low < high <= 1, got"):
        free_form_mask("mat_large", 64, RandomState(0), low, high)


def test_unknown_tables_are_answered_with_the_nearest_in_one_line() -> None:
    with pytest.raises(InputError) as caught:
        lama_mask("thick_51", 512, RandomState(0))
    assert str(caught.value).startswith("no LaMa mask table named 'thick_51': did you mean thick_512?")
    with pytest.raises(InputError) as caught:
        free_form_mask("?", 512, RandomState(0))
    assert str(caught.value) == (
        "no free-form mask table named '?': known are comodgan, mat_large, mat_small"
    )


def test_masks_too_small_for_their_table() -> None:
    with pytest.raises(InputError, match=r"^mask size: expected at least 50 px for thick_512, got 49$"):
        lama_mask("thick_512", 49, RandomState(0))
    assert lama_mask("thick_512", 50, RandomState(0)).shape == (50, 50)
    with pytest.raises(InputError, match="at least 2 px for comodgan, got 1"):
        free_form_mask("comodgan", 1, RandomState(0))
