"""uvicorn around the app: signals, draining, logs."""

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

from moebius.errors import InputError, MoebiusError
from moebius.serve.protocol import protocol
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
        idle_seconds: see `protocol`.
        listening: called with the server's address as soon as it answers.

    Raises:
        InputError: the address is taken or not this machine's.
        StartError: no worker could load the model.
    """
    config = uvicorn.Config(
        app, host=address.host, port=address.port, http=protocol(idle_seconds, MAX_CONNECTIONS), ws="none",
        lifespan="on", log_config=None, access_log=False, server_header=False, timeout_keep_alive=30,
        timeout_graceful_shutdown=2,
    )  # fmt: skip
    server = _Server(config, app, listening)
    try:
        server.run()
    except SystemExit as error:  # uvicorn's way to say that it could not bind; it has logged why
        raise InputError(
            f"cannot listen on {address.host} port {address.port}: expected a free port of this machine"
        ) from error
    finally:
        server.end_workers()
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

    def end_workers(self) -> None:
        """Kill those that are left: after a second signal nobody has waited for them."""
        service: Service | None = getattr(self._app.state, "service", None)
        for link in service.links if service is not None else ():
            if link is not None:
                link.kill()

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
