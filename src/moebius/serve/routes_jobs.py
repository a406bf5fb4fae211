"""/v1/jobs: a fill that is started, watched and fetched in requests of their own."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Header, Path, Query, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse

from moebius.serve.documents import FILLING, PICTURE, errors, fill_body
from moebius.serve.errors import BadRequestError
from moebius.serve.jobs import Event, Job
from moebius.serve.leaving import service_of
from moebius.serve.routes_fill import Deadline, file_response, read_fill

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])

PING_SECONDS = 15.0
Id = Annotated[str, Path(min_length=1, max_length=64)]

_STARTED = {
    "type": "object",
    "required": ["id", "events", "result"],
    "properties": {name: {"type": "string"} for name in ("id", "events", "result")},
}
_EVENT = {
    "type": "object",
    "description": "Each event; data is a JSON object as text.",
    "required": ["id", "event", "data"],
    "properties": {
        "id": {"type": "string"},
        "event": {"enum": ["queued", "progress", "done", "failed", "cancelled"]},
        "data": {"type": "string"},
    },
}


@router.post(
    "",
    status_code=202,
    response_class=JSONResponse,
    responses={
        **FILLING,
        202: {
            "description": "The job is in the queue.",
            "content": {"application/json": {"schema": _STARTED}},
        },
    },
    openapi_extra={"requestBody": fill_body()},
)
async def start(
    request: Request,
    previews: Annotated[bool, Query(description="Pictures with the progress.")] = False,
    deadline: Deadline = None,
) -> Response:
    """Start a fill. The body is that of /v1/inpaint."""
    fill, name = await read_fill(request, report=True, previews=previews)
    job = service_of(request).submit(fill, request_id=request.state.request_id, deadline=deadline)
    job.name = name
    where = f"/v1/jobs/{job.id}"
    return JSONResponse(
        {"id": job.id, "events": f"{where}/events", "result": f"{where}/result"}, 202, {"Location": where}
    )


@router.get("/{id}", response_class=JSONResponse, responses=errors(401, 404))
async def look(request: Request, id: Id) -> Response:
    """Where a job stands."""
    service = service_of(request)
    job = service.find(id)
    content: dict[str, Any] = {"id": job.id, "state": job.state, "fraction": job.fraction}
    if job.state == "queued":
        content["position"] = 1 + service.waiting.index(job)
    if job.error is not None:
        content["error"] = job.error.to_dict()
    if job.result is not None:
        content |= {"format": job.result.format, "result": job.result.report}
    return JSONResponse(content)


@router.get(
    "/{id}/result", response_class=Response, responses={**errors(400, 401, 404, 409, 500, 504), 200: PICTURE}
)
async def fetch(request: Request, id: Id) -> Response:
    """The picture of a job that has ended; 409 before."""
    job = service_of(request).find(id)
    if job.error is not None:
        raise job.error
    if job.result is None:
        raise NotDoneError(f"the job has not ended yet: it is {job.state}")
    job.fetched = True
    return file_response(job.result, job.name)


class NotDoneError(BadRequestError):
    status = 409


@router.delete("/{id}", status_code=204, response_class=Response, responses=errors(401, 404))
async def cancel(request: Request, id: Id) -> Response:
    """Cancel a job, and forget it and its picture."""
    service = service_of(request)
    service.forget(service.find(id))
    return Response(status_code=204)


@router.get(
    "/{id}/events",
    response_class=StreamingResponse,
    responses={
        **errors(401, 404, 422),
        200: {
            "description": "Server-sent events.",
            "content": {"text/event-stream": {"schema": _EVENT}},
        },
    },
)
async def events(
    request: Request,
    id: Id,
    last: Annotated[
        int, Header(alias="Last-Event-ID", ge=0, description="Number of the last event seen.")
    ] = 0,
) -> Response:
    """What happens to a job, as server-sent events: queued, progress, and at the end done, failed or cancelled.

    When the last listener leaves before the end, and none comes back within some seconds, the job is cancelled.
    """
    service = service_of(request)
    job = service.find(id)
    service.joined(job)
    return _Stream(_lines(job, last), lambda: service.left(job))


class _Stream(StreamingResponse):
    """Says when it is over, also if the client left before the first line."""

    def __init__(self, lines: AsyncIterator[str], over: Any):
        super().__init__(lines, media_type="text/event-stream", headers={"X-Accel-Buffering": "no"})
        self._over = over

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._over()


async def _lines(job: Job, last: int) -> AsyncIterator[str]:
    """Events as text, with a comment now and then so that nothing between takes the connection for dead."""
    events = job.events(last)
    waiting: asyncio.Task[Event] | None = None
    try:
        while True:
            if waiting is None:
                waiting = asyncio.ensure_future(anext(events))
            done, _ = await asyncio.wait((waiting,), timeout=PING_SECONDS)
            if not done:
                yield ": ping\n\n"
                continue
            try:
                event = waiting.result()
            except StopAsyncIteration:
                return
            waiting = None
            yield f"id: {event.number}\nevent: {event.kind}\ndata: {json.dumps(event.data)}\n\n"
    finally:
        if waiting is not None:
            waiting.cancel()
