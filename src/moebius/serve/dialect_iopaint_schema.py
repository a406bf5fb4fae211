"""What OpenAPI says of the routes in IOPaint's form: plain data."""

from __future__ import annotations

from typing import Any

from moebius.settings import MAX_GROW, MAX_SEED

Responses = dict[int | str, dict[str, Any]]

_TEXT = {"type": "string"}
_BASE64 = {"type": "string", "description": "base64, by itself or in a data: URL."}


def _object(properties: dict[str, Any], required: list[str] | None = None) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": required or list(properties)}


def _body(schema: dict[str, Any], media_type: str = "application/json") -> dict[str, Any]:
    return {"required": True, "content": {media_type: {"schema": schema}}}


def _answers(description: str, *media_types: str, schema: dict[str, Any] | None = None) -> Responses:
    error = {
        "description": "It was not done; errors says what was expected and what came.",
        "content": {
            "application/json": {
                "schema": _object({"error": _TEXT, "detail": _TEXT, "body": _TEXT, "errors": _TEXT})
            }
        },
    }
    content = {each: {"schema": schema if schema is not None else {}} for each in media_types}
    return {200: {"description": description, "content": content}, "4XX": error, "5XX": error}


_PICTURE = {"type": "string", "contentMediaType": "application/octet-stream"}

IMAGE_RESPONSES = _answers(
    "The photo: PNG, JPEG and WebP in their own format, others as PNG.",
    "image/png", "image/jpeg", "image/webp", schema=_PICTURE,
)  # fmt: skip
IMAGE_RESPONSES[200]["headers"] = {"X-Seed": {"schema": _TEXT, "description": "The seed that was used."}}
PNG_RESPONSES = _answers("The mask, in the brush's colour.", "image/png", schema=_PICTURE)
JSON_RESPONSES = _answers("As there.", "application/json")
CONFIG_RESPONSES = _answers("What the front end shows.", "application/json", schema={"type": "object"})

INPAINT_BODY = _body(
    {
        **_object(
            {
                "image": _BASE64,
                "mask": {**_BASE64, "description": "White is filled. Without it, what is transparent in the photo."},
                "sd_seed": {
                    "type": "integer", "minimum": -1, "maximum": MAX_SEED, "default": 42,
                    "description": "-1 for any; X-Seed says which.",
                },
            },
            ["image"],
        ),
        "description": "Fields for other models are taken and not read; fields of Settings are honoured.",
    }
)  # fmt: skip
ADJUST_BODY = _body(
    _object(
        {
            "mask": _BASE64,
            "operate": {"enum": ["expand", "shrink", "reverse"]},
            "kernel_size": {"type": "integer", "minimum": 0, "maximum": MAX_GROW, "default": 5},
        },
        ["mask", "operate"],
    )
)
MODEL_BODY = _body(_object({"name": _TEXT}))
GEN_INFO_BODY = _body(_object({"file": _PICTURE}), "multipart/form-data")
