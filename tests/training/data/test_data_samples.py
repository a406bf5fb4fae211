"""Samples: pure functions of (recipe, seed, position), with the published choice of crops and masks."""

from __future__ import annotations

import importlib.util
import logging
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sample_photos import box_mask, encoded, make_folder, make_list, pixels, small_recipe

from moebius.errors import InputError
from moebius.imaging import push_pull
from moebius.training.data import sample as sample_module
from moebius.training.data.holes import NEAR, combine_masks
from moebius.training.data.sample import Sample, check_source, make_sample
from moebius.training.data.sources import Source, open_sources

needs_opencv = pytest.mark.skipif(
    importlib.util.find_spec("cv2") is None, reason="LaMa's strokes need OpenCV"
)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Source:
    return open_sources([make_folder(tmp_path_factory.mktemp("photos") / "f", 12)])


@pytest.fixture(scope="module")
def annotated(tmp_path_factory: pytest.TempPathFactory) -> Source:
    """8 background photos, every other one with a mask, and 4 foreground ones."""
    return open_sources([make_list(tmp_path_factory.mktemp("annotated"), 8, 4)])


def equal(one: Sample, other: Sample) -> bool:
    arrays = ("image", "condition", "mask")
    rest = ("key", "position", "category", "view", "row", "digest", "generator", "broken")
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in arrays) and all(
        getattr(one, name) == getattr(other, name) for name in rest
    )


@pytest.mark.parametrize("crop", ["hole", "random"])
@pytest.mark.parametrize("feed", ["masked", "prefill"])
def test_shapes_ranges_and_feeds(photos: Source, crop: Any, feed: Any) -> None:
    recipe = small_recipe(crop=crop, feed=feed, scale_jitter=0.5)
    for position in range(6):
        sample = make_sample(photos, recipe, 1, position, 32)
        assert sample.image.shape == sample.condition.shape == (3, 32, 32) and sample.mask.shape == (
            1,
            32,
            32,
        )
        assert {sample.image.dtype, sample.condition.dtype, sample.mask.dtype} == {np.dtype(np.float32)}
        assert -1 <= sample.image.min() < sample.image.max() <= 1 and set(np.unique(sample.mask)) == {0, 1}
        known = np.broadcast_to(sample.mask == 0, sample.image.shape)
        hole = ~known
        if feed == "masked":
            assert np.array_equal(sample.condition[known], sample.image[known])
            assert not sample.condition[hole].any(), "mid-grey"
        else:
            assert np.abs(sample.condition[known] - sample.image[known]).max() < 1e-6
            filled = push_pull((sample.image.transpose(1, 2, 0) + 1) / 2, sample.mask[0] > 0)
            assert np.abs(sample.condition - (filled.transpose(2, 0, 1) * 2 - 1)).max() < 1e-5
        assert sample.view == sample.row == -1 and sample.broken == ()


def test_samples_depend_on_recipe_seed_and_position_alone(photos: Source) -> None:
    recipe = small_recipe()
    asked = [make_sample(photos, recipe, 3, position, 32) for position in (5, 40, 2)]
    again = [make_sample(photos, recipe, 3, position, 32) for position in (2, 5, 40)]
    assert equal(asked[0], again[1]) and equal(asked[1], again[2]) and equal(asked[2], again[0])
    assert not equal(make_sample(photos, recipe, 4, 5, 32), asked[0])
    epoch = [make_sample(photos, recipe, 3, position, 32) for position in range(24)]
    for part in (epoch[:12], epoch[12:]):
        assert len({sample.key for sample in part}) == 12
    assert len({sample.digest for sample in epoch}) == 24, "new crops every time"
    assert len({sample.mask.tobytes() for sample in epoch}) == 24


def test_broken_records_are_passed_over_and_named(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "f", 8)
    whole = {make_sample(open_sources([folder]), small_recipe(), 0, p, 32).key: p for p in range(8)}
    (folder / "photo001.png").write_bytes(b"no photo")
    (folder / "photo002.mask.png").write_bytes(encoded(box_mask(30, 20)))
    (folder / "photo004.mask.png").write_bytes(encoded(box_mask(64, 96) * 0))
    (folder / "photo005.png").write_bytes((folder / "photo005.png").read_bytes()[:300])
    source = open_sources([folder])
    samples = [make_sample(source, small_recipe(), 0, position, 32) for position in range(8)]
    first = {sample.broken[0][0]: sample.broken[0][1] for sample in samples if sample.broken}
    assert set(first) == {"photo001.png", "photo002.png", "photo004.png", "photo005.png"}
    assert "not an image" in first["photo001.png"] and "expected the photo's size" in first["photo002.png"]
    assert "expected a hole, got none" in first["photo004.png"] and "truncated" in first["photo005.png"]
    for sample in samples:
        assert sample.key not in first and len(sample.broken) <= 20
        if not sample.broken:
            assert whole[sample.key] == sample.position, "the others stay where they were"
    assert equal(samples[3], make_sample(source, small_recipe(), 0, 3, 32))


def test_nothing_but_broken_records(tmp_path: Path) -> None:
    source = open_sources([make_folder(tmp_path / "f", 3)])
    for path in (tmp_path / "f").rglob("*.png"):
        path.write_bytes(b"broken")
    with pytest.raises(
        InputError, match=r"expected a photo that can be used, got none in 100 tries; the last, "
    ):
        make_sample(source, small_recipe(), 0, 0, 32)


@pytest.mark.parametrize("hole", [(0.0, 0.1), (0.3, 0.35), (0.55, 0.9)])
@pytest.mark.parametrize("crop", ["hole", "random"])
def test_hole_shares_are_enforced(photos: Source, crop: Any, hole: tuple[float, float]) -> None:
    masks = {"free-form:mat_small": 1.0, "free-form:comodgan": 1.0, "thin": 1.0, "thick": 0.2}
    recipe = small_recipe(crop=crop, masks=masks, hole=hole, sizes=(64,))
    shares = [float(make_sample(photos, recipe, 5, position, 64).mask.mean()) for position in range(15)]
    away = [max(hole[0] - share, share - hole[1], 0.0) for share in shares]
    assert all(0 < share < 1 for share in shares)
    assert max(away) <= NEAR and sum(each < 1e-6 for each in away) >= 12


def test_hole_shares_that_no_mask_has(photos: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sample_module, "TRIES", 3)
    recipe = small_recipe(masks={"thin": 1.0}, hole=(0.8, 0.9))
    with pytest.raises(
        InputError,
        match=r"none in 3 tries; .*expected 80\.0% to 90\.0% within 100 masks, got",
    ):
        make_sample(photos, recipe, 0, 0, 32)


def test_flips_come_half_of_the_time_and_not_at_all(photos: Source) -> None:
    plain = small_recipe(flip=0.0)
    always = replace(plain, flip=1.0)
    for position in range(4):
        one, other = (make_sample(photos, recipe, 0, position, 32) for recipe in (plain, always))
        assert np.array_equal(one.image, other.image[..., ::-1])


def test_categories(annotated: Source, photos: Source) -> None:
    recipe = small_recipe(opposite="foreground", annotated=1.0)
    epoch = [make_sample(annotated, recipe, 0, position, 32) for position in range(12)]
    assert len({sample.key for sample in epoch}) == 12
    for sample in epoch:
        number = int(sample.key[1:-4])
        assert sample.category == (number >= 8)
        assert (sample.generator == "annotated") == (number >= 8 or number % 2 == 1)
    most = replace(recipe, foreground=0.75)
    shares = [make_sample(annotated, most, 0, position, 32).category for position in range(256)]
    assert sum(shares) == 192
    keys = [make_sample(annotated, most, 0, p, 32).key for p in range(256) if shares[p]][:192]
    assert set(Counter(keys).values()) == {48}, "each foreground photo as often"
    for opposite, dropout, expected in (("null", 1.0, {1}), ("null", 0.0, {0}), ("none", 0.5, {0})):
        other = small_recipe(opposite=opposite, id_dropout=dropout)
        samples = [make_sample(annotated, other, 0, position, 32) for position in range(8)]
        assert {sample.category for sample in samples} == expected
        assert {sample.key for sample in samples} == {f"p{i}.png" for i in range(8)}, "foreground is left out"
    dropped = [make_sample(photos, small_recipe(), 0, position, 32).category for position in range(300)]
    assert 15 <= sum(dropped) <= 48, "one in ten"


def test_annotated_masks_are_taken_half_of_the_time(annotated: Source) -> None:
    samples = [make_sample(annotated, small_recipe(), 2, position, 32) for position in range(160)]
    own = [sample for sample in samples if int(sample.key[1:-4]) % 2]
    assert 0.3 < np.mean([sample.generator == "annotated" for sample in own]) < 0.7
    assert all(sample.generator != "annotated" for sample in samples if sample not in own)


def test_the_bank_lends_object_masks(annotated: Source) -> None:
    recipe = small_recipe(crop="hole", bank=1.0, annotated=0.0, opposite="foreground", masks={"thick": 1.0})
    for mode in ("intersect", "union", "subtract"):
        shares = []
        for position in range(24):
            sample = make_sample(annotated, replace(recipe, bank_mode=mode, hole=(0.0, 1.0)), 0, position, 32)
            if sample.category:
                assert sample.generator == "annotated", "foreground masks are not combined"
                continue
            assert sample.generator in ("thick and bank", "thick") and sample.mask.any()
            shares.append(sample.mask.mean())
        assert (np.mean(shares) > 0.3) == (mode != "intersect") or mode == "subtract"
    one, other = np.array([[True, True, False]]), np.array([[False, True, True]])
    assert combine_masks(one, other, "intersect").tolist() == [[False, True, False]]
    assert combine_masks(one, other, "union").all()
    assert combine_masks(one, other, "subtract").tolist() == [[True, False, False]]


def test_dilation_grows_annotated_masks(annotated: Source) -> None:
    recipe = small_recipe(opposite="foreground", annotated=1.0, sizes=(64,), crop="hole", flip=0.0)
    for position in range(12):
        plain = make_sample(annotated, recipe, 0, position, 64)
        grown = make_sample(annotated, replace(recipe, dilate=1.0), 0, position, 64)
        if plain.generator == "annotated":
            columns = [np.ptp(np.flatnonzero(each.mask[0].any(0))) + 1 for each in (plain, grown)]
            assert columns[0] == 24 and columns[1] - columns[0] in (2, 4, 6, 8, 12)


@needs_opencv
def test_the_published_recipe_is_reproducible(annotated: Source) -> None:
    """Background: strokes or boxes, or the annotated mask, half each; half of them cut with an object; all grown."""
    recipe = small_recipe(
        crop="hole", masks={"lama:medium_256": 1.0}, hole=(0.0, 1.0), bank=0.5, dilate=0.99, sizes=(64,),
        opposite="foreground",
    )  # fmt: skip
    samples = [make_sample(annotated, recipe, 0, position, 64) for position in range(120)]
    assert all(equal(samples[p], make_sample(annotated, recipe, 0, p, 64)) for p in (0, 17, 63))
    kinds = Counter(sample.generator for sample in samples if not sample.category)
    assert set(kinds) == {
        "lama:medium_256", "lama:medium_256 and bank", "annotated", "annotated and bank",
    }  # fmt: skip
    total = sum(kinds.values())
    assert 0.35 < (total - kinds["annotated"] - kinds["lama:medium_256"]) / total < 0.65
    assert {sample.generator for sample in samples if sample.category} == {"annotated"}


def test_views_are_fixed_and_masks_are_not(photos: Source, annotated: Source) -> None:
    recipe = small_recipe(views=3, scale_jitter=0.5)
    seen: dict[int, Sample] = {}
    for position in range(12 * 6):
        sample = make_sample(photos, recipe, 0, position, 32)
        assert 0 <= sample.view < 3 and sample.row % 3 == sample.view and 0 <= sample.row < 36
        assert photos.key(sample.row // 3) == sample.key
        before = seen.setdefault(sample.row, sample)
        assert np.array_equal(before.image, sample.image) and before.digest == sample.digest
        assert before is sample or not np.array_equal(before.mask, sample.mask)
    assert set(seen) == set(range(36)), "every view within three epochs"
    assert len({sample.digest for sample in seen.values()}) == 36
    own = small_recipe(views=2, crop="hole", annotated=1.0, opposite="foreground", hole=(0.0, 1.0))
    for position in range(36):
        sample = make_sample(annotated, own, 0, position, 32)
        assert sample.mask.any(), "a photo with a mask has it in its views"


def test_digests_name_photo_side_and_crop(tmp_path: Path) -> None:
    source = open_sources([make_folder(tmp_path / "f", 3)])
    recipe = small_recipe(views=1)
    sample = make_sample(source, recipe, 0, 0, 32)
    path = tmp_path / "f" / sample.key
    with Image.open(path) as image:
        size = image.size
    path.write_bytes(encoded(pixels(99, *size)))
    assert make_sample(source, recipe, 0, 0, 32).digest != sample.digest
    assert make_sample(source, recipe, 0, 1, 64).digest != make_sample(source, recipe, 0, 1, 32).digest
    assert make_sample(source, replace(recipe, feed="prefill"), 0, 1, 32).digest == (
        make_sample(source, recipe, 0, 1, 32).digest
    )


def test_what_a_source_lacks_is_said_once(
    photos: Source, annotated: Source, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    sample_module._warn_once.cache_clear()
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            check_source(photos, small_recipe(opposite="foreground"))
            check_source(photos, small_recipe(bank=0.5))
            check_source(annotated, small_recipe())
            check_source(annotated, small_recipe(opposite="foreground", bank=0.5))
    messages = [record.getMessage() for record in caplog.records]
    assert len(messages) == 3 and "second half of the category table stays untrained" in messages[0]
    only = open_sources([make_list(tmp_path / "only", 0, 3)])
    with pytest.raises(
        InputError, match="expected background records for opposite = null, got 3 foreground ones"
    ):
        check_source(only, small_recipe())
    check_source(only, small_recipe(opposite="foreground"))
    assert make_sample(only, small_recipe(opposite="foreground"), 0, 5, 32).category == 1
