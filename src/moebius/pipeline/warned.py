"""Warnings about one photo, collected where they are logged, while other threads work on others."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def warned() -> Iterator[list[str]]:
    """The package's warnings from this thread while the block lasts: one line for each, and each once."""
    listener = _Listener()
    logger = logging.getLogger("moebius")
    logger.addHandler(listener)
    try:
        yield listener.lines
    finally:
        logger.removeHandler(listener)


class _Listener(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []
        self._thread = threading.get_ident()

    def emit(self, record: logging.LogRecord) -> None:
        line = " ".join(record.getMessage().split())
        if record.thread == self._thread and line not in self.lines:
            self.lines.append(line)
