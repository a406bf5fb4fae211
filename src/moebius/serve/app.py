"""The app: routes, middleware and one form for every error."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware

from moebius._version import __version__
from moebius.serve import (
    dialect_iopaint,
    dialect_openai,
    page_files,
    routes_fill,
    routes_jobs,
    routes_status,
)
from moebius.serve.dialects import retry_headers, what_is_invalid
from moebius.serve.errors import ServeError
from moebius.serve.limits import Limits
from moebius.serve.metrics import Metrics
from moebius.serve.middleware import Requests, Token
from moebius.serve.service import Service
from moebius.serve.worker import WorkerOptions


def create_app(
    workers: Sequence[WorkerOptions],
    limits: Limits | None = None,
    *,
    token: str | None = None,
    origins: Sequence[str] = (),
    page: bool = True,
) -> FastAPI:
    """The server as an ASGI app. Its workers start and end with its lifespan; `app.state.service` is there between.

    Args:
        workers: what each worker process is started with; one for each device.
        token: what clients have to show; None: everybody is served.
        origins: web pages from elsewhere that may use the server ("https://example.org"); none unless named.
        page: serve the web page too.
    """
    metrics = Metrics()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        service = Service(list(workers), limits or Limits(), on_job_end=metrics.job)
        app.state.service = service
        metrics.watch(service)
        service.start()
        try:
            yield
        finally:
            await service.stop()

    app = FastAPI(
        title="Moebius", version=__version__, lifespan=lifespan, redoc_url=None,
        description="Take things out of photos, and fill holes in them.",
        separate_input_output_schemas=False,
    )  # fmt: skip
    app.state.token, app.state.metrics = token is not None, metrics
    for room in (routes_fill, routes_jobs, routes_status, dialect_openai, dialect_iopaint):
        app.include_router(room.router)
    if page:
        app.include_router(page_files.router)
    app.add_exception_handler(ServeError, _serve_error)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(RequestValidationError, _invalid)
    if token is not None:
        app.add_middleware(Token, token=token)
    if origins:
        app.add_middleware(
            CORSMiddleware, allow_origins=list(origins), allow_methods=["GET", "POST", "DELETE"],
            allow_headers=["Authorization", "Content-Type", "Last-Event-ID", "X-Deadline", "X-Request-ID"],
            expose_headers=["X-Moebius-Seed", "X-Request-ID", "X-Seed", "Retry-After"],
        )  # fmt: skip
    app.add_middleware(Requests, observe=metrics.request)
    return app


def error_response(
    request: Request, status: int, error: dict[str, Any], headers: dict[str, str] | None = None
) -> Response:
    """An error in our form."""
    return JSONResponse({"error": {**error, "request_id": request.state.request_id}}, status, headers)


async def _serve_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, ServeError)
    return error_response(request, error.status, error.to_dict(), retry_headers(error))


async def _http_error(request: Request, error: Exception) -> Response:
    """What the router itself says no with: no such route, another method."""
    assert isinstance(error, HTTPException)
    kind = "not_found" if error.status_code == 404 else "request"
    response = error_response(request, error.status_code, {"type": kind, "message": str(error.detail)})
    response.headers.update(error.headers or {})
    return response


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    return error_response(request, 422, {"type": "request", "message": what_is_invalid(error)})
