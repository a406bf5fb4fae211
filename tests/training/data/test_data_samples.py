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
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from sample_photos import box_mask, encoded, make_folder, make_list, pixels, small_recipe

from moebius.errors import InputError, PhotoError
from moebius.imaging import push_pull
from moebius.training.data import sample as sample_module
from moebius.training.data.crops import Crop, bounds, nearest, place_crop, plan_crop
from moebius.training.data.holes import NEAR, combine_masks, dilate, draw
from moebius.training.data.pixels import read_pixels
from moebius.training.data.sample import Sample, check_source, make_sample
from moebius.training.data.sources import Source, open_sources
from moebius.training.masks import Mask
from moebius.training.published_masks import LAMA_TABLES, lama_mask

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


def test_photos_are_turned_and_become_rgb() -> None:
    upright = pixels(1, 40, 24)
    exif = Image.Exif()
    exif[0x0112] = 6
    sideways = np.ascontiguousarray(np.rot90(upright))
    assert np.array_equal(read_pixels(encoded(sideways, exif=exif))[0], upright)
    deep = (np.arange(24 * 40, dtype=np.uint16) * 60).reshape(24, 40)
    read, _ = read_pixels(encoded(deep))
    assert read.dtype == np.uint8 and np.array_equal(read[..., 0], np.round(deep / 257).astype(np.uint8))
    alpha = np.dstack([upright, np.full((24, 40), 7, np.uint8)])
    assert np.array_equal(read_pixels(encoded(alpha))[0], upright), "alpha is dropped"
    palette = np.asarray(Image.fromarray(upright).quantize(16).convert("RGB"))
    file = encoded(np.asarray(Image.fromarray(upright)))
    assert np.array_equal(read_pixels(file)[0], upright) and palette.shape == upright.shape
    for mode in ("L", "1", "P", "CMYK"):
        image = Image.fromarray(upright).convert(mode)
        data, _ = read_pixels(_saved(image, "TIFF"))
        assert data.shape == (24, 40, 3) and data.dtype == np.uint8


def _saved(image: Image.Image, kind: str) -> bytes:
    import io

    file = io.BytesIO()
    image.save(file, kind)
    return file.getvalue()


def test_large_jpegs_are_decoded_smaller_and_look_the_same() -> None:
    large = np.asarray(Image.fromarray(pixels(3, 40, 30)).resize((800, 600), Image.Resampling.BICUBIC))
    exif = Image.Exif()
    exif[0x0112] = 6
    for data, turned in (
        (encoded(large, "JPEG", quality=95), False),
        (encoded(large, "JPEG", exif=exif), True),
    ):
        whole, shape = read_pixels(data)
        reduced, same_shape = read_pixels(data, least=64)
        assert shape == same_shape == whole.shape[:2] == ((800, 600) if turned else (600, 800))
        assert reduced.shape == ((200, 150, 3) if turned else (150, 200, 3))
        crop = replace(plan_crop(shape, 64, "hole", 1.0, np.random.default_rng(0)), flip=True)
        assert np.abs(crop.pixels(whole).astype(int) - crop.pixels(reduced)).max() <= 3
    assert read_pixels(encoded(large, "JPEG"), least=160)[0].shape == (600, 800, 3), "not large enough"
    assert read_pixels(encoded(large), least=64)[0].shape == (600, 800, 3), "no JPEG"
    with pytest.raises(PhotoError, match="truncated"):
        read_pixels(encoded(large, "JPEG", quality=95)[:9000], least=64)


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


@needs_opencv
def test_lama_masks_are_drawn_over_the_whole_photo(photos: Source) -> None:
    for table in LAMA_TABLES:
        same = lama_mask(table, 300, np.random.RandomState(4))
        assert np.array_equal(same, lama_mask(table, (300, 300), np.random.RandomState(4)))
        shares = [lama_mask(table, (300, 900), np.random.RandomState(k)) for k in range(40)]
        hidden = np.mean(shares, axis=0)
        assert hidden.shape == (300, 900) and hidden[:, 300:].mean() > 0.02, "also beyond the square"
    recipe = small_recipe(crop="hole", masks={"lama:medium_256": 1.0}, sizes=(64,), hole=(0.0, 1.0))
    assert make_sample(photos, recipe, 0, 0, 64).generator == "lama:medium_256"


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_crops_contain_the_middle_of_the_hole(data: st.DataObject) -> None:
    height, width = data.draw(st.integers(8, 90)), data.draw(st.integers(8, 90))
    crop = plan_crop((height, width), 32, "hole", 1.0, np.random.default_rng(0))
    assert min(crop.width, crop.height) == 32 == crop.side
    left = data.draw(st.integers(0, crop.width - 1))
    right = data.draw(st.integers(left, crop.width - 1))
    top = data.draw(st.integers(0, crop.height - 1))
    bottom = data.draw(st.integers(top, crop.height - 1))
    rng = np.random.default_rng(data.draw(st.integers(0, 999)))
    placed = place_crop(crop, (left, top, right, bottom), rng)
    assert 0 <= placed.left <= crop.width - 32 and 0 <= placed.top <= crop.height - 32
    assert placed.left <= (left + right) // 2 < placed.left + 32
    assert placed.top <= (top + bottom) // 2 < placed.top + 32


def test_the_last_place_is_reached_too() -> None:
    crop = plan_crop((32, 40), 32, "hole", 1.0, np.random.default_rng(0))
    rng = np.random.default_rng(1)
    assert {place_crop(crop, None, rng).left for _ in range(200)} == set(range(9))
    assert {place_crop(crop, (30, 0, 39, 9), rng).left for _ in range(200)} == set(range(3, 9))


def test_random_crops_are_cut_larger_up_to_the_jitter() -> None:
    rng = np.random.default_rng(0)
    sides = Counter(plan_crop((100, 120), 32, "random", 0.5, rng).side for _ in range(600))
    assert min(sides) == 32 and max(sides) == 64 and 0.3 < sides[32] / 600 < 0.55
    assert {plan_crop((100, 120), 32, "random", 1.0, rng).side for _ in range(50)} == {32}
    assert {plan_crop((20, 120), 32, "random", 0.5, rng).side for _ in range(50)} == {20}, (
        "small ones are enlarged"
    )


def test_crops_cut_photo_and_mask_alike() -> None:
    photo = np.repeat((box_mask(90, 60, (30, 10, 70, 50)))[..., None], 3, axis=2)
    mask = photo[..., 0] > 0
    for crop in (
        Crop(90, 60, 20, 5, 48, 48, flip=True),
        Crop(90, 60, 20, 5, 52, 26),
        Crop(48, 32, 9, 0, 32, 32, flip=True),
    ):
        hidden = crop.mask(nearest(mask, (crop.height, crop.width)))
        shown = crop.pixels(photo)
        assert hidden.shape == shown.shape[:2] == (crop.size, crop.size)
        assert ((shown[..., 0] > 127) != hidden).mean() < 0.05
    smooth = pixels(0, 90, 60)
    smooth = np.asarray(Image.fromarray(smooth).resize((30, 20)).resize((90, 60)))  # no grain
    all_of_it = np.asarray(Image.fromarray(smooth).resize((96, 64), Image.Resampling.LANCZOS))
    cut = Crop(96, 64, 11, 0, 64, 64).pixels(smooth)
    assert np.abs(cut.astype(int) - all_of_it[:, 11:75]).max() <= 2, "as if all were resized and then cut"


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


@needs_opencv
def test_dilation_is_opencvs() -> None:
    import cv2

    rng = np.random.default_rng(0)
    mask = rng.random((40, 50)) < 0.01
    for side in (3, 5, 7):
        for times in (1, 2):
            expected = cv2.dilate(mask.astype(np.uint8), np.ones((side, side), np.uint8), iterations=times)
            assert np.array_equal(dilate(mask, side, times), expected > 0)
    assert dilate(np.ones((1, 1), bool), 7, 2).all()


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


def test_nearest_and_bounds() -> None:
    mask: Mask = np.zeros((4, 6), bool)
    mask[1, 2:5] = True
    assert bounds(mask) == (2, 1, 4, 1) and bounds(mask & False) is None
    assert nearest(mask, (2, 3)).tolist() == [[False, True, False], [False, False, False]]
    big = np.random.default_rng(0).random((37, 53)) < 0.5
    expected = np.asarray(Image.fromarray(big).resize((71, 20), Image.Resampling.NEAREST))
    assert np.array_equal(nearest(big, (20, 71)), expected)


def test_generators_draw_alike_for_alike_numbers() -> None:
    for name in ("thin", "object", "free-form:mat_large"):
        one, same = (draw(name, (48, 48), np.random.default_rng(3)) for _ in range(2))
        assert one.shape == (48, 48) and one.dtype == bool and np.array_equal(one, same)


def test_without_opencv(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "cv2", None)
    with pytest.raises(
        InputError, match=r"masks: lama:thin_256 needs OpenCV: pip install 'moebius-inpaint\[eval\]'"
    ):
        draw("lama:thin_256", (64, 64), np.random.default_rng(0))


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
