"""Pixels, crops and holes: what a sample is cut from, where, and what is hidden."""

from __future__ import annotations

import importlib.util
import io
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from sample_photos import box_mask, encoded, pixels

from moebius.errors import InputError, PhotoError
from moebius.training.data.crops import Crop, bounds, nearest, place_crop, plan_crop
from moebius.training.data.holes import dilate, draw
from moebius.training.data.pixels import read_pixels
from moebius.training.masks import Mask
from moebius.training.published_masks import LAMA_TABLES, lama_mask

needs_opencv = pytest.mark.skipif(
    importlib.util.find_spec("cv2") is None, reason="LaMa's strokes need OpenCV"
)


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
    for mode in ("L", "1", "P", "CMYK"):
        image = Image.fromarray(upright).convert(mode)
        data, _ = read_pixels(_saved(image, "TIFF"))
        assert data.shape == (24, 40, 3) and data.dtype == np.uint8


def _saved(image: Image.Image, kind: str) -> bytes:
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


@needs_opencv
def test_lama_masks_are_drawn_over_the_whole_photo() -> None:
    for table in LAMA_TABLES:
        same = lama_mask(table, 300, np.random.RandomState(4))
        assert np.array_equal(same, lama_mask(table, (300, 300), np.random.RandomState(4)))
        shares = [lama_mask(table, (300, 900), np.random.RandomState(k)) for k in range(40)]
        hidden = np.mean(shares, axis=0)
        assert hidden.shape == (300, 900) and hidden[:, 300:].mean() > 0.02, "also beyond the square"


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
