"""Bytes from and to a place: a local path, or a URL with "://" (`moebius.batch.remote`)."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from moebius.errors import InputError, OutputError
from moebius.imaging import atomic_file


@dataclass(frozen=True)
class Stamp:
    """What can be told of a file without reading it."""

    nbytes: int | None
    """None where a storage does not say."""
    mtime_ns: int | None
    """Time of its last change in nanoseconds; None where that is not to be had, or `tag` tells more."""
    tag: str | None = None
    """What a storage tells versions of an object apart by: its ETag."""


def is_url(place: str) -> bool:
    """Whether a place is for `moebius.batch.remote`."""
    return "://" in place


def read_bytes(place: str) -> bytes:
    """All bytes of a file.

    Raises:
        InputError: it is not there, or cannot be read.
    """
    if is_url(place):
        from moebius.batch import remote

        return remote.read_bytes(place)
    try:
        return Path(place).read_bytes()
    except FileNotFoundError as error:
        raise InputError(f"{shown(place)}: no such file") from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{shown(place)}: cannot be read ({reason})") from error


def write_bytes(
    place: str, data: bytes, *, overwrite: bool = False, first: Callable[[], None] | None = None
) -> None:
    """Write a file, whole or not at all; its folder is made if need be.

    Args:
        overwrite: replace a file that is there. At a URL it is looked for just before, as storages have no locks.
        first: called before the file can be seen, and on a local disk when there was room for its bytes.

    Raises:
        OutputError: it exists (without `overwrite`), or cannot be written.
        InputError: a storage does not say whether it exists.
    """
    if is_url(place):
        from moebius.batch import remote

        if not overwrite and remote.look(place) is not None:
            raise OutputError(f"{shown(place)} exists already")
        if first is not None:
            first()
        remote.write_bytes(place, data)
        return
    make_folder(Path(place).parent)
    with atomic_file(place, overwrite=overwrite) as file:
        file.write(data)
        file.flush()
        if first is not None:
            first()


def make_folder(folder: Path) -> None:
    """The folder, with those above it, is there.

    Raises:
        OutputError: it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = error.strerror or error
        raise OutputError(f"{shown(str(folder))}: the folder cannot be made ({reason})") from error


def stamp(place: str) -> Stamp | None:
    """Size and time of a file; None if it is not there.

    Raises:
        InputError: a storage does not say.
    """
    if is_url(place):
        from moebius.batch import remote

        return remote.look(place)
    try:
        status = Path(place).stat()
    except (OSError, ValueError):
        return None
    return Stamp(status.st_size, status.st_mtime_ns)


def absolute(place: str) -> str:
    """A place that means the same to a program that runs in another folder."""
    return place if is_url(place) else str(Path(place).absolute())


def place_key(place: str) -> str:
    """The same text for the same place, however it is written: links are followed, and file:// is a path."""
    scheme, _, rest = place.partition("://") if is_url(place) else ("file", "", place)
    if scheme in ("file", "local"):
        return os.path.realpath(rest)
    parts = "/".join(part for part in rest.split("/") if part)
    return f"{_SAME_STORAGE.get(scheme, scheme)}://{parts}"


_SAME_STORAGE = {"s3a": "s3", "gcs": "gs"}


def digest(data: bytes) -> str:
    """SHA-256 in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def shown(place: str) -> str:
    """A place for people: bytes that are not UTF-8 become question marks in a box."""
    return place.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
