"""What is asked of a worker, and what comes back: plain values that cross between processes."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal, get_type_hints

from moebius.errors import SettingsError
from moebius.imaging import check_format
from moebius.serve.errors import BadOutputError, BadRequestError, BadSettingsError
from moebius.settings import HELP, RANGES, Settings

MaskKind = Literal["white", "transparent"]

TYPES: Mapping[str, type] = {
    "steps": int, "guidance": float, "seed": int, "solver": str, "start": str, "grow": int, "feather": int,
    "context": float, "strategy": str, "grain": float, "invert": bool, "fit_mask": bool,
}  # fmt: skip
"""Fields of `Settings`, each with the type of its values other than None."""
EXTRA = ("format", "quality", "key")
"""What a request may say besides."""
MAX_KEY = 200
"""Characters of a key."""


@dataclass(frozen=True)
class FillRequest:
    """One photo to fill."""

    image: bytes
    """The photo's file."""
    mask: bytes | None
    """An image or annotations; None: the photo's transparent part is filled, and becomes opaque."""
    mask_kind: MaskKind = "white"
    """What of a mask image is filled: what is white, or what is transparent."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Fields of `Settings`."""
    key: str = ""
    """Mixed into the noise with the seed."""
    format: str | None = None
    """Of the answer, as `write_photo` takes it; None for the photo's own."""
    quality: int | None = None
    opaque: bool = False
    """Filled places become opaque even where the mask is a file of its own."""
    previews: bool = False
    """Pictures with the progress."""
    report: bool = False
    """The report counts what has changed."""

    @property
    def nbytes(self) -> int:
        return len(self.image) + len(self.mask or b"")


@dataclass(frozen=True)
class FillAnswer:
    """A finished picture."""

    data: bytes
    """The file."""
    format: str
    """"png", "jpeg", ..."""
    media_type: str
    seed: int
    report: dict[str, Any]
    """`Result.to_dict()`, with "written", and "changes" where they were asked for."""

    @property
    def nbytes(self) -> int:
        return len(self.data)


def parse_fields(values: Mapping[str, Any], *, ignore: Iterable[str] = ()) -> dict[str, Any]:
    """Settings, format, quality and key of a form's or a JSON body's fields, as arguments of `FillRequest`.

    Form fields are text, and so may numbers in JSON be: seeds above 2**53 do not survive JavaScript's numbers. An empty
    text and null mean "not said".

    Raises:
        BadSettingsError: a field is unknown, or not of its type or range.
        BadOutputError: no such format.
    """
    settings: dict[str, Any] = {}
    extra: dict[str, Any] = {}
    for name, value in values.items():
        if name in ignore or value is None or value == "":
            continue
        if name in TYPES:
            settings[name] = _typed(name, value, TYPES[name])
        elif name in EXTRA:
            extra[name] = value
        else:
            raise BadSettingsError(f"expected fields among {', '.join((*TYPES, *EXTRA))}, got {name[:60]!r}")
    try:
        Settings(**settings)
    except SettingsError as error:
        raise BadSettingsError(str(error)) from error
    return {"settings": settings, **_extra(extra)}


def _extra(given: Mapping[str, Any]) -> dict[str, Any]:
    parsed: dict[str, Any] = {}
    if "format" in given:
        name = str(given["format"]).lower()
        try:
            check_format(name)
        except Exception as error:
            raise BadOutputError(str(error)) from error
        parsed["format"] = name
    if "quality" in given:
        quality = _typed("quality", given["quality"], int)
        if not 1 <= quality <= 100:
            raise BadSettingsError(f"quality: expected 1 to 100, got {quality}")
        parsed["quality"] = quality
    if "key" in given:
        key = given["key"]
        if not isinstance(key, str) or len(key) > MAX_KEY or _has_surrogates(key):
            raise BadSettingsError(f"key: expected a text of up to {MAX_KEY} characters")
        parsed["key"] = key
    return parsed


def _has_surrogates(text: str) -> bool:
    """Whether there are halves of characters in a text, as JSON can have them."""
    return any("\ud800" <= each <= "\udfff" for each in text)


def _typed(name: str, value: Any, kind: type) -> Any:
    """A value, or a text that stands for it, as `kind`."""
    if kind is bool and isinstance(value, str) and value.lower() in ("true", "false", "1", "0"):
        return value.lower() in ("true", "1")
    if kind in (int, float) and isinstance(value, str) and len(value) <= 40:
        try:
            return kind(value)
        except ValueError:
            pass
    elif kind is float and isinstance(value, int) and not isinstance(value, bool):
        return value
    elif kind is int and isinstance(value, float) and value.is_integer():
        return int(value)
    elif isinstance(value, kind) and not (kind is not bool and isinstance(value, bool)):
        return value
    words = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}
    raise BadSettingsError(f"{name}: expected {words[kind]}, got {str(value)[:60]!r}")


def decode_base64(name: str, value: object) -> bytes:
    """A file from JSON: base64, by itself or in a `data:` URL.

    Raises:
        BadRequestError: it is neither.
    """
    if not isinstance(value, str):
        raise BadRequestError(f"{name}: expected base64 or a data: URL, got {type(value).__name__}")
    if value.startswith("data:"):
        head, comma, value = value.partition(",")
        if not comma or not head.endswith(";base64"):
            raise BadRequestError(f"{name}: expected a data: URL in base64, got another one")
    elif value[:8].lower().startswith(("http:", "https:", "file:")):
        raise BadRequestError(f"{name}: expected base64 or a data: URL; addresses are not fetched")
    try:
        return base64.b64decode("".join(value.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise BadRequestError(f"{name}: expected base64 or a data: URL, got text that is neither") from error


def settings_schema() -> dict[str, dict[str, Any]]:
    """What `/v1/info` says of each setting: type, default, range or choices, and a line of help."""
    kinds = {int: "integer", float: "number", str: "string", bool: "boolean"}
    schema = {}
    for each in fields(Settings):
        entry: dict[str, Any] = {"type": kinds[TYPES[each.name]], "default": each.default}
        if type(None) in getattr(get_type_hints(Settings)[each.name], "__args__", ()):
            entry["nullable"] = True
        if each.name in RANGES:
            entry.update(RANGES[each.name].to_dict())
        entry["help"] = HELP[each.name]
        schema[each.name] = entry
    return schema
