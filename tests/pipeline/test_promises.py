"""What Moebius promises before everything else: nothing leaks from under the mask, nothing changes outside it."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_photos import Mask, disc, noise, photo, picture, within

from moebius import Moebius, Result
from moebius.errors import MaskError
from moebius.imaging import Hole, Photo, describe_changes, grow_objects, read_photo
from moebius.testing import LIKE_NANO, LIKE_PUBLISHED, FakeEngine

LEAK_FREE = ("noise", "masked", "prefill")
KINDS = [("L", np.uint8), ("RGB", np.uint8), ("RGBA", np.uint8), ("CMYK", np.uint8)]
KINDS += [("L", np.uint16), ("LA", np.uint16), ("RGB", np.uint16), ("RGBA", np.uint16)]


def spoiled(original: Photo, hole: Mask, seed: int = 1) -> Photo:
    """The photo with random samples wherever `hole` is True."""
    copy = original.copy()
    copy.pixels[hole] = noise((int(hole.sum()), copy.pixels.shape[2]), copy.pixels.dtype.type, seed)
    assert not np.array_equal(copy.pixels, original.pixels)
    return copy


def leaks(model: Moebius, original: Photo, mask: Mask, **options: Any) -> bool:
    """Whether what lies under the grown mask makes any difference to the result."""
    hidden = grow_objects(mask, options.get("grow"))
    first = model(original, mask, **options).photo
    second = model(spoiled(original, hidden), mask, **options).photo
    assert not np.array_equal(first.pixels[hidden], original.pixels[hidden]), "nothing was filled"
    return not np.array_equal(first.pixels, second.pixels)


def two_discs(width: int, height: int) -> Mask:
    return disc(width, height, (0.3 * width, 0.3 * height), 9) | disc(
        width, height, (width, 0.8 * height), 13
    )


@pytest.mark.parametrize("start", LEAK_FREE)
def test_nothing_leaks_from_under_the_mask(model: Moebius, start: str) -> None:
    assert not leaks(model, photo("RGB", 150, 110), two_discs(150, 110), start=start)


def test_the_published_start_does_leak(model: Moebius) -> None:
    assert leaks(model, photo("RGB", 150, 110), two_discs(150, 110), start="official", steps=4)


@pytest.mark.parametrize(("mode", "dtype"), KINDS)
def test_nothing_leaks_in_any_kind_of_photo(model: Moebius, mode: str, dtype: type) -> None:
    assert not leaks(model, photo(mode, dtype=dtype), disc(96, 80, (40, 30), 12))


@pytest.mark.parametrize(
    "options", [{"grow": 0, "feather": 0}, {"grow": 30}, {"feather": 128, "context": 1.25}]
)
def test_nothing_leaks_whatever_the_margins(model: Moebius, options: dict[str, Any]) -> None:
    assert not leaks(model, photo("RGB", 150, 110), disc(150, 110, (70, 60), 14), **options)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    width=st.integers(1, 200),
    height=st.integers(1, 200),
    corner=st.tuples(st.floats(0, 0.99), st.floats(0, 0.99)),
    extent=st.tuples(st.floats(0.01, 1), st.floats(0.01, 1)),
    start=st.sampled_from(LEAK_FREE),
    spec=st.sampled_from([LIKE_NANO, LIKE_PUBLISHED, replace(LIKE_PUBLISHED, mask_mode="nearest")]),
    context=st.floats(1.25, 3),
)
def test_nothing_leaks_from_any_rectangle(
    width: int, height: int, corner: tuple[float, float], extent: tuple[float, float], start: str, spec: Any,
    context: float,
) -> None:  # fmt: skip
    mask = np.zeros((height, width), bool)
    top, left = int(corner[0] * height), int(corner[1] * width)
    mask[top : top + 1 + int(extent[0] * height), left : left + 1 + int(extent[1] * width)] = True
    original = Photo(noise((height, width, 3)), "RGB")
    model = Moebius(spec, FakeEngine(), model_hash="")
    options: dict[str, Any] = {"start": start, "context": context, "steps": 2}
    first = model(original, mask, **options).photo.pixels
    second = model(spoiled(original, grow_objects(mask, None)), mask, **options).photo.pixels
    assert np.array_equal(first, second)


def test_a_leak_would_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """The property test above is worth something: reading the crop before it is filled makes it fail."""
    model = Moebius(LIKE_NANO, FakeEngine(), model_hash="")
    original, mask = photo("RGB"), disc(96, 80, (40, 30), 12)
    assert not leaks(model, original, mask)
    monkeypatch.setattr("moebius.pipeline.frame.push_pull", lambda crop, hole: crop)
    assert leaks(model, original, mask)


def assert_kept(original: Photo, result: Photo, mask: Mask, grow: int, feather: int) -> None:
    outside = ~within(mask, grow + feather)
    assert outside.any() and not outside.all()
    assert np.array_equal(result.pixels[outside], original.pixels[outside])
    assert not np.array_equal(result.pixels[mask], original.pixels[mask])
    if original.alpha is not None:
        assert result.alpha is not None and np.array_equal(result.alpha, original.alpha)


@pytest.mark.parametrize(("mode", "dtype"), KINDS)
@pytest.mark.parametrize("size", [(96, 80), (201, 133)])
def test_pixels_outside_stay(nano_like: Moebius, mode: str, dtype: type, size: tuple[int, int]) -> None:
    original, mask = photo(mode, *size, dtype=dtype), disc(*size, (50, 40), 12)
    before = original.copy()
    result = nano_like(original, mask, grow=3, feather=4)
    assert_kept(original, result.photo, mask, grow=3, feather=4)
    assert np.array_equal(original.pixels, before.pixels), "the caller's photo was changed"


def test_pixels_outside_stay_on_several_crops(published_like: Moebius) -> None:
    original, mask = photo("RGB", 300, 200), two_discs(300, 200)
    result = published_like(original, mask, grow=2, feather=5)
    assert len(result.regions) == 2
    assert_kept(original, result.photo, mask, grow=2, feather=5)


@pytest.mark.parametrize("strategy", ["crop", "tiles", "whole"])
@pytest.mark.parametrize(("mode", "dtype"), [("RGB", np.uint8), ("LA", np.uint16), ("CMYK", np.uint8)])
def test_what_is_kept_stays(mode: str, dtype: type, strategy: str) -> None:
    """However far the mask grows and fades: not into it, but around it as ever."""
    original, mask = photo(mode, 300, 200, dtype=dtype), disc(300, 200, (150, 100), 30)
    kept = np.zeros_like(mask)
    kept[:, 150:170] = True
    model = Moebius(LIKE_NANO, FakeEngine(), model_hash="")
    result = model(original, Hole(mask, kept), grow=12, feather=20, strategy=strategy)
    free = model(original, mask, grow=12, feather=20, strategy=strategy)
    assert np.array_equal(result.photo.pixels[kept], original.pixels[kept])
    assert not np.array_equal(free.photo.pixels[kept], original.pixels[kept])
    assert np.array_equal(result.hole.mask, within(mask & ~kept, 12) & ~kept)
    beyond = within(mask, 12) & ~kept & ~mask
    beyond[:, :171] = False
    assert not np.array_equal(result.photo.pixels[beyond], original.pixels[beyond])


def test_kept_of_another_size(nano_like: Moebius) -> None:
    kept = np.zeros((40, 50), bool)
    with pytest.raises(
        MaskError, match=r"what is kept: expected the photo's size, got 50 x 40 for .* 96 x 80"
    ):
        nano_like(photo("RGB"), Hole(kept, kept), fit_mask=True)


def test_a_result_says_what_changed_outside() -> None:
    original, mask = photo("RGB", 300, 200), two_discs(300, 200)
    kept = disc(300, 200, (78, 60), 5)
    model = Moebius(LIKE_NANO, FakeEngine(), model_hash="")
    result = model(original, Hole(mask, kept), grow=2, feather=5)
    changes = result.changes(original)
    assert (changes.outside, changes.largest_outside) == (0, 0)
    assert 0 < changes.changed <= int((within(mask, 7) & ~kept).sum())
    inside = describe_changes(original, result.photo, result.hole.mask)
    assert inside.outside is not None and inside.outside > 50, "the feather is there"
    for row, column in [*np.argwhere(kept)[:1].tolist(), [199, 0]]:
        result.photo.pixels[row, column, 0] ^= 64
        changes = result.changes(original)
        assert (changes.outside, changes.largest_outside) == (1, 64)
        result.photo.pixels[row, column, 0] ^= 64


def test_without_feather_only_the_mask_changes(published_like: Moebius) -> None:
    original, mask = photo("RGB", 100, 100), disc(100, 100, (50, 40), 12)
    result = published_like(original, mask, grow=0, feather=0)
    assert_kept(original, result.photo, mask, grow=0, feather=0)


@pytest.mark.parametrize(
    ("suffix", "mode", "dtype"),
    [
        (".png", "RGBA", np.uint8),
        (".png", "RGB", np.uint16),
        (".tiff", "CMYK", np.uint8),
        (".tiff", "L", np.uint16),
        (".bmp", "RGB", np.uint8),
        (".webp", "RGB", np.uint8),
    ],
)
def test_pixels_outside_stay_in_the_file(
    nano_like: Moebius, tmp_path: Path, suffix: str, mode: str, dtype: type
) -> None:
    original, mask = photo(mode, dtype=dtype), disc(96, 80, (40, 30), 12)
    nano_like(original, mask, grow=3, feather=4).save(tmp_path / f"clean{suffix}")
    assert_kept(original, read_photo(tmp_path / f"clean{suffix}"), mask, grow=3, feather=4)


def test_pixels_outside_stay_in_twelve_megapixels(nano_like: Moebius) -> None:
    original = Photo(noise((3000, 4000, 3)), "RGB")
    mask = np.zeros((3000, 4000), bool)
    mask[1800:1840, 1500:1560] = disc(60, 40, (30, 20), 19)
    result = nano_like(original, mask, grow=3, feather=4)
    assert result.regions[0].width < 120
    assert_kept(original, result.photo, mask, grow=3, feather=4)


def test_saved_to_an_open_file(nano_like: Moebius) -> None:
    result = nano_like(picture(70, 60), disc(70, 60, (30, 30), 9))
    file = io.BytesIO()
    result.save(file, format="png")
    assert np.array_equal(read_photo(file.getvalue()).pixels, result.photo.pixels)


def test_a_wide_feather_ends_inside_its_crop() -> None:
    """Otherwise the crop's own outline would show as a seam."""

    class Black(FakeEngine):
        def decode(self, latents: Any) -> Any:
            return np.full_like(super().decode(latents), -1)

    model = Moebius(replace(LIKE_NANO, target="image"), Black(), model_hash="")
    original, mask = np.full((300, 300, 3), 255, np.uint8), np.zeros((300, 300), bool)
    mask[130:170, 130:170] = True
    result: Result = model(original, mask, grow=0, feather=128)
    (box,) = result.regions
    assert box.width == 80  # 20 pixels around the hole: far less than the feather
    rim = np.ones((300, 300), bool)
    rim[box.top + 1 : box.bottom - 1, box.left + 1 : box.right - 1] = False
    darkest_step = np.abs(np.diff(result.photo.pixels[150, :, 0].astype(int))).max()
    assert result.photo.pixels[rim].min() > 245 and darkest_step < 40
