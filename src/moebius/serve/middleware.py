"""Around every request: an id, a line in the log, the token, headers that keep browsers careful."""

from __future__ import annotations

import hmac
import json
import logging
import re
import secrets
import time
from collections.abc import Callable, MutableMapping
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

log = logging.getLogger(__name__)

OPEN_PATHS = ("/", "/healthz", "/readyz", "/v1/info", "/favicon.ico")
"""What is answered without a token; so is everything below /page/."""
_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")

Observe = Callable[[str, int, float], None]


class Requests:
    """Gives each request an id (`scope["state"]["request_id"]`), logs it, and tells `observe` of it.

    A failure that nothing else has caught ends here, as a 500 in our form.

    Args:
        observe: called with route, status and seconds.
    """

    def __init__(self, app: ASGIApp, observe: Observe):
        self._app, self._observe = app, observe

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get("x-request-id", "")
        request_id = given if _ID.fullmatch(given) else secrets.token_hex(8)
        scope.setdefault("state", {})["request_id"] = request_id
        began, status, sent = time.perf_counter(), 0, 0

        async def send_on(message: Message) -> None:
            nonlocal status, sent
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["X-Request-ID"] = request_id
                for name, value in _SAFE.items():
                    headers.setdefault(name, value)
            elif message["type"] == "http.response.body":
                sent += len(message.get("body", b""))
            await send(message)

        try:
            await self._app(scope, receive, send_on)
        except ClientDisconnect:
            status = status or 499  # nobody is there to be answered
        except Exception:
            log.exception("request %s failed", request_id)
            if not status:
                await answer_plainly(
                    send_on, 500, {"type": "worker", "message": "the server failed", "request_id": request_id}
                )
        finally:
            seconds = time.perf_counter() - began
            route = getattr(scope.get("route"), "path", "other")
            self._observe(route, status or 499, seconds)
            log.info(
                "request",
                extra={
                    "fields": {
                        "request_id": request_id, "method": scope["method"], "route": route,
                        "status": status or 499, "seconds": round(seconds, 4), "bytes_out": sent,
                    }
                },
            )  # fmt: skip


_SAFE = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


class Token:
    """Lets requests through that carry the token, and those to `OPEN_PATHS`.

    Args:
        token: what `Authorization: Bearer` has to say.
    """

    def __init__(self, app: ASGIApp, token: str):
        self._app, self._token = app, token.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not self._passes(scope):
            request_id = scope["state"]["request_id"]
            message = "expected the server's token in Authorization: Bearer, got none or another one"
            await answer_plainly(
                send, 401, {"type": "auth", "message": message, "request_id": request_id},
                {"WWW-Authenticate": "Bearer"},
            )  # fmt: skip
            return
        await self._app(scope, receive, send)

    def _passes(self, scope: Scope) -> bool:
        path = scope["path"]
        if path in OPEN_PATHS or path.startswith("/page/") or scope["method"] == "OPTIONS":
            return True
        kind, _, given = Headers(scope=scope).get("authorization", "").partition(" ")
        return kind.lower() == "bearer" and hmac.compare_digest(given.strip().encode("latin-1"), self._token)


def error_body(error: MutableMapping[str, Any]) -> bytes:
    return json.dumps({"error": error}).encode()


async def answer_plainly(
    send: Send, status: int, error: MutableMapping[str, Any], headers: dict[str, str] | None = None
) -> None:
    """An error as JSON, from where there is no route."""
    body = error_body(error)
    raw = {"content-type": "application/json", "content-length": str(len(body)), **(headers or {})}
    await send(
        {
            "type": "http.response.start", "status": status,
            "headers": [(name.lower().encode(), value.encode()) for name, value in raw.items()],
        }
    )  # fmt: skip
    await send({"type": "http.response.body", "body": body})
