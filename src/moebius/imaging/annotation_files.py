"""Annotation files as parsed JSON, with COCO's entries by photo; one that many photos share is parsed once."""

from __future__ import annotations

import json
import os
import threading
import unicodedata
from collections import OrderedDict
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

from moebius.errors import MaskError
from moebius.imaging.decode import reason

_Key = bytes | tuple[str, int, int]
"""What tells one file from another: its bytes, or (path, size in bytes, time of its last change in nanoseconds)."""


class AnnotationFile:
    """What is in a file. The tables below are made when they are first asked for, and raise what damaged entries do
    (KeyError, TypeError and their like)."""

    def __init__(self, values: Any):
        self.values = values

    def annotations_of(self, image_id: Any) -> list[Any]:
        """COCO's annotations of one photo, in the file's order."""
        return self._annotations.get(image_id, [])

    def images_called(self, name: str) -> list[Any]:
        """COCO's entries for the photo's file `name`: of that very name without its folders, else of its stem."""
        return self._images.get(base_of(name)) or self._images_by_stem.get(stem_of(name), [])

    @cached_property
    def _annotations(self) -> dict[Any, list[Any]]:
        return _grouped((each["image_id"], each) for each in self.values["annotations"])

    @cached_property
    def _images(self) -> dict[Any, list[Any]]:
        return _grouped((base_of(image["file_name"]), image) for image in self.values["images"])

    @cached_property
    def _images_by_stem(self) -> dict[Any, list[Any]]:
        return _grouped((stem_of(image["file_name"]), image) for image in self.values["images"])


class AnnotationCache:
    """Annotation files that were read last. For many threads: what several want at once is parsed once.

    A file that has changed, by its size or time, is read again. Pickled it is empty.

    Args:
        most_files: that are held.
        most_bytes: that all held files have on the disk; parsed they take several times as much. The last one is held
            whatever its size: that is the one which all photos of a batch share.
    """

    def __init__(self, most_files: int = 4, most_bytes: int = 1 << 26):
        self._most = most_files, most_bytes
        self._held: OrderedDict[_Key, tuple[AnnotationFile, int]] = OrderedDict()
        self._guard = threading.Lock()

    def load(self, source: str | Path | bytes) -> AnnotationFile:
        """As `load_annotations`."""
        key = _key(source)
        if key is None:
            return load_annotations(source)
        with self._guard:
            if key not in self._held:
                nbytes = len(key) if isinstance(key, bytes) else key[1]
                self._held[key] = load_annotations(source), nbytes
            self._held.move_to_end(key)
            most_files, most_bytes = self._most
            while len(self._held) > 1 and (
                len(self._held) > most_files or sum(nbytes for _, nbytes in self._held.values()) > most_bytes
            ):
                self._held.popitem(last=False)
            return self._held[key][0]

    def __len__(self) -> int:
        return len(self._held)

    def __reduce__(self) -> tuple[Any, ...]:
        return AnnotationCache, self._most


def load_annotations(source: str | Path | bytes) -> AnnotationFile:
    """Parse a file, given by its path or its bytes.

    Raises:
        MaskError: it cannot be read, or is no JSON in UTF-8.
    """
    label = label_of(source)
    if isinstance(source, bytes):
        data = source
    else:
        try:
            data = Path(source).read_bytes()
        except FileNotFoundError as error:
            raise MaskError(f"{label}: no such file") from error
        except (OSError, ValueError) as error:
            raise MaskError(f"{label}: cannot be read ({reason(error)})") from error
    try:
        return AnnotationFile(json.loads(data.decode("utf-8-sig")))
    except (ValueError, RecursionError) as error:
        raise MaskError(f"{label}: expected JSON in UTF-8, got something else ({reason(error)})") from error


def label_of(source: str | Path | bytes) -> str:
    """What messages call a file."""
    return "annotations" if isinstance(source, bytes) else f"annotations {source}"


def base_of(name: str) -> str:
    """A photo's file name without its folders, in one spelling."""
    return PurePosixPath(plain(name)).name


def stem_of(name: str) -> str:
    """Likewise, without its suffix."""
    return PurePosixPath(plain(name)).stem


def plain(name: str) -> str:
    """One spelling: "/" between folders, and accents composed, which some systems take apart."""
    return unicodedata.normalize("NFC", name.replace("\\", "/"))


def _key(source: str | Path | bytes) -> _Key | None:
    """None where the file cannot be looked at: what reads it says why."""
    if isinstance(source, bytes):
        return source
    try:
        status = Path(source).stat()
    except (OSError, ValueError):
        return None
    return os.fspath(source), status.st_size, status.st_mtime_ns


def _grouped(pairs: Iterable[tuple[Any, Any]]) -> dict[Any, list[Any]]:
    groups: dict[Any, list[Any]] = {}
    for key, value in pairs:
        groups.setdefault(key, []).append(value)
    return groups
