"""Masks and photos at the edge of what makes sense."""

from __future__ import annotations

import logging
import tracemalloc
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_photos import disc, noise, photo, picture
from PIL import Image

from moebius import InputError, MaskError, Moebius, MoebiusError, PhotoError
from moebius.imaging import grow_objects
from moebius.testing import LIKE_NANO, LIKE_PUBLISHED, FakeEngine


def fake(spec: Any = LIKE_NANO) -> tuple[Moebius, FakeEngine]:
    engine = FakeEngine()
    return Moebius(spec, engine, model_hash=""), engine


def test_empty_mask_copies_the_photo(caplog: pytest.LogCaptureFixture) -> None:
    model, engine = fake()
    original = photo("RGBA")
    with caplog.at_level(logging.WARNING, "moebius"):
        events = list(model.stream(original, np.zeros((80, 96), bool)))
    result = events[-1].result
    assert len(events) == 1 and result is not None and events[0].fraction == 1.0
    assert np.array_equal(result.photo.pixels, original.pixels)
    assert not np.shares_memory(result.photo.pixels, original.pixels)
    assert not engine.timesteps and not engine.encoded
    assert result.steps == 0 and result.regions == ()
    assert result.warnings == tuple(record.getMessage() for record in caplog.records)
    assert "mask is empty" in result.warnings[0]
    assert events[0].preview().size == (64, 64)


def test_white_mask_is_filled_from_nothing(model: Moebius, caplog: pytest.LogCaptureFixture) -> None:
    everything = np.ones((80, 96), bool)
    results = [model(noise((80, 96, 3), seed=seed), everything) for seed in (1, 2)]
    assert "covers the whole photo" in results[0].warnings[0] and "whole photo" in caplog.text
    assert np.array_equal(results[0].photo.pixels, results[1].photo.pixels), (
        "the photos had nothing in common"
    )
    assert np.ptp(results[0].photo.pixels) > 0


def test_a_mask_that_is_mostly_white_gets_a_hint() -> None:
    model, _ = fake()
    mask = np.ones((80, 96), bool)
    mask[:10] = False
    (warning,) = model(picture(96, 80), mask).warnings
    assert "covers 88% of the photo" in warning and "invert" in warning
    assert model(picture(96, 80), mask, invert=True).warnings == ()


def test_a_mask_that_only_grows_white_is_filled() -> None:
    model, _ = fake()
    mask = np.ones((30, 30), bool)
    mask[0, 0] = False
    assert model(picture(30, 30), mask, grow=9).photo.size == (30, 30)


def test_far_holes_are_filled_apart_and_near_ones_together() -> None:
    for distance, regions in ((20, 1), (200, 2)):
        model, engine = fake()
        mask = np.zeros((100, 400), bool)
        mask[40:50, 50:60] = mask[40:50, 60 + distance : 70 + distance] = True
        result = model(picture(400, 100), mask, steps=2)
        assert len(result.regions) == regions and len(engine.timesteps) == 2
        assert engine.encoded == 1  # regions of one shape share network calls


@pytest.mark.parametrize("size", [(7, 5), (1, 1), (5, 1), (1, 300), (300, 1), (40, 63), (2, 500), (64, 64)])
@pytest.mark.parametrize("spec", [LIKE_NANO, LIKE_PUBLISHED], ids=["nano", "published"])
def test_small_and_thin_photos(spec: Any, size: tuple[int, int]) -> None:
    width, height = size
    model, _ = fake(spec)
    original, mask = picture(width, height), np.zeros((height, width), bool)
    mask[height // 2 :, width // 2 :] = True
    result = model(original, mask, grow=0, feather=1)
    assert result.photo.size == size
    outside = ~grow_objects(mask, 1)
    assert np.array_equal(result.photo.pixels[outside], original[outside])


def test_tiny_photo_through_the_network(model: Moebius) -> None:
    mask = np.zeros((5, 7), bool)
    mask[2, 3] = True
    result = model(picture(7, 5), mask)
    assert result.photo.size == (7, 5) and result.regions[0].width == 7


def test_long_thin_photos_need_little_memory() -> None:
    """A crop that is not square is padded at the model's scale, not at the photo's."""
    model, _ = fake()
    original, mask = np.full((20, 6000, 3), 90, np.uint8), np.ones((20, 6000), bool)
    mask[:, ::2] = False
    tracemalloc.start()
    try:
        model(original, mask, grow=0, feather=0)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 50e6  # the padded square alone would be 432 MB


def test_many_specks_are_grown_by_size() -> None:
    mask = np.zeros((300, 300), bool)
    mask[10, 10], mask[100:300, 100:300] = True, True
    grown = grow_objects(mask, None)
    assert grown[10, 14] and not grown[10, 15]  # a speck: 4 pixels, the least
    assert grown[150, 95] and not grown[150, 94]  # 200 pixels: 2.5 %
    assert np.array_equal(grow_objects(mask, 0), mask)


@pytest.mark.parametrize("kind", ["path", "str", "bytes", "file", "pillow", "array", "photo"])
def test_every_kind_of_source(kind: str, tmp_path: Path) -> None:
    pixels, mask = picture(60, 50), disc(60, 50, (20, 20), 6)
    path, hole = tmp_path / "photo.png", tmp_path / "mask.png"
    Image.fromarray(pixels).save(path)
    Image.fromarray(mask).save(hole)
    model, _ = fake()
    expected = model(pixels, mask).photo.pixels
    with path.open("rb") as photo_file, hole.open("rb") as mask_file:
        from moebius.imaging import read_photo

        sources: dict[str, tuple[Any, Any]] = {
            "path": (path, hole),
            "str": (str(path), str(hole)),
            "bytes": (path.read_bytes(), hole.read_bytes()),
            "file": (photo_file, mask_file),
            "pillow": (Image.fromarray(pixels), Image.fromarray(mask)),
            "array": (pixels, mask.astype(np.uint8) * 255),
            "photo": (read_photo(path), hole),
        }
        assert np.array_equal(model(*sources[kind]).photo.pixels, expected)


@pytest.mark.parametrize(
    ("source", "mask", "error", "told"),
    [
        ("nowhere.png", np.zeros((5, 5), bool), PhotoError, "no such file"),
        (np.zeros((5, 5)) * np.nan, np.zeros((5, 5), bool), PhotoError, "expected floats in"),
        (np.zeros((5, 5, 2), np.uint8), np.zeros((5, 5), bool), PhotoError, "expected an array"),
        (np.zeros((5, 7), np.uint8), np.zeros((7, 5), bool), MaskError, "got 5 x 7 for a photo of 7 x 5"),
        (np.zeros((5, 7), np.uint8), "nowhere.png", MaskError, "no such file"),
        (None, np.zeros((5, 5), bool), PhotoError, "NoneType"),
    ],
)
def test_wrong_sources_are_refused_at_once(
    source: Any, mask: Any, error: type[InputError], told: str
) -> None:
    model, engine = fake()
    with pytest.raises(error, match=told):
        model.stream(source, mask)
    assert not engine.encoded


def test_a_mask_of_another_size_is_fitted_when_asked() -> None:
    model, _ = fake()
    mask = disc(48, 40, (20, 20), 6)
    assert len(model(picture(96, 80), mask, fit_mask=True).regions) == 1


def test_a_network_that_gives_no_numbers_is_told_of() -> None:
    class Broken(FakeEngine):
        def decode(self, latents: Any) -> Any:
            return super().decode(latents) * np.float32(np.nan)

    model = Moebius(replace(LIKE_NANO, size=64), Broken(), model_hash="")
    with pytest.raises(MoebiusError, match="got NaN"):
        model(picture(60, 50), disc(60, 50, (20, 20), 6))


def test_a_thin_stroke_reaches_the_network_whole() -> None:
    """A crop of 400 px at a model's 64: a stroke of one pixel is a sixth of one of its pixels."""

    class Seeing(FakeEngine):
        def predict(self, noisy: Any, timestep: int, mask: Any, condition: Any, guidance: float) -> Any:
            self.mask = mask[0, 0]
            return super().predict(noisy, timestep, mask, condition, guidance)

    engine = Seeing()
    stroke = np.zeros((400, 400), bool)
    stroke[217, 100:300] = True
    result = Moebius(LIKE_NANO, engine, model_hash="")(picture(400, 400), stroke, grow=0, feather=0, steps=1)
    (box,) = result.regions
    assert (box.width, box.height) == (400, 400)
    rows, columns = np.nonzero(stroke)
    assert engine.mask[rows * 8 // 400, columns * 8 // 400].all() and engine.mask.sum() <= 2 * 5


def test_the_fill_has_the_tone_of_the_photo() -> None:
    """An autoencoder that is a little too bright everywhere leaves no visible patch."""

    class Bright(FakeEngine):
        def decode(self, latents: Any) -> Any:
            return super().decode(latents) * np.float32(0) + np.float32(0.2)

    ramp = np.repeat(np.linspace(60, 180, 128).astype(np.uint8)[:, None], 128, axis=1)
    model, hole = Moebius(LIKE_NANO, Bright(), model_hash=""), disc(128, 128, (64, 64), 20)
    filled = model(ramp, hole, grow=0, feather=0).photo.pixels[..., 0]
    assert np.abs(filled[hole].astype(int) - ramp[hole]).max() <= 12
