"""EXIF edited in place, and turning pixels the way it says.

A photo that has been turned upright must not say that it still wants turning. Serialising EXIF anew would
move the bytes that makers' notes refer to by absolute offset, so a few fields are overwritten where they
stand and every other byte stays. The thumbnail is blanked: it shows the photo as it was, with what has been
removed still in it.

Layout: TIFF 6.0, section 2 (header and directories); Exif 2.32, section 4.6.
"""

from __future__ import annotations

import logging
import re
import struct

from moebius.imaging.arrays import AnyArray

log = logging.getLogger(__name__)

HEADER = b"Exif\0\0"
ORIENTATION, EXIF_DIRECTORY = 0x0112, 0x8769
SIDEWAYS = (5, 6, 7, 8)
"""Orientations of which the turn exchanges width and height."""
_SWAPPED = ((0x0100, 0x0101), (0x011A, 0x011B), (0xA002, 0xA003))
"""Pairs of tags that a quarter turn exchanges: ImageWidth/Length, X/YResolution, PixelX/YDimension."""
_THUMBNAIL = ((0x0201, 0x0202), (0x0111, 0x0117))
"""Where a thumbnail lies and how long it is: as JPEG, and as a single strip."""
_WHOLE_NUMBERS = {1: "B", 3: "H", 4: "I"}
"""TIFF field types (BYTE, SHORT, LONG) as struct codes."""


def upright_exif(exif: bytes) -> tuple[bytes, int]:
    """EXIF for the photo once it is turned upright, and the orientation that it had.

    Args:
        exif: with or without the leading "Exif\\0\\0".

    Returns:
        The bytes, led by "Exif\\0\\0", with Orientation 1, width and height exchanged where the turn
        exchanges them, and no thumbnail; and the orientation, 1 to 8. (b"", 1) for EXIF that is absent or
        damaged.
    """
    if not exif:
        return b"", 1
    try:
        return _edit(exif)
    except (struct.error, ValueError, IndexError) as error:
        log.warning("the photo's EXIF is damaged and is dropped: %s", error)
        return b"", 1


def upright_xmp(xmp: bytes) -> bytes:
    """XMP with orientation 1 and without embedded thumbnails."""
    xmp = re.sub(rb"(tiff:Orientation\s*(?:=\s*[\"']|>)\s*)[2-8]", rb"\g<1>1", xmp)
    return re.sub(rb"(<xmpGImg:image>)[^<]*", rb"\g<1>", xmp)


def turn_upright(pixels: AnyArray, orientation: int) -> AnyArray:
    """Turn and mirror (H, W, ...) as EXIF orientation 1 to 8 asks. A view where possible."""
    if orientation in SIDEWAYS:
        pixels = pixels.swapaxes(0, 1)
    rows = slice(None, None, -1 if orientation in (3, 4, 7, 8) else 1)
    columns = slice(None, None, -1 if orientation in (2, 3, 6, 7) else 1)
    return pixels[rows, columns]


def turn_dpi(dpi: tuple[float, float], orientation: int) -> tuple[float, float]:
    """Horizontal and vertical resolution after the turn."""
    return (dpi[1], dpi[0]) if orientation in SIDEWAYS else dpi


class Directory:
    """One TIFF directory inside a buffer: a number of 12-byte entries, then where the next directory lies.

    Args:
        data: the buffer, edited in place.
        base: where in it the TIFF header stands; offsets in the file count from there.
        offset: the directory's offset; None reads it from the header.

    Raises:
        ValueError, struct.error: this is no TIFF header, or the directory leaves the buffer.
    """

    def __init__(self, data: bytearray, base: int = 0, offset: int | None = None):
        self.data, self.base = data, base
        self.order = {b"II\x2a\0": "<", b"MM\0\x2a": ">"}.get(bytes(data[base : base + 4]), "")
        if not self.order:
            raise ValueError("expected a TIFF header")
        start = base + (self.read(base + 4, "I") if offset is None else offset)
        count = self.read(start, "H")
        self.next_at = start + 2 + 12 * count
        """Where in the buffer the next directory's offset stands."""
        self.read(self.next_at, "I")
        self.entries = {self.read(at, "H"): at for at in range(start + 2, self.next_at, 12)}
        """Tag -> where in the buffer its entry stands: tag, type, count, then the value or its offset."""

    def read(self, at: int, code: str) -> int:
        return int(struct.unpack_from(self.order + code, self.data, at)[0])

    def write(self, at: int, code: str, value: int) -> None:
        struct.pack_into(self.order + code, self.data, at, value)

    def value(self, tag: int) -> int | None:
        """A single whole number; None if the tag is absent or something else."""
        at = self.entries.get(tag)
        if at is None or self.read(at + 4, "I") != 1:
            return None
        code = _WHOLE_NUMBERS.get(self.read(at + 2, "H"))
        return None if code is None else self.read(at + 8, code)

    def set_value(self, tag: int, value: int) -> None:
        """Overwrite a single whole number that is there."""
        at = self.entries[tag]
        self.write(at + 8, _WHOLE_NUMBERS[self.read(at + 2, "H")], value)


def _edit(exif: bytes) -> tuple[bytes, int]:
    data = bytearray(exif if exif.startswith(HEADER) else HEADER + exif)
    base = len(HEADER)
    main = Directory(data, base)
    orientation = main.value(ORIENTATION) or 1
    if not 1 <= orientation <= 8:
        orientation = 1
    if main.value(ORIENTATION) is not None:
        main.set_value(ORIENTATION, 1)
    if orientation in SIDEWAYS:
        _exchange(main)
        details = main.value(EXIF_DIRECTORY)
        if details is not None:
            _exchange(Directory(data, base, details))
    _blank_thumbnail(main)
    return bytes(data), orientation


def _exchange(directory: Directory) -> None:
    """Swap type, count and value of the tags that a quarter turn exchanges."""
    for one, other in _SWAPPED:
        if one in directory.entries and other in directory.entries:
            a, b = directory.entries[one] + 2, directory.entries[other] + 2
            data = directory.data
            data[a : a + 10], data[b : b + 10] = data[b : b + 10], data[a : a + 10]


def _blank_thumbnail(main: Directory) -> None:
    """Zero the thumbnail's bytes and forget its directory, the second one."""
    offset = main.read(main.next_at, "I")
    main.write(main.next_at, "I", 0)
    if not offset:
        return
    try:
        second = Directory(main.data, main.base, offset)
    except (struct.error, ValueError):
        return
    for offset_tag, length_tag in _THUMBNAIL:
        position, length = second.value(offset_tag), second.value(length_tag)
        if position is not None and length is not None:
            start = main.base + position
            end = min(start + length, len(main.data))
            main.data[start:end] = bytes(max(0, end - start))
