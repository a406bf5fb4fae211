"""Coarse to fine: a model with a cascade fills small squares first, each fill being the next one's prefill."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from made_photos import disc, picture

from moebius import Moebius
from moebius.engines.base import FloatArray as Floats
from moebius.errors import CorruptWeightsError
from moebius.testing import LIKE_NANO, LIKE_PUBLISHED, FakeEngine
from moebius.weights import spec_from_json, spec_to_json

SPEC = replace(LIKE_NANO, cascade=(16, 32))
PHOTO = picture(64, 64)
MASK = disc(64, 64, (30, 34), 14)


class Watching(FakeEngine):
    """Remembers what it was shown, and paints every hole in a colour of its own at each size."""

    def __init__(self) -> None:
        super().__init__()
        self.shown: list[Floats] = []

    def encode(self, image: Floats) -> Floats:
        self.shown.append(image)
        return super().encode(image)

    def decode(self, latents: Floats) -> Floats:
        picture = super().decode(latents)
        picture[:] = picture.shape[-1] / 64 - 0.5  # -0.25 at 16 px, 0 at 32 px, 0.5 at 64 px
        return picture


def test_each_fill_is_the_next_prefill() -> None:
    engine = Watching()
    Moebius(SPEC, engine, model_hash="0")(PHOTO, MASK, steps=2, grow=0)
    assert [image.shape[-1] for image in engine.shown] == [16, 32, 64]
    assert engine.timesteps == [999, 499] * 3
    coarse, middle, fine = (image[0, :, image.shape[-1] // 2, image.shape[-1] // 2] for image in engine.shown)
    assert not np.allclose(coarse, middle, atol=1e-3)  # the hole's centre was refilled,
    assert not np.allclose(middle, fine, atol=1e-3)
    corner = [image[0, :, : len(image[0, 0]) // 8, : len(image[0, 0]) // 8].mean() for image in engine.shown]
    assert np.ptp(corner) < 0.1  # and the known corner was not


def test_progress_counts_every_side() -> None:
    events = list(Moebius(SPEC, FakeEngine(), model_hash="0").stream(PHOTO, MASK, steps=2))
    assert [(event.step, event.steps) for event in events[:-1]] == [(i, 6) for i in range(1, 7)]
    assert events[-1].result is not None and events[-1].result.steps == 2
    fractions = [event.fraction for event in events]
    assert fractions == sorted(fractions) and fractions[-1] == 1.0


def test_nothing_under_the_mask_is_used() -> None:
    model = Moebius(SPEC, FakeEngine(), model_hash="0")
    noisy = PHOTO.copy()
    noisy[MASK] = np.random.default_rng(1).integers(0, 256, noisy[MASK].shape, dtype=np.uint8)
    a, b = (model(photo, MASK, grow=0).photo.pixels for photo in (PHOTO, noisy))
    assert np.array_equal(a, b)


def test_official_start_has_no_cascade() -> None:
    engine = FakeEngine()
    Moebius(SPEC, engine, model_hash="0")(PHOTO, MASK, start="official", steps=4)
    assert len(engine.timesteps) == 3  # strength 0.99 drops one, as published


def test_cascade_is_part_of_the_model() -> None:
    assert spec_from_json(spec_to_json(SPEC)) == SPEC
    with pytest.raises(CorruptWeightsError, match="cascade: expected a whole number, 1 to 64, got 128"):
        spec_from_json({**spec_to_json(LIKE_NANO), "cascade": [128]})
    with pytest.raises(ValueError, match="expected a model fed with a prefill, got feed 'masked'"):
        replace(LIKE_PUBLISHED, cascade=(32,))
