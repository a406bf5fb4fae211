"""What the foreign dialects share: errors in a form of their own, and jobs that end with their request."""

from __future__ import annotations

import contextlib
import math
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from typing import Any

from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response

from moebius.serve.errors import BadRequestError, ServeError, UnavailableError
from moebius.serve.jobs import Job
from moebius.serve.request import FillRequest
from moebius.serve.service import Service


def route_with(answer: Callable[[ServeError], Response]) -> type[APIRoute]:
    """A route class for `APIRouter` whose routes say no in the form that `answer` gives an error."""

    class Route(APIRoute):
        def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
            handle = super().get_route_handler()

            async def handle_or_say_no(request: Request) -> Response:
                try:
                    return await handle(request)
                except ServeError as error:
                    return answer(error)
                except RequestValidationError as error:  # of a header: bodies are read by us
                    first = error.errors()[0]
                    message = f"{first['loc'][-1]}: {first['msg']}, got {str(first.get('input'))[:60]!r}"
                    return answer(BadRequestError(message))

            return handle_or_say_no

    return Route


def retry_headers(error: ServeError) -> dict[str, str]:
    """`Retry-After` in whole seconds, where it is worth asking again."""
    return {} if error.retry_after is None else {"Retry-After": str(max(1, math.ceil(error.retry_after)))}


def service_of(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


def model_of(request: Request) -> dict[str, Any]:
    """What the workers say of their model.

    Raises:
        UnavailableError: none is ready yet.
    """
    info = service_of(request).info
    if not info:
        raise UnavailableError("the server is starting: its model is not loaded yet", retry_after=2)
    return info


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
