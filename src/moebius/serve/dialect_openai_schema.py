"""What OpenAPI says of the routes in OpenAI's form: plain data."""

from __future__ import annotations

from typing import Any

from moebius.settings import MAX_SEED

Responses = dict[int | str, dict[str, Any]]

_TEXT = {"type": "string"}
_WHOLE = {"type": "integer"}


def _object(required: dict[str, Any], optional: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"type": "object", "properties": {**required, **(optional or {})}, "required": list(required)}


def _json(description: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"schema": schema}}}


_MAYBE_TEXT = {"type": ["string", "null"]}
_ERROR = _json(
    "It was not done; the message says what was expected and what came.",
    _object({"error": _object({"message": _TEXT, "type": _TEXT, "param": _MAYBE_TEXT, "code": _MAYBE_TEXT})}),
)
_ERRORS: Responses = {"4XX": _ERROR, "5XX": _ERROR}
_MODEL = _object({"id": _TEXT, "object": {"const": "model"}, "created": _WHOLE, "owned_by": _TEXT})
_PICTURE = _object({"seed": _TEXT}, {"b64_json": _TEXT, "url": _TEXT})

MODEL_RESPONSES: Responses = {200: _json("The model.", _MODEL), **_ERRORS}
MODELS_RESPONSES: Responses = {
    200: _json(
        "The models.", _object({"object": {"const": "list"}, "data": {"type": "array", "items": _MODEL}})
    ),
    **_ERRORS,
}
EDIT_RESPONSES: Responses = {
    200: {
        "description": "The pictures; with stream, events image_edit.partial_image and image_edit.completed.",
        "content": {
            "application/json": {
                "schema": _object(
                    {
                        "created": _WHOLE,
                        "data": {"type": "array", "items": _PICTURE},
                        "output_format": _TEXT,
                        "size": _TEXT,
                        "usage": {"type": "object"},
                    }
                )
            },
            "text/event-stream": {"schema": _TEXT},
        },
    },
    **_ERRORS,
}

_FILE = {"type": "string", "contentMediaType": "application/octet-stream"}


def _ignored(*names: str) -> dict[str, Any]:
    return {name: {"type": "string", "description": "Taken, and not read."} for name in names}


EDIT_BODY: dict[str, Any] = {
    "required": True,
    "content": {
        "multipart/form-data": {
            "schema": _object(
                {"image": {**_FILE, "description": 'The photo. A list ("image[]") must have one member.'}},
                {
                    "mask": {
                        **_FILE,
                        "description": "An image of the photo's size: what is transparent is filled. Without it, what "
                        "is transparent in the photo.",
                    },
                    "n": {"type": "integer", "minimum": 1, "maximum": 10, "default": 1},
                    "seed": {
                        "type": "integer", "minimum": 0, "maximum": MAX_SEED, "default": 0,
                        "description": "Of the first picture; each further one has the next. Not of OpenAI's form.",
                    },
                    "size": {**_TEXT, "default": "auto", "description": "auto, or the photo's own WIDTHxHEIGHT."},
                    "response_format": {"enum": ["b64_json", "url"], "default": "b64_json"},
                    "output_format": {"enum": ["png", "jpeg", "jpg", "webp"], "default": "png"},
                    "output_compression": {"type": "integer", "minimum": 0, "maximum": 100},
                    "stream": {"enum": ["true", "false"], "default": "false"},
                    "partial_images": {"type": "integer", "minimum": 0, "maximum": 3, "default": 0},
                    **_ignored(
                        "prompt", "model", "background", "quality", "input_fidelity", "moderation", "user",
                        "safety_identifier", "complexity",
                    ),
                },
            )
        }
    },
}  # fmt: skip
