"""Writing 16-bit colour as PNG, which Pillow cannot.

Only what Pillow lacks is done here: the header and the pixels. The chunks that carry profile, EXIF,
resolution and text are taken from a one-pixel PNG that Pillow writes.

Source: PNG specification (W3C, third edition), sections 5 (chunks), 9 (filters) and 11.2 (IHDR).
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_LAYOUT = {1: (0, "L"), 2: (4, "LA"), 3: (2, "RGB"), 4: (6, "RGBA")}
"""Samples a pixel -> PNG colour type, and Pillow's 8-bit mode of that kind."""
_ABOUT_THE_PHOTO = (b"cHRM", b"gAMA", b"iCCP", b"sRGB", b"eXIf", b"pHYs", b"tEXt", b"zTXt", b"iTXt")
_ROWS = 64
_SUB, _UP, _PAETH = 1, 2, 4

Bytes = NDArray[np.uint8]


def write_png16(samples: NDArray[np.uint16], file: BinaryIO, options: Mapping[str, Any]) -> None:
    """Write samples (H, W, C) with C = 1 grey, 2 grey and alpha, 3 RGB or 4 RGBA.

    Args:
        options: what `Image.save` takes for PNG.
    """
    height, width, channels = samples.shape
    colour_type, mode = _LAYOUT[channels]
    pattern = io.BytesIO()
    Image.new(mode, (1, 1)).save(pattern, "PNG", **options)
    file.write(SIGNATURE)
    for name, data in chunks(pattern.getvalue()):
        if name == b"IHDR":
            data = struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0)
        if name == b"IDAT":
            for part in _compressed(samples):
                write_chunk(file, name, part)
        else:
            write_chunk(file, name, data)


def chunks(png: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Name and data of each chunk of a whole file."""
    at = len(SIGNATURE)
    while at < len(png):
        (length,) = struct.unpack_from(">I", png, at)
        yield png[at + 4 : at + 8], png[at + 8 : at + 8 + length]
        at += 12 + length


def without_pixels(png: bytes) -> bytes:
    """A PNG of one pixel that tells of itself what a whole file tells, wherever in it that stands.

    Raises:
        struct.error: the file ends within a chunk's length.
    """
    small = io.BytesIO()
    small.write(SIGNATURE)
    write_chunk(small, b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0))
    for name, data in chunks(png):
        if name in _ABOUT_THE_PHOTO:
            write_chunk(small, name, data)
        if name == b"IEND":
            break
    write_chunk(small, b"IDAT", zlib.compress(bytes(2)))
    write_chunk(small, b"IEND", b"")
    return small.getvalue()


def write_chunk(file: BinaryIO, name: bytes, data: bytes) -> None:
    """Write one chunk with its length and checksum."""
    file.write(struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)))


def _compressed(samples: NDArray[np.uint16]) -> Iterator[bytes]:
    """The zlib stream of the filtered rows, in pieces."""
    height, width, channels = samples.shape
    step = 2 * channels  # bytes a pixel
    compressor = zlib.compressobj()
    above = np.zeros((1, step * width), dtype=np.uint8)
    for top in range(0, height, _ROWS):
        band = samples[top : top + _ROWS].astype(">u2").reshape(-1, width * channels).view(np.uint8)
        data = compressor.compress(_filtered(band, np.concatenate([above, band[:-1]]), step).tobytes())
        above = band[-1:]
        if data:
            yield data
    yield compressor.flush()


def _filtered(rows: Bytes, above: Bytes, step: int) -> Bytes:
    """Rows (n, bytes) as differences, each by the filter that leaves least, behind a byte that names it.

    The sum of absolute differences, read as signed bytes, is the measure that the specification recommends
    (section 12.7). Arithmetic is modulo 256, as uint8 does it.
    """
    left, corner = _moved(rows, step), _moved(above, step)
    candidates = {_SUB: rows - left, _UP: rows - above, _PAETH: rows - _paeth(left, above, corner)}
    cost = np.stack([np.abs(each.view(np.int8).astype(np.int16)).sum(axis=1) for each in candidates.values()])
    names = np.array(list(candidates), dtype=np.uint8)[cost.argmin(axis=0)]
    best = np.select([names[:, None] == name for name in candidates], list(candidates.values()))
    return np.concatenate([names[:, None], best], axis=1)


def _moved(rows: Bytes, step: int) -> Bytes:
    """Each byte's neighbour one pixel to the left, 0 before the first."""
    moved = np.zeros_like(rows)
    moved[:, step:] = rows[:, :-step]
    return moved


def _paeth(left: Bytes, above: Bytes, corner: Bytes) -> Bytes:
    """Whichever of the three is nearest to left + above - corner; ties in that order (section 9.4)."""
    a, b, c = (each.astype(np.int16) for each in (left, above, corner))
    to_a, to_b, to_c = np.abs(b - c), np.abs(a - c), np.abs(a + b - 2 * c)
    return np.where((to_a <= to_b) & (to_a <= to_c), left, np.where(to_b <= to_c, above, corner))
