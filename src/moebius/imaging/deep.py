"""Reading 16-bit colour, which Pillow by itself cuts to 8 bits.

Pillow has no mode for it: its unpackers for "RGB;16B" and "RGB;16L" (big- and little-endian) each keep the
more significant byte of every sample. Asked for both, one after the other, they give both bytes. So Pillow's
own decoders, with all their compressions and interlacing, read 16-bit colour exactly, at twice the time.

Grey with alpha has one unpacker only, but in a PNG its samples lie exactly as 8-bit RGBA would (four bytes a
pixel, so also the row filters agree), and two bytes changed in the header make Pillow hand them over as such.
"""

from __future__ import annotations

import io
import re
import struct
import sys
import zlib

import numpy as np
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin, TiffImagePlugin

from moebius.imaging.decode import ImageSource
from moebius.imaging.tiff_layouts import plane_files

_READABLE = re.compile(r"(RGB|RGBX|RGBA|CMYK);16([BLN])")
_DEEP = re.compile(r"(LA|RGB|RGBX|RGBA|RGBa|CMYK);16[BLN]")
_GREY_ALPHA = "LA;16B"
_NATIVE = "L" if sys.byteorder == "little" else "B"
_BITS_PER_SAMPLE, _PLANAR, _EXTRA = 258, 284, 338
_SEPARATE, _UNASSOCIATED_ALPHA = 2, 2


def is_deep(image: Image.Image) -> bool:
    """Whether this is 16-bit colour, of which plain decoding would keep 8 bits. For images not yet loaded."""
    if image.format == "HEIF":
        return bool(image.info.get("bit_depth", 8) > 8)
    if image.mode.startswith(("I", "F")):  # 16- or 32-bit grey
        return False
    bits = getattr(image, "tag_v2", {}).get(_BITS_PER_SAMPLE, (8,))
    return max(bits) > 8 or any(_DEEP.fullmatch(raw_mode) for raw_mode in _raw_modes(image))


def read_deep(source: ImageSource, image: Image.Image) -> NDArray[np.uint16] | None:
    """All samples of a 16-bit colour image: (H, W, C) with alpha last.

    Args:
        image: the source, opened from a file and not yet loaded; loaded on return.

    Returns:
        None if the samples are laid out in a way that is not known here.
    """
    if image.format == "HEIF":
        return _read_heif(source, image)
    if getattr(image, "tag_v2", {}).get(_PLANAR) == _SEPARATE and not source.is_big_tiff:
        return _read_planes(source, image)
    raw_modes = _raw_modes(image)
    if raw_modes == [_GREY_ALPHA] and image.format == "PNG":
        image.load()
        return _read_grey_alpha(source)
    layouts = [_READABLE.fullmatch(raw_mode) for raw_mode in raw_modes]
    stored = {layout[2] for layout in layouts if layout}
    if None in layouts or len(stored) != 1:
        return None
    big, little = (_unpack(each, order) for each, order in ((image, "B"), (source.open(), "L")))
    high, low = (big, little) if stored.pop().replace("N", _NATIVE) == "B" else (little, big)
    return high * np.uint16(256) + low


def _read_planes(source: ImageSource, image: Image.Image) -> NDArray[np.uint16] | None:
    tags = image.tag_v2  # type: ignore[attr-defined]
    extra = tags.get(_EXTRA, ())
    if image.mode not in ("RGB", "RGBA", "CMYK") or any(kind != _UNASSOCIATED_ALPHA for kind in extra):
        return None
    assert source.stream is not None
    source.stream.seek(0)
    planes = [
        TiffImagePlugin.TiffImageFile(io.BytesIO(data), "") for data in plane_files(source.stream.read())
    ]
    image.load()  # for what reads its tags later
    if {plane.size for plane in planes} != {image.size} or len(planes) != len(image.mode):
        return None
    return np.stack([np.asarray(plane).astype(np.uint16) for plane in planes], axis=-1)


def _read_heif(source: ImageSource, image: Image.Image) -> NDArray[np.uint16] | None:
    """10 or 12 bits a sample, brought to 16: white to 65535, and back exactly by dropping bits."""
    from pillow_heif import open_heif

    assert source.stream is not None
    source.stream.seek(0)
    bits = int(image.info.get("bit_depth", 16))
    samples = np.asarray(open_heif(source.stream.read(), convert_hdr_to_8bit=False))
    image.load()
    if samples.dtype != np.uint16:
        return None
    full: NDArray[np.uint16] = (
        samples | samples >> bits
    )  # pillow-heif only shifts: the low bits repeat the top ones
    return full.reshape(*full.shape[:2], -1)


def _raw_modes(image: Image.Image) -> list[str]:
    """How the file's samples are laid out, one entry a tile, e.g. "RGB;16B"."""
    arguments = [tile[3] for tile in getattr(image, "tile", ())]
    return [str(each[0] if isinstance(each, tuple) else each) for each in arguments]


def _unpack(image: Image.Image, order: str) -> NDArray[np.uint8]:
    """Load as if the samples were big- ("B") or little-endian ("L"); the bytes that are significant then."""
    tiles = []
    for tile in image.tile:  # type: ignore[attr-defined]
        raw_mode, *rest = tile[3] if isinstance(tile[3], tuple) else (tile[3],)
        changed = raw_mode[:-1] + order
        tiles.append(tile._replace(args=(changed, *rest) if rest else changed))
    image.tile = tiles  # type: ignore[attr-defined]
    image.load()
    return np.asarray(image)


def _read_grey_alpha(source: ImageSource) -> NDArray[np.uint16]:
    assert source.stream is not None
    source.stream.seek(0)
    data = bytearray(source.stream.read())
    header = 12  # behind the signature and the first chunk's length: its name, then 13 bytes of data
    data[header + 12 : header + 14] = b"\x08\x06"  # 8 bits, RGBA
    struct.pack_into(">I", data, header + 17, zlib.crc32(data[header : header + 17]))
    pretended = PngImagePlugin.PngImageFile(io.BytesIO(data))
    samples = np.ascontiguousarray(np.asarray(pretended))  # (H, W, 4)
    return samples.view(">u2").astype(np.uint16)
