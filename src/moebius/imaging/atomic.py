"""Files that appear whole or not at all.

Where the system can (Linux, on most file systems) a file that is being written has no name, so that nothing is left of
it even if the process is killed. Elsewhere it is called `.moebius-*.part`, and a kill leaves it behind.
"""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from moebius.errors import OutputError


@contextmanager
def atomic_file(path: str | Path, overwrite: bool = False) -> Iterator[BinaryIO]:
    """Write a file beside its final place, and move it there when everything is on the disk.

        with atomic_file("clean.png") as file:
            file.write(data)

    Whatever is raised inside the block, KeyboardInterrupt included, leaves nothing behind, and leaves a file
    that was there before as it was. The permissions are those of the file replaced, or the process's usual
    ones.

    Yields:
        An open binary file, readable and seekable.

    Raises:
        OutputError: see `check_path`; or the disk is full, or another error of the file system.
    """
    target = check_path(path, overwrite)
    temporary = target.with_name(f".moebius-{secrets.token_hex(8)}.part")
    try:
        mode = target.stat().st_mode & 0o7777 if target.exists() else None
        unnamed = _open_unnamed(target.parent)
        # "x" and not tempfile: a new file gets the permissions that the person's umask says.
        with unnamed or temporary.open("x+b") as file:
            if mode is not None:
                os.chmod(file.fileno() if unnamed else temporary, mode)  # noqa: PTH101
            yield file
            file.flush()
            os.fsync(file.fileno())
            if unnamed and _appear(file, target, overwrite):
                return
            if unnamed:
                _copy(file, temporary)
        _move(temporary, target, overwrite)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror or error})") from error
    finally:
        with suppress(OSError):
            temporary.unlink()


def check_path(path: str | Path, overwrite: bool = False) -> Path:
    """Whether a file may be written there, as far as can be told without writing.

    Returns:
        The path with symbolic links followed, so that a link stays and its target is replaced.

    Raises:
        OutputError: the file exists and `overwrite` is false, the folder does not exist, or something that is
            not a file (a folder, a device) is in its place.
    """
    try:
        target = Path(path).resolve()
        if target.is_symlink():  # Python 3.13 resolves a circle of links to one of them
            raise OSError("a circle of links")
        has_folder, exists, is_file = target.parent.is_dir(), target.exists(), target.is_file()
    except (OSError, RuntimeError, ValueError) as error:  # no access, a circle of links, a zero byte
        raise OutputError(f"{path!s}: cannot be written ({error})") from error
    if not has_folder:
        raise OutputError(f"{path}: expected an existing folder, got {target.parent}")
    if exists and not is_file:
        raise OutputError(f"{path}: expected a file to write, got a folder or a device")
    if exists and not overwrite:
        raise OutputError(f"{path}: exists already (and overwriting was not asked for)")
    return target


def _open_unnamed(folder: Path) -> BinaryIO | None:
    """A file that has no name yet; None where there is no such thing."""
    if not hasattr(os, "O_TMPFILE") or not Path("/proc/self/fd").is_dir():
        return None
    try:
        return os.fdopen(os.open(folder, os.O_TMPFILE | os.O_RDWR, 0o666), "w+b")
    except OSError:  # not on this file system, or not in this folder, which the named file will tell of
        return None


def _appear(file: BinaryIO, target: Path, overwrite: bool) -> bool:
    """Give an unnamed file its name; false if the system refuses."""
    descriptor = file.fileno()
    source = f"/proc/self/fd/{descriptor}"  # a link, which is followed only when `src_dir_fd` is given, whatever it is
    spare = target.with_name(f".moebius-{secrets.token_hex(8)}.part")
    try:
        os.link(source, target, src_dir_fd=descriptor)
    except FileExistsError:
        if not overwrite:
            raise
        os.link(source, spare, src_dir_fd=descriptor)
        try:
            spare.replace(target)
        except BaseException:
            spare.unlink()
            raise
    except OSError:
        return False
    return True


def _copy(file: BinaryIO, path: Path) -> None:
    """An unnamed file's content and permissions under a name."""
    with path.open("x+b") as copy:
        path.chmod(os.fstat(file.fileno()).st_mode & 0o7777)
        file.seek(0)
        shutil.copyfileobj(file, copy)
        copy.flush()
        os.fsync(copy.fileno())


def _move(temporary: Path, target: Path, overwrite: bool) -> None:
    """Rename; without `overwrite`, fail if another program has made the file meanwhile."""
    if not overwrite:
        try:
            target.hardlink_to(temporary)  # unlike a rename, never replaces
            return
        except FileExistsError:
            raise
        except OSError:
            pass  # a file system without hard links: the check at the start has to do
    temporary.replace(target)
