"""uvicorn around the app: signals, draining, slow heads, logs."""

from __future__ import annotations

import asyncio
import json
import logging
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType
from typing import Any

import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol

from moebius.errors import InputError, MoebiusError
from moebius.serve.service import Service, StartError

log = logging.getLogger(__name__)

MAX_CONNECTIONS = 1000
FETCH_SECONDS = 5.0
"""How long finished jobs may still be fetched while the server drains."""


@dataclass(frozen=True, kw_only=True)
class Address:
    """Where the server listens."""

    host: str = "127.0.0.1"
    port: int = 8080
    """0: any free one."""


def run(app: FastAPI, address: Address, *, idle_seconds: float, listening: Callable[[str], None]) -> None:
    """Serve until SIGTERM or SIGINT; then finish what is there, as long as the limits allow. A second one ends at once.

    Args:
        idle_seconds: in which a request's head has to arrive.
        listening: called with the server's address as soon as it answers.

    Raises:
        InputError: the address is taken or not this machine's.
        StartError: no worker could load the model.
    """
    config = uvicorn.Config(
        app, host=address.host, port=address.port, http=_protocol(idle_seconds), ws="none", lifespan="on",
        log_config=None, access_log=False, server_header=False, limit_concurrency=MAX_CONNECTIONS,
        timeout_keep_alive=30, timeout_graceful_shutdown=2,
    )  # fmt: skip
    server = _Server(config, app, listening)
    try:
        server.run()
    except SystemExit as error:  # uvicorn's way to say that it could not bind; it has logged why
        raise InputError(
            f"cannot listen on {address.host} port {address.port}: expected a free port of this machine"
        ) from error
    if server.failure is not None:
        raise server.failure


class _Server(uvicorn.Server):
    """Drains before it closes its doors, so that a load balancer sees /readyz say no first."""

    def __init__(self, config: uvicorn.Config, app: FastAPI, listening: Callable[[str], None]):
        super().__init__(config)
        self.failure: MoebiusError | None = None
        self._app, self._listening = app, listening
        self._draining: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def startup(self, sockets: Any = None) -> None:
        await super().startup(sockets)
        if not self.started:
            return
        self._loop = asyncio.get_running_loop()
        self._service.broken.add_done_callback(self._break)
        host, port = self.servers[0].sockets[0].getsockname()[:2]
        self._listening(f"http://{f'[{host}]' if ':' in host else host}:{port}")

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self._loop is None or self._draining is not None or self.should_exit:
            self.should_exit = self.force_exit = True
            return
        self._loop.call_soon_threadsafe(self._drain, signal.Signals(sig).name)

    @property
    def _service(self) -> Service:
        service: Service = self._app.state.service
        return service

    def _drain(self, why: str) -> None:
        if self._draining is None:
            log.info("draining", extra={"fields": {"signal": why, "jobs": self._service.unfinished}})
            self._draining = asyncio.ensure_future(self._finish())

    async def _finish(self) -> None:
        service = self._service
        await service.drain()
        until = time.monotonic() + FETCH_SECONDS
        while time.monotonic() < until and any(
            job.result and not job.fetched for job in service.jobs.values()
        ):
            await asyncio.sleep(0.05)
        self.should_exit = True

    def _break(self, broken: asyncio.Future[StartError]) -> None:
        if not broken.cancelled():
            self.failure = broken.result()
            self.should_exit = True


def _protocol(idle_seconds: float) -> type[H11Protocol]:
    """uvicorn's HTTP/1.1, which closes connections that take too long to say what they want."""

    class Protocol(H11Protocol):
        _head: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self._expect_head()

        def data_received(self, data: bytes) -> None:
            if self._head is None and not self._in_request():
                self._expect_head()
            super().data_received(data)
            if self._in_request():
                self._cancel_head()

        def connection_lost(self, exc: Exception | None) -> None:
            self._cancel_head()
            super().connection_lost(exc)

        def on_response_complete(self) -> None:
            self._cancel_head()
            super().on_response_complete()

        def _in_request(self) -> bool:
            return self.cycle is not None and not self.cycle.response_complete

        def _expect_head(self) -> None:
            self._head = self.loop.call_later(idle_seconds, self._too_slow)

        def _too_slow(self) -> None:
            self._head = None
            if not self._in_request() and not self.transport.is_closing():
                self.transport.close()

        def _cancel_head(self) -> None:
            if self._head is not None:
                self._head.cancel()
                self._head = None

    return Protocol


class JsonLines(logging.Formatter):
    """A log record as one line of JSON; `extra={"fields": {...}}` adds to it."""

    def format(self, record: logging.LogRecord) -> str:
        entry: dict[str, Any] = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
            + f".{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return json.dumps(entry, default=str)


class TextLines(logging.Formatter):
    """The same for people."""

    def format(self, record: logging.LogRecord) -> str:
        fields = " ".join(f"{name}={value}" for name, value in getattr(record, "fields", {}).items())
        clock = time.strftime("%H:%M:%S", time.localtime(record.created))
        text = f"{clock} {record.levelname.lower()} {record.getMessage()} {fields}".rstrip()
        return f"{text}\n{self.formatException(record.exc_info)}" if record.exc_info else text


def start_logging(as_json: bool, level: str) -> None:
    """Send the server's log to standard error. For the process that is the server; nobody else calls it."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines() if as_json else TextLines())
    for name in ("moebius", "uvicorn"):
        logger = logging.getLogger(name)
        logger.handlers = [handler]
        logger.setLevel(level.upper())
        logger.propagate = False
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
