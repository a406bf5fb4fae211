"""Animations: every frame is filled, with the same noise."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

from moebius.imaging import Animation, Changes, Hole, Photo, Written, write_frames
from moebius.imaging.changes import add_changes
from moebius.pipeline.result import Result


@dataclass(frozen=True)
class FilledFrames:
    """An animation that was filled and written."""

    result: Result
    """The last frame's, with the timings of all frames together and the warnings of all, each once."""
    written: Written
    changes: Changes | None
    """In all frames together, before they were encoded; None if nobody asked."""


def fill_frames(
    fill: Callable[[Photo, Hole], Result],
    animation: Animation,
    target: str | Path | BinaryIO,
    *,
    frame_hole: Callable[[Photo], tuple[Photo, Hole]],
    compare: bool = False,
    quality: int | None = None,
    overwrite: bool = False,
) -> FilledFrames:
    """Fill and write frame after frame; one is in memory at a time, besides what the encoder keeps (`frames`).

    Args:
        fill: one frame, in the same way as all; frames know nothing of one another.
        frame_hole: from a frame, to the frame as it is to be filled and its hole.
        compare: report what has changed.
        target, quality, overwrite: see `write_frames`.

    Raises:
        PhotoError, OutputError: see `read_frames` and `write_frames`; and what `fill` and `frame_hole` raise.
    """
    results: list[Result] = []
    changes: list[Changes] = []

    def filled() -> Iterator[Photo]:
        for frame in animation.frames:
            photo, hole = frame_hole(frame)
            result = fill(photo, hole)
            if compare:
                found = result.changes(photo)
                changes[:] = [add_changes(changes[0], found) if changes else found]
            results[:] = [_added(results[0], result) if results else result]
            yield result.photo

    written = write_frames(replace(animation, frames=filled()), target, quality=quality, overwrite=overwrite)
    return FilledFrames(results[0], written, changes[0] if changes else None)


def _added(before: Result, now: Result) -> Result:
    seconds = {
        stage: before.timings.get(stage, 0.0) + now.timings.get(stage, 0.0)
        for stage in {**before.timings, **now.timings}
    }
    return replace(now, timings=seconds, warnings=tuple(dict.fromkeys((*before.warnings, *now.warnings))))
