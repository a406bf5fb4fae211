"""Stopping a run from outside: Ctrl-C, SIGTERM, or a time limit. The step under way is finished, then all is saved."""

from __future__ import annotations

import signal
import threading
import time
from types import FrameType, TracebackType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopSign:
    """A context in which the first signal sets `seen`, and a second one acts as it always did.

    Args:
        minutes: time limit; None = none.
    """

    def __init__(self, minutes: float | None = None):
        self._deadline = None if minutes is None else time.monotonic() + 60 * minutes
        self._signalled = False
        self._before: dict[int, Any] = {}

    @property
    def seen(self) -> bool:
        """Whether it is time to stop."""
        return self._signalled or (self._deadline is not None and time.monotonic() > self._deadline)

    def __enter__(self) -> StopSign:
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._restore()

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._signalled = True
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}
