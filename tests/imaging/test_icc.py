"""Tone curves read from profiles: what Little CMS makes of the same bytes, and what is damaged."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_files import cmyk_profile
from made_profiles import SRGB, curv, fixed, grey_profile, para, power, profile, rgb_profile
from PIL import Image, ImageCms

from moebius.imaging.icc import tone_curves
from moebius.imaging.linear import light_to_srgb

STORED = np.linspace(0, 1, 256)
CURVES = {
    "identity": curv(),
    "power 1.8": power(1.8),
    "two samples": curv(0, 65535),
    "samples": curv(*(int(65535 * (i / 32) ** 2) for i in range(33))),
    "para 0": para(0, 2.2),
    "para 1": para(1, 2.0, 1.25, -0.25),
    "para 2": para(2, 2.0, 0.85, 0.05, 0.1),
    "para 3": SRGB,
    "para 4": para(4, 2.4, 0.9, 0.1, 0.25, 0.05, 0.0, 0.002),
}


def read(curve: bytes) -> np.ndarray:
    found = tone_curves(rgb_profile(curve), 3)
    assert found is not None
    return found[0](STORED)


@pytest.mark.parametrize("name", CURVES)
def test_curves_agree_with_little_cms(name: str) -> None:
    """A grey ramp through the profile to sRGB, in 8 bits."""
    icc = rgb_profile(CURVES[name])
    ramp = np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 3, axis=2)
    transform = ImageCms.buildTransform(
        ImageCms.ImageCmsProfile(io.BytesIO(icc)), ImageCms.createProfile("sRGB"), "RGB", "RGB",
        ImageCms.Intent.RELATIVE_COLORIMETRIC,
    )  # fmt: skip
    shown = ImageCms.applyTransform(Image.fromarray(ramp), transform)
    assert shown is not None
    ours = light_to_srgb(read(CURVES[name])) * 255
    off = np.abs(ours - np.asarray(shown)[0, :, 1])
    assert off.max() <= 1.5  # Little CMS computes in fixed point here


def test_known_values() -> None:
    np.testing.assert_array_equal(read(curv()), STORED)
    np.testing.assert_allclose(read(power(2)), STORED**2, rtol=1e-12)
    np.testing.assert_allclose(read(curv(0, 0, 65535))[[0, 127, 255]], [0, 0, 1], atol=1e-12)
    kinked = read(para(1, 1.0, 2.0, -1.0))  # 0 up to one half, then a line to 1
    np.testing.assert_allclose(kinked, np.maximum(2 * STORED - 1, 0), atol=1e-12)
    stepped = read(para(4, 1.0, 0.5, 0.0, 0.25, 0.5, 0.25, 0.125))
    np.testing.assert_allclose(stepped, np.where(STORED >= 0.5, STORED / 2 + 0.25, STORED / 4 + 0.125))


def test_channels_have_their_own_curves() -> None:
    found = tone_curves(profile([power(1), power(2), power(3)]), 3)
    assert found is not None
    half = np.array([0.5])
    assert [round(float(curve(half)[0]), 4) for curve in found] == [0.5, 0.25, 0.125]
    grey = tone_curves(grey_profile(power(3)), 1)
    of_rgb = tone_curves(profile([power(1), power(2), power(3)]), 1)
    assert grey is not None and of_rgb is not None
    assert (len(grey), len(of_rgb)) == (1, 1)
    assert (float(grey[0](half)[0]), float(of_rgb[0](half)[0])) == (0.125, 0.25)


def test_profiles_without_curves_are_no_error() -> None:
    assert tone_curves(cmyk_profile(), 3) is None
    assert tone_curves(rgb_profile(power(2)).replace(b"gTRC", b"xTRC"), 3) is None
    assert tone_curves(ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes(), 3) is None


@pytest.mark.parametrize(
    ("icc", "message"),
    [
        (b"", "without its signature"),
        (b"rubbish" * 40, "without its signature"),
        (rgb_profile(power(2))[:140], "tags"),
        (rgb_profile(power(2))[:-30], "to end by"),
        (rgb_profile(b"text" + bytes(8)), "'curv' or 'para'"),
        (rgb_profile(b"curv" + bytes(2)), "more than"),
        (rgb_profile(b"curv" + bytes(4) + b"\0\0\1\0"), "256 samples"),
        (rgb_profile(b"para" + bytes(4) + b"\0\7\0\0"), "function type"),
        (rgb_profile(b"para" + bytes(4) + b"\0\3\0\0" + fixed(2)), "more than"),
        (rgb_profile(para(1, 2.0, 0.0, 0.5)), "slope"),
        (rgb_profile(para(0, -1.0)), "exponent"),
        (rgb_profile(power(0)), "exponent"),
    ],
)
def test_damage_is_named(icc: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tone_curves(icc, 3)


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_random_damage_gives_curves_or_one_error(data: st.DataObject) -> None:
    icc = bytearray(rgb_profile(data.draw(st.sampled_from(list(CURVES.values())))))
    for _ in range(data.draw(st.integers(1, 6))):
        icc[data.draw(st.integers(100, len(icc) - 1))] = data.draw(st.integers(0, 255))
    try:
        found = tone_curves(bytes(icc[: data.draw(st.integers(0, len(icc)))]), 3)
    except ValueError:
        return
    for curve in found or []:
        with np.errstate(all="ignore"):
            assert curve(STORED).shape == STORED.shape
