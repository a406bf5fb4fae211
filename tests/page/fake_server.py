"""A stand-in for `moebius serve`: the page's files and the jobs API, with fills that wait for a test's word."""

from __future__ import annotations

import base64
import io
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.parser import BytesParser
from email.policy import HTTP
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
from PIL import Image

from moebius.page import FOLDER

TYPES = {
    ".html": "text/html",
    ".js": "text/javascript",
    ".css": "text/css",
    ".svg": "image/svg+xml",
    ".jpg": "image/jpeg",
}
POLICY = (
    "default-src 'self'; img-src 'self' blob: data:; base-uri 'none'; form-action 'none'; object-src 'none'"
)
INFO = {
    "version": "0",
    "model": {"name": "fake", "title": "fake", "size": 512},
    "settings": {
        "seed": {"type": "integer", "default": 0, "minimum": 0, "maximum": 2**64 - 1, "help": ""},
        "grow": {
            "type": "integer",
            "default": None,
            "minimum": 0,
            "maximum": 512,
            "nullable": True,
            "help": "",
        },
        "feather": {"type": "integer", "default": 6, "minimum": 0, "maximum": 128, "help": ""},
        "strategy": {"type": "string", "default": "crop", "choices": ["crop", "whole", "tiles"], "help": ""},
        "grain": {"type": "number", "default": 0.0, "minimum": 0.0, "maximum": 1.0, "help": ""},
    },
    "formats": ["png", "jpeg"],
    "limits": {"upload_bytes": 1 << 26, "pixels": 100_000_000, "deadline_seconds": 60},
    "token": False,
}


@dataclass
class Fake:
    """What the server is told, and what it has been asked."""

    url: str = ""
    token: str | None = None
    busy: int = 0
    """So many jobs are refused first."""
    fail: dict[str, str] | None = None
    """The error that jobs end with."""
    go: threading.Event = field(default_factory=threading.Event)
    """Fills wait for it, half way."""
    forms: list[dict[str, bytes]] = field(default_factory=list)
    deleted: list[str] = field(default_factory=list)
    forgotten: threading.Event = field(default_factory=threading.Event)
    """A job has been deleted."""

    def mask(self) -> np.ndarray[Any, Any]:
        """The mask of the last job: (H, W) bool."""
        return np.asarray(Image.open(io.BytesIO(self.forms[-1]["mask"])))

    def picture(self, number: int) -> bytes:
        """The photo of a job, painted in one colour where its mask is, as PNG or in the format asked for."""
        form = self.forms[number]
        photo = Image.open(io.BytesIO(form["image"]))
        pixels = np.array(photo.convert("RGB"))
        pixels[np.asarray(Image.open(io.BytesIO(form["mask"])))] = (
            0,
            40 * (1 + int(form.get("seed", b"0")) % 5),
            0,
        )
        target = io.BytesIO()
        Image.fromarray(pixels).save(target, form.get("format", b"png").decode())
        return target.getvalue()


@contextmanager
def fake_server() -> Iterator[Fake]:
    fake = Fake()
    fake.go.set()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: Any) -> None: ...

        def do_GET(self) -> None:
            path = self.path.split("?")[0]
            if path == "/" or path.startswith("/page/"):
                self._file("index.html" if path == "/" else path.removeprefix("/page/"))
            elif path == "/v1/info":
                self._json(INFO)
            elif path.endswith("/events"):
                self._events(int(path.split("/")[3]))
            elif path.endswith("/result"):
                number = int(path.split("/")[3])
                seed = fake.forms[number].get("seed", b"0").decode()
                self._send(200, fake.picture(number), "image/png", {"X-Moebius-Seed": seed})
            else:
                self._send(404, b"", "text/plain")

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if fake.token is not None and self.headers["Authorization"] != f"Bearer {fake.token}":
                self._json({"error": {"type": "auth", "message": "a token is needed"}}, 401)
            elif fake.busy > 0:
                fake.busy -= 1
                self._json(
                    {"error": {"type": "busy", "message": "the queue is full"}}, 429, {"Retry-After": "1"}
                )
            else:
                fake.forms.append(read_form(self.headers["Content-Type"], body))
                self._json({"id": str(len(fake.forms) - 1)}, 202)

        def do_DELETE(self) -> None:
            fake.deleted.append(self.path.split("/")[3])
            self._send(204, b"", "text/plain")
            fake.forgotten.set()

        def _events(self, number: int) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.send_header("Connection", "close")
            self.end_headers()
            size = Image.open(io.BytesIO(fake.forms[number]["image"])).size
            half = {"fraction": 0.5, "step": 1, "steps": 2, "region": 0, "regions": 1}
            half |= {"box": [0, 0, *size], "preview": PREVIEW}
            try:
                self._event(1, "queued", {"position": 1})
                self._event(2, "progress", half)
                fake.go.wait()
                if fake.fail is None:
                    self._event(
                        3, "done", {"format": fake.forms[number].get("format", b"png").decode(), "result": {}}
                    )
                else:
                    self._event(3, "failed", {"error": fake.fail})
            except OSError:
                pass  # the page has left
            self.close_connection = True

        def _event(self, number: int, kind: str, data: dict[str, Any]) -> None:
            self.wfile.write(f"id: {number}\nevent: {kind}\ndata: {json.dumps(data)}\n\n".encode())
            self.wfile.flush()

        def _file(self, name: str) -> None:
            path = FOLDER / name
            if path.is_file() and path.suffix in TYPES:
                self._send(200, path.read_bytes(), TYPES[path.suffix], {"Content-Security-Policy": POLICY})
            else:
                self._send(404, b"", "text/plain")

        def _json(self, content: object, status: int = 200, headers: dict[str, str] | None = None) -> None:
            self._send(status, json.dumps(content).encode(), "application/json", headers)

        def _send(self, status: int, body: bytes, kind: str, headers: dict[str, str] | None = None) -> None:
            self.send_response(status)
            for name, value in {
                "Content-Type": kind,
                "Content-Length": str(len(body)),
                **(headers or {}),
            }.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    fake.url = f"http://127.0.0.1:{server.server_address[1]}/"
    try:
        yield fake
    finally:
        fake.go.set()
        server.shutdown()
        server.server_close()
        thread.join()


def read_form(kind: str, body: bytes) -> dict[str, bytes]:
    """The parts of a multipart body by their names."""
    message = BytesParser(policy=HTTP).parsebytes(f"Content-Type: {kind}\r\n\r\n".encode() + body)
    return {
        str(part.get_param("name", header="content-disposition")): bytes(part.get_payload(decode=True))
        for part in message.iter_parts()
    }


def _preview() -> str:
    target = io.BytesIO()
    Image.new("RGB", (8, 8), (0, 0, 255)).save(target, "png")
    return "data:image/png;base64," + base64.b64encode(target.getvalue()).decode()


PREVIEW = _preview()
