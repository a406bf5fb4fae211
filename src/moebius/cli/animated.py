"""`moebius inpaint` with an animation: whether all its frames are filled."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from moebius.imaging import Animation


def animation_of(photo: str, target: Path | BinaryIO, format: str | None) -> Animation | None:
    """The animation in a file, if the output is of the same format; else None, and its first frame is filled.

    Raises:
        PhotoError: it is none that can be read.
    """
    if photo == "-" or not isinstance(target, Path) or not Path(photo).is_file():
        return None
    from moebius.imaging import read_frames
    from moebius.imaging.frames import fits_all_frames

    names = [target.name] if format is None else [target.name, f"output.{format.removeprefix('.')}"]
    return read_frames(photo) if all(fits_all_frames(photo, name) for name in names) else None


@contextmanager
def each_warning_once() -> Iterator[None]:
    """Inside, what the package warns of is told once, however many frames it holds for."""
    told: set[str] = set()

    def is_new(record: logging.LogRecord) -> bool:
        line = record.getMessage()
        new = line not in told
        told.add(line)
        return new

    handlers = list(logging.getLogger("moebius").handlers)
    for handler in handlers:
        handler.addFilter(is_new)
    try:
        yield
    finally:
        for handler in handlers:
            handler.removeFilter(is_new)
