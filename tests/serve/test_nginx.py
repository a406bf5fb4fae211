"""The real nginx with deploy/nginx/moebius.conf before a real `moebius serve`."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest
from child_processes import PATIENCE, child, wait_until
from running import Server

NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
pytestmark = pytest.mark.skipif(NGINX is None, reason="nginx is not installed")

CONFIGURATION = Path(__file__).parents[2] / "deploy" / "nginx" / "moebius.conf"
AROUND = """
daemon off; master_process off; pid {folder}/pid; error_log {folder}/error.log;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/written/1; proxy_temp_path {folder}/written/2; fastcgi_temp_path {folder}/3;
    uwsgi_temp_path {folder}/4; scgi_temp_path {folder}/5;
    include {folder}/moebius.conf;
}}
"""


@contextlib.contextmanager
def running_nginx(folder: Path, behind: int) -> Iterator[str]:
    """nginx on a free port before the server on port `behind`; its address."""
    (folder / "written").mkdir(parents=True)
    with _kept_port() as port:
        text = CONFIGURATION.read_text()
        for ours, theirs in {
            "listen 80;": f"listen 127.0.0.1:{port} reuseport;",
            "127.0.0.1:8080": f"127.0.0.1:{behind}",
        }.items():
            assert ours in text
            text = text.replace(ours, theirs)
        (folder / "moebius.conf").write_text(text)
        (folder / "nginx.conf").write_text(AROUND.format(folder=folder))
        log = folder / "said"
        with log.open("w") as sink, child([NGINX, "-c", f"{folder}/nginx.conf"], stderr=sink) as process:
            wait_until(lambda: _listens(port), "nginx listens", process, log.read_text)
            yield f"http://127.0.0.1:{port}"
            process.terminate()
            process.wait(PATIENCE)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("nginx") / "here"


@pytest.fixture(scope="module")
def proxy(shared_server: Server, folder: Path) -> Iterator[str]:
    with running_nginx(folder, int(shared_server.url.rpartition(":")[2])) as address:
        yield address


def test_configuration_is_understood(folder: Path, proxy: str) -> None:
    done = subprocess.run([str(NGINX), "-t", "-c", f"{folder}/nginx.conf"], capture_output=True, text=True)
    assert done.returncode == 0 and "warn" not in done.stderr, done.stderr


def test_the_page_loads(proxy: str, server: str) -> None:
    for path in ("/", "/page/app.js"):
        here = httpx.get(f"{proxy}{path}", headers={"Accept-Encoding": "gzip"})
        assert here.status_code == 200 and here.headers["content-encoding"] == "gzip"
        assert here.content == httpx.get(f"{server}{path}").content
        assert here.headers["content-security-policy"].startswith("default-src 'self'")


def test_the_same_picture_comes_back(
    proxy: str, server: str, photo: bytes, mask: bytes, folder: Path
) -> None:
    files = {"image": ("a.png", photo), "mask": ("m.png", mask)}
    answers = [
        httpx.post(f"{each}/v1/inpaint", files=files, headers={"X-Request-ID": "mine-1"}, timeout=60)
        for each in (proxy, server)
    ]
    assert answers[0].status_code == 200 and answers[0].content == answers[1].content
    assert answers[0].headers["x-moebius-seed"] == answers[1].headers["x-moebius-seed"]
    assert [each.headers["x-request-id"] for each in answers] == ["mine-1", "mine-1"]
    assert len(httpx.get(f"{proxy}/healthz").headers["x-request-id"]) == 32, (
        "nginx's own, where there is none"
    )


def test_events_come_one_by_one(proxy: str, server: str, photo: bytes, mask: bytes) -> None:
    files = {"image": ("a.png", photo), "mask": ("m.png", mask)}
    with httpx.Client(base_url=proxy, timeout=60) as client:
        job = client.post("/v1/jobs", files=files, data={"steps": "900"}).json()
        with client.stream("GET", job["events"]) as stream:
            next(line for line in stream.iter_lines() if '"step": 2,' in line)
            state = httpx.get(f"{server}/v1/jobs/{job['id']}").json()["state"]
        assert state == "running", "the second step is told of when it is made, not at the end"
        assert client.delete(f"/v1/jobs/{job['id']}").status_code == 204


def test_a_client_that_leaves_takes_its_job_along(proxy: str, server: str, photo: bytes, mask: bytes) -> None:
    files = {"image": ("a.png", photo), "mask": ("m.png", mask)}
    request = httpx.Request("POST", f"{proxy}/v1/inpaint", files=files, data={"steps": "900"})
    before = _count(server, 'jobs_ended_total{state="cancelled"}')
    with _sent(request):
        wait_until(lambda: _count(server, "jobs_running") == 1, "the fill is under way")
    cancelled = 'jobs_ended_total{state="cancelled"}'
    wait_until(lambda: _count(server, cancelled) == before + 1, "the fill is given up")


def test_uploads_are_passed_on_as_they_come_and_never_written(
    proxy: str, server: str, photo: bytes, folder: Path
) -> None:
    size = 8 << 20
    request = httpx.Request("POST", f"{proxy}/v1/inpaint", files={"image": ("a.png", bytes(size))})
    with _sent(request, until=size // 2):
        wait_until(lambda: _count(server, "held_bytes") >= size // 2 - (1 << 16), "half of it is there")
    assert [path for path in (folder / "written").rglob("*") if path.is_file()] == []
    wait_until(lambda: _count(server, "held_bytes") < size // 4, "it is forgotten")


@pytest.mark.parametrize("size", [(64 << 20) + 1, 66 << 20])
def test_bodies_that_are_too_large(proxy: str, size: int) -> None:
    """A little too large: the server says no. Much: nginx does, in the same form."""
    head = "POST /v1/inpaint HTTP/1.1\r\nHost: here\r\nContent-Type: multipart/form-data; boundary=b\r\n"
    with _connected(proxy) as wire:
        wire.sendall(f"{head}Content-Length: {size}\r\n\r\n".encode())
        status, _, body = _answer(wire)
    assert status == 413
    error = json.loads(body)["error"]
    assert set(error) == {"type", "message", "request_id"}
    assert error["type"] == "limit" and "67,108,864 bytes" in error["message"]


def test_too_many_at_once_from_one_address(proxy: str) -> None:
    """All are sent before an answer is read: however slow the server is, nginx gets them at once."""
    with ExitStack() as stack:
        wires = [stack.enter_context(_connected(proxy)) for _ in range(48)]
        for wire in wires:
            wire.sendall(b"POST /v1/nothing HTTP/1.1\r\nHost: here\r\nContent-Length: 0\r\n\r\n")
        answers = [_answer(wire) for wire in wires]
        assert httpx.get(f"{proxy}/healthz").status_code == 200, "only what starts work is counted"
    refused = [(head, body) for status, head, body in answers if status == 429]
    assert refused and {status for status, *_ in answers} == {404, 429}
    for head, body in refused:
        assert json.loads(body)["error"]["type"] == "busy" and "retry-after: 5" in head.lower()


def test_a_server_that_is_not_there(tmp_path: Path) -> None:
    with _kept_port() as nobody, running_nginx(tmp_path / "here", nobody) as proxy:
        answer = httpx.get(f"{proxy}/v1/info")
    assert answer.status_code == 503 and answer.json()["error"]["type"] == "busy"


@contextlib.contextmanager
def _sent(request: httpx.Request, until: int | None = None) -> Iterator[None]:
    """A request whose answer nobody reads: the connection is closed with the block. `until`: bytes of the body sent."""
    body = request.read()
    head = f"{request.method} {request.url.raw_path.decode()} HTTP/1.1\r\n"
    head += "".join(f"{name}: {value}\r\n" for name, value in request.headers.items())
    with socket.create_connection((request.url.host, request.url.port or 80), PATIENCE) as wire:
        wire.sendall(head.encode() + b"\r\n" + body[:until])
        yield


def _connected(address: str) -> socket.socket:
    host, _, port = address.removeprefix("http://").partition(":")
    return socket.create_connection((host, int(port)), PATIENCE)


def _answer(wire: socket.socket) -> tuple[int, str, str]:
    """Status, head and body of an answer that is an error."""
    answer = b""
    while b"}}" not in answer and (more := wire.recv(65536)):
        answer += more
    head, _, body = answer.decode().partition("\r\n\r\n")
    return int(head.split()[1]), head, body[body.index("{") : body.rindex("}") + 1]


def _count(server: str, name: str) -> float:
    """One of the server's own numbers."""
    text = httpx.get(f"{server}/metrics").text
    found = re.search(rf"^moebius_{re.escape(name)} (\S+)$", text, re.MULTILINE)
    return float(found[1]) if found else 0.0


@contextlib.contextmanager
def _kept_port() -> Iterator[int]:
    """A port that nobody else is given meanwhile. Nobody listens there, until one does with SO_REUSEPORT."""
    with socket.socket() as kept:
        kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        kept.bind(("127.0.0.1", 0))
        yield kept.getsockname()[1]


def _listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False
