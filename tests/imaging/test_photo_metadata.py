"""Orientation is applied once and for all; everything else that a photo carries is still there afterwards."""

from __future__ import annotations

import io
import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_files import MAKER_NOTE, THUMBNAIL, encoded, exif, noise
from PIL import Image, ImageCms, ImageOps, PngImagePlugin

from moebius.imaging import Photo, read_photo, write_photo
from moebius.imaging.exif import Directory, turn_upright, upright_exif, upright_xmp

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf tiff:Orientation="6" dc:title="M\xc3\xb6bius"/></x:xmpmeta>'
ORIENTATION = 0x0112


def rewritten(photo: Photo, **options: Any) -> Image.Image:
    buffer = io.BytesIO()
    write_photo(photo, buffer, **options)
    image = Image.open(buffer)
    image.load()
    return image


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_all_orientations(format: str, orientation: int) -> None:
    picture = (
        Image.fromarray(np.arange(6, dtype=np.uint8).reshape(2, 3) * 40).resize((24, 16), 0).convert("RGB")
    )
    options: dict[str, Any] = {"WEBP": {"lossless": True}, "JPEG": {"quality": 95, "subsampling": 0}}.get(
        format, {}
    )
    if format == "TIFF":
        options["tiffinfo"] = {ORIENTATION: orientation}
    else:
        options["exif"] = exif(orientation)
    data = encoded(picture, format, **options)
    expected = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB"))
    photo = read_photo(data)
    np.testing.assert_array_equal(photo.pixels, expected)
    assert photo.pixels.flags.c_contiguous
    back = rewritten(photo)
    assert back.getexif().get(ORIENTATION, 1) == 1
    assert np.abs(np.asarray(back.convert("RGB")).astype(int) - expected).max() <= (
        4 if format == "JPEG" else 0
    )


@pytest.mark.parametrize("orientation", range(1, 9))
def test_turn_upright_keeps_alpha_and_channels_together(orientation: int) -> None:
    samples = noise((4, 6, 2))
    turned = turn_upright(samples, orientation)
    for channel in range(2):
        np.testing.assert_array_equal(turned[..., channel], turn_upright(samples[..., channel], orientation))


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("with_header", [True, False])
def test_exif_is_edited_in_place(order: str, with_header: bool) -> None:
    """Only orientation, the two dimensions, the thumbnail and the link to it differ from what the camera
    wrote."""
    original = exif(6, order=order)
    edited, orientation = upright_exif(original if with_header else original[6:])
    assert (len(edited), orientation) == (len(original), 6)
    assert edited.endswith(bytes(len(THUMBNAIL)))
    assert MAKER_NOTE in edited
    changed = {index for index in range(len(original)) if original[index] != edited[index]}
    assert len(changed - set(range(len(original) - len(THUMBNAIL), len(original)))) < 20
    directory = Directory(bytearray(edited), 6)
    assert directory.value(ORIENTATION) == 1
    assert directory.read(directory.next_at, "I") == 0
    offset = directory.value(0x8769)
    assert offset is not None
    details = Directory(directory.data, 6, offset)
    assert (details.value(0xA002), details.value(0xA003)) == (30, 40)
    note = directory.read(details.entries[0x927C] + 8, "I") + 6
    assert edited[note : note + len(MAKER_NOTE)] == MAKER_NOTE


def test_upright_exif_stays_as_it_is() -> None:
    original = exif(1)
    edited, _ = upright_exif(original)
    kept = len(original) - len(THUMBNAIL)
    assert (
        sum(a != b for a, b in zip(original[:kept], edited[:kept], strict=True)) <= 4
    )  # the thumbnail's link
    assert upright_exif(edited) == (edited, 1)


@given(st.binary(max_size=60), st.integers(0, 200), st.integers(0, 255))
@settings(deadline=None, max_examples=150)
def test_damaged_exif_is_survived(junk: bytes, position: int, value: int) -> None:
    data = bytearray(exif(6))
    data[position % len(data)] = value
    for candidate in (junk, b"Exif\0\0II\x2a\0" + junk, bytes(data), bytes(data[:position])):
        edited, orientation = upright_exif(candidate)
        assert 1 <= orientation <= 8
        assert edited == b"" or len(edited) in (len(candidate), len(candidate) + 6)


def test_damaged_exif_is_dropped_and_the_photo_read(caplog: pytest.LogCaptureFixture) -> None:
    photo = read_photo(encoded(Image.new("RGB", (8, 8)), "JPEG", exif=b"Exif\0\0rubbish"))
    assert photo.metadata.exif == b""
    assert "EXIF is damaged" in caplog.text


def test_orientation_in_xmp() -> None:
    assert b'tiff:Orientation="1"' in upright_xmp(XMP)
    assert upright_xmp(b"<tiff:Orientation>8</tiff:Orientation>") == b"<tiff:Orientation>1</tiff:Orientation>"
    assert upright_xmp(b"<xmpGImg:image>/9j/4AAQ</xmpGImg:image>") == b"<xmpGImg:image></xmpGImg:image>"


FORMATS = ["JPEG", "PNG", "WEBP", "TIFF"]


@pytest.mark.parametrize("target", FORMATS)
@pytest.mark.parametrize("source", FORMATS)
def test_metadata_survives(source: str, target: str) -> None:
    """Camera, profile, resolution and XMP from every format into every format."""
    data = encoded(
        Image.new("RGB", (40, 30), "teal"), source, icc_profile=SRGB, dpi=(300, 150), **source_options(source)
    )
    photo = read_photo(data)
    back = rewritten(photo, format=target)
    again = read_photo(back).metadata
    assert again.icc == SRGB
    assert back.getexif()[0x010F] == "Moe"
    if "WEBP" not in (source, target):
        assert again.dpi == pytest.approx((300, 150), abs=0.02)
    assert photo.metadata.xmp is not None
    assert again.xmp is not None
    assert again.xmp.rstrip(b"\0") == photo.metadata.xmp.rstrip(b"\0") == upright_xmp(XMP)
    if source == target != "TIFF":  # TIFF's own tags are re-serialised
        assert again.exif == photo.metadata.exif == upright_exif(exif(1))[0]


@pytest.mark.parametrize("format", ["AVIF", "HEIF"])
def test_metadata_survives_in_avif_and_heic(format: str) -> None:
    if format == "HEIF":
        pytest.importorskip("pillow_heif")
    data = encoded(Image.new("RGB", (40, 30), "teal"), "JPEG", icc_profile=SRGB, exif=exif(6), xmp=XMP)
    photo = read_photo(data)
    buffer = io.BytesIO()
    write_photo(photo, buffer, format=format)
    back = read_photo(buffer.getvalue())
    assert back.size == photo.size == (30, 40)
    assert back.metadata.icc == SRGB
    assert MAKER_NOTE in back.metadata.exif
    if format == "HEIF":  # Pillow serialises the EXIF of an AVIF anew
        assert back.metadata.exif == photo.metadata.exif
    assert back.metadata.xmp is not None
    assert back.metadata.xmp.rstrip(b"\0") == upright_xmp(XMP)
    again = io.BytesIO()
    write_photo(back, again)
    assert read_photo(again.getvalue()).metadata == back.metadata


def source_options(format: str) -> dict[str, Any]:
    if format == "TIFF":
        return {"tiffinfo": {0x010F: "Moe", 700: XMP, ORIENTATION: 1}}
    if format == "PNG":
        info = PngImagePlugin.PngInfo()
        info.add_itxt("XML:com.adobe.xmp", XMP.decode())
        return {"exif": exif(1), "pnginfo": info}
    return {"exif": exif(1), "xmp": XMP}


def test_a_quarter_turn_exchanges_the_resolutions() -> None:
    photo = read_photo(encoded(Image.new("RGB", (40, 30)), "JPEG", dpi=(300, 150), exif=exif(6)))
    assert (photo.size, photo.metadata.dpi) == ((30, 40), (150, 300))


@pytest.mark.parametrize("bits", [8, 16])
def test_png_text_and_colour_chunks(bits: int) -> None:
    info = PngImagePlugin.PngInfo()
    info.add_text("Title", "plain")
    info.add_text("Comment", "compressed " * 20, zip=True)
    info.add_itxt("Author", "Möbius", lang="de", tkey="Autor")
    info.add(b"gAMA", struct.pack(">I", 45455))
    info.add(b"cHRM", struct.pack(">8I", 31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000))
    info.add(b"sRGB", b"\1")
    photo = read_photo(encoded(Image.new("RGB", (4, 4)), "PNG", pnginfo=info, dpi=(96, 96)))
    if bits == 16:
        photo = Photo(noise((4, 4, 3), np.uint16), "RGB", metadata=photo.metadata)
    back = rewritten(photo)
    assert dict(back.text) == {"Title": "plain", "Comment": "compressed " * 20, "Author": "Möbius"}  # type: ignore[attr-defined]
    assert back.text["Author"].lang == "de"  # type: ignore[attr-defined]
    assert (back.info["gamma"], back.info["srgb"]) == (0.45455, 1)
    assert back.info["chromaticity"] == pytest.approx((0.3127, 0.329, 0.64, 0.33, 0.3, 0.6, 0.15, 0.06))
    assert back.info["dpi"] == pytest.approx((96, 96), abs=0.02)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "CMYK"])
def test_16_bit_tiff_keeps_metadata(mode: str) -> None:
    photo = read_photo(encoded(Image.new("RGB", (40, 30)), "TIFF", dpi=(300, 300), **source_options("TIFF")))
    channels = len(mode)
    deep = Photo(
        noise((30, 40, min(channels, 3) if mode != "CMYK" else 4), np.uint16),
        "CMYK" if mode == "CMYK" else "RGB",
        noise((30, 40), np.uint16) if mode == "RGBA" else None,
        photo.metadata,
    )
    again = read_photo(rewritten_bytes(deep))
    np.testing.assert_array_equal(again.samples(), deep.samples())
    assert again.metadata.exif == photo.metadata.exif
    assert again.metadata.dpi == (300, 300)


def rewritten_bytes(photo: Photo) -> bytes:
    buffer = io.BytesIO()
    write_photo(photo, buffer)
    return buffer.getvalue()


def test_jpeg_comment() -> None:
    photo = read_photo(encoded(Image.new("RGB", (4, 4)), "JPEG", comment="made by hand"))
    assert rewritten(photo).info["comment"] == b"made by hand"


def test_grey_profile_does_not_come_to_lie_on_rgb() -> None:
    icc = SRGB[:16] + b"GRAY" + SRGB[20:]
    photo = read_photo(encoded(Image.new("L", (4, 4)), "PNG", icc_profile=icc))
    assert photo.metadata.icc == icc
    assert "icc_profile" not in rewritten(photo, format="webp").info
    assert rewritten(photo, format="tiff").info["icc_profile"] == icc


def test_what_is_too_long_for_jpeg_is_dropped(caplog: pytest.LogCaptureFixture) -> None:
    info = PngImagePlugin.PngInfo()
    info.add_itxt("XML:com.adobe.xmp", "x" * 70_000)
    photo = read_photo(encoded(Image.new("RGB", (4, 4)), "PNG", pnginfo=info))
    assert "xmp" not in rewritten(photo, format="jpeg").info
    assert "xmp is too long for JPEG" in caplog.text


def test_layout_tags_of_another_file_do_not_reach_a_tiff() -> None:
    """Some phones write ImageWidth into EXIF; Pillow would believe it as the width of the TIFF."""
    tags = Image.Exif()
    tags[0x0100], tags[0x0101], tags[0x0116], tags[0x010F] = 4000, 3000, 1, "Moe"
    photo = read_photo(encoded(Image.fromarray(noise((30, 40, 3))), "PNG", exif=tags.tobytes()))
    back = rewritten(photo, format="tiff")
    assert back.size == (40, 30)
    np.testing.assert_array_equal(np.asarray(back), photo.pixels)
    assert back.getexif()[0x010F] == "Moe"


def test_multi_picture_jpeg_is_written_as_jpeg(caplog: pytest.LogCaptureFixture) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    photo = read_photo(encoded(frames[0], "MPO", save_all=True, append_images=frames[1:]))
    assert photo.metadata.format == "JPEG"
    assert photo.metadata.jpeg_tables
    assert "2 frames" in caplog.text
    assert rewritten(photo).format == "JPEG"
