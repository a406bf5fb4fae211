"""Tone curves both ways: nothing is lost, and light is what is added."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_files import noise
from made_profiles import SRGB, curv, grey_profile, para, power, profile, rgb_profile

from moebius.imaging import Box, Metadata, Photo
from moebius.imaging.colour import ColourMode
from moebius.imaging.linear import ToneCurve, light_to_srgb, srgb_to_light

EVERY = np.arange(65536, dtype=np.uint16).reshape(256, 256, 1)
WHOLE = Box(0, 0, 256, 256)
STEPS = curv(*(int(65535 * (i / 100) ** 2) // 1000 * 1000 for i in range(101)))  # flat, steep, flat, steep
PROFILES = {
    "none": None,
    "sRGB": rgb_profile(SRGB),
    "linear": rgb_profile(curv()),
    "1.8": rgb_profile(power(1.8)),
    "2.2": rgb_profile(power(2.2)),
    "mixed": profile([power(1), power(1.8), SRGB]),
    "samples": rgb_profile(curv(*(int(65535 * (i / 255) ** 3) for i in range(256)))),
    "black above 0": rgb_profile(para(4, 2.0, 0.9, 0.1, 0.5, 0.05, 0.0, 0.01)),
}


def deep(icc: bytes | None, mode: ColourMode = "RGB") -> Photo:
    """Every value that 16 bits have, in every channel."""
    channels = 3 if mode == "RGB" else 1
    return Photo(np.repeat(EVERY, channels, axis=2), mode, metadata=Metadata(icc=icc))


@pytest.mark.parametrize("weight", [1e-6, 0.3, 1.0])
@pytest.mark.parametrize("name", PROFILES)
def test_a_crop_blended_back_changes_no_sample(name: str, weight: float) -> None:
    photo = deep(PROFILES[name])
    before = photo.pixels.copy()
    photo.blend_rgb(WHOLE, photo.crop_rgb(WHOLE), np.full((256, 256), weight, np.float32))
    np.testing.assert_array_equal(photo.pixels, before)


@pytest.mark.parametrize("curve", [power(1.8), curv(), SRGB])
def test_grey_profiles(curve: bytes) -> None:
    photo = deep(grey_profile(curve), "L")
    before, crop = photo.pixels.copy(), photo.crop_rgb(WHOLE)
    assert (crop[..., :1] == crop).all()
    photo.blend_rgb(WHOLE, crop, np.full((256, 256), 0.5, np.float32))
    np.testing.assert_array_equal(photo.pixels, before)


def test_curves_that_differ_are_shown_as_srgb() -> None:
    """A linear photo of mid-grey light looks like an sRGB photo of it."""
    pixels = noise((8, 8, 3), np.uint16)
    box = Box(0, 0, 8, 8)
    plain = pixels / np.float32(65535)
    for name, shown in (
        ("none", plain),
        ("sRGB", plain),
        ("2.2", plain),
        ("linear", light_to_srgb(pixels / 65535)),
        ("1.8", light_to_srgb((pixels / 65535) ** (461 / 256))),
    ):
        crop = Photo(pixels, "RGB", metadata=Metadata(icc=PROFILES[name])).crop_rgb(box)
        np.testing.assert_allclose(crop, shown, atol=1e-6, err_msg=name)


def test_which_curves_pass_for_srgb() -> None:
    third_of_a_stop = float(light_to_srgb(srgb_to_light(np.array(0.5)) * 2 ** (1 / 3)) - 0.5)
    assert 0.05 < third_of_a_stop < 0.06

    def passes(exponent: float) -> bool:
        return ToneCurve(lambda values: values**exponent).is_srgb

    assert [passes(each) for each in (1.0, 1.8, 2.0, 2.2, 2.3, 2.6)] == [
        False,
        False,
        True,
        True,
        True,
        False,
    ]
    assert ToneCurve().is_srgb


@given(st.integers(0, 2**32), st.sampled_from(["none", "linear", "1.8"]), st.floats(0.01, 0.99))
@settings(max_examples=30, deadline=None)
def test_light_is_what_is_added(seed: int, name: str, weight: float) -> None:
    """Between a photo's two contents, light is between, whatever the curve that it is stored in."""
    curve = {"none": srgb_to_light, "linear": lambda x: x, "1.8": lambda x: x ** (461 / 256)}[name]
    metadata, box = Metadata(icc=PROFILES[name]), Box(0, 0, 6, 5)
    old, new = noise((5, 6, 3), np.uint16, seed), noise((5, 6, 3), np.uint16, seed + 1)
    photo = Photo(old.copy(), "RGB", metadata=metadata)
    fill = Photo(new, "RGB", metadata=metadata).crop_rgb(box)
    share = float(np.float32(weight))
    photo.blend_rgb(box, fill, np.full((5, 6), share, np.float32))
    light = (1 - share) * curve(old / 65535) + share * curve(new / 65535)
    half = 1.01 / 65535  # rounding to a sample, either way
    assert (curve(np.clip(photo.pixels / 65535 - half, 0, 1)) <= light + 2e-6).all()
    assert (curve(np.clip(photo.pixels / 65535 + half, 0, 1)) >= light - 2e-6).all()


def test_flat_parts_of_a_curve_lose_no_sample_where_nothing_changes() -> None:
    photo = deep(rgb_profile(STEPS))
    curve = ToneCurve(lambda values: np.floor(values * 20) / 20)
    stored = np.arange(65536) / 65535
    mixed = curve.mix(stored, stored, np.full(65536, 0.25, np.float32))
    np.testing.assert_array_equal(np.floor(mixed * 65535 + 0.5), np.arange(65536))
    assert np.isfinite(photo.crop_rgb(WHOLE)).all()


def test_a_curve_must_rise() -> None:
    for curve in (lambda values: 1 - values, lambda values: 0 * values, lambda values: values * np.nan):
        with pytest.raises(ValueError, match="rises"):
            ToneCurve(curve)


@pytest.mark.parametrize(
    "icc",
    [
        b"rubbish",
        rgb_profile(power(1))[:150],
        rgb_profile(curv(65535, 0)),
        rgb_profile(para(0, 8000.0)),
    ],
)
def test_a_damaged_profile_is_reported_once_and_taken_for_srgb(
    icc: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    photo, box = Photo(noise((8, 8, 3)), "RGB", metadata=Metadata(icc=icc)), Box(0, 0, 8, 8)
    copy = photo.copy()
    for _ in range(3):
        copy.blend_rgb(box, photo.crop_rgb(box), np.full((8, 8), 0.5, np.float32))
    assert caplog.text.count("taking its colours for sRGB") == 1
    np.testing.assert_array_equal(copy.pixels, photo.pixels)
    np.testing.assert_array_equal(photo.crop_rgb(box), Photo(photo.pixels, "RGB").crop_rgb(box))
