"""The work on one item, the same for every engine: read, fill, encode, hand over."""

from __future__ import annotations

import errno
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from moebius.batch.files import digest
from moebius.batch.hole import frame_hole_of, hole_of
from moebius.batch.item import Item, Options, Record, Source, asked_of
from moebius.batch.picture import Picture, make_picture, open_photo
from moebius.batch.shared import Read, read
from moebius.errors import MoebiusError
from moebius.pipeline.warned import warned

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
    record = Record(item.name, item.output_name, "failed", key=item.key, replaced=item.replaces)
    with warned() as warnings:
        try:
            record = replace(record, asked=asked_of(item, options))
            source = read(item.photo, item.photo_stamp)
            record = replace(record, photo=_source(source))
            mask_data = None
            if item.mask is not None:
                mask = options.shared.read(item.mask, item.mask_stamp)
                record, mask_data = replace(record, mask=_source(mask)), mask.data
            opened = open_photo(source.data, PurePosixPath(item.output).suffix)
            photo, hole = hole_of(opened.photo, source.data, mask_data, item, options)
            opened.check(photo)
            read_seconds = time.perf_counter() - began
            picture = make_picture(
                opened,
                photo,
                hole,
                lambda photo, hole: _fill(model, photo, hole, item, options, stopping),
                frame_hole=frame_hole_of(hole, source.data, mask_data, item, options),
                quality=options.quality,
            )
            record, data = _told(record, picture, options), picture.data
            seconds = {
                **picture.result.timings,
                "read": read_seconds,
                "write": picture.seconds,
                "total": time.perf_counter() - began,
            }
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


def _source(file: Read) -> Source:
    mtime_ns, tag = (file.stamp.mtime_ns, file.stamp.tag) if file.stamp else (None, None)
    return Source(file.place, len(file.data), mtime_ns, file.sha256, tag)


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


def _told(record: Record, picture: Picture, options: Options) -> Record:
    """The record with what the fill says of itself."""
    result, changes = picture.result, picture.changes
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
        frames=picture.frames,
        written=picture.written.to_dict(),
        changes=None if changes is None else changes.to_dict(),
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
