"""Annotation files that many photos of a run have in common: read, hashed and parsed once."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from moebius.batch.files import Stamp, digest, read_bytes, stamp
from moebius.imaging.annotation_files import AnnotationCache


@dataclass(frozen=True)
class Read:
    """A file's bytes, and which they were: stamped before they were read, so that a change meanwhile shows later."""

    place: str
    data: bytes
    stamp: Stamp | None
    sha256: str


class SharedFiles:
    """What a run's threads share. The last annotation file is held until it changes by size or time, or another one is
    read: one for all photos is read once, and of one for each photo there is never more than one. Pickled it is empty.
    """

    def __init__(self) -> None:
        self.annotations = AnnotationCache()
        self._last: Read | None = None
        self._guard = threading.Lock()

    def read(self, place: str, before: Stamp | None = None) -> Read:
        """A file as it is now.

        Args:
            before: as for the function `read`.

        Raises:
            InputError: it is not there, or cannot be read.
        """
        if PurePosixPath(place).suffix.lower() != ".json":
            return read(place, before)
        with self._guard:
            now, last = before or stamp(place), self._last
            is_dated = now is not None and (now.mtime_ns is not None or now.tag is not None)
            if last is None or not is_dated or (last.place, last.stamp) != (place, now):
                self._last = last = read(place, now)
            return last

    def __reduce__(self) -> tuple[Any, ...]:
        return SharedFiles, ()


def read(place: str, before: Stamp | None = None) -> Read:
    """A file's bytes.

    Args:
        before: what was told of it before; else it is looked at now.

    Raises:
        InputError: it is not there, or cannot be read.
    """
    before = before or stamp(place)
    data = read_bytes(place)
    return Read(place, data, before, digest(data))
