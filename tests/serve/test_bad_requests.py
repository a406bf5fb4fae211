"""A server among strangers: nonsense by the thousand, and everybody's photos kept apart."""

from __future__ import annotations

import contextlib
import io
import json
import socket
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import numpy as np
import psutil
import pytest
from asking import error_of, form, memory_of, numbers, pixels_of, png, quiet
from bad_requests import FORM, Bad, bad_requests, malformed_forms
from child_processes import wait_until
from made_photos import picture
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from running import Server, running_server

from moebius import Moebius

CLIENTS = 6
MISFIT = png(np.full((9, 8), 255, np.uint8))
"""A mask that fits no photo here, so that no change to a request makes a picture of it, which would take time."""


def test_malformed_forms(server: str, photo: bytes, mask: bytes) -> None:
    """Each is refused."""
    messages = set()
    with httpx.Client(base_url=server, timeout=60) as client:
        for body in malformed_forms(photo, MISFIT, 200):
            answer = client.post("/v1/inpaint", content=body, headers={"Content-Type": FORM})
            status, kind, message = error_of(answer)
            assert status == 400 and kind in ("request", "photo", "mask", "settings"), message
            messages.add(message)
        assert client.post("/v1/inpaint", **form(photo, mask)).status_code == 200
    assert len(messages) > 10


@pytest.mark.slow
def test_ten_thousand_bad_requests(tmp_path: Path, photo: bytes, mask: bytes) -> None:
    with running_server(tmp_path, "--log-level", "error", "--idle", "2", quick=False) as server:
        expected = httpx.post(f"{server.url}/v1/inpaint", **form(photo, mask)).content
        assert (pixels_of(expected) == np.asarray(Moebius.from_pretrained("nano")(photo, mask).image)).all()
        processes = [server.process.pid, server.worker]
        send_all(
            server, list(bad_requests(photo, MISFIT, 1000, seed=1))
        )  # whatever is loaded once, is loaded
        wait_until(lambda: no_strangers(server), "all connections are closed")
        handles = [psutil.Process(each).num_fds() for each in processes]
        memory = [memory_of(each) for each in processes]

        send_all(server, list(bad_requests(photo, MISFIT, 10_000)))

        wait_until(lambda: no_strangers(server), "all connections are closed")
        assert server.worker == processes[1]  # it has not died of any
        wait_until(
            lambda: [psutil.Process(each).num_fds() for each in processes] == handles,
            "all handles are closed",
        )
        growth = [now - then for now, then in zip(map(memory_of, processes), memory, strict=True)]
        assert max(growth) < 30_000_000, growth
        assert not any((tmp_path / "temporary").iterdir())
        assert httpx.post(f"{server.url}/v1/inpaint", **form(photo, mask)).content == expected
        assert quiet(numbers(server.url))
        text = server.log.read_text()
        assert "Traceback" not in text, text[text.index("Traceback") :][:3000]


def no_strangers(server: Server) -> bool:
    return not psutil.Process(server.process.pid).net_connections("tcp")[1:]  # the first one listens


def send_all(server: Server, requests: list[Bad]) -> None:
    """A few clients at a time; every answer is looked at."""
    shares = [requests[start::CLIENTS] for start in range(CLIENTS)]
    with ThreadPoolExecutor(CLIENTS) as pool:
        for _ in pool.map(lambda share: send(server, share), shares):
            pass


def send(server: Server, requests: list[Bad]) -> None:
    url = urlsplit(server.url)
    assert url.hostname and url.port
    connection = HTTPConnection(url.hostname, url.port, timeout=60)
    for each in requests:
        if each.raw is not None:
            send_raw(url.hostname, url.port, each.raw)
            continue
        try:
            connection.request(each.method, each.path, each.body or None, each.headers)
            answer = connection.getresponse()
            status, data = answer.status, answer.read()
        except (HTTPException, OSError):  # closed after the answer before, as it may be
            connection.close()
            continue
        assert status < 500, (each, status, data[:300])
        if status >= 400 and data and answer.headers["Content-Type"] == "application/json":
            assert json.loads(data), each
    connection.close()


def send_raw(host: str, port: int, data: bytes) -> None:
    with socket.create_connection((host, port), timeout=60) as wire, contextlib.suppress(OSError):
        wire.sendall(data)
        wire.shutdown(socket.SHUT_WR)
        answer = wire.recv(1 << 16)
        assert not answer or answer.startswith(b"HTTP/1.1 "), (data, answer)
        assert b" 500 " not in answer[:20], (data, answer)


def test_no_trace_of_one_in_the_answer_to_another(server: str, mask: bytes) -> None:
    """Each user's photo, its text, its name and the request's id carry a mark; good and bad requests are mixed."""
    marks = [f"user-{number:02d}-mark" for number in range(16)]

    def ask(number: int) -> httpx.Response:
        info = PngInfo()
        info.add_text("Comment", marks[number])
        buffer = io.BytesIO()
        Image.fromarray(picture(96, 64, seed=number)).save(buffer, "PNG", pnginfo=info)
        data = buffer.getvalue()
        if number % 4 == 1:  # damaged, far into the file
            data = data[:-2000]
        given = form(data, b"no mask" if number % 4 == 2 else mask, key=marks[number])
        given["files"]["image"] = (f"{marks[number]}.png", data)
        return httpx.post(
            f"{server}/v1/inpaint", headers={"X-Request-ID": marks[number]}, **given,
            params={"response": "json"} if number % 4 == 3 else {},
        )  # fmt: skip

    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(ask, range(16)))
    hole = np.zeros((64, 96), bool)
    hole[10:42, 20:60] = True  # with its growth and feather
    for number, answer in enumerate(answers):
        text = answer.content + str(answer.headers).encode()
        assert [mark for mark in marks if mark.encode() in text] == [marks[number]]
        if number % 4 == 0:
            filled = pixels_of(answer.content)
            assert (filled[~hole] == picture(96, 64, seed=number)[~hole]).all()
            assert answer.status_code == 200
        elif number % 4 in (1, 2):
            assert answer.status_code == 400, answer.text
    assert len({pixels_of(answers[number].content)[hole].tobytes() for number in range(0, 16, 4)}) == 4
