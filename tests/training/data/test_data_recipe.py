"""Data recipes: what they refuse, and in which words."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, asdict
from typing import Any

import pytest

from moebius.errors import SettingsError
from moebius.training.config import build
from moebius.training.data.recipe import GENERATORS, DataRecipe


def test_the_defaults_are_possible_and_frozen() -> None:
    recipe = DataRecipe()
    assert recipe.sizes == (512,) and recipe.masks == {"lama:medium_512": 1.0}
    assert DataRecipe(**asdict(recipe)) == recipe
    with pytest.raises(FrozenInstanceError):
        recipe.views = 3  # type: ignore[misc]


def test_a_recipe_is_read_from_a_table() -> None:
    table = {"sizes": [128, 256], "masks": {"thin": 1, "free-form:mat_small": 0.5}, "hole": [0.1, 0.4]}
    recipe = build(DataRecipe, table, "here")
    assert recipe.sizes == (128, 256) and recipe.hole == (0.1, 0.4) and recipe.masks["thin"] == 1.0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sizes": ()}, "sizes: expected at least one side in px, got none"),
        ({"sizes": (512, 500)}, "sizes: expected multiples of 8 px, got 500"),
        ({"sizes": (0,)}, "sizes: expected multiples of 8 px, got 0"),
        ({"crop": "randm"}, "crop: expected one of hole, random, got 'randm'; did you mean random?"),
        ({"flip": 1.5}, "flip: expected a number from 0 to 1, got 1.5"),
        ({"holdout": -0.1}, "holdout: expected a number from 0 to 1, got -0.1"),
        ({"id_dropout": float("nan")}, "id_dropout: expected a number from 0 to 1, got nan"),
        ({"scale_jitter": 0.0}, "scale_jitter: expected more than 0 and at most 1, got 0"),
        ({"views": -1}, "views: expected 0 or more, got -1"),
        ({"hole": (0.5, 0.4)}, "hole: expected two shares with 0 <= smallest < largest <= 1, got 0.5, 0.4"),
        ({"hole": (0.0, 1.1)}, "hole: expected two shares with 0 <= smallest < largest <= 1, got 0, 1.1"),
        ({"masks": {"thin": -1.0}}, "masks.thin: expected a weight of 0 or more, got -1"),
        ({"masks": {"thin": 0.0}}, "masks: expected a weight above 0, got only zeros"),
        (
            {"opposite": "nul"},
            "opposite: expected one of foreground, null, none, got 'nul'; did you mean null?",
        ),
        ({"feed": "grey"}, "feed: expected one of masked, prefill, got 'grey'"),
        ({"bank_mode": "and"}, "bank_mode: expected one of intersect, union, subtract, got 'and'"),
    ],
)
def test_impossible_values(change: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError) as caught:
        DataRecipe(**change)
    assert str(caught.value) == message


def test_unknown_masks_are_answered_with_the_nearest() -> None:
    with pytest.raises(SettingsError, match=r"got 'lama:medium'; did you mean lama:medium_\d+\?$"):
        DataRecipe(masks={"lama:medium": 1.0})
    with pytest.raises(SettingsError, match=r"masks: expected at least one of thin, .*, got none"):
        DataRecipe(masks={})
    assert "object" in GENERATORS and "free-form:comodgan" in GENERATORS and "lama:thin_256" in GENERATORS


def test_larger_crops_have_fewer_rows() -> None:
    recipe = DataRecipe(sizes=(128, 256, 64))
    assert [recipe.rows(step, 8) for step in range(4)] == [(8, 128), (2, 256), (32, 64), (8, 128)]
    assert recipe.rows(1, 1) == (1, 256)
