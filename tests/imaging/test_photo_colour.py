"""Crops as RGB, and fills blended back into a photo's own colours."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_files import cmyk_profile, noise
from PIL import Image

from moebius.imaging import Box, Metadata, Photo
from moebius.imaging.colour import ColourMode

WHOLE = Box(0, 0, 8, 6)
ONES = np.ones((6, 8), dtype=np.float32)


def grey_inks() -> Photo:
    """Mid-grey printed from three inks, with a profile of a press that prints grey so."""
    inks = np.zeros((6, 8, 4), dtype=np.uint8)
    inks[..., :3] = 128
    return Photo(inks, "CMYK", metadata=Metadata(icc=cmyk_profile()))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_crop_rgb(dtype: type) -> None:
    pixels = noise((6, 8, 3), dtype)
    box = Box(2, 1, 7, 5)
    crop = Photo(pixels, "RGB").crop_rgb(box)
    assert (crop.shape, crop.dtype) == ((4, 5, 3), np.float32)
    np.testing.assert_allclose(crop, pixels[1:5, 2:7] / np.iinfo(dtype).max, rtol=1e-6)
    grey = Photo(pixels[..., :1].copy(), "L").crop_rgb(box)
    np.testing.assert_array_equal(grey, np.repeat(crop[..., :1], 3, axis=-1))


def test_crop_rgb_of_inks_without_a_profile_agrees_with_pillow() -> None:
    pixels = noise((6, 8, 4))
    expected = np.asarray(Image.frombytes("CMYK", (8, 6), pixels.tobytes()).convert("RGB"))
    np.testing.assert_allclose(Photo(pixels, "CMYK").crop_rgb(WHOLE) * 255, expected, atol=1.01)


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_blending_a_crop_back_changes_no_colour(mode: ColourMode, dtype: type) -> None:
    photo = Photo(noise((6, 8, {"L": 1, "RGB": 3, "CMYK": 4}[mode]), dtype), mode)
    crop = photo.crop_rgb(WHOLE)
    back = photo.copy()
    back.blend_rgb(WHOLE, crop, ONES)
    np.testing.assert_allclose(back.crop_rgb(WHOLE), crop, atol=1 / np.iinfo(dtype).max)
    if mode != "CMYK":
        np.testing.assert_array_equal(back.pixels, photo.pixels)


@given(st.integers(0, 2**32), st.sampled_from(["L", "RGB", "CMYK"]), st.sampled_from([np.uint8, np.uint16]))
@settings(deadline=None, max_examples=40)
def test_blend_weights(seed: int, mode: ColourMode, dtype: type) -> None:
    """0 leaves the bytes, 1 leaves nothing of what was there, and between them it is the mean."""
    rng = np.random.default_rng(seed)
    shape = (6, 8, {"L": 1, "RGB": 3, "CMYK": 4}[mode])
    one, other = Photo(noise(shape, dtype, seed), mode), Photo(noise(shape, dtype, seed + 1), mode)
    rgb = rng.random((6, 8, 3), dtype=np.float32)
    weight = rng.choice(np.array([0, 0.25, 0.7, 1], dtype=np.float32), (6, 8))
    blended = [photo.copy() for photo in (one, other)]
    for photo in blended:
        photo.blend_rgb(WHOLE, rgb, weight)
    np.testing.assert_array_equal(blended[0].pixels[weight == 0], one.pixels[weight == 0])
    np.testing.assert_array_equal(blended[0].pixels[weight == 1], blended[1].pixels[weight == 1])
    filled = one.copy()
    filled.blend_rgb(WHOLE, rgb, ONES)
    expected = (1 - weight[..., None]) * one.pixels + weight[..., None] * filled.pixels.astype(float)
    assert np.abs(blended[0].pixels - expected)[weight < 1].max(initial=0) <= 1.01


def test_full_weight_leaves_no_trace_of_what_was_there() -> None:
    """Not even in the last bit of a float that is about to be rounded."""
    box, rgb = Box(0, 0, 300, 300), np.random.default_rng(0).random((300, 300, 3), dtype=np.float32)
    filled = []
    for seed in (1, 2):
        photo = Photo(noise((300, 300, 3), np.uint16, seed), "RGB")
        photo.blend_rgb(box, rgb, np.ones((300, 300), dtype=np.float32))
        filled.append(photo.pixels)
    np.testing.assert_array_equal(*filled)


def test_no_weight_writes_nothing_whatever_the_fill() -> None:
    photo = Photo(noise((6, 8, 3)), "RGB")
    before = photo.pixels.copy()
    photo.blend_rgb(WHOLE, np.full((6, 8, 3), np.nan, dtype=np.float32), 0 * ONES)
    weight = 0 * ONES
    weight[2, 3] = 1
    rgb = np.full((6, 8, 3), np.nan, dtype=np.float32)
    rgb[2, 3] = 0
    photo.blend_rgb(WHOLE, rgb, weight)
    before[2, 3] = 0
    np.testing.assert_array_equal(photo.pixels, before)


def test_blend_rounds_half_up_and_clips() -> None:
    photo = Photo(np.array([[[10], [11], [254], [3]]], dtype=np.uint8), "L")
    rgb = np.repeat(np.array([[11, 12, 300, -9]], dtype=np.float32)[..., None] / 255, 3, axis=-1)
    photo.blend_rgb(Box(0, 0, 4, 1), rgb, np.array([[0.5, 0.5, 1, 1]], dtype=np.float32))
    assert photo.pixels.ravel().tolist() == [11, 12, 255, 0]


def test_alpha_and_everything_outside_the_box_stay() -> None:
    photo = Photo(noise((6, 8, 3)), "RGB", noise((6, 8)))
    before = photo.copy()
    photo.blend_rgb(Box(2, 1, 5, 4), np.zeros((3, 3, 3), np.float32), np.ones((3, 3), np.float32))
    assert not photo.pixels[1:4, 2:5].any()
    before.pixels[1:4, 2:5] = 0
    np.testing.assert_array_equal(photo.pixels, before.pixels)
    np.testing.assert_array_equal(photo.alpha, before.alpha)


def test_inks_go_through_the_photos_own_profile() -> None:
    """This press never prints black ink, so neither does the fill; without a profile it is all black ink."""
    photo = grey_inks()
    crop = photo.crop_rgb(WHOLE)
    assert np.ptp(crop, axis=-1).max() <= 2 / 255  # neutral
    assert 0.4 < crop.mean() < 0.5  # lightness 50 is 119 of 255 in sRGB
    filled = photo.copy()
    filled.blend_rgb(WHOLE, crop, ONES)
    assert np.abs(filled.pixels.astype(int) - photo.pixels).max() <= 3
    plain = Photo(photo.pixels, "CMYK").copy()
    plain.blend_rgb(WHOLE, crop, ONES)
    assert plain.pixels[..., :3].max() <= 3
    assert plain.pixels[..., 3].min() > 100


def test_unfit_profile_is_reported_and_left_out(caplog: pytest.LogCaptureFixture) -> None:
    photo = grey_inks()
    for icc in (b"rubbish", cmyk_profile()[:200]):
        broken = Photo(photo.pixels, "CMYK", metadata=Metadata(icc=icc))
        np.testing.assert_array_equal(broken.crop_rgb(WHOLE), Photo(photo.pixels, "CMYK").crop_rgb(WHOLE))
    assert "CMYK profile cannot be used" in caplog.text


def test_wrong_shapes_and_boxes() -> None:
    photo = Photo(noise((6, 8, 3)), "RGB")
    for box in (Box(0, 0, 9, 6), Box(-1, 0, 3, 3)):
        with pytest.raises(ValueError, match="inside 8 x 6"):
            photo.crop_rgb(box)
    with pytest.raises(ValueError, match="weight"):
        photo.blend_rgb(WHOLE, np.zeros((6, 8, 3), np.float32), np.zeros((8, 6), np.float32))
    with pytest.raises(ValueError, match="uint8 or uint16"):
        Photo(np.zeros((6, 8, 4), np.uint8), "RGB")
    with pytest.raises(ValueError, match="alpha"):
        Photo(noise((6, 8, 3)), "RGB", noise((6, 8), np.uint16))
    with pytest.raises(ValueError, match="beside CMYK"):
        Photo(noise((6, 8, 4)), "CMYK", noise((6, 8)))
