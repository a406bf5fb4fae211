"""Who works on what: locks that a process holds on single bytes of one file, and loses when it ends.

An item's byte is at an offset made from its name; the file itself stays empty. The kernel gives the locks of a killed
process back by itself. They work between machines too where the shared file system's locks do (NFS 4 and SMB do).
"""

from __future__ import annotations

import errno
import hashlib
import logging
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from moebius.errors import OutputError

log = logging.getLogger(__name__)

FILE_NAME = ".moebius-claims"
_OFFSETS = 2**62
_TAKEN = (errno.EACCES, errno.EAGAIN, errno.EDEADLK)


class Claims:
    """The locks of one process on the items of one folder. A context manager; any thread may call it.

    A process has one of these for a folder: POSIX gives up all of a process's locks on a file as soon as any
    of its descriptors is closed.

    Raises:
        OutputError: the folder cannot be written to.
    """

    def __init__(self, folder: Path):
        try:
            self._file = os.open(folder / FILE_NAME, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            raise OutputError(f"{folder}: cannot be written to ({error.strerror})") from error
        self._held: set[int] = set()
        self._guard = threading.Lock()
        self._log_guard = threading.Lock()
        self._warned = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._file)

    def take(self, name: str) -> bool:
        """Claim an item; false if a process or a thread has it already."""
        offset = _offset(name)
        with self._guard:
            if offset in self._held or not self._lock(offset, wait=False):
                return False
            self._held.add(offset)
            return True

    def release(self, name: str) -> None:
        """Give an item back that `take` got."""
        offset = _offset(name)
        with self._guard:
            self._held.discard(offset)
            _unlock(self._file, offset)

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Alone with the manifest, among all threads of all processes; waits its turn."""
        with self._log_guard:
            self._lock(0, wait=True)
            try:
                yield
            finally:
                _unlock(self._file, 0)

    def _lock(self, offset: int, *, wait: bool) -> bool:
        try:
            _lock(self._file, offset, wait)
        except OSError as error:
            if error.errno in _TAKEN:
                return False
            if not self._warned:
                self._warned = True
                log.warning("this file system has no locks (%s): let one process at a time work here", error)
        return True


def _offset(name: str) -> int:
    """1 to 2**62: where an item's byte is. 0 is the manifest's."""
    hashed = hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest()
    return 1 + int.from_bytes(hashed[:8], "big") % _OFFSETS


if sys.platform == "win32":
    import msvcrt
    import time

    def _lock(file: int, offset: int, wait: bool) -> None:
        while True:
            os.lseek(file, offset, os.SEEK_SET)
            try:
                msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
                return
            except OSError:
                if not wait:
                    raise
                time.sleep(0.02)

    def _unlock(file: int, offset: int) -> None:
        os.lseek(file, offset, os.SEEK_SET)
        try:
            msvcrt.locking(file, msvcrt.LK_UNLCK, 1)
        except OSError as error:
            log.debug("byte %d was not locked: %s", offset, error)

else:
    import fcntl

    def _lock(file: int, offset: int, wait: bool) -> None:
        fcntl.lockf(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB), 1, offset, os.SEEK_SET)

    def _unlock(file: int, offset: int) -> None:
        try:
            fcntl.lockf(file, fcntl.LOCK_UN, 1, offset, os.SEEK_SET)
        except OSError as error:
            log.debug("byte %d was not locked: %s", offset, error)
