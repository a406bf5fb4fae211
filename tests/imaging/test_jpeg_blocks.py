"""Blocks of a JPEG that nobody touched are the same numbers in the JPEG that is written."""

from __future__ import annotations

import io
import re
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from made_files import encoded, exif
from made_jpegs import painted, picture, rewritten, touched_blocks
from PIL import Image, ImageCms

from moebius.imaging import Metadata, Photo, read_photo
from moebius.imaging.arrays import AnyArray
from moebius.imaging.exif import turn_upright
from moebius.imaging.jpeg_segments import read_layout, without_metadata

jpeglib = pytest.importorskip("jpeglib")

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def coefficients(data: bytes, folder: Path) -> list[AnyArray]:
    path = folder / "read.jpg"
    path.write_bytes(without_metadata(data))
    read = jpeglib.read_dct(str(path))
    read.load()
    return [read.Y] if read.Cb is None else [read.Y, read.Cb, read.Cr]


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("size", [(160, 96), (157, 93)])
@pytest.mark.parametrize(("subsampling", "across", "down"), [(0, 8, 8), (1, 16, 8), (2, 16, 16)])
def test_untouched_blocks_keep_their_coefficients(
    subsampling: int, across: int, down: int, size: tuple[int, int], progressive: bool, tmp_path: Path
) -> None:
    options = {"quality": 77, "subsampling": subsampling, "progressive": progressive}
    data = encoded(picture(*size), "JPEG", **options, exif=exif(1), icc_profile=SRGB, comment=b"hello")
    photo = read_photo(data)
    after, changed = painted(photo)
    new, report = rewritten(after)
    rewritten_blocks = 0
    for index, (old_plane, new_plane) in enumerate(
        zip(coefficients(data, tmp_path), coefficients(new, tmp_path), strict=True)
    ):
        touched = touched_blocks(changed, *((across, down) if index else (8, 8)))
        np.testing.assert_array_equal(new_plane[~touched], old_plane[~touched])
        assert (new_plane[touched] != old_plane[touched]).any()
        rewritten_blocks += int(touched.sum())
    assert (report.stored, report.blocks_rewritten) == ("blocks kept", rewritten_blocks)
    assert report.nbytes == len(new)
    assert bool(report.warnings) == progressive

    back = read_photo(new)
    reach = np.zeros_like(changed)  # touched chroma blocks and one chroma sample around them
    for row, column in np.argwhere(touched):
        reach[
            max(0, row * down - 2) : (row + 1) * down + 2,
            max(0, column * across - 2) : (column + 1) * across + 2,
        ] = 1
    np.testing.assert_array_equal(back.pixels[~reach], photo.pixels[~reach])
    assert np.median(np.abs(back.pixels.astype(int) - after.pixels)[changed]) < 12
    assert back.metadata.exif == photo.metadata.exif
    assert (back.metadata.icc, back.metadata.comment) == (SRGB, b"hello")
    assert back.metadata.jpeg_tables == photo.metadata.jpeg_tables


def test_nothing_changed_is_the_same_picture(tmp_path: Path) -> None:
    data = encoded(picture(90, 70), "JPEG", quality=60)
    new, report = rewritten(read_photo(data))
    assert report.blocks_rewritten == 0
    np.testing.assert_array_equal(read_photo(new).pixels, read_photo(data).pixels)


def test_again_and_again_loses_nothing() -> None:
    photo = read_photo(encoded(picture(160, 96), "JPEG", quality=70))
    first = photo
    for turn in range(4):
        after, _ = painted(photo, (40, 20, 60 - turn, 40))
        photo = read_photo(rewritten(after)[0])
    outside = np.ones((96, 160), dtype=bool)
    outside[:64, 16:96] = False
    np.testing.assert_array_equal(photo.pixels[outside], first.pixels[outside])


def test_grey(tmp_path: Path) -> None:
    data = encoded(picture(61, 45).convert("L"), "JPEG", quality=80)
    after, changed = painted(read_photo(data))
    new, report = rewritten(after)
    touched = touched_blocks(changed, 8, 8)
    np.testing.assert_array_equal(
        coefficients(new, tmp_path)[0][~touched], coefficients(data, tmp_path)[0][~touched]
    )
    assert (report.blocks_total, report.blocks_rewritten) == (48, touched.sum())


@pytest.mark.parametrize("subsampling", [0, 1, 2])
@pytest.mark.parametrize("orientation", range(2, 9))
def test_turned_photos_are_turned_without_loss(orientation: int, subsampling: int, tmp_path: Path) -> None:
    """Coefficients change places and signs; a decoder's rounding is all that differs."""
    data = encoded(picture(160, 96), "JPEG", quality=85, subsampling=subsampling, exif=exif(orientation))
    photo = read_photo(data)
    after, changed = painted(photo)
    new, report = rewritten(after)
    assert (report.stored, report.warnings) == ("blocks kept", ())
    back = read_photo(new)
    assert Image.open(io.BytesIO(new)).getexif().get(0x0112, 1) == 1
    far = np.ones_like(changed)
    far[: 40 + 18, 30 - 18 : 50 + 18] = False
    assert np.abs(back.pixels.astype(int) - photo.pixels)[far].max() <= 4
    old_plane, new_plane = coefficients(data, tmp_path)[0], coefficients(new, tmp_path)[0]
    turned = turn_upright(old_plane, orientation)
    if orientation > 4:
        turned = turned.swapaxes(2, 3)
    untouched = ~touched_blocks(changed, 8, 8)
    np.testing.assert_array_equal(np.abs(new_plane[untouched]), np.abs(turned[untouched]))


def without_jpeglib(monkeypatch: pytest.MonkeyPatch, data: bytes) -> Photo:
    monkeypatch.setitem(sys.modules, "jpeglib", None)
    return read_photo(data)


def as_is(_: pytest.MonkeyPatch, data: bytes) -> Photo:
    return read_photo(data)


def cut(_: pytest.MonkeyPatch, data: bytes) -> Photo:
    photo = read_photo(data)
    return replace(photo, pixels=photo.pixels[:-8].copy())


def forgotten(_: pytest.MonkeyPatch, data: bytes) -> Photo:
    photo = read_photo(data)
    return replace(photo, metadata=replace(photo.metadata, source=None))


PLAIN = encoded(picture(61, 45), "JPEG", quality=80)
NOT_KEPT: dict[str, tuple[bytes, Callable[[pytest.MonkeyPatch, bytes], Photo], str]] = {
    "no jpeglib": (PLAIN, without_jpeglib, r"pip install 'moebius-inpaint\[jpeg\]'"),
    "CMYK": (encoded(picture(61, 45).convert("CMYK"), "JPEG"), as_is, "4 components"),
    "RGB": (encoded(picture(61, 45), "JPEG", keep_rgb=True), as_is, "stores RGB"),
    "mirrored edge": (encoded(picture(61, 45), "JPEG", exif=exif(3)), as_is, "incomplete blocks"),
    "another size": (PLAIN, cut, "size or kind"),
    "no source": (PLAIN, forgotten, "not at hand"),
}


@pytest.mark.parametrize("name", NOT_KEPT)
def test_what_cannot_be_kept_is_encoded_anew_and_says_so(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    data, make, message = NOT_KEPT[name]
    photo = make(monkeypatch, data)
    new, report = rewritten(photo)
    assert (report.stored, report.blocks_total) == ("lossy", None)
    (warning,) = report.warnings
    assert warning.startswith("nearest: re-encoded at the same quantisation (")
    assert "\n" not in warning
    assert re.search(message, warning)
    back = read_photo(new)
    assert back.size == photo.size
    assert back.metadata.jpeg_tables == photo.metadata.jpeg_tables


def test_asked_for_quality_is_given() -> None:
    photo = read_photo(PLAIN)
    _, report = rewritten(photo, quality=50)
    assert (report.stored, report.warnings) == ("lossy", ())
    _, report = rewritten(Photo(photo.pixels, "RGB", metadata=Metadata()), format="jpeg")
    assert (report.stored, report.warnings) == ("lossy", ())


def test_many_threads() -> None:
    """Of different photos."""
    files = [encoded(picture(80 + 8 * index, 64, index), "JPEG") for index in range(8)]
    photos = [painted(read_photo(data))[0] for data in files]
    alone = [rewritten(photo)[0] for photo in photos]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda photo: rewritten(photo)[0], photos)) == alone


def test_many_markers_and_a_second_picture_behind(tmp_path: Path) -> None:
    """More segments than jpeglib has room for, a thumbnail with frame headers of its own, and an MPO's tail."""
    head, rest = PLAIN[:2], PLAIN[2:]
    segments = b"".join(b"\xff\xe9\x00\x06ab" + bytes([index, 0]) for index in range(90))
    inner = b"\xff\xe7" + (len(PLAIN) + 2).to_bytes(2, "big") + PLAIN
    data = head + segments + inner + rest + PLAIN
    after, _ = painted(read_photo(data))
    new, report = rewritten(after)
    assert report.stored == "blocks kept"
    np.testing.assert_array_equal(read_photo(new).pixels[:14, :14], read_photo(PLAIN).pixels[:14, :14])


def test_damaged_files_neither_crash_nor_leave_anything(tmp_path: Path) -> None:
    """In a process of its own, for jpeglib is C: cut and bent files behind a photo that was read from a good one."""
    code = """
import io, sys
from dataclasses import replace
import numpy as np
from moebius.imaging import read_photo, write_photo
data = open(sys.argv[1], "rb").read()
photo = read_photo(data)
photo.pixels[20:30, 20:30] ^= 255
rng = np.random.default_rng(0)
outcomes = set()
for turn in range(60):
    bent = bytearray(data)
    for _ in range(rng.integers(1, 5)):
        bent[rng.integers(2, 700)] = rng.integers(256)
    if turn % 3 == 0:
        bent = bent[: rng.integers(4, len(bent))]
    source = replace(photo.metadata.source, data=bytes(bent))
    report = write_photo(replace(photo, metadata=replace(photo.metadata, source=source)), io.BytesIO())
    outcomes.add(report.stored)
print(sorted(outcomes))
"""
    path = tmp_path / "good.jpg"
    path.write_bytes(encoded(picture(61, 45), "JPEG", quality=80))
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)],
        capture_output=True, text=True, check=False, env={"TMPDIR": str(scratch), "PATH": ""},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-500:]
    assert "lossy" in done.stdout
    assert list(scratch.iterdir()) == []


SHORT = b"\xff\xd8\xff\xe1\x00\x01" + PLAIN[2:]
"""A segment that says it is shorter than the field that says so: readers disagree on where the next begins."""


@pytest.mark.parametrize(
    "data", [b"", b"\xff\xd8", PLAIN[:40], PLAIN[:170], b"\xff\xd8" + b"\xff" * 50, SHORT]
)
def test_layout_of_damaged_files(data: bytes) -> None:
    assert read_layout(data).problem
