"""From a photo's bytes to its picture's: a still, or an animation whose frames are all filled."""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from dataclasses import dataclass

from moebius.imaging import (
    Animation,
    Changes,
    Hole,
    Photo,
    Written,
    check_output,
    read_frames,
    read_photo,
    write_photo,
)
from moebius.imaging.frames import fits_all_frames
from moebius.pipeline import Result
from moebius.pipeline.animated import fill_frames


@dataclass(frozen=True)
class Opened:
    """A photo that was read, for an output of a certain name."""

    photo: Photo
    """Of an animation its first frame."""
    animation: Animation | None
    """Set if the output keeps all frames; else the first is taken, with a warning."""
    suffix: str
    """Of the output."""

    def check(self, photo: Photo) -> None:
        """Raises OutputError if the output cannot hold the photo as it is to be filled."""
        if self.animation is None:
            check_output(photo, io.BytesIO(), format=self.suffix)


@dataclass(frozen=True)
class Picture:
    """What is to be written, and how it came to be."""

    data: bytes
    result: Result
    """Of an animation: see `fill_frames`."""
    written: Written
    changes: Changes | None
    """Of an animation in all frames together."""
    frames: int | None
    """None for stills."""
    seconds: float
    """That encoding took."""


def open_photo(data: bytes, suffix: str) -> Opened:
    """Read a photo for an output of this suffix.

    Raises:
        PhotoError: it cannot be read; see `read_photo` and `read_frames`.
    """
    if fits_all_frames(data, f"output{suffix}"):
        animation = read_frames(data)
        return Opened(next(iter(animation.frames)), animation, suffix)
    return Opened(read_photo(data), None, suffix)


def make_picture(
    opened: Opened, photo: Photo, hole: Hole, fill: Callable[[Photo, Hole], Result], *,
    frame_hole: Callable[[Photo], tuple[Photo, Hole]], quality: int | None,
) -> Picture:  # fmt: skip
    """Fill and encode.

    Args:
        photo, hole: as it is to be filled, and its hole.
        frame_hole: the same of a frame.

    Raises:
        PhotoError: a later frame is damaged.
        OutputError: it cannot be encoded.
    """
    buffer = io.BytesIO()
    if opened.animation is None:
        result = fill(photo, hole)
        changes = result.changes(photo)
        began = time.perf_counter()
        written = write_photo(result.photo, buffer, format=opened.suffix, quality=quality)
        seconds = time.perf_counter() - began
        return Picture(buffer.getvalue(), result, written, changes, None, seconds)
    began = time.perf_counter()
    done = fill_frames(fill, opened.animation, buffer, frame_hole=frame_hole, compare=True, quality=quality)
    seconds = max(0.0, time.perf_counter() - began - done.result.timings["total"])
    return Picture(buffer.getvalue(), done.result, done.written, done.changes, len(opened.animation), seconds)
