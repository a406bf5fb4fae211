"""Reading bodies: into memory and never on a disk, within limits of size, time and pauses."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import Request

from moebius.serve.errors import BadRequestError, TooLargeError, TooSlowError, WrongMediaTypeError
from moebius.serve.limits import Limits
from moebius.serve.memory import Memory

MAX_PARTS = 64
"""Files and fields of a form together."""
MAX_FIELD_BYTES = 1 << 20
"""Of a field that is not a file."""
MAX_HEADER_BYTES = 8 << 10
"""Of the headers of one part."""


@dataclass(frozen=True)
class Upload:
    """A file of a form."""

    name: str
    """What the client calls it: any text, never used as a path."""
    data: bytes
    media_type: str


@dataclass
class Form:
    """A form's parts, by their names, in the order they came."""

    files: dict[str, list[Upload]] = field(default_factory=dict)
    fields: dict[str, list[str]] = field(default_factory=dict)

    def file(self, name: str) -> Upload | None:
        """The only file of that name, or None.

        Raises:
            BadRequestError: there are several, or the name belongs to a field.
        """
        found = self.files.get(name, [])
        if len(found) > 1:
            raise BadRequestError(f"{name}: expected one file, got {len(found)}")
        if not found and name in self.fields:
            raise BadRequestError(f"{name}: expected a file, got a form field without a file name")
        return found[0] if found else None

    def values(self) -> dict[str, str]:
        """The fields, each with its only value.

        Raises:
            BadRequestError: a field came more than once.
        """
        for name, values in self.fields.items():
            if len(values) > 1:
                raise BadRequestError(f"{name[:60]}: expected one value, got {len(values)}")
        return {name: values[0] for name, values in self.fields.items()}


async def read_form(request: Request, limits: Limits, memory: Memory) -> Form:
    """A multipart form, or a form of fields alone.

    The body's bytes are counted as held in `memory` while they are read and no longer: the caller takes them for as
    long as it keeps them.

    Raises:
        WrongMediaTypeError, TooLargeError, TooSlowError, BadRequestError, BusyError.
        ClientDisconnect: the client has left.
    """
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    if kind != b"multipart/form-data":
        raise WrongMediaTypeError(
            f"expected multipart/form-data or application/json, got {kind.decode('latin-1')[:60] or 'nothing'}"
        )
    boundary = options.get(b"boundary")
    if not boundary:
        raise BadRequestError("expected a boundary in the Content-Type of the form, got none")
    collector = _Collector()
    try:
        parser = MultipartParser(boundary, collector.callbacks())
        async with aclosing(_body(request, limits, memory)) as chunks:
            async for chunk in chunks:
                parser.write(chunk)
        parser.finalize()
    except FormParserError as error:
        raise BadRequestError(f"the form is malformed: {str(error).splitlines()[0][:100]}") from error
    if not collector.ended:
        raise BadRequestError("the form is cut off: expected its closing boundary")
    return collector.form


async def read_json(request: Request, limits: Limits, memory: Memory) -> dict[str, Any]:
    """A JSON object.

    Raises:
        As `read_form`.
    """
    data = bytearray()
    async with aclosing(_body(request, limits, memory)) as chunks:
        async for chunk in chunks:
            data += chunk
    try:
        values = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise BadRequestError(f"expected a JSON object, got what is no JSON ({str(error)[:80]})") from error
    if not isinstance(values, dict):
        raise BadRequestError(f"expected a JSON object, got {type(values).__name__}")
    return values


async def _body(request: Request, limits: Limits, memory: Memory) -> AsyncGenerator[bytes, None]:
    """The body's chunks as they come."""
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced) > limits.upload_bytes:
        raise _too_large(limits)
    total = 0
    chunks = request.stream()
    try:
        async with asyncio.timeout(limits.upload_seconds):
            while True:
                try:
                    chunk = await asyncio.wait_for(anext(chunks), limits.idle_seconds)
                except StopAsyncIteration:
                    break
                if total + len(chunk) > limits.upload_bytes:
                    raise _too_large(limits)
                memory.take(len(chunk))
                total += len(chunk)
                if chunk:
                    yield chunk
    except TimeoutError as error:
        raise TooSlowError(
            f"upload: expected it whole within {limits.upload_seconds:g} s, without pauses of {limits.idle_seconds:g} s"
        ) from error
    finally:
        memory.give_back(total)


def _too_large(limits: Limits) -> TooLargeError:
    return TooLargeError(f"expected a body of up to {limits.upload_bytes:,} bytes, got a larger one")


class _Collector:
    """What the parser calls: parts grow here."""

    def __init__(self) -> None:
        self.form = Form()
        self.ended = False
        self._parts = 0
        self._start()

    def callbacks(self) -> dict[str, Any]:
        return {
            "on_part_begin": self._start,
            "on_header_field": self._header_name,
            "on_header_value": self._header_value,
            "on_header_end": self._header_end,
            "on_headers_finished": self._headers_finished,
            "on_part_data": self._data,
            "on_part_end": self._part_end,
            "on_end": self._end,
        }

    def _start(self) -> None:
        self._header = (bytearray(), bytearray())
        self._headers: dict[bytes, bytes] = {}
        self._header_bytes = 0
        self._content = bytearray()
        self._name, self._file_name = "", None

    _name: str
    _file_name: str | None

    def _header_name(self, data: bytes, start: int, end: int) -> None:
        self._grow_header(0, data[start:end])

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._grow_header(1, data[start:end])

    def _grow_header(self, place: int, piece: bytes) -> None:
        self._header_bytes += len(piece)
        if self._header_bytes > MAX_HEADER_BYTES:
            raise BadRequestError(f"expected up to {MAX_HEADER_BYTES} bytes of headers a part, got more")
        self._header[place].extend(piece)

    def _header_end(self) -> None:
        self._headers[bytes(self._header[0]).lower()] = bytes(self._header[1])
        self._header = (bytearray(), bytearray())

    def _headers_finished(self) -> None:
        self._parts += 1
        if self._parts > MAX_PARTS:
            raise BadRequestError(f"expected up to {MAX_PARTS} parts in a form, got more")
        _, options = parse_options_header(self._headers.get(b"content-disposition", b""))
        if b"name" not in options:
            raise BadRequestError("the form is malformed: a part has no name")
        self._name = options[b"name"].decode("utf-8", "replace")
        if b"filename" in options:
            self._file_name = options[b"filename"].decode("utf-8", "replace")

    def _data(self, data: bytes, start: int, end: int) -> None:
        self._content += data[start:end]
        if self._file_name is None and len(self._content) > MAX_FIELD_BYTES:
            raise BadRequestError(f"{self._name[:60]}: expected up to {MAX_FIELD_BYTES} bytes, got more")

    def _part_end(self) -> None:
        if self._file_name is None:
            text = self._content.decode("utf-8", "replace")
            self.form.fields.setdefault(self._name, []).append(text)
            return
        media_type = self._headers.get(b"content-type", b"").decode("latin-1")
        upload = Upload(self._file_name, bytes(self._content), media_type)
        self.form.files.setdefault(self._name, []).append(upload)
        self._content = bytearray()

    def _end(self) -> None:
        self.ended = True
