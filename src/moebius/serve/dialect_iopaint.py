"""IOPaint's form: what its web front end and its clients call under `/api/v1`, as of its version 1.6.

The model presents itself as one that erases, without a prompt, so the front end fills as soon as a stroke ends. Of the
many fields of a request those for other models are taken and not read. Progress over socket.io is not offered: the
front end shows it for other kinds of models only.
"""

from __future__ import annotations

import secrets
from typing import Any, cast, get_args

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse, Response

from moebius.serve.adjusting import AdjustRequest, Operation
from moebius.serve.dialect_iopaint_schema import (
    ADJUST_BODY,
    CONFIG_RESPONSES,
    GEN_INFO_BODY,
    IMAGE_RESPONSES,
    INPAINT_BODY,
    JSON_RESPONSES,
    MODEL_BODY,
    PNG_RESPONSES,
)
from moebius.serve.dialects import model_of, retry_headers, route_with
from moebius.serve.errors import (
    BadMaskError,
    BadPhotoError,
    BadRequestError,
    BadSettingsError,
    NotFoundError,
    ServeError,
)
from moebius.serve.leaving import answer_to, service_of
from moebius.serve.request import TYPES, FillRequest, decode_base64, parse_fields
from moebius.serve.routes_fill import Deadline
from moebius.serve.uploads import read_form, read_json
from moebius.settings import MAX_GROW, MAX_SEED

DEFAULT_SEED = 42
"""As there."""
MAX_RANDOM_SEED = 99_999_999
"""As there: the front end reads it into a JavaScript number."""
SAMPLERS = ("DDIM", "DPM++ 2M")
_KEPT = ((b"\x89PNG\r\n\x1a\n", "png"), (b"\xff\xd8\xff", "jpeg"), (b"RIFF", "webp"))
"""First bytes of photos that are answered in their own format, as there."""


def iopaint_error(error: ServeError) -> Response:
    """An error in IOPaint's form; its front end shows what stands under "errors"."""
    message = str(error)
    body = {"error": type(error).__name__, "detail": message, "body": "", "errors": message}
    return JSONResponse(body, error.status, retry_headers(error))


router = APIRouter(prefix="/api/v1", route_class=route_with(iopaint_error), tags=["IOPaint's form"])


@router.post(
    "/inpaint",
    response_class=Response,
    openapi_extra={"requestBody": INPAINT_BODY},
    responses=IMAGE_RESPONSES,
)
async def inpaint(request: Request, deadline: Deadline = None) -> Response:
    """Fill what is white in the mask."""
    answer = await answer_to(request, parse_inpaint(await _json(request)), deadline)
    return Response(answer.data, media_type=answer.media_type, headers={"X-Seed": str(answer.seed)})


@router.post(
    "/adjust_mask",
    response_class=Response,
    openapi_extra={"requestBody": ADJUST_BODY},
    responses=PNG_RESPONSES,
)
async def adjust_mask(request: Request, deadline: Deadline = None) -> Response:
    """Grow, shrink or invert a mask."""
    answer = await answer_to(request, parse_adjustment(await _json(request)), deadline)
    return Response(answer.data, media_type=answer.media_type)


@router.get("/server-config", responses=CONFIG_RESPONSES)
async def server_config(request: Request) -> Response:
    """What the front end shows: one model, no plugins, no files of the server's."""
    return JSONResponse(
        {
            "plugins": [],
            "modelInfos": [_model(request)],
            "removeBGModel": "", "removeBGModels": [],
            "realesrganModel": "", "realesrganModels": [],
            "interactiveSegModel": "", "interactiveSegModels": [],
            "enableFileManager": False,
            "enableAutoSaving": False,
            "enableControlnet": False, "controlnetMethod": None,
            "disableModelSwitch": False,
            "isDesktop": False,
            "samplers": SAMPLERS,
        }
    )  # fmt: skip


@router.get("/model", responses=JSON_RESPONSES)
async def current_model(request: Request) -> Response:
    """The model that is served."""
    return JSONResponse(_model(request))


@router.post("/model", openapi_extra={"requestBody": MODEL_BODY}, responses=JSON_RESPONSES)
async def switch_model(request: Request) -> Response:
    """There is one model; asking for it is no change."""
    asked = (await _json(request)).get("name")
    served = _model(request)
    if asked != served["name"]:
        raise NotFoundError(f"expected the model {served['name']!r}, got {str(asked)[:60]!r}")
    return JSONResponse(served)


@router.get("/samplers", responses=JSON_RESPONSES)
async def samplers() -> Response:
    """The solvers, by the names that they have there."""
    return JSONResponse(SAMPLERS)


@router.get("/inputimage", responses=JSON_RESPONSES)
async def input_image() -> Response:
    """No photo is given to the server beforehand; as there, that is no error."""
    return JSONResponse(
        {"error": "NotFoundError", "detail": "no input image", "body": "", "errors": "no input image"}
    )


@router.post("/gen-info", openapi_extra={"requestBody": GEN_INFO_BODY}, responses=JSON_RESPONSES)
async def gen_info(request: Request) -> Response:
    """The prompt that a photo was made with. Nobody needs one here, so no photo has any."""
    service = service_of(request)
    form = await read_form(request, service.limits, service.memory)
    if form.file("file") is None:
        raise BadRequestError("file: expected a photo, got none")
    return JSONResponse({"prompt": "", "negative_prompt": ""})


@router.get("/medias", include_in_schema=False)
@router.get("/media_file", include_in_schema=False)
@router.post("/save_image", include_in_schema=False)
@router.post("/run_plugin_gen_mask", include_in_schema=False)
@router.post("/run_plugin_gen_image", include_in_schema=False)
@router.post("/switch_plugin_model", include_in_schema=False)
async def not_offered(request: Request) -> Response:
    """Plugins, and files of the server's: told in this form, so that the front end shows what is wrong."""
    raise NotFoundError(
        f"{request.url.path} is not offered here: there are no plugins and no files on the server"
    )


def parse_inpaint(body: dict[str, Any]) -> FillRequest:
    """The fill that a request asks for. Fields of our `Settings` may stand beside IOPaint's own.

    Raises:
        BadPhotoError, BadMaskError, BadSettingsError, BadRequestError: see the message.
    """
    if body.get("image") is None:
        raise BadPhotoError("image: expected base64 or a data: URL, got none")
    image = decode_base64("image", body["image"])
    mask = None if body.get("mask") is None else decode_base64("mask", body["mask"])
    if body.get("use_extender") is True:
        raise BadSettingsError("use_extender: expected false, got true: photos are not extended here")
    settings = {name: body[name] for name in TYPES if name in body and name != "seed"}
    parsed = parse_fields({**settings, "seed": _seed(body.get("sd_seed"))})
    format = next((name for start, name in _KEPT if image.startswith(start)), "png")
    return FillRequest(image, mask, format=format, **parsed)


def parse_adjustment(body: dict[str, Any]) -> AdjustRequest:
    """What is to be done to a mask.

    Raises:
        BadMaskError, BadSettingsError, BadRequestError: see the message.
    """
    if body.get("mask") is None:
        raise BadMaskError("mask: expected base64 or a data: URL, got none")
    operation, pixels = body.get("operate"), body.get("kernel_size", 5)
    if not isinstance(operation, str) or operation not in get_args(Operation):
        raise BadSettingsError(
            f"operate: expected {', '.join(get_args(Operation))}, got {str(operation)[:60]!r}"
        )
    if isinstance(pixels, bool) or not isinstance(pixels, int) or not 0 <= pixels <= MAX_GROW:
        raise BadSettingsError(f"kernel_size: expected 0 to {MAX_GROW} pixels, got {str(pixels)[:60]!r}")
    return AdjustRequest(
        decode_base64("mask", body["mask"]), None, operation=cast(Operation, operation), pixels=pixels
    )


def _seed(asked: object) -> int:
    if asked is None:
        return DEFAULT_SEED
    if isinstance(asked, bool) or not isinstance(asked, int) or not -1 <= asked <= MAX_SEED:
        raise BadSettingsError(f"sd_seed: expected -1 for any, or 0 to {MAX_SEED}, got {str(asked)[:60]!r}")
    return 1 + secrets.randbelow(MAX_RANDOM_SEED) if asked == -1 else asked


def _model(request: Request) -> dict[str, Any]:
    name = model_of(request)["name"]
    return {
        "name": name,
        "path": name,
        "model_type": "inpaint",
        "is_single_file_diffusers": False,
        "need_prompt": False,
        "controlnets": [],
        "brushnets": [],
        "support_strength": False,
        "support_outpainting": False,
        "support_lcm_lora": False,
        "support_controlnet": False,
        "support_brushnet": False,
        "support_powerpaint_v2": False,
    }


async def _json(request: Request) -> dict[str, Any]:
    service = service_of(request)
    return await read_json(request, service.limits, service.memory)
