"""The edge of a blended fill: what is outside stays, and the fade adds light."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_files import noise
from made_profiles import curv, power, rgb_profile

from moebius.imaging import Box, Metadata, Photo, feather_weight, push_pull
from moebius.imaging.linear import light_to_srgb, srgb_to_light

PROFILES = [None, rgb_profile(curv()), rgb_profile(power(1.8))]


def disc(side: int, radius: float) -> np.ndarray:
    y, x = np.ogrid[:side, :side]
    return np.hypot(y - side / 2, x - side / 2) < radius


@given(
    st.integers(0, 2**32),
    st.integers(0, 6),
    st.sampled_from([np.uint8, np.uint16]),
    st.sampled_from(PROFILES),
)
@settings(max_examples=40, deadline=None)
def test_what_lies_beyond_the_feather_keeps_its_bytes(
    seed: int, feather: int, dtype: type, icc: bytes | None
) -> None:
    """And under full weight nothing of the photo is left: two photos that differ only there become one."""
    mask = disc(48, 12)
    weight = feather_weight(mask, feather)
    box, rgb = Box(0, 0, 48, 48), np.random.default_rng(seed).random((48, 48, 3), dtype=np.float32)
    photo = Photo(noise((48, 48, 3), dtype, seed), "RGB", metadata=Metadata(icc=icc))
    other = photo.copy()
    other.pixels[mask] = noise((int(mask.sum()), 3), dtype, seed + 1)
    before = photo.pixels.copy()
    for each in (photo, other):
        each.blend_rgb(box, rgb, weight)
    np.testing.assert_array_equal(photo.pixels[weight == 0], before[weight == 0])
    np.testing.assert_array_equal(photo.pixels, other.pixels)


@pytest.mark.parametrize("icc", PROFILES)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_fill_that_is_the_photo_leaves_no_seam(dtype: type, icc: bytes | None) -> None:
    photo = Photo(noise((64, 64, 3), dtype), "RGB", metadata=Metadata(icc=icc))
    before, box = photo.pixels.copy(), Box(0, 0, 64, 64)
    photo.blend_rgb(box, photo.crop_rgb(box), feather_weight(disc(64, 16), 8))
    np.testing.assert_array_equal(photo.pixels, before)


def test_the_fade_between_two_flat_colours_is_even_in_light() -> None:
    """In stored values its middle would be too dark: a thin dark line around bright fills on dark grounds."""
    mask = np.zeros((1, 40), bool)
    mask[:, :10] = True
    weight, box = feather_weight(mask, 20), Box(0, 0, 40, 1)
    photo = Photo(np.full((1, 40, 3), 20, np.uint8), "RGB")
    photo.blend_rgb(box, np.full((1, 40, 3), 220 / 255, np.float32), weight)
    dark, bright = srgb_to_light(np.array([20, 220]) / 255)
    expected = light_to_srgb(dark + weight[0].astype(float) * (bright - dark)) * 255
    np.testing.assert_array_equal(photo.pixels[0, :, 0], np.floor(expected + 0.5))
    assert (np.diff(photo.pixels[0, :, 0].astype(int)) <= 0).all()
    middle = int(np.abs(weight[0] - 0.5).argmin())
    assert photo.pixels[0, middle, 0] > 150  # 120 is the mean of the stored values


def test_blending_in_parts_is_blending_at_once() -> None:
    """Rows are worked on a few hundred at a time, and the pipeline pastes strips."""
    mask = disc(600, 280)
    weight = feather_weight(mask, 10)
    rgb = np.random.default_rng(0).random((600, 600, 3), dtype=np.float32)
    whole, parts = (Photo(noise((600, 600, 3), np.uint16), "RGB") for _ in range(2))
    whole.blend_rgb(Box(0, 0, 600, 600), rgb, weight)
    for top in range(0, 600, 77):
        strip = Box(0, top, 600, min(600, top + 77))
        parts.blend_rgb(strip, rgb[strip.slices], weight[strip.slices])
    np.testing.assert_array_equal(parts.pixels, whole.pixels)


def test_a_smooth_photo_with_a_smooth_fill_shows_no_edge() -> None:
    """Measured as fills of networks are: no more of a step than the photo has anywhere."""
    from moebius.evaluation.ring import Ring

    y, x = np.mgrid[:160, :160] / 160
    values = np.stack([0.2 + 0.6 * x, 0.3 + 0.4 * y, 0.5 + 0.3 * x * y], axis=-1)
    photo = Photo(np.round(values * 255).astype(np.uint8), "RGB")
    mask, box = disc(160, 30), Box(0, 0, 160, 160)
    crop = photo.crop_rgb(box)
    ring = Ring(crop, mask, seed=0)
    rings = []
    for error in (0.0, 0.1):
        filled = photo.copy()
        filled.blend_rgb(
            box, np.clip(push_pull(crop, mask) + np.float32(error), 0, 1), feather_weight(mask, 6)
        )
        rings.append(ring(filled.crop_rgb(box)))
    assert rings[0]["ring_step"] <= 1.2
    assert rings[0]["ring_tone"] <= 1.2
    assert rings[1]["ring_tone"] > 3 * rings[0]["ring_tone"]  # a fill of another tone does show
