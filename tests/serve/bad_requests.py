"""Requests that no good client makes, thousands of them, the same every time."""

from __future__ import annotations

import json
import random
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass, field

BOUNDARY = b"limit"
FORM = "multipart/form-data; boundary=limit"


@dataclass(frozen=True)
class Bad:
    """A request, and whether it is one of HTTP at all."""

    method: str = "POST"
    path: str = "/v1/inpaint"
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    raw: bytes | None = None
    """Sent as it is, instead."""


def good_form(photo: bytes, mask: bytes) -> bytes:
    """A form that can be filled, but for `steps`, and for a mask of another size: one of the two faults stays."""
    parts = [
        b'Content-Disposition: form-data; name="image"; filename="a.png"\r\nContent-Type: image/png\r\n\r\n'
        + photo,
        b'Content-Disposition: form-data; name="mask"; filename="b.png"\r\n\r\n' + mask,
        b'Content-Disposition: form-data; name="steps"\r\n\r\n0',
    ]
    return b"".join(b"--%b\r\n%b\r\n" % (BOUNDARY, part) for part in parts) + b"--%b--\r\n" % BOUNDARY


def malformed_forms(photo: bytes, mask: bytes, count: int, seed: int = 0) -> Iterator[bytes]:
    """Forms with bytes missing, changed, doubled, moved; headers without end; boundaries that are none."""
    draw = random.Random(seed)
    good = good_form(photo, mask)
    heads = [
        at for at in range(len(good)) if good.startswith((b"--limit", b"Content-", b"\r\n", b"name="), at)
    ]
    for _ in range(count):
        body = bytearray(good)
        for _ in range(draw.randint(1, 4)):
            at = min(draw.choice(heads) + draw.randint(0, 12), len(body) - 1)
            length = draw.choice((1, 2, 8, 60, 4000))
            match draw.randrange(7):
                case 0:
                    del body[at:]
                case 1:
                    del body[at : at + length]
                case 2:
                    body[at : at + 1] = draw.randbytes(1)
                case 3:
                    body[at:at] = body[at : at + length]
                case 4:
                    body[at:at] = draw.randbytes(length)
                case 5:
                    body[at:at] = draw.choice(
                        (b"\r\n", b"\0", b"--", b"\r\n--limit", b"--limit--\r\n", b'"', b";", b"\xff")
                    )
                case _:
                    body[at:at] = b"X-%d: " % length + b"y" * draw.choice((1, 100, 20_000)) + b"\r\n"
            if not body:
                body = bytearray(b"-")
        yield bytes(body)


def bad_requests(photo: bytes, mask: bytes, count: int, seed: int = 0) -> Iterator[Bad]:
    """Of all kinds, mixed."""
    draw = random.Random(seed)
    forms = malformed_forms(photo, mask, count, seed)
    kinds = (_form(forms), _json(draw, photo, mask), _image(draw, photo, mask), _route(draw), _raw(draw))
    weights = (35, 25, 10, 20, 10)
    for _ in range(count):
        yield next(draw.choices(kinds, weights)[0])


def _form(forms: Iterator[bytes]) -> Iterator[Bad]:
    paths = ("/v1/inpaint", "/v1/jobs", "/v1/images/edits")
    for number, body in enumerate(forms):
        yield Bad(path=paths[number % 3], body=body, headers={"Content-Type": FORM})


def _json(draw: random.Random, photo: bytes, mask: bytes) -> Iterator[Bad]:
    good = {"image": b64encode(photo).decode(), "mask": b64encode(mask).decode(), "steps": 0}
    values = (
        None, True, -1, 0, 1e308, "", "x", "\ud800", "9" * 5000, [], {}, [[[]]], "data:", "data:;base64,", "http://x/",
        "=" * 7, "\0", 2**70,
    )  # fmt: skip
    while True:
        body = dict(good)
        for _ in range(draw.randint(1, 3)):
            name = draw.choice(
                ("image", "mask", "steps", "seed", "format", "quality", "key", "\ud800", "x" * 500)
            )
            body[name] = draw.choice(values)  # type: ignore[assignment]
        text = json.dumps({**body, "steps": body["steps"] if body["steps"] != 1 else 0}).encode()
        if draw.random() < 0.3:
            text = text[: draw.randrange(len(text))]
        yield Bad(
            path=draw.choice(("/v1/inpaint", "/v1/jobs")),
            body=text,
            headers={"Content-Type": "application/json"},
        )


def _image(draw: random.Random, photo: bytes, mask: bytes) -> Iterator[Bad]:
    """Damaged photos that get as far as a worker; the mask is none, so that there is never a picture."""
    while True:
        damaged = bytearray(photo)
        for _ in range(draw.randint(1, 20)):
            damaged[draw.randrange(len(damaged))] = draw.randrange(256)
        body = {"image": b64encode(damaged[: draw.randint(1, len(damaged))]).decode(), "mask": "bm8="}
        yield Bad(body=json.dumps(body).encode(), headers={"Content-Type": "application/json"})


def _route(draw: random.Random) -> Iterator[Bad]:
    paths = (
        "/v1/jobs/x", "/v1/jobs/x/events", "/v1/jobs/x/result", "/v1/jobs/" + "x" * 300, "/page/../../etc/passwd",
        "/page/%2e%2e/%2e%2e/etc/passwd", "/page/..%5c..%5cx", "/page/%00", "/%ff%fe", "/v1/inpaint/", "//", "/*",
        "/api/v1/x", "/v1/inpaint?response=gif", "/v1/jobs?previews=perhaps", "/" + "a" * 3000, "/v1/models/x",
        "/v1/jobs/%0d%0aX:y",
    )  # fmt: skip
    methods = ("GET", "PUT", "PATCH", "DELETE", "TRACE", "PROPFIND", "POST")
    while True:
        headers = draw.choice(
            (
                {}, {"X-Deadline": "never"}, {"Last-Event-ID": "-1"}, {"Content-Type": "multipart/form-data"},
                {"Content-Type": "\xff"}, {"X-Request-ID": "\x01" * 9}, {"Accept": ";" * 1000}, {"Cookie": "x" * 4000},
                {"Content-Type": FORM.replace("limit", "b" * 300)}, {"Content-Type": FORM.replace("limit", "")},
                {"Authorization": "Bearer " + "x" * 3000}, {"Range": "bytes=0-"}, {"If-None-Match": "\xe9"},
            )
        )  # fmt: skip
        yield Bad(draw.choice(methods), draw.choice(paths), b"x" * draw.choice((0, 1, 1000)), dict(headers))


def _raw(draw: random.Random) -> Iterator[Bad]:
    heads = (
        b"GARBAGE\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"GET / HTTP/9.9\r\n\r\n", b"\r\n\r\n\r\n",
        b"GET /\r\n\r\n", b"POST /v1/inpaint HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n",
        b"POST /v1/inpaint HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nxxxxx",
        b"POST /v1/inpaint HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n",
        b"POST /v1/inpaint HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"1\r\n{\r\nnonsense\r\n",
        b"POST /v1/inpaint HTTP/1.1\r\nHost: x\r\nContent-Length: 50\r\n\r\nfar less",
        b"GET / HTTP/1.1\r\n\r\n", b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 100_000, b"GET /\xff\xfe HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n", b"",
        b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n" * 20,
    )  # fmt: skip
    while True:
        head = bytearray(draw.choice(heads))
        if head and draw.random() < 0.5:
            head[draw.randrange(len(head))] = draw.randrange(256)
        yield Bad(raw=bytes(head))
