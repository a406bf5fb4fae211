"""Files in JavaScript: PNG to the sample, EXIF, profiles, checksums."""

from __future__ import annotations

import hashlib
import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from core_client import Call, Core
from made_photos import picture
from PIL import Image, ImageCms

from moebius.imaging import read_photo
from moebius.imaging.exif import upright_exif

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def encoded(image: Image.Image, format: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def as_bytes(data: bytes) -> Any:
    return np.frombuffer(data, np.uint8)


def camera_exif(orientation: int) -> bytes:
    """EXIF with sizes, and a thumbnail that shows the photo as it was."""
    exif = Image.Exif()
    exif[0x0112], exif[0x010F], exif[0x0100], exif[0x0101] = orientation, "Camera", 40, 30
    exif.get_ifd(0x8769).update({0xA002: 40, 0xA003: 30})
    exif.get_ifd(0x0201)
    return exif.tobytes()


PALETTE = Image.fromarray(picture(31, 23)).quantize(7)
PICTURES = {
    "RGB": Image.fromarray(picture(31, 23)),
    "RGBA": Image.fromarray(picture(31, 23, channels=4)),
    "L": Image.fromarray(picture(31, 23, channels=1)[..., 0]),
    "LA": Image.fromarray(picture(31, 23, channels=2), "LA"),
    "P": PALETTE,
    "1": Image.fromarray(picture(31, 23, channels=1)[..., 0] > 99).convert("P"),
    "I;16": Image.fromarray(picture(31, 23, channels=1, dtype=np.uint16)[..., 0]),
}


@pytest.mark.filterwarnings("ignore:'mode' parameter:DeprecationWarning")
@pytest.mark.parametrize("mode", PICTURES)
def test_png_is_read_to_the_sample(core: Core, mode: str) -> None:
    image = PICTURES[mode]
    transparent = {"transparency": bytes([0, 128, 255])} if mode == "P" else {}
    data = encoded(image, "PNG", **transparent)
    png = core("core/png_read.js", "readChunks", as_bytes(data))
    head = {name: png[name] for name in ("width", "height", "depth", "colour", "interlaced")}
    assert (head["width"], head["height"], head["interlaced"]) == (31, 23, False)
    found = core("core/png_calls.js", "decode", as_bytes(data)).reshape(23, 31, 4)
    if mode == "I;16":
        levels = (np.asarray(image).astype(np.uint32) * 255 + 32767) // 65535
        assert (found[..., :3] == levels[..., None]).all() and (found[..., 3] == 255).all()
    else:
        assert np.array_equal(found, np.asarray(Image.open(io.BytesIO(data)).convert("RGBA")))


def filtered_png(pixels: Any) -> bytes:
    """A PNG of (H, W, 3) whose rows take the five filters in turn."""
    height, width, _ = pixels.shape
    rows = pixels.reshape(height, -1).astype(int)
    data = b""
    for y, row in enumerate(rows):
        above = rows[y - 1] if y else np.zeros_like(row)
        left, corner = (np.concatenate([np.zeros(3, int), each[:-3]]) for each in (row, above))
        guesses = np.abs(np.stack([above - corner, left - corner, left + above - 2 * corner]))
        paeth = np.choose(guesses.argmin(axis=0), [left, above, corner])
        guess = [np.zeros_like(row), left, above, (left + above) // 2, paeth][y % 5]
        data += bytes([y % 5]) + ((row - guess) % 256).astype(np.uint8).tobytes()

    def chunk(name: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
        )

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(data))
        + chunk(b"IEND", b"")
    )


def test_png_of_any_row_filter(core: Core) -> None:
    pixels = picture(40, 31)
    data = filtered_png(pixels)
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(data))), pixels)
    found = core("core/png_calls.js", "decode", as_bytes(data)).reshape(31, 40, 4)
    assert np.array_equal(found[..., :3], pixels)


@pytest.mark.parametrize("kind", ["interlaced", "cut"])
def test_png_that_is_left_to_the_browser(core: Core, kind: str) -> None:
    data = bytearray(encoded(PICTURES["RGB"], "PNG"))
    if kind == "interlaced":
        data[28] = 1
        assert core("core/png_calls.js", "decode", as_bytes(bytes(data))) is None
    else:
        assert core("core/png_read.js", "readChunks", as_bytes(bytes(data[:60]))) is None


@pytest.mark.parametrize(("channels", "opaque"), [(1, True), (1, False), (3, True), (3, False)])
def test_png_is_written_with_exactly_these_samples(core: Core, channels: int, opaque: bool) -> None:
    colours = np.broadcast_to(picture(77, 41, channels=channels), (41, 77, 3))
    alpha = np.full((41, 77), 255, np.uint8) if opaque else picture(77, 41, channels=1, seed=2)[..., 0]
    photo = {"width": 77, "height": 41, "data": np.dstack([colours, alpha]), "grey": channels == 1}
    data = core(
        "core/png_write.js", "encodePng", photo, {"exif": as_bytes(camera_exif(1)[6:]), "icc": as_bytes(SRGB)}
    ).tobytes()
    image = Image.open(io.BytesIO(data))
    assert image.mode == ("L" if channels == 1 else "RGB") + ("" if opaque else "A")
    assert np.array_equal(np.asarray(image.convert("RGBA")), photo["data"])
    assert image.info["icc_profile"] == SRGB and image.getexif()[0x010F] == "Camera"
    assert np.array_equal(read_photo(data).pixels, colours[..., :channels])
    assert len(data) < 0.9 * photo["data"].size


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_is_made_upright_as_in_python(core: Core, orientation: int) -> None:
    given = camera_exif(orientation)
    found = core("core/exif.js", "uprightExif", as_bytes(given[6:]))
    expected, known = upright_exif(given)
    assert found["orientation"] == known == orientation
    assert found["exif"].tobytes() == expected[6:]


def test_a_thumbnail_is_blanked_as_in_python(core: Core) -> None:
    entry = (0x0112).to_bytes(2, "big") + b"\0\3\0\0\0\1\0\6\0\0"
    thumbnail = b"\xff\xd8 what has been removed \xff\xd9"
    first = 8 + 2 + 12 + 4
    place = first + 2 + 24 + 4
    entries = b"".join(
        tag.to_bytes(2, "big") + b"\0\4\0\0\0\1" + value.to_bytes(4, "big")
        for tag, value in ((0x201, place), (0x202, len(thumbnail)))
    )
    given = (
        b"MM\0*\0\0\0\x08\0\1" + entry + first.to_bytes(4, "big") + b"\0\2" + entries + bytes(4) + thumbnail
    )
    found = core("core/exif.js", "uprightExif", as_bytes(given))
    assert found["exif"].tobytes() == upright_exif(b"Exif\0\0" + given)[0][6:]
    assert b"removed" not in found["exif"].tobytes()


@pytest.mark.parametrize("data", [b"", b"MM\0*", b"II*\0\xff\xff\xff\xff", b"no exif at all"])
def test_damaged_exif_is_dropped(core: Core, data: bytes) -> None:
    assert core("core/exif.js", "uprightExif", as_bytes(data)) == {"exif": None, "orientation": 1}


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP"])
def test_metadata_is_found(core: Core, format: str) -> None:
    grey = format != "WEBP"
    image = PICTURES["L" if grey else "RGB"]
    data = encoded(image, format, exif=camera_exif(6), icc_profile=SRGB)
    found = core("core/metadata.js", "readMetadata", as_bytes(data))
    assert (found["format"], found["grey"], found["deep"], found["orientation"]) == (
        format.lower(),
        grey,
        False,
        6,
    )
    assert found["icc"].tobytes() == SRGB and b"Camera" in found["exif"].tobytes()
    bare = core("core/metadata.js", "readMetadata", as_bytes(encoded(PICTURES["RGB"], format)))
    assert (bare["exif"], bare["icc"], bare["orientation"], bare["grey"]) == (None, None, 1, False)
    assert core("core/metadata.js", "readMetadata", as_bytes(b"GIF89a"))["format"] == ""
    core.all(
        [("core/metadata.js", "readMetadata", [as_bytes(data[:cut])]) for cut in range(0, 200, 7) if cut > 12]
    )


def test_metadata_goes_into_a_jpeg(core: Core) -> None:
    plain = encoded(PICTURES["RGB"], "JPEG", icc_profile=SRGB)  # browsers put a profile of theirs into files
    long = SRGB[:128] + bytes(150_000)
    data = core(
        "core/metadata.js",
        "withMetadata",
        as_bytes(plain),
        {"exif": as_bytes(camera_exif(1)[6:]), "icc": as_bytes(long)},
    )
    image = Image.open(io.BytesIO(data.tobytes()))
    assert image.info["icc_profile"] == long and image.getexif()[0x010F] == "Camera"
    assert np.array_equal(np.asarray(image), np.asarray(Image.open(io.BytesIO(plain))))


def test_sha256(core: Core) -> None:
    texts = [b"x" * length for length in (0, 1, 55, 56, 63, 64, 65, 119, 120, 1000)]
    calls: list[Call] = [
        ("core/sha256.js", name, [as_bytes(text)]) for text in texts for name in ("sha256", "plainSha256")
    ]
    expected = [hashlib.sha256(text).hexdigest() for text in texts]
    assert core.all(calls) == [digest for digest in expected for _ in range(2)]
