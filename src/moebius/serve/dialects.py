"""What the foreign dialects share: errors in a form of their own."""

from __future__ import annotations

import math
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response

from moebius.serve.errors import BadRequestError, ServeError, UnavailableError
from moebius.serve.leaving import service_of


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
                    return answer(BadRequestError(what_is_invalid(error)))

            return handle_or_say_no

    return Route


def what_is_invalid(error: RequestValidationError) -> str:
    """The first thing that FastAPI finds wrong with a request, in a line."""
    first = error.errors()[0]
    where = ".".join(str(each) for each in first["loc"][1:])
    return f"{where}: {first['msg']}, got {str(first.get('input'))[:60]!r}"


def retry_headers(error: ServeError) -> dict[str, str]:
    """`Retry-After` in whole seconds, where it is worth asking again."""
    return {} if error.retry_after is None else {"Retry-After": str(max(1, math.ceil(error.retry_after)))}


def model_of(request: Request) -> dict[str, Any]:
    """What the workers say of their model.

    Raises:
        UnavailableError: none is ready yet.
    """
    info = service_of(request).info
    if not info:
        raise UnavailableError("the server is starting: its model is not loaded yet", retry_after=2)
    return info
