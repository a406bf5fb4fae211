"""The work on one item, the same for every engine: read, fill, encode, hand over."""

from __future__ import annotations

import errno
import io
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from moebius.batch.files import digest, read_bytes, stamp
from moebius.batch.hole import hole_of
from moebius.batch.item import Item, Options, Record, Source, asked_of
from moebius.errors import MoebiusError
from moebius.imaging import check_output, read_photo, write_photo

if TYPE_CHECKING:
    from moebius.imaging import Photo
    from moebius.pipeline import Moebius, Result

Commit = Callable[[Item, Record, bytes], None]
"""Puts an item's output, as encoded bytes, and its record where they belong."""

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""What the file system says when nothing that comes next will fit either."""


class Stopped(Exception):
    """The fill was given up half way, because it was asked to be."""


def fill_item(
    model: Moebius, item: Item, options: Options, commit: Commit, stopping: Callable[[], bool] | None = None
) -> Record:
    """Fill one photo.

    Args:
        model: may be in use by other threads if its engine is a `Lane`.
        commit: called once, with the record of the finished item and the output's bytes, if all went well.
            What it raises makes a failed item.
        stopping: asked before each network step; when it says so, nothing is written and `Stopped` is raised.

    Returns:
        "done", or "failed" with the reason: nothing that is wrong with an item's files is raised.

    Raises:
        Stopped: see `stopping`.
    """
    began = time.perf_counter()
    record = Record(
        item.name,
        item.output_name,
        "failed",
        key=item.key,
        replaced=item.replaces,
        asked=asked_of(item, options),
    )
    with _warnings() as warnings:
        try:
            photo_data, photo_source = _read(item.photo)
            record = replace(record, photo=photo_source)
            mask_data = None
            if item.mask is not None:
                mask_data, mask_source = _read(item.mask)
                record = replace(record, mask=mask_source)
            photo = read_photo(photo_data)
            suffix = PurePosixPath(item.output).suffix
            check_output(photo, io.BytesIO(), format=suffix)
            photo, hole = hole_of(photo, photo_data, mask_data, item, options)
            read_seconds = time.perf_counter() - began
            result = _fill(model, photo, hole, item, options, stopping)
            record = _told(record, result, options)
            writing = time.perf_counter()
            buffer = io.BytesIO()
            write_photo(result.photo, buffer, format=suffix, quality=options.quality)
            data = buffer.getvalue()
            now = time.perf_counter()
            seconds = {**result.timings, "read": read_seconds, "write": now - writing, "total": now - began}
            done = replace(
                record,
                status="done",
                sha256=digest(data),
                nbytes=len(data),
                timings={stage: round(each, 4) for stage, each in seconds.items()},
                warnings=tuple(warnings),
            )
            commit(item, done, data)
        except (MoebiusError, OSError, MemoryError) as error:
            return replace(record, warnings=tuple(warnings), error=_error(error), stops=_stops(error))
    return done


def _read(place: str) -> tuple[bytes, Source]:
    """A file's bytes, and which they were: stamped first, so that a change while reading shows later."""
    before = stamp(place)
    data = read_bytes(place)
    return data, Source(place, len(data), before.mtime_ns if before else None, digest(data))


def _fill(
    model: Moebius, photo: Photo, hole: Any, item: Item, options: Options, stopping: Callable[[], bool] | None
) -> Result:
    settings = {**options.settings, "invert": False, "fit_mask": False}  # the hole has its final form
    if item.seed is not None:
        settings["seed"] = item.seed
    events = model.stream(photo, hole, key=item.key, **settings)
    result = None
    for event in events:
        result = event.result
        if result is None and stopping is not None and stopping():
            events.close()
            raise Stopped
    assert result is not None
    return result


def _told(record: Record, result: Result, options: Options) -> Record:
    """The record with what the fill says of itself."""
    asked = {name: bool(options.settings.get(name, False)) for name in ("invert", "fit_mask")}
    return replace(
        record,
        model=result.model,
        model_hash=result.model_hash,
        settings={**result.settings.to_dict(), **asked},
        engine=result.engine,
        device=result.device,
        dtype=result.dtype,
        size=result.photo.size,
        regions=len(result.regions),
    )


def _error(error: BaseException) -> dict[str, str]:
    message = "not enough memory" if isinstance(error, MemoryError) else str(error)
    return {"kind": type(error).__name__, "message": " ".join(message.split())}


def _stops(error: BaseException | None) -> bool:
    """Whether the file system is full, somewhere in the chain of causes."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in _NO_ROOM:
            return True
        error = error.__cause__
    return False


@contextmanager
def _warnings() -> Iterator[list[str]]:
    """The package's warnings from this thread, each once."""
    handler = _Listener()
    logger = logging.getLogger("moebius")
    logger.addHandler(handler)
    try:
        yield handler.lines
    finally:
        logger.removeHandler(handler)


class _Listener(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []
        self._thread = threading.get_ident()

    def emit(self, record: logging.LogRecord) -> None:
        line = " ".join(record.getMessage().split())
        if record.thread == self._thread and line not in self.lines:
            self.lines.append(line)
