"""POST /v1/inpaint: a photo in, the filled photo out."""

from __future__ import annotations

import base64
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal
from urllib.parse import quote

from fastapi import APIRouter, Header, Query, Request
from fastapi.responses import JSONResponse, Response
from python_multipart.multipart import parse_options_header

from moebius.serve.documents import FILLING, PICTURE, fill_body
from moebius.serve.errors import BadMaskError, BadPhotoError
from moebius.serve.leaving import answer_to, service_of
from moebius.serve.request import FillAnswer, FillRequest, decode_base64, parse_fields
from moebius.serve.uploads import read_form, read_json

router = APIRouter(prefix="/v1", tags=["fill"])

Deadline = Annotated[
    float | None,
    Header(alias="X-Deadline", gt=0, le=86400, description="Seconds in which the picture is needed."),
]


@router.post(
    "/inpaint",
    response_class=Response,
    responses={**FILLING, 200: PICTURE},
    openapi_extra={"requestBody": fill_body()},
)
async def inpaint(
    request: Request,
    response: Annotated[
        Literal["image", "json"] | None, Query(description="By default as Accept says, else the image.")
    ] = None,
    deadline: Deadline = None,
) -> Response:
    """Fill what is white in the mask; without a mask, what is transparent in the photo.

    The picture comes back at the photo's own size and in its own format. The same body gives the same picture.
    """
    as_json = response == "json" or (response is None and _prefers_json(request))
    fill, name = await read_fill(request, report=as_json)
    answer = await answer_to(request, fill, deadline)
    if as_json:
        content = {
            "image": base64.b64encode(answer.data).decode(), "format": answer.format, "result": answer.report,
        }  # fmt: skip
        return JSONResponse(content, headers={"X-Moebius-Seed": str(answer.seed)})
    return file_response(answer, name)


async def read_fill(request: Request, *, report: bool, previews: bool = False) -> tuple[FillRequest, str]:
    """What a body asks for, and the photo's name without its suffix.

    Raises:
        ServeError: see `read_form`, `parse_fields`.
    """
    service = service_of(request)
    kind, _ = parse_options_header(request.headers.get("content-type", ""))
    name = ""
    image: bytes | None
    mask: bytes | None
    if kind == b"application/json":
        values = await read_json(request, service.limits, service.memory)
        image = None if values.get("image") is None else decode_base64("image", values["image"])
        mask = None if values.get("mask") is None else decode_base64("mask", values["mask"])
    else:
        form = await read_form(request, service.limits, service.memory)
        photo, mask_file = form.file("image"), form.file("mask")
        values = form.values()
        for other in form.files:
            if other not in ("image", "mask"):
                values[other] = "a file"
        image = photo.data if photo else None
        mask = mask_file.data if mask_file else None
        name = photo.name if photo else ""
    if not image:
        raise BadPhotoError("image: expected a photo, got none")
    if mask is not None and not mask:
        raise BadMaskError("mask: expected an image or annotations, got 0 bytes")
    fields: dict[str, Any] = parse_fields(values, ignore=("image", "mask"))
    return FillRequest(image, mask, report=report, previews=previews, **fields), stem_of(name)


def file_response(answer: FillAnswer, name: str = "") -> Response:
    """The picture as a file with a name that is safe everywhere."""
    suffix = {"jpeg": "jpg"}.get(answer.format, answer.format)
    file = f"{name or 'photo'}-clean.{suffix}"
    plain = file.encode("ascii", "replace").decode().replace("?", "_").replace('"', "_").replace("\\", "_")
    disposition = f"inline; filename=\"{plain}\"; filename*=UTF-8''{quote(file, safe='')}"
    headers = {"X-Moebius-Seed": str(answer.seed), "Content-Disposition": disposition}
    return Response(answer.data, media_type=answer.media_type, headers=headers)


def stem_of(name: str) -> str:
    """What a client calls its file, without folders, suffix and characters that are no part of a name."""
    last = PurePosixPath(name.replace("\\", "/")).name
    clean = "".join(each for each in last if each.isprintable() and each not in '<>:"/\\|?*')
    return PurePosixPath(clean or "photo").stem.strip(". ")[:100]


def _prefers_json(request: Request) -> bool:
    accept = request.headers.get("accept", "")
    return "application/json" in accept and "image/" not in accept
