"""What has changed between two photos is counted, and what was written is told."""

from __future__ import annotations

import io
import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_files import encoded, noise
from PIL import Image

from moebius.imaging import Box, Photo, read_photo, write_photo
from moebius.imaging.arrays import AnyArray
from moebius.imaging.changes import describe_changes


def photo(height: int = 40, width: int = 30, dtype: type = np.uint8, alpha: bool = False) -> Photo:
    return Photo(noise((height, width, 3), dtype), "RGB", noise((height, width), dtype, 1) if alpha else None)


def test_nothing() -> None:
    changes = describe_changes(photo(), photo(), np.zeros((40, 30), dtype=bool))
    assert (changes.changed, changes.box, changes.largest, changes.outside, changes.share) == (
        0,
        None,
        0,
        0,
        0,
    )


@given(st.integers(0, 2**32 - 1), st.sampled_from([np.uint8, np.uint16]), st.booleans())
@settings(deadline=None, max_examples=40)
def test_against_the_plain_formula(seed: int, dtype: type, alpha: bool) -> None:
    rng = np.random.default_rng(seed)
    height = int(rng.choice([1, 30, 600]))  # 600: more rows than are compared at once
    before = photo(height, 9, dtype, alpha)
    after = before.copy()
    places = rng.random((height, 9)) < 0.02
    after.pixels[places, rng.integers(3)] ^= dtype(rng.integers(1, 100))
    if after.alpha is not None:
        after.alpha[height // 2, 4] ^= dtype(3)
    mask = rng.random((height, 9)) < 0.5
    changes = describe_changes(before, after, mask)
    difference: AnyArray = np.abs(before.samples().astype(int) - after.samples()).max(axis=-1)
    ys, xs = np.nonzero(difference)
    assert (changes.pixels, changes.changed) == (9 * height, len(ys))
    box = Box(int(xs.min()), int(ys.min()), int(xs.max()) + 1, int(ys.max()) + 1) if len(ys) else None
    assert (changes.box, changes.largest) == (box, difference.max())
    beyond = difference[~mask]
    assert changes.outside == np.count_nonzero(beyond)
    assert changes.largest_outside == max(beyond, default=0)
    assert changes.alpha_changed == alpha
    assert json.loads(json.dumps(changes.to_dict()))["share"] == changes.share


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_neighbouring_lab_colours(dtype: type) -> None:
    """a* and b* are in two's complement: -1 is stored as the largest number."""
    most = np.iinfo(dtype).max
    before = Photo(np.array([[[7, 0, 0], [7, most // 2, 0]]], dtype), "LAB")
    after = Photo(np.array([[[7, most, 0], [7, most // 2 + 1, 0]]], dtype), "LAB")
    assert describe_changes(before, after).largest == most
    after.pixels[0, 1] = before.pixels[0, 1]
    assert describe_changes(before, after).largest == 1


def test_without_a_mask_nothing_is_said_of_its_outside() -> None:
    changes = describe_changes(photo(), photo())
    assert (changes.outside, changes.largest_outside) == (None, None)


@pytest.mark.parametrize(
    "other", [photo(41), photo(dtype=np.uint16), photo(alpha=True), Photo(noise((40, 30, 1)), "L")]
)
def test_photos_that_cannot_be_compared(other: Photo) -> None:
    with pytest.raises(ValueError, match="one size and kind"):
        describe_changes(photo(), other)


@pytest.mark.parametrize("mask", [np.zeros((30, 40), dtype=bool), np.zeros((40, 30), dtype=np.uint8)])
def test_masks_that_do_not_fit(mask: AnyArray) -> None:
    with pytest.raises(ValueError, match="bool mask"):
        describe_changes(photo(), photo(), mask)


@pytest.mark.parametrize(
    ("format", "dtype", "stored"),
    [
        ("png", np.uint16, "lossless"),
        ("tiff", np.uint16, "lossless"),
        ("bmp", np.uint8, "lossless"),
        ("bmp", np.uint16, "lossy"),
        ("webp", np.uint8, "lossless"),
        ("jpeg", np.uint8, "lossy"),
        ("avif", np.uint8, "lossy"),
    ],
)
def test_what_was_written(format: str, dtype: type, stored: str) -> None:
    buffer = io.BytesIO()
    report = write_photo(photo(dtype=dtype), buffer, format=format)
    assert (report.format, report.stored) == (format.upper(), stored)
    assert report.nbytes == len(buffer.getvalue())
    assert bool(report.warnings) == (format == "bmp" and dtype == np.uint16)
    assert json.loads(json.dumps(report.to_dict()))["stored"] == stored
    back = read_photo(buffer.getvalue())
    assert (stored == "lossless") == (
        back.bits == photo(dtype=dtype).bits and not describe_changes(photo(dtype=dtype), back).changed
    )


def test_lossy_webp() -> None:
    lossy = read_photo(encoded(Image.fromarray(noise((40, 30, 3))), "WEBP", quality=80))
    assert write_photo(lossy, io.BytesIO()).stored == "lossy"
    again = replace(lossy, metadata=replace(lossy.metadata, lossless=True))
    assert write_photo(again, io.BytesIO()).stored == "lossless"
    assert write_photo(again, io.BytesIO(), quality=70).stored == "lossy"
