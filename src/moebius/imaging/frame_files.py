"""Writing APNG and animated WebP a frame at a time; Pillow would hold all frames until the last has come.

Pillow encodes each frame as a still picture of the part that differs from the frame before; here these are put
one behind the other in one file.

Sources: PNG third edition, sections 11.3.2.4 to 11.3.2.6 (acTL, fcTL, fdAT); RFC 9649, sections 2.5 to 2.7.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterable, Iterator, Mapping
from fractions import Fraction
from typing import Any, BinaryIO

import numpy as np
from PIL import Image

from moebius.imaging.arrays import AnyArray
from moebius.imaging.box import Box, bounding_box
from moebius.imaging.png16 import SIGNATURE, chunks, write_chunk

_MAX_DELAY = 65535
_ALPHA, _ANIMATION, _ICC, _EXIF, _XMP = 0x10, 0x02, 0x20, 0x08, 0x04
_NO_BLENDING = 0x02
_HEAD = (b"VP8X", b"ICCP", b"EXIF", b"XMP ")


def write_apng(
    frames: Iterable[AnyArray],
    file: BinaryIO,
    durations: tuple[float, ...],
    loop: int,
    *,
    default_image: bool = False,
    options: Mapping[str, Any],
) -> None:
    """Write frames (H, W, 3 or 4) uint8, all alike.

    Args:
        durations: milliseconds, one a frame.
        loop: how often it is shown, 0 for without end.
        default_image: the first frame is not part of the animation.
        options: what `Image.save` takes for PNG.
    """
    sequence = 0
    for index, (frame, box) in enumerate(_differences(frames, default_image)):
        still = _encoded(frame, box, "PNG", options if not index else {})
        animated = not (default_image and index == 0)
        if index == 0:
            file.write(SIGNATURE)
        control = _frame_control(box, durations[index])
        started = False
        for name, data in chunks(still):
            if name == b"IDAT":
                if animated and not started:
                    write_chunk(file, b"fcTL", struct.pack(">I", sequence) + control)
                    sequence += 1
                started = True
                if index == 0:
                    write_chunk(file, name, data)
                else:
                    write_chunk(file, b"fdAT", struct.pack(">I", sequence) + data)
                    sequence += 1
            elif index == 0 and name != b"IEND":
                write_chunk(file, name, data)
                if name == b"IHDR":
                    write_chunk(file, b"acTL", struct.pack(">II", len(durations) - default_image, loop))
    write_chunk(file, b"IEND", b"")


def write_webp_frames(
    frames: Iterable[AnyArray],
    file: BinaryIO,
    durations: tuple[float, ...],
    loop: int,
    *,
    options: Mapping[str, Any],
) -> None:
    """Write frames (H, W, 3 or 4) uint8, all alike; `options` are what `Image.save` takes for WebP.

    The first frame's metadata becomes the file's.
    """
    start = file.tell()
    tail = b""
    own = {key: value for key, value in options.items() if key not in ("icc_profile", "exif", "xmp")}
    for index, (frame, box) in enumerate(_differences(frames, even=True)):
        parts = list(_webp_chunks(_encoded(frame, box, "WEBP", own if index else options)))
        found = dict(parts)
        if index == 0:
            flags = _ANIMATION | (_ALPHA if frame.shape[2] == 4 else 0)
            for name, flag in ((b"ICCP", _ICC), (b"EXIF", _EXIF), (b"XMP ", _XMP)):
                flags |= flag if name in found else 0
            file.write(b"RIFF\0\0\0\0WEBP")
            size = _three(frame.shape[1] - 1) + _three(frame.shape[0] - 1)
            file.write(_webp_chunk(b"VP8X", struct.pack("<I", flags) + size))
            if b"ICCP" in found:
                file.write(_webp_chunk(b"ICCP", found[b"ICCP"]))
            file.write(_webp_chunk(b"ANIM", bytes(4) + struct.pack("<H", loop)))
            tail = b"".join(_webp_chunk(name, found[name]) for name in (b"EXIF", b"XMP ") if name in found)
        head = _three(box.left // 2) + _three(box.top // 2) + _three(box.width - 1) + _three(box.height - 1)
        head += _three(min(round(durations[index]), 0xFFFFFF)) + bytes([_NO_BLENDING])
        body = b"".join(_webp_chunk(name, data) for name, data in parts if name not in _HEAD)
        file.write(_webp_chunk(b"ANMF", head + body))
    file.write(tail)
    end = file.tell()
    file.seek(start + 4)
    file.write(struct.pack("<I", end - start - 8))
    file.seek(end)


def _differences(
    frames: Iterable[AnyArray], whole_second: bool = False, even: bool = False
) -> Iterator[tuple[AnyArray, Box]]:
    """Each frame with the box around what differs from the one before: a pixel at least, at even places if `even`."""
    before: AnyArray | None = None
    for index, frame in enumerate(frames):
        box: Box | None = Box(0, 0, frame.shape[1], frame.shape[0])
        if before is not None and not (whole_second and index == 1):
            box = bounding_box((frame != before).any(axis=-1)) or Box(0, 0, 1, 1)
            if even:
                box = Box(box.left // 2 * 2, box.top // 2 * 2, box.right, box.bottom)
        assert box is not None
        yield frame, box
        before = frame


def _encoded(frame: AnyArray, box: Box, format: str, options: Mapping[str, Any]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(frame[box.slices])).save(buffer, format, **options)
    return buffer.getvalue()


def _frame_control(box: Box, duration: float) -> bytes:
    """An fcTL chunk behind its sequence number: it stays, and replaces what was there."""
    delay = _delay(duration)
    return struct.pack(
        ">IIIIHHBB", box.width, box.height, box.left, box.top, delay.numerator, delay.denominator, 0, 0
    )


def _delay(duration: float) -> Fraction:
    """Milliseconds as seconds in the form that APNG has for them: exactly, if they came from there."""
    seconds = min(duration / 1000, float(_MAX_DELAY))
    parts = _MAX_DELAY if seconds <= 1 else int(_MAX_DELAY / seconds + 1e-6)
    return Fraction(seconds).limit_denominator(parts)


def _webp_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = 12
    while at + 8 <= len(data):
        (length,) = struct.unpack_from("<I", data, at + 4)
        yield data[at : at + 4], data[at + 8 : at + 8 + length]
        at += 8 + length + length % 2


def _webp_chunk(name: bytes, data: bytes) -> bytes:
    return name + struct.pack("<I", len(data)) + data + bytes(len(data) % 2)


def _three(number: int) -> bytes:
    return number.to_bytes(3, "little")
