"""A request's jobs: they end with it, also when its client leaves."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Sequence
from typing import TypeVar

from starlette.requests import ClientDisconnect, Request

from moebius.serve.jobs import Job
from moebius.serve.request import FillAnswer, FillRequest
from moebius.serve.service import Service

T = TypeVar("T")


def service_of(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


@contextlib.asynccontextmanager
async def submitted(
    request: Request, fills: Sequence[FillRequest], deadline: float | None
) -> AsyncIterator[list[Job]]:
    """Jobs that end with the block: nothing of them is kept, whether they are done or not.

    Args:
        deadline: seconds in which each picture is needed; None for the server's own limit.

    Raises:
        ServeError: not all of them can be taken; then none is.
    """
    service = service_of(request)
    jobs: list[Job] = []
    try:
        for fill in fills:
            jobs.append(service.submit(fill, request_id=request.state.request_id, deadline=deadline))
        yield jobs
    finally:
        for job in jobs:
            service.forget(job)


async def answer_to(request: Request, fill: FillRequest, deadline: float | None) -> FillAnswer:
    """The picture of a job that ends with its request.

    Raises:
        ServeError: there is none, and why. ClientDisconnect: the client has left.
    """
    async with submitted(request, [fill], deadline) as (job,):
        return await unless_gone(request, job.answer())


async def unless_gone(request: Request, work: Awaitable[T]) -> T:
    """The outcome of `work`, which is given up when the client leaves. The request's body must have been read.

    Raises:
        ClientDisconnect: the client has left.
    """
    working = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(_gone(request))
    try:
        await asyncio.wait((working, leaving), return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        raise ClientDisconnect
    finally:
        for task in (working, leaving):
            task.cancel()
        await asyncio.gather(working, leaving, return_exceptions=True)  # it ends what it has begun


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
