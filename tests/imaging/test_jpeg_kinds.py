"""Kinds of JPEG files: whose blocks are kept, whose are not and why; whatever happens, the photo is written."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_files import THUMBNAIL, encoded, exif
from made_jpegs import painted, picture, rewritten, touched_blocks
from PIL import Image, JpegImagePlugin

from moebius.errors import PhotoError
from moebius.imaging import jpeg_blocks, read_photo
from moebius.imaging.arrays import AnyArray
from moebius.imaging.jpeg_coefficients import Coded, read_coefficients, write_coefficients
from moebius.imaging.jpeg_segments import header_segments, read_layout

jpeglib = pytest.importorskip("jpeglib")

PLAIN = encoded(picture(61, 45), "JPEG", quality=80)


def coded(data: bytes) -> Coded:
    return read_coefficients(data, read_layout(data))


def with_source(data: bytes, source: bytes) -> Any:
    """A photo read from a good file, behind which another one lies."""
    photo, _ = painted(read_photo(data))
    metadata = photo.metadata
    assert metadata.source is not None
    return replace(photo, metadata=replace(metadata, source=replace(metadata.source, data=source)))


def reasons(photo: Any) -> str:
    """Why its blocks were not kept; it was written all the same."""
    new, report = rewritten(photo)
    assert report.stored == "lossy"
    np.testing.assert_array_equal(read_photo(new).size, photo.size)
    (warning,) = report.warnings
    assert "\n" not in warning
    return warning


def assert_kept(data: bytes, across: int, down: int) -> tuple[bytes, AnyArray]:
    """A box is painted, and blocks are compared; returns the new file and what has changed."""
    after, changed = painted(read_photo(data))
    new, report = rewritten(after)
    assert report.stored == "blocks kept", report.warnings
    for index, (before, plane) in enumerate(zip(coded(data).planes, coded(new).planes, strict=True)):
        touched = touched_blocks(changed, *((across, down) if index else (8, 8)))
        np.testing.assert_array_equal(plane[~touched], before[~touched])
    assert np.median(np.abs(read_photo(new).pixels.astype(int) - after.pixels)[changed]) < 12
    return new, changed


@pytest.mark.parametrize(
    "options", [{"restart_marker_blocks": 1}, {"restart_marker_blocks": 7}, {"restart_marker_rows": 1}]
)
def test_restart_markers(options: dict[str, int]) -> None:
    data = encoded(picture(157, 93), "JPEG", quality=80, **options)
    assert re.search(rb"\xff[\xd0-\xd7]", data)
    new, _ = assert_kept(data, 16, 16)
    assert not re.search(rb"\xff[\xd0-\xd7]", new)


@pytest.mark.parametrize("size", [(1, 1), (7, 5), (8, 8), (9, 17), (33, 31)])
@pytest.mark.parametrize("subsampling", [0, 1, 2])
def test_sizes_around_one_mcu(subsampling: int, size: tuple[int, int]) -> None:
    """All of the photo has changed, or one pixel in its corner."""
    data = encoded(picture(*size), "JPEG", quality=90, subsampling=subsampling)
    for box in [(0, 0), (size[0] - 1, size[1] - 1)]:
        photo = read_photo(data)
        photo.pixels[box[1] :, box[0] :] ^= 64
        new, report = rewritten(photo)
        assert report.stored == "blocks kept"
        assert read_photo(new).size == size
    assert report.blocks_rewritten == 3  # the corner's


@pytest.mark.parametrize("size", [(160, 96), (152, 83), (88, 100)])
def test_a_turned_photo_can_be_edited_again(size: tuple[int, int]) -> None:
    """4:2:2 on its side is 4:4:0, which Pillow reads but does not write."""
    data = encoded(picture(*size), "JPEG", quality=85, subsampling=1, exif=exif(5))
    turned, _ = rewritten(read_photo(data))
    assert read_layout(turned).chroma == (1, 2)
    new, changed = assert_kept(turned, 8, 16)
    tables = JpegImagePlugin.JpegImageFile(io.BytesIO(new)).quantization
    assert tables == JpegImagePlugin.JpegImageFile(io.BytesIO(turned)).quantization
    far = np.ones_like(changed)
    far[: 40 + 18, 30 - 18 : 50 + 18] = False
    np.testing.assert_array_equal(read_photo(new).pixels[far], read_photo(turned).pixels[far])


def test_a_thumbnail_of_what_was_removed_is_not_kept() -> None:
    data = encoded(picture(160, 96), "JPEG", exif=exif(1))
    assert THUMBNAIL in data
    new, _ = assert_kept(data, 16, 16)
    assert THUMBNAIL not in new


def test_arithmetic_coding_is_told(tmp_path: Path) -> None:
    before = coded(PLAIN)
    image = jpeglib.from_dct(*before.planes, qt=np.stack([before.tables[0], before.tables[1]]))
    image.width, image.height = before.layout.size
    image.samp_factor = [[down, across] for across, down in before.layout.factors]
    path = tmp_path / "arithmetic.jpg"
    with jpeglib.version("turbo210"):
        image.write_dct(str(path), flags=["+ARITH_CODE"])
    arithmetic = header_segments(PLAIN) + path.read_bytes()[2:]
    photo = read_photo(arithmetic)
    np.testing.assert_array_equal(photo.pixels, read_photo(PLAIN).pixels)
    assert "arithmetic" in reasons(painted(photo)[0])


def test_chroma_that_cannot_be_encoded_is_told() -> None:
    """4:1:1."""
    whole = coded(encoded(picture(64, 48), "JPEG", subsampling=0))
    layout = replace(whole.layout, factors=((4, 1), (1, 1), (1, 1)))
    planes = [whole.planes[0], *(plane[:, ::4] for plane in whole.planes[1:])]
    data = b"\xff\xd8" + write_coefficients(Coded(layout, planes, whole.tables))
    assert "one sample for 4 x 1 pixels" in reasons(painted(read_photo(data))[0])


def test_twelve_bits_are_told() -> None:
    """Pillow does not read them at all; so behind a photo that it has read."""
    at = PLAIN.index(b"\xff\xc0") + 4
    deep = PLAIN[:at] + b"\x0c" + PLAIN[at + 1 :]
    assert "12 bits a sample" in reasons(with_source(PLAIN, deep))
    with pytest.raises(PhotoError):
        read_photo(deep)


@pytest.mark.parametrize("missing", [1, 2, 40, 900])
def test_a_truncated_original_is_told(missing: int) -> None:
    assert "cannot be decoded" in reasons(with_source(PLAIN, PLAIN[:-missing]))


def test_a_damaged_scan_is_kept_as_it_is_decoded() -> None:
    """Decoders go on behind damage, and show what they make of it; so does the copy."""
    data = bytearray(encoded(picture(160, 96), "JPEG", quality=80, restart_marker_blocks=5))
    restart = [found.start() for found in re.finditer(rb"\xff[\xd0-\xd7]", bytes(data))][3]
    data[restart + 4 : restart + 12] = bytes(8)
    photo = read_photo(bytes(data))
    new, report = rewritten(photo)
    assert (report.stored, report.blocks_rewritten) == ("blocks kept", 0)
    np.testing.assert_array_equal(read_photo(new).pixels, photo.pixels)


@pytest.mark.parametrize("error", [RuntimeError("two\nlines"), MemoryError(), KeyError(4)])
@pytest.mark.parametrize(
    "where", ["_splice", "_upright", "_changed", "read_coefficients", "write_coefficients"]
)
def test_whatever_goes_wrong_the_photo_is_written(
    where: str, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise error

    photo, _ = painted(read_photo(PLAIN))
    monkeypatch.setattr(jpeg_blocks, where, fail)
    assert "keeping its blocks has failed" in reasons(photo)


@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize("bottom", [120, 300, 559])
def test_changes_far_apart_leave_what_is_between_alone(
    bottom: int, orientation: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One piece or several: the same blocks, and the same bytes."""
    data = encoded(picture(400, 560), "JPEG", quality=80, exif=exif(orientation))
    photo = read_photo(data)
    stored = photo.pixels if orientation == 1 else photo.pixels.swapaxes(0, 1)[:, ::-1]
    stored[3, 2] ^= 128
    stored[bottom, 399] ^= 128
    new, report = rewritten(photo)
    assert report.blocks_rewritten == 2 * 3
    for before, after in zip(coded(data).planes, coded(new).planes, strict=True):
        if orientation == 1:
            assert (before != after).any(axis=(2, 3)).sum() <= 2
    monkeypatch.setattr(jpeg_blocks, "_GAP", 1000)
    assert rewritten(photo)[0] == new


@pytest.mark.parametrize("channel", range(3))
def test_one_sample_of_one_channel_is_a_change(channel: int) -> None:
    photo = read_photo(encoded(picture(160, 96), "JPEG", quality=80))
    photo.pixels[50, 70, channel] ^= 128
    assert rewritten(photo)[1].blocks_rewritten == 3


def test_grey_and_unchanged_are_one_component() -> None:
    data = encoded(Image.new("L", (30, 20), 90), "JPEG")
    new, report = rewritten(read_photo(data))
    assert (report.stored, report.blocks_total, report.blocks_rewritten) == ("blocks kept", 4 * 3, 0)
    assert read_photo(new).mode == "L"
