"""OpenAI's form of an edit: `POST /v1/images/edits` and `GET /v1/models`, for programs that speak it already.

What is transparent in the mask is filled; without a mask, what is transparent in the image. The answer is opaque there,
and has the image's own size. There is no text encoder: the prompt is taken and not read.
"""

from __future__ import annotations

import asyncio
import base64
import io
import json
import re
import time
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, Request
from PIL import Image
from starlette.responses import JSONResponse, Response, StreamingResponse

from moebius.serve.dialect_openai_schema import EDIT_BODY, EDIT_RESPONSES, MODEL_RESPONSES, MODELS_RESPONSES
from moebius.serve.dialects import (
    model_of,
    retry_headers,
    route_with,
)
from moebius.serve.errors import (
    BadOutputError,
    BadRequestError,
    BadSettingsError,
    CancelledError,
    DeadlineError,
    NotFoundError,
    ServeError,
    UnauthorisedError,
)
from moebius.serve.jobs import Event
from moebius.serve.leaving import service_of, submitted, unless_gone
from moebius.serve.request import TYPES, FillAnswer, FillRequest, parse_fields
from moebius.serve.routes_fill import Deadline
from moebius.serve.uploads import Form, Upload, read_form

MAX_IMAGES = 10
MAX_PARTIAL = 3
FORMATS = ("png", "jpeg", "webp")
IGNORED = (
    "prompt", "model", "background", "quality", "input_fidelity", "moderation", "user", "safety_identifier",
    "complexity",
)  # fmt: skip
"""Fields that say nothing to a model without text: taken from programs that send them, whatever they hold."""
OWN = (
    "n", "size", "response_format", "output_format", "output_compression", "stream", "partial_images",
)  # fmt: skip
_NO_TOKENS = {
    "input_tokens": 0,
    "input_tokens_details": {"image_tokens": 0, "text_tokens": 0},
    "output_tokens": 0,
    "total_tokens": 0,
}
_PARAMETERS = {"photo": "image", "mask": "mask", "output": "output_format"}


@dataclass(frozen=True)
class Edit:
    """An edit that was asked for, checked as far as can be without looking into the files."""

    fills: tuple[FillRequest, ...]
    """One for each picture; their seeds follow one another."""
    size: str | None
    """"WxH" that the image must have, or None."""
    as_url: bool
    stream: bool
    partial_images: int


def openai_error(error: ServeError) -> Response:
    """An error in OpenAI's form, with the status from which their client makes its exceptions.

    A refusal is not worth repeating with the same picture, and the client is told so where it would.
    """
    if error.status == 429:
        kind, code = "rate_limit_error", "rate_limit_exceeded"
    elif error.status >= 500:
        kind, code = "server_error", error.type
    else:
        kind = "invalid_request_error"
        code = "invalid_api_key" if isinstance(error, UnauthorisedError) else error.type
    message = str(error)
    name = re.match(r"(\w+): ", message)
    parameter = _PARAMETERS.get(error.type) or (name[1] if name and error.status == 400 else None)
    headers = retry_headers(error)
    if isinstance(error, (DeadlineError, CancelledError)):
        headers["x-should-retry"] = "false"
    body = {"error": {"message": message, "type": kind, "param": parameter, "code": code}}
    return JSONResponse(body, error.status, headers)


router = APIRouter(route_class=route_with(openai_error), tags=["OpenAI's form"])


@router.get("/v1/models", responses=MODELS_RESPONSES)
async def list_models(request: Request) -> Response:
    """The one model that is served."""
    return JSONResponse({"object": "list", "data": [_model(model_of(request)["name"])]})


@router.get("/v1/models/{name}", responses=MODEL_RESPONSES)
async def show_model(request: Request, name: str) -> Response:
    """The model that is served, by its name."""
    served = model_of(request)["name"]
    if name != served:
        raise NotFoundError(f"expected the model {served!r}, got {name[:60]!r}")
    return JSONResponse(_model(served))


@router.post("/v1/images/edits", openapi_extra={"requestBody": EDIT_BODY}, responses=EDIT_RESPONSES)
async def edit_image(request: Request, deadline: Deadline = None) -> Response:
    """Fill what is transparent in the mask, or in the image itself."""
    service = service_of(request)
    edit = parse_edit(await read_form(request, service.limits, service.memory))
    if edit.stream:
        return await _stream(request, edit, deadline)
    answers: list[FillAnswer] = []
    async with submitted(request, edit.fills, deadline) as jobs:
        for job in jobs:
            answers.append(await unless_gone(request, job.answer()))
            _check_size(edit, answers[-1])
    return Response(await asyncio.to_thread(_body, edit, answers), media_type="application/json")


def parse_edit(form: Form) -> Edit:
    """What a form asks for.

    Raises:
        BadRequestError, BadSettingsError, BadOutputError: see the message.
    """
    fields = form.values()
    image, mask = _only_image(form), form.file("mask")
    known = ("image", "image[]", "mask")
    for name in (*form.files, *fields):
        if name not in (*known, *IGNORED, *OWN, *TYPES, "key"):
            raise BadRequestError(f"expected a parameter of an image edit, got {name[:60]!r}")
    count = _whole(fields, "n", 1, MAX_IMAGES, 1)
    stream = _choice(fields, "stream", ("false", "true"), "false") == "true"
    if stream and count > 1:
        raise BadSettingsError(f"n: expected 1 with stream, got {count}")
    parsed = parse_fields(fields, ignore=("image", *IGNORED, *OWN))
    settings = parsed.pop("settings")
    first = settings.get("seed", 0)
    fills = []
    for seed in range(first, first + count):
        fills.append(
            FillRequest(
                image=image.data,
                mask=None if mask is None else mask.data,
                mask_kind="transparent",
                settings=parse_fields({**settings, "seed": seed})["settings"],
                opaque=True,
                **parsed,
                **_output(fields),
                previews=stream,
            )
        )
    return Edit(
        tuple(fills),
        size=_size(fields),
        as_url=_choice(fields, "response_format", ("b64_json", "url"), "b64_json") == "url",
        stream=stream,
        partial_images=_whole(fields, "partial_images", 0, MAX_PARTIAL, 0),
    )


def _only_image(form: Form) -> Upload:
    uploads = [upload for name in ("image", "image[]") for upload in form.files.get(name, [])]
    if len(uploads) != 1:
        raise BadRequestError(f"image: expected exactly one file, got {len(uploads)}")
    return uploads[0]


def _output(fields: Mapping[str, str]) -> dict[str, Any]:
    """Format and quality; their compression runs from 0, where a picture is worst, to 100."""
    asked = fields.get("output_format") or "png"
    format = {"jpg": "jpeg"}.get(asked, asked)
    if format not in FORMATS:
        raise BadOutputError(f"output_format: expected {', '.join(FORMATS)}, got {asked[:60]!r}")
    if not fields.get("output_compression"):
        return {"format": format}
    compression = _whole(fields, "output_compression", 0, 100, 100)
    return {"format": format} if format == "png" else {"format": format, "quality": max(1, compression)}


def _size(fields: Mapping[str, str]) -> str | None:
    size = fields.get("size") or "auto"
    if size == "auto":
        return None
    if not re.fullmatch(r"[1-9]\d{0,5}x[1-9]\d{0,5}", size):
        raise BadSettingsError(f"size: expected auto or the image's own WIDTHxHEIGHT, got {size[:60]!r}")
    return size


def _whole(fields: Mapping[str, str], name: str, low: int, high: int, default: int) -> int:
    text = fields.get(name) or str(default)
    if not re.fullmatch(r"\d{1,3}", text, re.ASCII) or not low <= int(text) <= high:
        raise BadSettingsError(f"{name}: expected a whole number from {low} to {high}, got {text[:60]!r}")
    return int(text)


def _choice(fields: Mapping[str, str], name: str, words: tuple[str, ...], default: str) -> str:
    text = fields.get(name) or default
    if text not in words:
        raise BadSettingsError(f"{name}: expected one of {', '.join(words)}, got {text[:60]!r}")
    return text


def _check_size(edit: Edit, answer: FillAnswer) -> None:
    """Only a worker looks into the image, so its size is known when it is filled."""
    if edit.size not in (None, _size_of(answer)):
        raise BadSettingsError(f"size: expected auto or the image's own {_size_of(answer)}, got {edit.size}")


def _size_of(answer: FillAnswer) -> str:
    width, height = answer.report["size"]
    return f"{width}x{height}"


def _model(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 0, "owned_by": "moebius"}


def _body(edit: Edit, answers: list[FillAnswer]) -> bytes:
    data = []
    for answer in answers:
        encoded = base64.b64encode(answer.data).decode()
        picture = (
            {"url": f"data:{answer.media_type};base64,{encoded}"} if edit.as_url else {"b64_json": encoded}
        )
        data.append({**picture, "seed": str(answer.seed)})
    last = answers[-1]
    return json.dumps(
        {
            "created": int(time.time()),
            "data": data,
            "output_format": last.format,
            "size": _size_of(last),
            "usage": _NO_TOKENS,
        }
    ).encode()


async def _stream(request: Request, edit: Edit, deadline: float | None) -> Response:
    """The picture as server-sent events, after partial ones.

    Nothing is sent before the worker has begun: what is wrong with the files is still told by the status.
    """
    running = _run(request, edit, deadline)
    try:
        first = await unless_gone(request, anext(running))
    except BaseException:
        await running.aclose()
        raise

    async def events() -> AsyncGenerator[bytes, None]:
        try:
            yield first
            async for chunk in running:
                yield chunk
        except ServeError as error:
            yield _event("error", json.loads(bytes(openai_error(error).body)))
        finally:
            await running.aclose()

    return StreamingResponse(events(), media_type="text/event-stream", headers={"X-Accel-Buffering": "no"})


async def _run(request: Request, edit: Edit, deadline: float | None) -> AsyncGenerator[bytes, None]:
    """Empty once the worker has begun, then the events."""
    async with submitted(request, edit.fills, deadline) as (job,):
        begun, sent = False, 0
        async for event in job.events():
            if event.kind == "progress" and event.data["steps"]:
                if not begun:
                    begun = True
                    yield b""
                if _is_partial(event, sent, edit.partial_images):
                    yield await asyncio.to_thread(_partial, event, sent)
                    sent += 1
        answer = await job.answer()
        _check_size(edit, answer)
        yield await asyncio.to_thread(_completed, answer)


def _is_partial(event: Event, sent: int, wanted: int) -> bool:
    """Whether an event's preview is to be sent: they are spread evenly over the work."""
    return (
        sent < wanted and bool(event.data["preview"]) and event.data["fraction"] >= (sent + 1) / (wanted + 1)
    )


def _partial(event: Event, index: int) -> bytes:
    """The region at hand as it stands; `box` says where in the photo it is."""
    encoded = event.data["preview"].partition(",")[2]
    with Image.open(io.BytesIO(base64.b64decode(encoded))) as image:  # our own JPEG; only its header is read
        width, height = image.size
    about = {"size": f"{width}x{height}", "box": event.data["box"], "partial_image_index": index}
    return _picture_event("image_edit.partial_image", encoded, "jpeg", about)


def _completed(answer: FillAnswer) -> bytes:
    about = {"size": _size_of(answer), "usage": _NO_TOKENS, "seed": str(answer.seed)}
    return _picture_event(
        "image_edit.completed", base64.b64encode(answer.data).decode(), answer.format, about
    )


def _picture_event(kind: str, encoded: str, format: str, about: Mapping[str, Any]) -> bytes:
    data = {"type": kind, "b64_json": encoded, "created_at": int(time.time()), "output_format": format}
    return _event(kind, {**data, "background": "auto", "quality": "auto", **about})


def _event(kind: str, data: Mapping[str, Any]) -> bytes:
    return f"event: {kind}\ndata: {json.dumps(data)}\n\n".encode()
