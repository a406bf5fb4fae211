"""Animations: every frame is filled, with the same noise."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

from moebius.imaging import Animation, Photo, Written, write_frames
from moebius.pipeline.result import Result


def fill_frames(
    fill: Callable[[Photo], Result],
    animation: Animation,
    target: str | Path | BinaryIO,
    *,
    quality: int | None = None,
    overwrite: bool = False,
) -> tuple[Result, Written]:
    """Fill and write frame after frame; one is in memory at a time, besides what the encoder keeps (`frames`).

    Args:
        fill: one frame, in the same way as all; frames know nothing of one another.
        target, quality, overwrite: see `write_frames`.

    Returns:
        The last frame's result, with the timings of all frames together and the warnings of all, each once; and how
        the frames were stored.

    Raises:
        PhotoError, OutputError: see `read_frames` and `write_frames`; and what `fill` raises.
    """
    results: list[Result] = []

    def filled() -> Iterator[Photo]:
        for frame in animation.frames:
            result = fill(frame)
            results[:] = [_added(results[0], result) if results else result]
            yield result.photo

    written = write_frames(replace(animation, frames=filled()), target, quality=quality, overwrite=overwrite)
    return results[0], written


def _added(before: Result, now: Result) -> Result:
    seconds = {
        stage: before.timings.get(stage, 0.0) + now.timings.get(stage, 0.0)
        for stage in {**before.timings, **now.timings}
    }
    return replace(now, timings=seconds, warnings=tuple(dict.fromkeys((*before.warnings, *now.warnings))))
