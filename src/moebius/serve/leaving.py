"""Clients that leave: their jobs are cancelled."""

from __future__ import annotations

import asyncio
import contextlib

from starlette.requests import ClientDisconnect, Request

from moebius.serve.jobs import Job
from moebius.serve.request import FillAnswer


async def run_until_gone(request: Request, job: Job) -> FillAnswer:
    """The job's picture. If the client leaves before, the job is cancelled.

    Call it when the body has been read.

    Raises:
        ServeError: there is no picture, and why.
        ClientDisconnect: the client has left.
    """
    answer = asyncio.ensure_future(job.answer())
    gone = asyncio.ensure_future(_gone(request))
    try:
        await asyncio.wait((answer, gone), return_when=asyncio.FIRST_COMPLETED)
        if answer.done():
            return answer.result()
        raise ClientDisconnect
    finally:
        job.cancel()
        for task in (answer, gone):
            task.cancel()
        with contextlib.suppress(Exception, asyncio.CancelledError):
            await asyncio.gather(answer, gone, return_exceptions=True)


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
