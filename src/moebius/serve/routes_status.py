"""What the server is, and how it does."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response

from moebius._version import __version__
from moebius.imaging import output_formats
from moebius.serve.documents import errors
from moebius.serve.leaving import service_of
from moebius.serve.request import settings_schema

router = APIRouter(tags=["status"])


@router.get("/v1/info", response_class=JSONResponse)
async def info(request: Request) -> Response:
    """Model, settings with their ranges, formats and limits."""
    state = request.app.state
    service = service_of(request)
    limits = service.limits
    content: dict[str, Any] = {
        "version": __version__,
        "model": service.info,
        "ready": service.ready,
        "settings": settings_schema(),
        "formats": output_formats(),
        "limits": {
            "upload_bytes": limits.upload_bytes, "pixels": limits.pixels, "deadline_seconds": limits.deadline_seconds,
        },
        "token": state.token,
    }  # fmt: skip
    return JSONResponse(content)


@router.get("/healthz", response_class=JSONResponse)
async def healthz() -> Response:
    """Whether the process answers."""
    return JSONResponse({"status": "ok"})


@router.get("/readyz", response_class=JSONResponse, responses=errors(503))
async def readyz(request: Request) -> Response:
    """Whether photos are taken and filled: a model is loaded, and the server is not ending."""
    service = service_of(request)
    if service.ready:
        return JSONResponse({"status": "ready"})
    word = "ending" if service.draining else "starting"
    error = {"type": "busy", "message": f"the server is {word}", "request_id": request.state.request_id}
    return JSONResponse({"error": error}, 503, {"Retry-After": "2"})


@router.get("/metrics", response_class=PlainTextResponse, responses=errors(401))
async def metrics(request: Request) -> Response:
    """For Prometheus."""
    return Response(request.app.state.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")
