"""Crops as RGB, and fills blended back into a photo's own colours."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_files import cmyk_profile, noise
from PIL import Image, ImageCms

from moebius.imaging import Box, Metadata, Photo
from moebius.imaging.colour import ColourMode
from moebius.imaging.linear import light_to_srgb, srgb_to_light

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
    """0 leaves the bytes, 1 leaves nothing of what was there, and between them it is the mean of light or ink."""
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
    scale = float(np.iinfo(dtype).max)
    old, new = one.pixels / scale, filled.pixels / scale
    if mode == "CMYK":
        expected = (1 - weight[..., None]) * old + weight[..., None] * new
    else:
        light = (1 - weight[..., None]) * srgb_to_light(old) + weight[..., None] * srgb_to_light(new)
        expected = light_to_srgb(light)
    # rounding; and `new`, which was rounded itself, counts for more than its weight where it is dark
    assert np.abs(blended[0].pixels - scale * expected)[weight < 1].max(initial=0) <= 4


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
    """Below 11 the sRGB curve is a line; half of black and half of white are 188."""
    photo = Photo(np.array([[[8], [9], [254], [3], [0]]], dtype=np.uint8), "L")
    rgb = np.repeat(np.array([[9, 10, 300, -9, 255]], dtype=np.float32)[..., None] / 255, 3, axis=-1)
    photo.blend_rgb(Box(0, 0, 5, 1), rgb, np.array([[0.5, 0.5, 1, 1, 0.5]], dtype=np.float32))
    assert photo.pixels.ravel().tolist() == [9, 10, 255, 0, 188]


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


def test_inks_are_reported_once(caplog: pytest.LogCaptureFixture) -> None:
    for icc in (None, cmyk_profile(), b"rubbish"):
        caplog.clear()
        photo = Photo(grey_inks().pixels, "CMYK", metadata=Metadata(icc=icc))
        copy = photo.copy()
        assert not caplog.records  # nothing is converted yet
        for _ in range(3):
            copy.blend_rgb(WHOLE, photo.crop_rgb(WHOLE), ONES)
        assert caplog.text.count("the photo is CMYK") == 1
        assert caplog.text.count("profile cannot be used") == (icc == b"rubbish")


def lab_of(rgb: np.ndarray) -> tuple[Image.Image, np.ndarray]:
    """What Pillow and Little CMS make of sRGB (H, W, 3) uint8."""
    profiles = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    lab = ImageCms.applyTransform(Image.fromarray(rgb), ImageCms.buildTransform(*profiles, "RGB", "LAB"))
    assert lab is not None
    return lab, np.asarray(lab)


def test_lab_agrees_with_pillow() -> None:
    rgb = noise((40, 50, 3))
    lab, samples = lab_of(rgb)
    box = Box(0, 0, 50, 40)
    photo = Photo(samples.copy(), "LAB")
    assert photo.to_pil().getpixel((3, 4)) == lab.getpixel((3, 4))
    shown = photo.crop_rgb(box) * 255
    assert np.abs(shown - rgb).mean() < 1.5  # samples of Lab are coarser than those of RGB
    filled = Photo(np.zeros_like(samples), "LAB")
    filled.blend_rgb(box, rgb.astype(np.float32) / 255, np.ones((40, 50), np.float32))
    off = np.abs(filled.pixels.view(np.int8)[..., 1:].astype(int) - samples.view(np.int8)[..., 1:])
    assert max(off.max(), np.abs(filled.pixels[..., 0].astype(int) - samples[..., 0]).max()) <= 1


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_lab_known_colours(dtype: type) -> None:
    """White, black, mid-grey, and sRGB's red: L* 54.29, a* 80.81, b* 69.89 for D50."""
    unit, signed = (1, np.int8) if dtype is np.uint8 else (256, np.int16)
    scale = np.iinfo(dtype).max / 100
    rgb = np.array([[[1, 1, 1], [0, 0, 0], [0.4663, 0.4663, 0.4663], [1, 0, 0]]], np.float32)
    photo = Photo(np.zeros((1, 4, 3), dtype), "LAB")
    photo.blend_rgb(Box(0, 0, 4, 1), rgb, np.ones((1, 4), np.float32))
    expected = np.array([[100, 0, 0], [0, 0, 0], [50, 0, 0], [54.29, 80.81, 69.89]]) * [scale, unit, unit]
    got = np.column_stack([photo.pixels[0, :, 0], photo.pixels.view(signed)[0, :, 1:]])
    assert np.abs(got - expected).max() <= max(1, unit * 0.1)
    np.testing.assert_allclose(photo.crop_rgb(Box(0, 0, 4, 1)), rgb, atol=0.02 if unit == 1 else 1e-4)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_lab_blends_in_its_own_samples(dtype: type) -> None:
    """Half way between two a* of opposite sign is 0, though two's complement puts them far apart."""
    rgb = np.array([[[1, 0, 0]]], np.float32)
    photo, one = Photo(np.zeros((1, 1, 3), dtype), "LAB"), Box(0, 0, 1, 1)
    photo.blend_rgb(one, rgb, np.ones((1, 1), np.float32))
    red = photo.pixels.copy()
    signed = np.dtype(f"i{red.itemsize}")
    photo.pixels[..., 1:] = (-red.view(signed)[..., 1:]).view(dtype)
    photo.blend_rgb(one, rgb, np.full((1, 1), 0.5, np.float32))
    assert np.abs(photo.pixels.view(signed)[..., 1:]).max() <= 1
    np.testing.assert_array_equal(photo.pixels[..., 0], red[..., 0])


def test_lab_in_8_bits() -> None:
    deep = np.array([[[65535, 0, 0], [32768, 256, 65280], [0, 32767, 32768]]], np.uint16)
    photo = Photo(deep, "LAB").in_8_bits()
    assert photo.pixels.view(np.int8)[..., 1:].tolist() == [[[0, 0], [1, -1], [127, -128]]]
    assert photo.pixels[..., 0].tolist() == [[255, 128, 0]]
    with pytest.raises(ValueError, match="beside LAB"):
        Photo(deep, "LAB", alpha=deep[..., 0])


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
