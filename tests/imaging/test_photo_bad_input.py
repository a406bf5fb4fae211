"""Whatever is wrong with a photo is said in one line, before anything large is allocated."""

from __future__ import annotations

import io
import os
import tracemalloc
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_files import encoded, exif, noise, png, png_chunk
from PIL import Image

from moebius.errors import MaskError, MoebiusError, PhotoError
from moebius.imaging import Photo, read_mask, read_photo, write_photo
from moebius.imaging.decode import ImageSource
from moebius.imaging.exif import Directory

PICTURE = Image.fromarray(noise((64, 64, 3)))


def write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def twelve_bits() -> bytes:
    """A TIFF whose BitsPerSample (tag 258, one SHORT) is changed from 16 to 12."""
    data = encoded(Image.fromarray(noise((4, 4), np.uint16)), "TIFF")
    field = b"\x02\x01\x03\0\x01\0\0\0"
    assert field + b"\x10" in data
    return data.replace(field + b"\x10", field + b"\x0c")


BAD: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (lambda folder: folder / "nothing.png", "no such file"),
    "missing text": (lambda folder: str(folder / "nothing.png"), "no such file"),
    "folder": (lambda folder: folder, "got a folder"),
    "zero bytes": (lambda folder: write(folder / "a.png", b""), "got 0 bytes"),
    "text": (lambda folder: write(folder / "a.jpg", b"Dear photo, ..."), "not an image"),
    "zero byte in the name": (lambda folder: "a\0b.png", "cannot be read"),
    "too long a name": (lambda folder: folder / ("a" * 300), "cannot be read"),
    "truncated JPEG": (lambda folder: encoded(PICTURE, "JPEG")[:-400], "truncated"),
    "truncated PNG": (lambda folder: encoded(PICTURE, "PNG")[:-400], "truncated"),
    "truncated WebP": (lambda folder: encoded(PICTURE, "WEBP")[:-400], "truncated"),
    "truncated TIFF": (lambda folder: encoded(PICTURE, "TIFF")[:-400], "truncated"),
    "truncated BMP": (lambda folder: encoded(PICTURE, "BMP")[:-400], "truncated"),
    "header only": (lambda folder: encoded(PICTURE, "PNG")[:20], "damaged or truncated PNG"),
    "rubbish behind a good start": (lambda folder: b"\xff\xd8\xff\xe0" + bytes(50), "truncated JPEG"),
    "bomb": (lambda folder: png(60_000, 60_000, 8, 2, b""), "1 to 200,000,000 pixels, got 60000 x 60000"),
    "no pixels": (lambda folder: np.zeros((0, 5, 3), np.uint8), "1 to 200,000,000 pixels"),
    "postscript": (lambda folder: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not an image"),
    "text stream": (lambda folder: io.StringIO("text"), "opened as text"),
    "None": (lambda folder: None, "got NoneType"),
    "list": (lambda folder: [[1, 2], [3, 4]], "got list"),
    "two channels": (lambda folder: noise((4, 4, 2)), "got (4, 4, 2)"),
    "four dimensions": (lambda folder: noise((1, 4, 4, 3)), "got (1, 4, 4, 3)"),
    "int64": (lambda folder: np.zeros((4, 4), np.int64), "got int64"),
    "floats to 255": (lambda folder: np.full((4, 4), 255.0), "floats in [0, 1], got 255 to 255"),
    "NaN": (lambda folder: np.full((4, 4), np.nan), "got nan"),
    "12-bit TIFF": (lambda folder: twelve_bits(), "expected 8 or 16 bits"),
}


def png_with(name: bytes, data: bytes) -> bytes:
    plain = png(4, 4, 8, 2, bytes(52))
    return plain[:33] + png_chunk(name, data) + plain[33:]


def tiff_with_a_deep_strip() -> bytes:
    """64 x 64 grey whose one strip unpacks to 100 million bytes."""
    packed = zlib.compress(bytes(100_000_000))
    data = encoded(Image.new("L", (64, 64)), "TIFF", compression="tiff_adobe_deflate")
    directory = Directory(bytearray(data))
    directory.set_value(273, len(data))
    directory.set_value(279, len(packed))
    return bytes(directory.data) + packed


@pytest.mark.parametrize("name", [b"zTXt", b"iTXt", b"iCCP"])
def test_chunks_that_unpack_to_very_much(name: bytes) -> None:
    packed = zlib.compress(bytes(50_000_000))
    lead = {b"zTXt": b"a\0\0", b"iTXt": b"a\0\1\0\0\0", b"iCCP": b"a\0\0"}[name]
    tracemalloc.start()
    with pytest.raises(PhotoError, match="damaged or truncated PNG") as caught:
        read_photo(png_with(name, lead + packed))
    assert "\n" not in str(caught.value)
    assert tracemalloc.get_traced_memory()[1] < 20_000_000
    tracemalloc.stop()


def test_strips_that_unpack_to_very_much_are_read_as_far_as_there_are_pixels() -> None:
    assert read_photo(tiff_with_a_deep_strip()).pixels.max() == 0


@pytest.mark.parametrize("name", BAD)
def test_bad_photo(name: str, tmp_path: Path) -> None:
    make, message = BAD[name]
    with pytest.raises(PhotoError) as caught:
        read_photo(make(tmp_path))  # type: ignore[arg-type]
    assert message in str(caught.value)
    assert str(caught.value).startswith("photo")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "name", [name for name in BAD if name not in ("12-bit TIFF", "int64", "no pixels", "list")]
)
def test_bad_mask(name: str, tmp_path: Path) -> None:
    with pytest.raises(MaskError) as caught:
        read_mask(BAD[name][0](tmp_path), size=(64, 64))  # type: ignore[arg-type]
    assert str(caught.value).startswith("mask")
    assert "\n" not in str(caught.value)


def test_unreadable_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "a.png", encoded(PICTURE, "PNG"))

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(PhotoError, match=r"cannot be read \(Permission denied\)"):
        read_photo(path)


@pytest.mark.parametrize("width", [9_600, 19_000])
def test_large_photos_neither_warn_nor_touch_pillows_limit(width: int) -> None:
    """Pillow warns above 89 million pixels, and refuses twice as many; both are photos here."""
    limit = Image.MAX_IMAGE_PIXELS
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data = png(width, 10_000, 8, 2, b"")
        with ImageSource(data, noun="photo", error=PhotoError, max_pixels=200_000_000) as source:
            assert source.open().size == (width, 10_000)
    assert limit == Image.MAX_IMAGE_PIXELS


def test_limit_is_an_argument() -> None:
    data = encoded(PICTURE, "PNG")
    assert read_photo(data, max_pixels=64 * 64).size == (64, 64)
    for source in (data, PICTURE, np.asarray(PICTURE)):
        with pytest.raises(PhotoError, match="1 to 4,095 pixels"):
            read_photo(source, max_pixels=64 * 64 - 1)


def test_every_kind_of_source(tmp_path: Path) -> None:
    data = encoded(PICTURE, "PNG")
    path = write(tmp_path / "a.png", data)
    with path.open("rb") as file:
        for source in (
            path,
            str(path),
            data,
            bytearray(data),
            memoryview(data),
            io.BytesIO(data),
            file,
            PICTURE,
        ):
            np.testing.assert_array_equal(read_photo(source).pixels, np.asarray(PICTURE))  # type: ignore[arg-type]
        assert not file.closed


def test_pipes_are_read() -> None:
    data = encoded(PICTURE.resize((8, 8)), "PNG")
    for by_path in (False, True):
        reading, writing = os.pipe()
        os.write(writing, data)
        os.close(writing)
        with os.fdopen(reading, "rb") as pipe:
            assert read_photo(f"/dev/fd/{reading}" if by_path else pipe).size == (8, 8)


def odd_tiff(mode: str) -> bytes:
    """16 bits in a layout that is shown to Pillow as another one."""
    alpha = noise((16, 16), np.uint16) if mode == "LA" else None
    buffer = io.BytesIO()
    channels = {"LA": 1, "LAB": 3}[mode]
    kind: Any = mode.removesuffix("A")
    write_photo(Photo(noise((16, 16, channels), np.uint16), kind, alpha), buffer, format="tiff")
    return buffer.getvalue()


SEEDS = [
    encoded(PICTURE.resize((16, 16)), "PNG"),
    encoded(PICTURE.resize((16, 16)), "JPEG", exif=exif(6)),
    encoded(PICTURE.resize((16, 16)), "WEBP"),
    encoded(PICTURE.resize((16, 16)), "TIFF"),
    encoded(PICTURE.resize((16, 16)), "BMP"),
    encoded(PICTURE.resize((16, 16)).convert("P"), "GIF"),
    png(4, 2, 16, 2, bytes(50)),
    png(4, 2, 16, 4, bytes(34)),
    *(odd_tiff(mode) for mode in ("LA", "LAB")),
    encoded(PICTURE.resize((16, 16)), "AVIF"),
]


@given(
    st.sampled_from(SEEDS),
    st.lists(st.tuples(st.integers(0, 4000), st.integers(0, 255)), max_size=4),
    st.booleans(),
)
@settings(deadline=None, max_examples=200)
def test_damaged_files_give_a_photo_or_one_line(
    data: bytes, damage: list[tuple[int, int]], cut: bool
) -> None:
    damaged = bytearray(data)
    for position, value in damage:
        damaged[position % len(data)] = value
    if cut and damage:
        damaged = damaged[: damage[0][0] % len(data)]
    for read in (
        lambda: read_photo(bytes(damaged), max_pixels=10_000),
        lambda: read_mask(bytes(damaged), size=(16, 16)),
    ):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # Pillow's, about odd tags
                read()
        except MoebiusError as error:
            assert "\n" not in str(error)
