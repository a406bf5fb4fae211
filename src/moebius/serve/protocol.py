"""uvicorn's HTTP/1.1, for clients that are slow, broken or too many.

A request's head has to arrive in time, and an answer has to be taken. What no route ever sees (no HTTP, too many
connections) is answered in the form of all other errors.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from typing import Any

import h11
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from moebius.serve.middleware import answer_plainly, error_body

RETRY_SECONDS = "2"


def protocol(idle_seconds: float, max_connections: int) -> type[H11Protocol]:
    """A protocol for `uvicorn.Config(http=...)`.

    Args:
        idle_seconds: for a request's head to arrive, and for a client to take some of an answer that waits for it.
        max_connections: requests on connections beyond these get 503.
    """

    class Protocol(H11Protocol):
        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self._head, self._taking = (
                _Alarm(idle_seconds, self._too_slow),
                _Alarm(idle_seconds, transport.abort),
            )
            self._head.set()

        def data_received(self, data: bytes) -> None:
            if not self._in_request():
                self._head.set()
            super().data_received(data)
            if self._in_request():
                self._head.off()

        def handle_events(self) -> None:
            app, too_many = self.app, len(self.connections) > max_connections
            self.app = _too_many if too_many else app
            try:
                super().handle_events()
            finally:
                self.app = app

        def connection_lost(self, exc: Exception | None) -> None:
            self._head.off()
            self._taking.off()
            super().connection_lost(exc)

        def on_response_complete(self) -> None:
            self._head.off()
            if (
                self.conn.their_state is h11.SEND_BODY
            ):  # answered early: the rest of the body may come, for a while
                self._head.set()
            super().on_response_complete()

        def pause_writing(self) -> None:
            super().pause_writing()
            self._taking.set()

        def resume_writing(self) -> None:
            self._taking.off()
            super().resume_writing()

        def send_400_response(self, msg: str) -> None:
            request_id = secrets.token_hex(8)
            error = {"type": "request", "message": "expected an HTTP/1.1 request, got something else"}
            body = error_body({**error, "request_id": request_id})
            headers = [
                (b"content-type", b"application/json"), (b"content-length", str(len(body)).encode()),
                (b"connection", b"close"), (b"x-request-id", request_id.encode()),
            ]  # fmt: skip
            try:
                for event in (
                    h11.Response(status_code=400, headers=headers, reason=b"Bad Request"),
                    h11.Data(data=body),
                    h11.EndOfMessage(),
                ):
                    self.transport.write(self.conn.send(event) or b"")
            except h11.LocalProtocolError:  # it became nonsense after its answer had begun
                pass
            self.transport.close()
            if self._in_request():  # nonsense in the middle of a body: there is nobody to answer any more
                self.cycle.disconnected = True
                self.cycle.message_event.set()

        def _in_request(self) -> bool:
            return self.cycle is not None and not self.cycle.response_complete

        def _too_slow(self) -> None:
            """Also ends bodies that go on long after their request has been answered."""
            if not self._in_request() and not self.transport.is_closing():
                self.transport.close()

    return Protocol


class _Alarm:
    """A call that comes after some seconds, unless it is called off."""

    def __init__(self, seconds: float, call: Callable[[], None]):
        self._seconds, self._call = seconds, call
        self._timer: asyncio.TimerHandle | None = None

    def set(self) -> None:
        """No effect if it is set already."""
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._seconds, self._due)

    def off(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _due(self) -> None:
        self._timer = None
        self._call()


async def _too_many(scope: Scope, receive: Receive, send: Send) -> None:
    request_id = secrets.token_hex(8)
    error: dict[str, Any] = {"type": "busy", "message": "too many connections: come back later"}
    headers = {"Retry-After": RETRY_SECONDS, "Connection": "close", "X-Request-ID": request_id}
    await answer_plainly(send, 503, {**error, "request_id": request_id}, headers)
