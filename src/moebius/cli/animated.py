"""`moebius inpaint` with an animation: every frame is filled, with the same noise."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

if TYPE_CHECKING:
    from moebius.imaging import Photo
    from moebius.imaging.arrays import Mask
    from moebius.imaging.changes import Written
    from moebius.imaging.frames import Animation
    from moebius.pipeline import Moebius, Result


def animation_of(photo: str, target: Path | BinaryIO, format: str | None) -> Animation | None:
    """The animation in a file, if the output is of the same format; else None, and its first frame is filled.

    Raises:
        PhotoError: it is none that can be read.
    """
    if photo == "-" or format is not None or not isinstance(target, Path):
        return None
    if Path(photo).suffix.lower() != target.suffix.lower():
        return None
    if target.suffix.lower() not in (".gif", ".webp", ".png", ".apng") or not Path(photo).is_file():
        return None
    from moebius.imaging.frames import is_animated, read_frames

    return read_frames(photo) if is_animated(photo) else None


@contextmanager
def all_frames_are_used() -> Iterator[None]:
    """Around reading the first frame, about which `read_photo` warns that there are others."""
    logger = logging.getLogger("moebius.imaging.reader")

    def is_other(record: logging.LogRecord) -> bool:
        return "only the first is used" not in record.getMessage()

    logger.addFilter(is_other)
    try:
        yield
    finally:
        logger.removeFilter(is_other)


def fill_frames(
    model: Moebius, animation: Animation, mask: Mask, target: Path, options: dict[str, Any], *,
    quality: int | None, overwrite: bool,
) -> tuple[Result, Written]:  # fmt: skip
    """Fill and write frame after frame; one is in memory at a time. The last one's result, and how all were stored.

    Frames get the same noise, and are otherwise filled without regard to one another.
    """
    from moebius.imaging.frames import write_frames

    results: list[Result] = []

    def filled() -> Iterator[Photo]:
        for frame in animation.frames:
            result = model(frame, mask, **options)
            results[:] = [result]
            yield result.photo

    written = write_frames(replace(animation, frames=filled()), target, quality=quality, overwrite=overwrite)
    return results[0], written
