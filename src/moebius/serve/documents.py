"""Bodies and answers as OpenAPI describes them; generated from the settings, so that they cannot disagree."""

from __future__ import annotations

from typing import Any

from moebius.serve.request import MAX_KEY, settings_schema

_FILE = {"type": "string", "contentMediaType": "application/octet-stream"}
_BASE64 = {"type": "string", "contentEncoding": "base64", "description": "Base64, or a data: URL."}


def _settings(in_form: bool) -> dict[str, Any]:
    """Properties of a body besides photo and mask. JSON says None where a form leaves a field out."""
    properties: dict[str, Any] = {}
    for name, entry in settings_schema().items():
        schema: dict[str, Any] = {"type": entry["type"]}
        for here, there in (("minimum", "minimum"), ("maximum", "maximum"), ("choices", "enum")):
            if here in entry:
                schema[there] = entry[here]
        if not in_form and entry.get("nullable"):
            schema = {"anyOf": [schema, {"type": "null"}]}
        properties[name] = {**schema, "description": entry["help"]}
    properties["format"] = {
        "type": "string",
        "description": "png, jpeg, webp, tiff, bmp, avif or heic; by default the photo's own.",
    }
    properties["quality"] = {"type": "integer", "minimum": 1, "maximum": 100}
    properties["key"] = {
        "type": "string",
        "maxLength": MAX_KEY,
        "description": "Mixed into the noise with the seed.",
    }
    return properties


def fill_body() -> dict[str, Any]:
    """The body of /v1/inpaint and /v1/jobs."""
    return {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["image"],
                    "properties": {"image": _FILE, "mask": _FILE, **_settings(True)},
                    "additionalProperties": False,
                }
            },
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["image"],
                    "properties": {"image": _BASE64, "mask": _BASE64, **_settings(False)},
                    "additionalProperties": False,
                }
            },
        },
    }


ERROR: dict[str, Any] = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["type", "message"],
            "properties": {
                "type": {"type": "string"},
                "message": {"type": "string"},
                "request_id": {"type": "string"},
            },
        }
    },
}


def errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Answers in our form for these statuses."""
    return {
        status: {"description": _WORDS[status], "content": {"application/json": {"schema": ERROR}}}
        for status in statuses
    }


_WORDS = {
    400: "Photo, mask, settings or body cannot be used.",
    401: "The token is missing or wrong.",
    404: "No such job.",
    408: "The upload was too slow.",
    409: "The job has not ended, or was cancelled.",
    413: "The body is too large.",
    415: "Another media type.",
    422: "A query parameter cannot be used.",
    429: "Too much at once; see Retry-After.",
    500: "The server failed.",
    503: "The server is starting or ending; see Retry-After.",
    504: "Not done in time.",
}

FILLING = errors(400, 401, 408, 409, 413, 415, 422, 429, 500, 503, 504)
"""What every route that fills may say no with."""

PICTURE: dict[str, Any] = {
    "description": "The filled photo: a file, or a JSON object with it.",
    "headers": {"X-Moebius-Seed": {"schema": {"type": "string"}}},
    "content": {
        "image/*": {"schema": {"type": "string", "contentMediaType": "image/*"}},
        "application/json": {
            "schema": {
                "type": "object",
                "required": ["image", "format", "result"],
                "properties": {
                    "image": _BASE64,
                    "format": {"type": "string"},
                    "result": {"type": "object"},
                },
            }
        },
    },
}
