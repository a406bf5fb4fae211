"""The web page's files, held in memory: an address can name one of them, or nothing."""

from __future__ import annotations

import hashlib
from functools import cache
from typing import Annotated

from fastapi import APIRouter, Path, Request
from fastapi.responses import Response

from moebius.page import FOLDER
from moebius.serve.errors import NotFoundError

router = APIRouter(include_in_schema=False)

TYPES = {
    ".css": "text/css", ".html": "text/html", ".ico": "image/x-icon", ".jpg": "image/jpeg",
    ".js": "text/javascript", ".json": "application/json", ".png": "image/png", ".svg": "image/svg+xml",
    ".webmanifest": "application/manifest+json", ".webp": "image/webp",
}  # fmt: skip
"""Suffixes of files that are served, and their types."""
POLICY = (
    "default-src 'self'; img-src 'self' blob: data:; worker-src 'self' blob:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'; object-src 'none'"
)
"""The page loads nothing from elsewhere, and nobody may frame it."""


@cache
def page_files() -> dict[str, tuple[bytes, str, str]]:
    """Every file of the page by its address below /page/: content, media type and tag."""
    files = {}
    for path in sorted(FOLDER.rglob("*")):
        if path.is_file() and path.suffix in TYPES and not path.name.startswith((".", "tsconfig")):
            data = path.read_bytes()
            tag = f'"{hashlib.sha256(data).hexdigest()[:20]}"'
            files[path.relative_to(FOLDER).as_posix()] = data, TYPES[path.suffix], tag
    return files


@router.get("/")
async def index(request: Request) -> Response:
    return _file(request, "index.html")


@router.get("/page/{name:path}")
async def file(request: Request, name: Annotated[str, Path(max_length=200)]) -> Response:
    return _file(request, name)


def _file(request: Request, name: str) -> Response:
    found = page_files().get(name)
    if found is None:
        raise NotFoundError("no such file of the page")
    data, kind, tag = found
    headers = {"ETag": tag, "Cache-Control": "no-cache", "Content-Security-Policy": POLICY}
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers=headers)
    text = "; charset=utf-8" if kind.startswith(("text/", "application/")) else ""
    return Response(data, media_type=kind + text, headers=headers)
