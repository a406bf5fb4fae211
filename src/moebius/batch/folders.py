"""Photos and masks in folders, by names in any script."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from moebius.batch.files import is_url, place_key, shown
from moebius.batch.names import is_image
from moebius.errors import InputError

log = logging.getLogger(__name__)

_Identity = tuple[int, int]
"""(device, inode)"""


@dataclass(frozen=True)
class Listing:
    """The images below a folder."""

    names: tuple[str, ...]
    """Paths below the folder with "/" between folders, sorted."""
    ignored: int
    """Other files."""


def list_images(
    folder: str,
    *,
    recursive: bool = False,
    skip: Iterable[str] = (),
    is_wanted: Callable[[str], bool] = is_image,
) -> Listing:
    """The images in a folder, told by their names.

    Hidden files and folders are left out. A folder that can be reached in several ways, by symbolic links, is visited
    once, under its own path if that is below `folder`; so a circle of links ends.

    Args:
        folder: a path or URL.
        recursive: those in folders below it too.
        skip: places of folders and files that are left out, wherever they are met.
        is_wanted: whether a file of that name is one.

    Raises:
        InputError: it is not a folder, or cannot be read.
    """
    if is_url(folder):
        from moebius.batch import remote

        top, skipped = place_key(folder), [place_key(each) for each in skip]
        names = [
            name
            for name in remote.list_files(folder, recursive=recursive)
            if not _is_hidden(name) and not _is_in(f"{top}/{name}", skipped)
        ]
        images = sorted(name for name in names if is_wanted(name))
        return Listing(tuple(images), len(names) - len(images))
    if not os.path.isdir(folder):  # noqa: PTH112, unlike Path's it has no error for long names
        raise InputError(
            f"{shown(folder)}: expected a folder, got {'a file' if os.path.exists(folder) else 'nothing'}"  # noqa: PTH110
        )
    walk = _Walk(folder, recursive, map(place_key, skip), is_wanted)
    walk.run()
    return Listing(tuple(sorted(walk.images)), walk.ignored)


class _Walk:
    """Folders themselves first, then what links lead to."""

    def __init__(self, top: str, recursive: bool, skip: Iterable[str], is_wanted: Callable[[str], bool]):
        self.images: list[str] = []
        self.ignored = 0
        self._top, self._recursive = top, recursive
        skipped = {each: identity for each in skip if (identity := _identity(each)) is not None}
        self._visited = set(skipped.values())
        self._skipped_files = {skipped[each] for each in skipped if Path(each).is_file()}
        self._links: list[str] = []
        self._is_wanted = is_wanted

    def run(self) -> None:
        pending = [""]
        while pending:
            self._visit(pending)
            pending, self._links = sorted(self._links), []

    def _visit(self, pending: list[str]) -> None:
        """All of `pending` and below, without following links to folders."""
        while pending:
            name = pending.pop(0)
            place = os.path.join(self._top, *name.split("/"))  # noqa: PTH118
            identity = _identity(place)
            if identity is None or identity in self._visited:
                continue
            self._visited.add(identity)
            for entry in self._entries(place, name):
                below = f"{name}/{entry.name}" if name else entry.name
                if not os.path.isdir(entry.path):  # noqa: PTH112, unlike the entry's it has no error for circles of links
                    self._add(below, entry)
                elif self._recursive:
                    (self._links if entry.is_symlink() else pending).append(below)

    def _entries(self, place: str, name: str) -> list[os.DirEntry[str]]:
        try:
            with os.scandir(place) as entries:
                return sorted(
                    (entry for entry in entries if not _is_hidden(entry.name)), key=lambda entry: entry.name
                )
        except OSError as error:
            if not name:
                raise InputError(f"{shown(place)}: cannot be read ({error.strerror})") from error
            log.warning(
                "%s: the folder cannot be read (%s), what is in it is left out", shown(place), error.strerror
            )
            return []

    def _add(self, name: str, entry: os.DirEntry[str]) -> None:
        # a link that leads nowhere is told of when it is its turn
        if self._skipped_files and _identity(entry.path) in self._skipped_files:
            return
        if self._is_wanted(name) and (entry.is_symlink() or entry.is_file()):
            self.images.append(name)
        else:
            self.ignored += 1


def _is_in(place: str, others: Iterable[str]) -> bool:
    return any(place == each or place.startswith(f"{each}/") for each in others)


def _is_hidden(name: str) -> bool:
    return any(part.startswith(".") for part in name.split("/"))


def _identity(place: str | Path) -> _Identity | None:
    try:
        status = os.stat(place)  # noqa: PTH116
    except (OSError, ValueError):
        return None
    return status.st_dev, status.st_ino
