"""What tests ask of a server, and how they look at its answers."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import psutil
from PIL import Image

LONG = {"steps": "1000"}
"""Fields of a fill that takes far longer than any test."""
STRICT: dict[str, Any] = {
    "--queue": 2, "--max-upload": 2_000_000, "--max-pixels": 30_000_000, "--max-memory": 6_000_000, "--idle": 0.5,
    "--upload-time": 2, "--linger": 0.3, "--keep": 2, "--token": "sesame", "--allow-origin": "https://example.org",
}  # fmt: skip
"""Arguments of a server with a token, and with limits that a test can reach."""


def png(pixels: Any, **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.asarray(pixels)).save(buffer, "PNG", **options)
    return buffer.getvalue()


def pixels_of(data: bytes, mode: str | None = None) -> Any:
    image = Image.open(io.BytesIO(data))
    return np.asarray(image if mode is None else image.convert(mode))


def numbers(server: str | httpx.Client) -> dict[str, float]:
    """What `/metrics` of a server (or of a client's server) tells, by name and labels as they stand there."""
    answer = httpx.get(f"{server}/metrics", timeout=60) if isinstance(server, str) else server.get("/metrics")
    assert answer.status_code == 200, answer.text
    lines = [line for line in answer.text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


def quiet(told: dict[str, float]) -> bool:
    """Whether numbers are those of a server that does nothing, and whose worker does nothing."""
    return not told["moebius_jobs_running"] and not told["moebius_jobs_waiting"]


def form(photo: bytes, mask: bytes | None, **fields: Any) -> dict[str, Any]:
    """Arguments of `httpx.post` for a fill."""
    files = {"image": ("photo.png", photo), **({} if mask is None else {"mask": ("mask.png", mask)})}
    return {"files": files, "data": {name: str(value) for name, value in fields.items()}, "timeout": 60}


def memory_of(process: int) -> int:
    """Bytes of memory that a process holds, without what it shares with files."""
    return int(psutil.Process(process).memory_full_info().uss)


def events(lines: Iterator[str]) -> Iterator[tuple[int, str, str]]:
    """Number, kind and data of server-sent events."""
    event: dict[str, str] = {}
    for line in lines:
        if line.startswith(":"):
            continue
        if line:
            name, _, value = line.partition(": ")
            event[name] = value
        elif event:
            yield int(event["id"]), event["event"], event["data"]
            event = {}


def error_of(answer: httpx.Response) -> tuple[int, str, str]:
    """Status, type and message of an error in our form, which is checked."""
    error = answer.json()["error"]
    assert set(error) == {"type", "message", "request_id"}
    assert error["request_id"] == answer.headers["X-Request-ID"]
    assert "\n" not in error["message"]
    return answer.status_code, error["type"], error["message"]
