"""How many photos are in memory at once, when threads share a model."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

PIXELS_A_PLACE = 25_000_000
"""A photo with more pixels takes the place of several."""


def places_for(pixels: int) -> int:
    """Places that a photo with so many pixels takes."""
    return max(1, -(-pixels // PIXELS_A_PLACE))


class Places:
    """A number of places; first come, first served.

    Args:
        count: how many there are.
    """

    def __init__(self, count: int):
        self._count = self._free = count
        self._queue: deque[object] = deque()
        self._changed = threading.Condition()

    @contextmanager
    def taken(self, wanted: int) -> Iterator[None]:
        """Hold `wanted` places, or all there are if that is less, inside the `with` block."""
        wanted = min(wanted, self._count)
        ticket = object()
        with self._changed:
            self._queue.append(ticket)
            self._changed.wait_for(lambda: self._queue[0] is ticket and self._free >= wanted)
            self._queue.popleft()
            self._free -= wanted
            self._changed.notify_all()
        try:
            yield
        finally:
            with self._changed:
                self._free += wanted
                self._changed.notify_all()
