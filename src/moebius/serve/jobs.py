"""Jobs: one photo to fill each, from the queue to the picture, with its events."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any, Literal

from moebius.serve.errors import CancelledError, ServeError
from moebius.serve.request import FillAnswer, FillRequest

State = Literal["queued", "running", "done", "failed", "cancelled"]

MAX_EVENTS = 64
"""Events of a job that are kept for listeners who come late."""


@dataclass(frozen=True)
class Event:
    """Something that happened to a job."""

    number: int
    """From 1."""
    kind: str
    """"queued", "progress", "done", "failed" or "cancelled"; the last three end the job."""
    data: dict[str, Any]

    @property
    def is_last(self) -> bool:
        return self.kind in ("done", "failed", "cancelled")

    @property
    def preview_bytes(self) -> int:
        return len(self.data.get("preview") or "")


class Job:
    """One request on its way. Made by `Service.submit`; belongs to the event loop.

    Args:
        number: what the workers know it by.
        cancel: called when somebody cancels it.
    """

    def __init__(
        self, number: int, request: FillRequest, *, request_id: str, deadline: float, cancel: Callable[[Job], None]
    ):  # fmt: skip
        self.id = secrets.token_urlsafe(16)
        """Knowing it gives access to the picture, so it cannot be guessed."""
        self.number = number
        self.request: FillRequest | None = request
        """None once it has ended: the photo is not kept."""
        self.request_id = request_id
        self.deadline = deadline
        """Seconds from its arrival until it is given up."""
        self.counted = 0
        """Bytes that `Service` has taken from its memory for it."""
        self.state: State = "queued"
        self.fraction = 0.0
        self.deaths = 0
        """Workers that have died with it."""
        self.listeners = 0
        self.fetched = False
        self.name = ""
        """What the photo is called, without its suffix."""
        self.arrived = time.monotonic()
        self.started: float | None = None
        self.ended: float | None = None
        self._cancel = cancel
        self._answer: FillAnswer | None = None
        self._error: ServeError | None = None
        self._events: deque[Event] = deque(maxlen=MAX_EVENTS)
        self._count = self._preview_bytes = 0
        self._changed = asyncio.Event()

    @property
    def nbytes(self) -> int:
        """Bytes that it holds: of the upload, later of the picture, and of previews."""
        held = self.request or self._answer
        return (held.nbytes if held is not None else 0) + self._preview_bytes

    @property
    def finished(self) -> bool:
        return self.state in ("done", "failed", "cancelled")

    @property
    def error(self) -> ServeError | None:
        return self._error

    @property
    def result(self) -> FillAnswer | None:
        return self._answer

    def cancel(self) -> None:
        """Give the job up, wherever it is. No effect once it has ended."""
        if not self.finished:
            self._cancel(self)

    async def answer(self) -> FillAnswer:
        """The picture, as soon as it is there.

        Raises:
            ServeError: there is none, and why.
        """
        while not self.finished:
            await self._changed.wait()
        if self._error is not None:
            raise self._error
        assert self._answer is not None
        return self._answer

    async def events(self, after: int = 0) -> AsyncIterator[Event]:
        """Events with numbers above `after`, those of the past first, until the job ends."""
        while True:
            changed = self._changed
            for event in list(self._events):
                if event.number > after:
                    after = event.number
                    yield event
                    if event.is_last:
                        return
            if changed is self._changed:
                if self.finished:
                    return
                await changed.wait()

    def tell(self, kind: str, data: dict[str, Any]) -> None:
        """Add an event."""
        self._count += 1
        if kind == "progress":
            self.fraction = data["fraction"]
        if len(self._events) == MAX_EVENTS:
            self._preview_bytes -= self._events[0].preview_bytes
        self._events.append(Event(self._count, kind, data))
        self._preview_bytes += self._events[-1].preview_bytes
        self._wake()

    def start(self) -> None:
        self.state = "running"
        self.started = time.monotonic()

    def finish(self, answer: FillAnswer) -> None:
        self._end("done")
        self._answer, self.fraction = answer, 1.0
        self.tell("done", {"format": answer.format, "result": answer.report})

    def fail(self, error: ServeError) -> None:
        self._end("cancelled" if isinstance(error, CancelledError) else "failed")
        self._error = error
        self.tell(self.state, {} if self.state == "cancelled" else {"error": error.to_dict()})

    def _end(self, state: State) -> None:
        self.state, self.request = state, None
        self.ended = time.monotonic()

    def _wake(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()
