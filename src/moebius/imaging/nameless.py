"""Files for libraries that want a path, which nobody else finds and which end with the process.

A photo must not stay behind in the temporary folder because a process was killed. On Linux such a file lies in memory;
on other systems with /dev/fd it is one that has lost its name already; elsewhere it lies in a folder of its own that
only this user may enter, and is removed afterwards, which a kill prevents.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

_OWN_DESCRIPTORS = ("/proc/self/fd", "/dev/fd")


class NamelessFile:
    """A path that this process can open, for as long as the `with` block of `nameless_file` lasts."""

    def __init__(self, path: str, file: BinaryIO | None):
        self.path = path
        self._file = file

    def content(self) -> bytes:
        """All that has been written to it."""
        if self._file is None:
            return Path(self.path).read_bytes()
        self._file.seek(0)
        return self._file.read()


@contextmanager
def nameless_file(data: bytes = b"") -> Iterator[NamelessFile]:
    """A file that holds `data`, to be read or written over by something that opens it by its path.

    Raises:
        OSError: there is no room for it.
    """
    for make in (_in_memory, _unlinked):
        file = make()
        if file is None:
            continue
        with file:
            path = _path_of(file)
            if path is None:
                continue
            try:
                file.write(data)
                file.flush()
                yield NamelessFile(path, file)
            finally:
                with suppress(OSError):  # what a library has failed to close would keep the photo in memory
                    file.truncate(0)
            return
    with tempfile.TemporaryDirectory(prefix="moebius-") as folder:  # 0700
        named = Path(folder) / "file"
        named.write_bytes(data)
        yield NamelessFile(str(named), None)


def _in_memory() -> BinaryIO | None:
    create: Callable[[str], int] | None = getattr(os, "memfd_create", None)
    if create is None:
        return None
    try:
        return os.fdopen(create("moebius"), "w+b")
    except OSError:  # an old kernel, or one that was told to refuse
        return None


def _unlinked() -> BinaryIO | None:
    if os.name != "posix":
        return None
    return tempfile.TemporaryFile(prefix="moebius-")


def _path_of(file: BinaryIO) -> str | None:
    """The path by which this process can open a file that it has open."""
    for folder in _OWN_DESCRIPTORS:
        path = f"{folder}/{file.fileno()}"
        if os.access(path, os.R_OK | os.W_OK):
            return path
    return None
