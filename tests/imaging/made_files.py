"""Image files and pieces of them made by hand, where Pillow would not make them."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
from PIL import Image

from moebius.imaging.arrays import AnyArray, Mask

THUMBNAIL = b"\xff\xd8 a small picture of what was removed \xff\xd9"
MAKER_NOTE = b"MAKER" + bytes(range(64))


def noise(shape: tuple[int, ...], dtype: Any = np.uint8, seed: int = 0) -> AnyArray:
    """Random samples over the whole range of the type."""
    return np.random.default_rng(seed).integers(0, np.iinfo(dtype).max, shape, dtype=dtype, endpoint=True)


def random_mask(seed: int, density: float, height: int, width: int) -> Mask:
    return np.random.default_rng(seed).random((height, width)) < density


def encoded(image: Image.Image, format: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def png_chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(width: int, height: int, depth: int, colour_type: int, data: bytes, *, interlace: int = 0) -> bytes:
    """A PNG around rows that are filtered already; `data` may be far too short for a large header."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, interlace)
    chunks = png_chunk(b"IHDR", header) + png_chunk(b"IDAT", zlib.compress(data)) + png_chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def exif(orientation: int, *, order: str = "<", width: int = 40, height: int = 30) -> bytes:
    """EXIF as a camera writes it: directories, a maker's note with an absolute offset, and a thumbnail."""
    entries: dict[str, int] = {"thumbnail": 0, "details": 0, "second": 0, "note": 0}

    def build() -> bytes:
        def directory(rows: list[tuple[int, int, int, bytes]], following: int) -> bytes:
            body = b"".join(
                struct.pack(order + "HHI", tag, kind, count) + value.ljust(4, b"\0")
                for tag, kind, count, value in rows
            )
            return struct.pack(order + "H", len(rows)) + body + struct.pack(order + "I", following)

        def short(value: int) -> bytes:
            return struct.pack(order + "H", value)

        def long(value: int) -> bytes:
            return struct.pack(order + "I", value)

        data = (b"II\x2a\0" if order == "<" else b"MM\0\x2a") + long(8)
        data += directory(
            [
                (0x010F, 2, 4, b"Moe\0"),
                (0x0112, 3, 1, short(orientation)),
                (0x8769, 4, 1, long(entries["details"])),
            ],
            entries["second"],
        )
        entries["details"] = len(data)
        data += directory(
            [
                (0x927C, 7, len(MAKER_NOTE), long(entries["note"])),
                (0xA002, 4, 1, long(width)),
                (0xA003, 3, 1, short(height)),
            ],
            0,
        )
        entries["second"] = len(data)
        data += directory(
            [(0x0201, 4, 1, long(entries["thumbnail"])), (0x0202, 4, 1, long(len(THUMBNAIL)))], 0
        )
        entries["note"] = len(data)
        data += MAKER_NOTE
        entries["thumbnail"] = len(data)
        return data + THUMBNAIL

    build()  # finds out where everything comes to lie
    return b"Exif\0\0" + build()


def cmyk_profile() -> bytes:
    """An ICC output profile whose press makes grey from cyan, magenta and yellow only, never from black.

    Lightness = 100 (1 - k) (1 - (c + m + y) / 3), no colour at all; back: c = m = y = 1 - lightness, k = 0.
    Both are multilinear, so tables with two points a side are exact. Layout: ICC.1:2001-04, sections 6.1 and
    6.5.7.
    """

    def fixed(value: float) -> bytes:
        return struct.pack(">i", round(value * 65536))

    def table(inputs: int, outputs: int, colours: AnyArray) -> bytes:
        identity = b"".join(fixed(value) for value in (1, 0, 0, 0, 1, 0, 0, 0, 1))
        ramp = bytes(range(256))
        head = b"mft1" + bytes(4) + bytes([inputs, outputs, 2, 0]) + identity
        return head + ramp * inputs + np.round(colours * 255).astype(np.uint8).tobytes() + ramp * outputs

    cyan, magenta, yellow, black = np.meshgrid(*[np.arange(2.0)] * 4, indexing="ij")
    lightness = (1 - black) * (1 - (cyan + magenta + yellow) / 3)
    neutral = np.full_like(lightness, 128 / 255)
    to_lab = table(4, 3, np.stack([lightness, neutral, neutral], axis=-1))
    level = np.meshgrid(*[np.arange(2.0)] * 3, indexing="ij")[0]
    to_inks = table(3, 4, np.stack([1 - level, 1 - level, 1 - level, 0 * level], axis=-1))
    white = b"XYZ " + bytes(4) + fixed(0.9642) + fixed(1) + fixed(0.8249)
    name = b"desc" + bytes(4) + struct.pack(">I", 5) + b"grey\0" + bytes(78)
    tags = {b"desc": name, b"wtpt": white, b"A2B0": to_lab, b"B2A0": to_inks}
    position, index, body = 128 + 4 + 12 * len(tags), b"", b""
    for key, data in tags.items():
        data += bytes(-len(data) % 4)
        index += key + struct.pack(">II", position + len(body), len(data))
        body += data
    header = struct.pack(">I4sI4s4s4s", position + len(body), bytes(4), 0x02400000, b"prtr", b"CMYK", b"Lab ")
    header += bytes(12) + b"acsp" + bytes(28) + fixed(0.9642) + fixed(1) + fixed(0.8249)
    return header.ljust(128, b"\0") + struct.pack(">I", len(tags)) + index + body
