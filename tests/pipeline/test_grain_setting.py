"""A fill with the photo's own noise, when it is asked for."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from made_photos import disc

from moebius import Moebius
from moebius.errors import SettingsError
from moebius.imaging import grow_mask
from moebius.testing import LIKE_NANO, FakeEngine

HEIGHT, WIDTH = 240, 320
MASK = disc(WIDTH, HEIGHT, (160, 120), 30)


def noisy() -> np.ndarray:
    """A flat grey wall with noise of 8 levels."""
    noise = np.random.default_rng(0).normal(0, 8, (HEIGHT, WIDTH, 3))
    return np.clip(128 + noise, 0, 255).astype(np.uint8)


@pytest.mark.parametrize("strategy", ["crop", "tiles"])
def test_the_fill_gets_the_photos_noise(strategy: str) -> None:
    model = Moebius(replace(LIKE_NANO, prediction="sample", target="image"), FakeEngine(), model_hash="0")
    photo = noisy()
    inner = ~grow_mask(~MASK, 12)
    plain, grained, again, other = (
        model(photo, MASK, steps=1, grow=0, strategy=strategy, **options).photo.pixels
        for options in ({}, {"grain": 1.0}, {"grain": 1.0}, {"grain": 1.0, "seed": 1})
    )
    assert np.array_equal(grained, again) and not np.array_equal(grained[MASK], other[MASK])
    outside = ~grow_mask(MASK, 6)
    assert np.array_equal(grained[outside], photo[outside])
    added = grained[inner].astype(int) - plain[inner]
    assert 4 < added.std() < 12, "the wall's noise has a deviation of 8"


def test_grain_is_a_share() -> None:
    with pytest.raises(SettingsError, match="grain: expected a number from 0 to 1, got 2"):
        Moebius(LIKE_NANO, FakeEngine(), model_hash="0").complete(grain=2)
