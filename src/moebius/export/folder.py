"""A new folder that appears whole or not at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from moebius.errors import OutputError
from moebius.weights.cache import SPEC_FILE


def check_target(
    target: Path, overwrite: bool, *, index: str = SPEC_FILE, what: str = "model folder"
) -> None:
    """Whether a folder of a kind may be written there.

    Args:
        index: the file by which an earlier one of its kind is known.
        what: the kind, for the message.

    Raises:
        OutputError: the parent is missing; something is there, and not `overwrite`; or it is none of that kind.
    """
    if not target.absolute().parent.is_dir():
        raise OutputError(f"{target}: expected an existing folder to write into, got {target.parent}")
    if not target.exists() or (target.is_dir() and not any(target.iterdir())):
        return
    if not overwrite:
        raise OutputError(f"{target}: expected a new or empty folder (or --overwrite)")
    if not (target / index).is_file():
        raise OutputError(f"{target}: expected an earlier {what} to replace, got something else")


@contextmanager
def new_folder(
    target: Path, overwrite: bool, check: Callable[[Path, bool], None] = check_target
) -> Iterator[Path]:
    """Yields a folder beside `target` that takes its place when the block ends without an exception.

    Args:
        check: whether it may be written there; asked before the block and again before the target is replaced.

    Raises:
        OutputError: what `check` raises; or the disk is full, or another error of the file system.
    """
    check(target, overwrite)
    partial = target.absolute().with_name(f".{target.name}.{os.getpid()}.partial")
    old = partial.with_suffix(".old")
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        yield partial
        check(target, overwrite)  # another program may have written there meanwhile
        if target.exists():
            target.replace(old)
        try:
            partial.replace(target)
        except OSError:
            if old.exists():
                old.replace(target)
            raise
    except OSError as error:
        raise OutputError(f"{target}: cannot be written ({error.strerror or error})") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)
