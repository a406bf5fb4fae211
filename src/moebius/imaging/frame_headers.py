"""What animations say of their frames, read without decoding any, so that too many are refused at once.

Sources: GIF89a (1990), sections 17 to 26; PNG third edition, section 11.3.2 (APNG); RFC 9649, section 2.7.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass

MAX_FRAMES = 10_000
"""No file is read beyond the next."""
DISPOSE_TO_BACKGROUND = 2
"""GIF: the frame's area is emptied before the next."""


@dataclass(frozen=True)
class Shown:
    """What a file says of its frames, before any is decoded."""

    durations: tuple[float, ...]
    loop: int | None
    lossless: bool = True
    default_image: bool = False
    mode: str | None = None
    """Pillow's mode for all frames; None: as the first one says."""


def _gif(data: bytes) -> Shown:
    """Walks over the blocks of a GIF (sections 17 to 26) and reads no pixels."""
    durations: list[float] = []
    loop, delay, transparent = None, 0, False
    at = 13 + _table(data[10])
    while at < len(data) and len(durations) <= MAX_FRAMES:
        kind = data[at]
        if kind == 0x21:
            label, at = data[at + 1], at + 2
            if label == 0xF9:
                delay = int.from_bytes(data[at + 2 : at + 4], "little")
                disposal, flag = data[at + 1] >> 2 & 7, data[at + 1] & 1
                transparent = transparent or bool(flag) or disposal == DISPOSE_TO_BACKGROUND
            if (
                label == 0xFF
                and data[at + 1 : at + 12] in (b"NETSCAPE2.0", b"ANIMEXTS1.0")
                and data[at + 13] == 1
            ):
                loop = int.from_bytes(data[at + 14 : at + 16], "little")
        elif kind == 0x2C:
            durations.append(10.0 * delay)
            delay, at = 0, at + 11 + _table(data[at + 9])
        else:
            break
        while data[at]:
            at += 1 + data[at]
        at += 1
    return Shown(tuple(durations), loop, mode="RGBA" if transparent else "RGB")


def _table(flags: int) -> int:
    """Bytes of a colour table."""
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0


def _apng(data: bytes) -> Shown:
    durations: list[float] = []
    loop: int | None = None
    default, at = False, 8
    while at + 8 <= len(data) and len(durations) <= MAX_FRAMES:
        length, name = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        if name == b"acTL":
            loop = int.from_bytes(data[at + 12 : at + 16], "big")
        elif name == b"fcTL":
            numerator, denominator = struct.unpack_from(">HH", data, at + 28)
            durations.append(1000 * numerator / (denominator or 100))
        elif name == b"IDAT" and not durations:
            default = True
            durations.append(0.0)
        at += 12 + length
    return Shown(tuple(durations) if loop is not None else (), loop, default_image=default)


def _webp(data: bytes) -> Shown:
    durations: list[float] = []
    loop, lossless, at = None, True, 12
    while at + 8 <= len(data) and len(durations) <= MAX_FRAMES:
        name, length = data[at : at + 4], int.from_bytes(data[at + 4 : at + 8], "little")
        if name == b"ANIM":
            loop = int.from_bytes(data[at + 12 : at + 14], "little")
        if name == b"ANMF":
            durations.append(float(int.from_bytes(data[at + 20 : at + 23], "little")))
            lossless = lossless and b"VP8 " not in _inner_names(data[at + 24 : at + 8 + length])
        at += 8 + length + length % 2
    return Shown(tuple(durations), loop, lossless)


def _inner_names(data: bytes) -> set[bytes]:
    """Names of the chunks of one WebP frame."""
    names, at = set(), 0
    while at + 8 <= len(data):
        names.add(data[at : at + 4])
        length = int.from_bytes(data[at + 4 : at + 8], "little")
        at += 8 + length + length % 2
    return names


READERS: dict[str, Callable[[bytes], Shown]] = {"GIF": _gif, "PNG": _apng, "WEBP": _webp}
"""By Pillow's name of the format: what the file's bytes say; damaged ones raise IndexError or struct.error."""
