"""The outer structure of JPEG files: segments, and what the frame header says.

Source: ITU-T T.81, annex B (markers, frame and scan headers); JFIF 1.02; Adobe Technical Note 5116 (APP14).
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace

_START, _END, _SCAN = 0xD8, 0xD9, 0xDA
_APPLICATIONS, _COMMENT, _ADOBE = range(0xE0, 0xF0), 0xFE, 0xEE
_FRAMES = {0xC0: False, 0xC1: False, 0xC2: True}
"""Frame headers of Huffman-coded files -> whether they are progressive."""
_OTHER_FRAMES = {0xC3, *range(0xC5, 0xC8), *range(0xC9, 0xCC), *range(0xCD, 0xD0)}
_NEXT_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
"""Inside coded data: not a stuffed 0xFF, not a restart marker."""


@dataclass(frozen=True)
class Layout:
    """What a frame header says; factors are (across, down)."""

    size: tuple[int, int]
    """(width, height) in pixels."""
    factors: tuple[tuple[int, int], ...]
    """Sampling factors of each component."""
    progressive: bool = False
    problem: str = ""
    """Why the coefficients cannot be handled, or empty."""

    @property
    def components(self) -> int:
        return len(self.factors)

    @property
    def chroma(self) -> tuple[int, int]:
        """Luma samples a chroma sample, across and down; (1, 1) for grey."""
        return self.factors[0] if self.components > 1 else (1, 1)

    @property
    def coefficients(self) -> int:
        return 64 * sum(rows * columns for rows, columns in self.blocks())

    def blocks(self) -> list[tuple[int, int]]:
        """(rows, columns) of each component's blocks, as far as they hold pixels."""
        (width, height) = self.size
        widest, tallest = (max(each[axis] for each in self.factors) for axis in (0, 1))
        return [
            (-(-height * down // (8 * tallest)), -(-width * across // (8 * widest)))
            for across, down in self.factors
        ]

    def transposed(self) -> Layout:
        return replace(
            self, size=(self.size[1], self.size[0]), factors=tuple((b, a) for a, b in self.factors)
        )


def read_layout(data: bytes) -> Layout:
    """The layout of a file; one with a `problem` if it is none of the common kinds."""
    transform = None
    has_jfif = False
    for marker, start, end in _segments(data):
        body = data[start + 4 : end]
        if marker == _ADOBE and body.startswith(b"Adobe") and len(body) >= 12:
            transform = body[11]
        has_jfif = has_jfif or (marker == 0xE0 and body.startswith(b"JFIF\0"))
        if marker in _OTHER_FRAMES:
            return Layout((0, 0), ((1, 1),), problem="it is lossless, hierarchical or arithmetic coded")
        if marker not in _FRAMES:
            continue
        if len(body) < 6 or len(body) < 6 + 3 * body[5]:
            break
        depth, height, width, components = struct.unpack_from(">BHHB", body)
        ids = [body[6 + 3 * index] for index in range(components)]
        factors = tuple((body[7 + 3 * index] >> 4, body[7 + 3 * index] & 15) for index in range(components))
        problem = ""
        if components not in (1, 3):
            problem = f"it has {components} components"
        elif depth != 8:
            problem = f"it has {depth} bits a sample"
        elif (
            components == 3 and not has_jfif and (transform == 0 or (transform is None and ids == [*b"RGB"]))
        ):
            problem = "it stores RGB, not luma and chroma"
        elif components == 1:
            factors = ((1, 1),)  # the factors of a single component mean nothing (A.2.2)
        elif factors[1:] != ((1, 1), (1, 1)):
            problem = "its sampling factors are unusual"
        if not (width and height and all(1 <= factor <= 4 for pair in factors for factor in pair)):
            break
        return Layout((width, height), factors, _FRAMES[marker], problem)
    return Layout((0, 0), ((1, 1),), problem="its frame header is damaged")


def without_metadata(data: bytes) -> bytes:
    """The first picture of the file with only what its decoding needs."""
    kept = [b"\xff\xd8"]
    ended = False
    for marker, start, end in _segments(data):
        ended = marker == _END
        if marker not in _APPLICATIONS and marker != _COMMENT:
            kept.append(data[start:end])
    return b"".join(kept) + (b"" if ended else b"\xff\xd9")


def header_segments(data: bytes) -> bytes:
    """The file's start with its application segments and comments, up to the first that is about the picture."""
    kept = [b"\xff\xd8"]
    for marker, start, end in _segments(data):
        if marker in _APPLICATIONS or marker == _COMMENT:
            kept.append(data[start:end])
    return b"".join(kept)


def with_ids(data: bytes) -> bytes:
    """Everything but start and metadata, with the components numbered 1, 2, 3 as JFIF asks.

    Args:
        data: a file whose components are numbered in the order of the frame header.
    """
    parts = []
    numbers: dict[int, int] = {}
    for marker, start, end in _segments(data):
        if marker in _APPLICATIONS or marker == _COMMENT:
            continue
        part = bytearray(data[start:end])
        if marker in _FRAMES:
            for index in range(part[9]):
                numbers[part[10 + 3 * index]] = index + 1
                part[10 + 3 * index] = index + 1
        elif marker == _SCAN:
            for index in range(part[4]):
                part[5 + 2 * index] = numbers[part[5 + 2 * index]]
        parts.append(bytes(part))
    return b"".join(parts)


def _segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Marker, start and end of each segment up to the end of the first picture; coded data belongs to its scan."""
    at = 2
    while at + 2 <= len(data):
        if data[at] != 0xFF:
            at += 1
            continue
        marker = data[at + 1]
        if marker in (0xFF, 0x00, 0x01, _START) or 0xD0 <= marker <= 0xD7:
            at += 1 if marker == 0xFF else 2
            continue
        if marker == _END:
            yield marker, at, at + 2
            return
        if at + 4 > len(data):
            return
        length = int(struct.unpack_from(">H", data, at + 2)[0])
        if length < 2:  # it counts itself; readers disagree on what follows
            return
        end = at + 2 + length
        if marker == _SCAN:
            following = _NEXT_MARKER.search(data, end)
            end = following.start() if following else len(data)
        yield marker, at, min(end, len(data))
        at = end
