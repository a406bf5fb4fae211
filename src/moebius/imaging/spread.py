"""Work on the rows of arrays, spread over the processors that this process may use."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Self, TypeVar

from moebius.processors import processor_count

T = TypeVar("T")

LEAST, MOST = 1 << 12, 1 << 15
"""Rows of a block: enough to be worth a thread's while, which has to ask for the interpreter after every operation, and
few enough for memory."""


class Spread:
    """A context manager; its threads live as long as the block.

        with Spread() as spread:
            spread(work, count)

    NumPy lets go of the interpreter inside its loops, so threads are enough.
    """

    def __init__(self) -> None:
        self._threads = threads()
        self._pool: ThreadPoolExecutor | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            self._pool.shutdown()

    def __call__(self, work: Callable[[slice], T], count: int, rows: int | None = None) -> list[T]:
        """What `work` gives for slices that together are range(count), in order. Calls run at the same time.

        Args:
            rows: of a slice; by default as many as each processor gets, from `LEAST` to `MOST`.
        """
        step = min(MOST, max(LEAST, -(-count // self._threads))) if rows is None else rows
        slices = [slice(start, min(count, start + step)) for start in range(0, count, step)]
        if len(slices) < 2 or self._threads < 2:
            return [work(part) for part in slices]
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix="moebius imaging")
        return list(self._pool.map(work, slices))


def threads() -> int:
    """One a processor, at most as many as OMP_NUM_THREADS says, by which people limit NumPy's."""
    limit = os.environ.get("OMP_NUM_THREADS", "")
    return min(processor_count(), int(limit)) if limit.isdecimal() and int(limit) else processor_count()
