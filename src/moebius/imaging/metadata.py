"""What a photo carries besides its pixels."""

from __future__ import annotations

import io
import logging
import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from PIL import Image, JpegImagePlugin, PngImagePlugin, TiffImagePlugin

from moebius.imaging.exif import ORIENTATION, turn_dpi, upright_exif, upright_xmp
from moebius.imaging.png16 import without_pixels

log = logging.getLogger(__name__)

_LOSSY = ("JPEG", "AVIF", "HEIF", "JPEG2000")
_ABOUT_THE_PHOTO = (
    269, 270, 271, 272, 285, 305, 306, 315, 316, 18246, 18249, 33432, 40091, 40092, 40093, 40094, 40095,
)  # fmt: skip
"""TIFF tags that tell of the photo (title, camera, software, artist, copyright) and not how it is stored."""
_EXIF_DIRECTORY, _GPS_DIRECTORY, _INTEROPERABILITY = 0x8769, 0x8825, 0xA005
EXIF_AS_TEXT, XMP_AS_TEXT = "Raw profile type exif", "XML:com.adobe.xmp"
"""Keywords under which PNG text holds EXIF (ImageMagick) and XMP; both are kept as what they are."""


@dataclass(frozen=True)
class Encoded:
    """The file that a photo came from, as it was when it was read: small beside the pixels."""

    data: bytes
    orientation: int
    """EXIF orientation, 1 to 8, by which the photo was turned upright."""


@dataclass(frozen=True, kw_only=True)
class Metadata:
    """What a photo carries besides its pixels, for a photo that has been turned upright."""

    format: str | None = None
    """The format it came in, by Pillow's name; None for arrays and images made in memory."""
    lossless: bool = True
    """Whether that format gave the pixels exactly (false for JPEG, and for WebP unless it says otherwise)."""
    exif: bytes = b""
    """EXIF with Orientation 1 and the thumbnail blanked, otherwise byte for byte."""
    icc: bytes | None = None
    """ICC profile, as it came."""
    xmp: bytes | None = None
    dpi: tuple[float, float] | None = None
    """Horizontal and vertical dots per inch."""
    text: Mapping[str, str] = field(default_factory=dict)
    """PNG text by keyword; values may be Pillow's `iTXt`, a str that knows its language."""
    comment: bytes | None = None
    """JPEG comment."""
    png_chunks: tuple[tuple[bytes, bytes], ...] = ()
    """PNG's own colour description: gAMA, cHRM and sRGB chunks as (name, data)."""
    jpeg_tables: tuple[tuple[int, ...], ...] = ()
    """JPEG quantisation tables, 64 numbers each; writing with the same ones loses least."""
    jpeg_subsampling: int | None = None
    """JPEG chroma subsampling by Pillow's number: 0 is 4:4:4, 1 is 4:2:2, 2 is 4:2:0; None for others."""
    jpeg_progressive: bool = False
    tiff_compression: str | None = None
    """TIFF compression by Pillow's name, "raw" for none."""
    source: Encoded | None = field(default=None, compare=False, repr=False)
    """The JPEG that the photo was, whose untouched blocks go into the JPEG that is written; None for others."""


def collect_metadata(image: Image.Image, stream: BinaryIO | None) -> tuple[Metadata, int]:
    """Everything worth keeping of a decoded image, and the EXIF orientation, 1 to 8, that it still needs.

    Pillow turns TIFF upright itself while it decodes, so for TIFF the answer is 1.

    Args:
        image: after `load()`, when the trailing chunks of a PNG have been read too.
        stream: the encoded bytes if there are any.
    """
    info = image.info
    name = "JPEG" if image.format == "MPO" else image.format
    exif, orientation = upright_exif(_raw_exif(image))
    text = {key: value for key, value in getattr(image, "text", {}).items() if isinstance(value, str)}
    xmp = info.get("xmp") or text.get(XMP_AS_TEXT)
    xmp = xmp.encode() if isinstance(xmp, str) else xmp
    tables = getattr(image, "quantization", {})
    sampling = JpegImagePlugin.get_sampling(image)  # -1 also for what is no JPEG
    comment = info.get("comment") if name == "JPEG" else None
    metadata = Metadata(
        format=name,
        lossless=not (name in _LOSSY or (name == "WEBP" and stream and _webp_is_lossy(stream))),
        exif=exif,
        icc=info.get("icc_profile") or None,
        xmp=upright_xmp(xmp) if xmp else None,
        dpi=_dpi(info.get("dpi"), orientation),
        text={key: value for key, value in text.items() if key not in (EXIF_AS_TEXT, XMP_AS_TEXT)},
        comment=comment.encode() if isinstance(comment, str) else comment,
        png_chunks=_png_chunks(image) if name == "PNG" else (),
        jpeg_tables=tuple(tuple(tables[key]) for key in sorted(tables)),
        jpeg_subsampling=None if sampling < 0 else sampling,
        jpeg_progressive=bool(info.get("progressive")),
        tiff_compression=info.get("compression") if name == "TIFF" else None,
        source=_source(name, stream, orientation),
    )
    return metadata, orientation


def read_headers(image: Image.Image, stream: BinaryIO | None) -> tuple[Metadata, int]:
    """`collect_metadata` of an image that is opened and not decoded, which it need not be for this.

    The orientation is the one that is stored, also of a TIFF. What only the pixels' coding tells (JPEG tables, whether
    a WebP is lossy) is left at its default or at what the header tells, and the file's bytes are not kept.
    """
    if image.format == "PNG" and stream is not None:
        stream.seek(0)
        image = PngImagePlugin.PngImageFile(io.BytesIO(without_pixels(stream.read())))
    metadata, orientation = collect_metadata(image, None)
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        stored = image.tag_v2.get(ORIENTATION)
        orientation = stored if isinstance(stored, int) and 1 <= stored <= 8 else 1
    return metadata, orientation


def tiff_tags(exif: Image.Exif) -> dict[int, Any]:
    """The part of EXIF that tells of the photo: tag -> value, or -> a mapping for the EXIF and GPS
    directories.

    In TIFF the main directory also says how the pixels are laid out, and what another file said of that must
    not come with the rest.
    """
    tags = {tag: exif[tag] for tag in _ABOUT_THE_PHOTO if tag in exif}
    for directory in (_EXIF_DIRECTORY, _GPS_DIRECTORY):
        entries = {tag: value for tag, value in exif.get_ifd(directory).items() if tag != _INTEROPERABILITY}
        if entries:
            tags[directory] = entries
    return tags


def _raw_exif(image: Image.Image) -> bytes:
    exif = image.info.get("exif")
    if isinstance(exif, bytes):
        return exif
    try:
        if isinstance(image, TiffImagePlugin.TiffImageFile):
            kept = Image.Exif()
            for tag, value in tiff_tags(image.getexif()).items():
                kept[tag] = value
            return kept.tobytes() if kept else b""
        return image.getexif().tobytes() if EXIF_AS_TEXT in image.info else b""
    except Exception as error:  # like damaged pixels, damaged tags raise anything
        log.warning("the photo's EXIF is damaged and is dropped: %s", error)
        return b""


def _source(name: str | None, stream: BinaryIO | None, orientation: int) -> Encoded | None:
    if name != "JPEG" or stream is None:
        return None
    stream.seek(0)
    return Encoded(stream.read(), orientation)


def _dpi(dpi: object, orientation: int) -> tuple[float, float] | None:
    try:
        across, down = (float(value) for value in dpi)  # type: ignore[attr-defined]
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    if not all(math.isfinite(value) and value > 0 for value in (across, down)):
        return None
    return turn_dpi((across, down), orientation)


def _png_chunks(image: Image.Image) -> tuple[tuple[bytes, bytes], ...]:
    info, chunks = image.info, []
    if "gamma" in info:
        chunks.append((b"gAMA", struct.pack(">I", round(info["gamma"] * 100_000))))
    if "chromaticity" in info:
        scaled = [round(value * 100_000) for value in info["chromaticity"]]
        chunks.append((b"cHRM", struct.pack(">8I", *scaled)))
    if "srgb" in info:
        chunks.append((b"sRGB", struct.pack("B", info["srgb"])))
    return tuple(chunks)


def _webp_is_lossy(stream: BinaryIO) -> bool:
    """Whether the first frame of a WebP file is a VP8 (lossy) and not a VP8L chunk.

    Layout (RFC 9649, section 2): "RIFF", size, "WEBP", then chunks of name, size, and data padded to even.
    The frames of an animation are chunks inside ANMF chunks, behind 16 bytes.
    """
    position = 12
    while True:
        stream.seek(position)
        header = stream.read(8)
        if len(header) < 8 or header.startswith(b"VP8L"):
            return False
        if header.startswith(b"VP8 "):
            return True
        (size,) = struct.unpack("<I", header[4:])
        position += 24 if header.startswith(b"ANMF") else 8 + size + size % 2
