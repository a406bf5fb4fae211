"""What is too much, too large or too slow; tokens and other web pages."""

from __future__ import annotations

import base64
import io
import json
import socket
import struct
import threading
import time
import zlib
from collections.abc import Iterator
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import httpx
import numpy as np
import pytest
from asking import LONG, STRICT, error_of, form, memory_of, numbers, png
from child_processes import wait_until
from PIL import Image
from running import Server

FORM = {"Content-Type": "multipart/form-data; boundary=limit"}
HEAD = (
    b"POST /v1/inpaint HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer sesame\r\n"
    b"Content-Type: multipart/form-data; boundary=limit\r\n"
)


@pytest.fixture
def wire(strict: httpx.Client) -> Iterator[socket.socket]:
    """A bare connection to the strict server."""
    with socket.create_connection((strict.base_url.host, strict.base_url.port or 80), timeout=60) as opened:
        yield opened


def rest_of(wire: socket.socket) -> bytes:
    """What comes until the server closes the connection."""
    with wire.makefile("rb") as stream:
        return stream.read()


def test_a_full_queue_says_when_to_come_back(strict: httpx.Client, photo: bytes, mask: bytes) -> None:
    with ExitStack() as stack:
        for _ in range(4 + STRICT["--queue"]):
            started = strict.post("/v1/jobs", **form(photo, mask, **LONG))
            assert started.status_code == 202
            stack.callback(strict.delete, started.headers["Location"])
        for path in ("/v1/jobs", "/v1/inpaint"):
            answer = strict.post(path, **form(photo, mask))
            assert error_of(answer)[:2] == (429, "busy") and int(answer.headers["Retry-After"]) >= 1
        assert strict.get("/readyz").status_code == 200
    assert strict.post("/v1/inpaint", **form(photo, mask)).status_code == 200


def test_a_photo_whose_turn_comes_too_late_is_not_taken(
    strict: httpx.Client, photo: bytes, mask: bytes
) -> None:
    assert (
        strict.post("/v1/inpaint", **form(photo, mask)).status_code == 200
    )  # now it knows how long one takes
    with ExitStack() as stack:
        for _ in range(5):
            started = strict.post("/v1/jobs", **form(photo, mask, **LONG))
            stack.callback(strict.delete, started.headers["Location"])
        answer = strict.post("/v1/inpaint", headers={"X-Deadline": "0.01"}, **form(photo, mask))
        status, kind, message = error_of(answer)
        assert (status, kind) == (429, "busy") and message.startswith(
            "1 photos are waiting already, for about"
        )
        later = strict.post("/v1/jobs", **form(photo, mask))
        assert later.status_code == 202
        stack.callback(strict.delete, later.headers["Location"])


def test_full_memory_says_when_to_come_back(strict: httpx.Client, photo: bytes, mask: bytes) -> None:
    padded = photo + b"\0" * 1_900_000
    with ExitStack() as stack:
        for _ in range(3):
            started = strict.post("/v1/jobs", **form(padded, mask, **LONG))
            assert started.status_code == 202
            stack.callback(strict.delete, started.headers["Location"])
        answer = strict.post("/v1/jobs", **form(padded, mask, **LONG))
        status, kind, message = error_of(answer)
        assert (status, kind) == (429, "busy") and "of photos" in message and answer.headers["Retry-After"]
    assert numbers(strict)["moebius_held_bytes"] < 1_000_000


def test_an_announced_body_is_refused_unread(wire: socket.socket) -> None:
    wire.sendall(HEAD + b"Content-Length: 1000000000\r\nExpect: 100-continue\r\n\r\n")
    answer = rest_of(wire)  # it does not wait for the rest either
    assert answer.startswith(b"HTTP/1.1 413 ") and b'"type":"limit"' in answer


@pytest.mark.parametrize("path", ["/v1/inpaint", "/v1/images/edits", "/api/v1/inpaint", "/api/v1/gen-info"])
def test_a_body_without_a_length_is_counted(strict: httpx.Client, path: str) -> None:
    def body() -> Iterator[bytes]:
        yield b'--limit\r\nContent-Disposition: form-data; name="image"; filename="x"\r\n\r\n'
        for _ in range(100):
            yield b"x" * 100_000

    kind = FORM if path != "/api/v1/inpaint" else {"Content-Type": "application/json"}
    assert strict.post(path, content=body(), headers=kind).status_code == 413
    assert numbers(strict)["moebius_held_bytes"] < 1_000_000


def test_a_body_of_a_gigabyte(strict_server: Server, strict: httpx.Client) -> None:
    """A client that sends all of it, whatever it is told, is answered or cut off; nothing of it is kept."""
    before = memory_of(strict_server.process.pid)
    piece = b"x" * (1 << 20)
    wire = socket.create_connection((strict.base_url.host, strict.base_url.port or 80), timeout=60)
    with wire:
        wire.sendall(HEAD + b"Content-Length: %d\r\n\r\n" % (1 << 30))
        try:
            for _ in range(1 << 10):
                wire.sendall(piece)
        except OSError:
            pass
        else:
            assert wire.recv(1 << 16).startswith(b"HTTP/1.1 413 ")
    assert memory_of(strict_server.process.pid) - before < 50_000_000
    assert numbers(strict)["moebius_held_bytes"] < 1_000_000


def test_photos_with_too_many_pixels(strict: httpx.Client, mask: bytes) -> None:
    for bomb in (header_alone(60_000, 60_000), one_bit(20_000, 20_000)):
        assert len(bomb) < 100_000
        status, kind, message = error_of(strict.post("/v1/inpaint", **form(bomb, mask)))
        assert (status, kind) == (400, "photo") and "expected 1 to 30,000,000 pixels" in message


def test_masks_with_too_many_pixels(strict: httpx.Client, photo: bytes) -> None:
    rle = {"size": [60_000, 60_000], "counts": [0, 3_600_000_000]}
    coco = {
        "images": [{"id": 1, "width": 60_000, "height": 60_000, "file_name": "x"}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "segmentation": rle, "iscrowd": 1}],
        "categories": [{"id": 1, "name": "x"}],
    }
    for bomb in (header_alone(60_000, 60_000), one_bit(20_000, 20_000), json.dumps(coco).encode()):
        for fit in ("true", "false"):
            status, kind, _ = error_of(strict.post("/v1/inpaint", **form(photo, bomb, fit_mask=fit)))
            assert (status, kind) == (400, "mask")


def test_a_deadline_frees_the_worker(strict: httpx.Client, photo: bytes, mask: bytes) -> None:
    calls = "moebius_network_rows_total"
    answer = strict.post("/v1/inpaint", headers={"X-Deadline": "0.7"}, **form(photo, mask, **LONG))
    assert error_of(answer) == (504, "deadline", "expected a picture within 0.7 s, there is none yet")
    wait_until(lambda: not numbers(strict)["moebius_jobs_running"], "the worker gives the fill up")
    before = numbers(strict)[calls]
    assert strict.post("/v1/inpaint", **form(photo, mask)).status_code == 200
    assert numbers(strict)[calls] - before < 50


@pytest.mark.parametrize("given", ["0", "-1", "nan", "inf", "soon", "1e9"])
def test_deadlines_that_are_none(strict: httpx.Client, photo: bytes, mask: bytes, given: str) -> None:
    answer = strict.post("/v1/inpaint", headers={"X-Deadline": given}, **form(photo, mask))
    assert error_of(answer)[:2] == (422, "request")


def test_a_body_that_pauses_or_takes_too_long(strict: httpx.Client, wire: socket.socket) -> None:
    wire.sendall(HEAD + b"Content-Length: 1000\r\n\r\n--limit")
    assert wire.recv(1 << 16).startswith(b"HTTP/1.1 408 ")  # a pause
    with socket.create_connection(wire.getpeername(), timeout=60) as drops:
        drops.sendall(HEAD + b"Content-Length: 1000000\r\n\r\n--limit\r\n")
        drops.settimeout(0.05)
        answer = b""
        while not answer:  # never a pause, and never an end
            drops.sendall(b"x")
            try:
                answer = drops.recv(1 << 16)
            except TimeoutError:
                continue
        assert answer.startswith(b"HTTP/1.1 408 ")
        try:
            while True:  # nor may it go on for ever after that
                drops.sendall(b"x")
                time.sleep(0.02)
        except OSError:
            pass
    assert numbers(strict)["moebius_held_bytes"] < 1_000_000


def test_a_head_that_never_ends_is_cut_off(wire: socket.socket) -> None:
    wire.sendall(b"GET /healthz HTTP/1.1\r\n")
    wire.settimeout(0.05)
    with pytest.raises(OSError) as ended:
        for number in range(10_000):
            wire.sendall(b"X-%d: y\r\n" % number)
            try:
                if wire.recv(1 << 16) == b"":
                    raise ConnectionResetError
            except TimeoutError:
                continue
    assert not isinstance(ended.value, TimeoutError)


def test_a_connection_that_says_nothing_is_closed(wire: socket.socket) -> None:
    assert wire.recv(1) == b""


def test_a_client_that_does_not_take_its_answer_is_cut_off(
    strict_server: Server, wire: socket.socket
) -> None:
    wire.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    asked = b"GET /openapi.json HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer sesame\r\n\r\n"
    wire.settimeout(0.1)
    with pytest.raises(ConnectionError):
        while True:
            try:
                wire.sendall(asked)
            except TimeoutError:
                continue
    assert httpx.get(f"{strict_server.url}/healthz").status_code == 200


def test_the_token(strict_server: Server, strict: httpx.Client, photo: bytes, mask: bytes) -> None:
    wrong: tuple[dict[Any, Any], ...] = (
        {}, {"Authorization": "Bearer sesam"}, {"Authorization": "Basic sesame"},
        {b"Authorization": "Bearer sesamé".encode()},
    )  # fmt: skip
    with httpx.Client(base_url=strict_server.url) as stranger:
        for path in ("/healthz", "/readyz", "/v1/info", "/", "/page/index.html"):
            assert stranger.get(path).status_code == 200, path
        assert stranger.get("/v1/info").json()["token"] is True
        for method, path in (
            ("POST", "/v1/inpaint"), ("POST", "/v1/jobs"), ("GET", "/v1/jobs/x"), ("GET", "/metrics"),
            ("GET", "/docs"), ("GET", "/openapi.json"), ("POST", "/v1/images/edits"), ("POST", "/api/v1/inpaint"),
        ):  # fmt: skip
            for headers in wrong:
                answer = stranger.request(method, path, headers=headers)
                assert (
                    error_of(answer)[:2] == (401, "auth") and answer.headers["WWW-Authenticate"] == "Bearer"
                )
        assert stranger.get(httpx.URL(strict_server.url, raw_path=b"/page/../metrics")).status_code in (
            401,
            404,
        )
    assert strict.post("/v1/inpaint", **form(photo, mask)).status_code == 200


def test_other_web_pages_may_not_use_it_unless_named(server: str, strict: httpx.Client) -> None:
    ask = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
    evil, friend = {"Origin": "https://evil.org"}, {"Origin": "https://example.org"}
    allow = "Access-Control-Allow-Origin"
    refused = httpx.options(f"{server}/v1/inpaint", headers={**friend, **ask})
    assert refused.status_code == 405 and allow not in refused.headers
    assert allow not in httpx.get(f"{server}/v1/info", headers=friend).headers
    assert strict.options("/v1/inpaint", headers={**evil, **ask}).status_code == 400
    assert allow not in strict.get("/v1/info", headers=evil).headers
    allowed = strict.options("/v1/inpaint", headers={**friend, **ask})
    assert allowed.status_code == 200 and allowed.headers[allow] == "https://example.org"
    answer = httpx.post(strict.base_url.join("/v1/inpaint"), headers=friend)  # what is wrong can be read, too
    assert answer.status_code == 401 and answer.headers[allow] == "https://example.org"


def test_no_address_is_fetched(server: str, photo: bytes) -> None:
    asked: list[str] = []

    class Trap(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Trap) as trap:
        thread = threading.Thread(target=trap.serve_forever)
        thread.start()
        try:
            url = f"http://127.0.0.1:{trap.server_port}/x.png"
            encoded = base64.b64encode(photo).decode()
            labelme = {
                "imagePath": url, "imageData": None, "imageWidth": 96, "imageHeight": 64, "version": "5",
                "shapes": [{"label": "x", "shape_type": "polygon", "points": [[1, 1], [9, 1], [9, 9]]}],
            }  # fmt: skip
            for path in ("/v1/inpaint", "/api/v1/inpaint"):
                for body in (
                    {"image": url, "mask": encoded}, {"image": encoded, "mask": url},
                    {"image": {"url": url}, "mask": encoded}, {"image": "file:///etc/passwd", "mask": encoded},
                    {"image": "/etc/passwd", "mask": encoded},
                ):  # fmt: skip
                    assert httpx.post(server + path, json=body, timeout=60).status_code == 400
            httpx.post(f"{server}/v1/inpaint", **form(photo, json.dumps(labelme).encode()))
            httpx.post(f"{server}/v1/images/edits", data={"image": url, "prompt": "x"})
        finally:
            trap.shutdown()
            thread.join()
    assert asked == []


def header_alone(width: int, height: int) -> bytes:
    """A PNG that announces more than it has."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    body = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def one_bit(width: int, height: int) -> bytes:
    """A real PNG of one colour: small as a file, large as pixels."""
    buffer = io.BytesIO()
    Image.new("1", (width, height)).save(buffer, "PNG")
    return buffer.getvalue()


def test_the_bombs_are_bombs() -> None:
    with pytest.warns(Image.DecompressionBombWarning):
        assert Image.open(io.BytesIO(one_bit(10_000, 10_000))).size == (10_000, 10_000)
    assert np.asarray(Image.open(io.BytesIO(png(np.zeros((2, 2), np.uint8))))).shape == (2, 2)
