"""Workers that die, clients that leave, servers that are told to end."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from asking import LONG, error_of, events, form, numbers, pixels_of, png, quiet
from child_processes import PATIENCE, wait_until
from made_photos import picture
from poisoned import POISON, run_poisoned
from quick_nano import quick_nano
from running import Server, running_server

from moebius.serve import Limits, WorkerOptions, link
from moebius.serve.app import create_app
from moebius.serve.run import Address, run

STEPS = 8
"""Enough to be met in the middle of."""
RESTARTS = "moebius_worker_restarts_total"
CANCELLED = 'moebius_jobs_ended_total{state="cancelled"}'


@pytest.fixture
def own(tmp_path: Path) -> Any:
    """A server of the test's own, which may harm it."""
    with running_server(tmp_path) as server:
        yield server


def fill(url: str, photo: bytes, mask: bytes, **fields: Any) -> httpx.Response:
    return httpx.post(f"{url}/v1/inpaint", **form(photo, mask, **fields))


def start(url: str, photo: bytes, mask: bytes, **fields: Any) -> str:
    answer = httpx.post(f"{url}/v1/jobs", **form(photo, mask, **fields))
    assert answer.status_code == 202, answer.text
    return url + answer.headers["Location"]


def start_long(url: str, photo: bytes, mask: bytes) -> None:
    """Start a long job, and wait until the network is at work on it."""
    with httpx.stream("GET", f"{start(url, photo, mask, **LONG)}/events", timeout=60) as answer:
        seen = events(answer.iter_lines())
        wait_until(lambda: '"step": 2' in next(seen)[2], "the network is at work")


def test_a_worker_that_is_killed(own: Server, photo: bytes, mask: bytes) -> None:
    """Idle, and in the middle of fills: the pictures come all the same, and are the same."""
    expected = fill(own.url, photo, mask, steps=STEPS).content
    first = own.worker
    os.kill(first, signal.SIGKILL)
    assert fill(own.url, photo, mask, steps=STEPS).content == expected  # waits for the next worker
    second = own.worker
    assert second != first and numbers(own.url)[RESTARTS] == 1
    with ThreadPoolExecutor(2) as pool:
        asked = [pool.submit(fill, own.url, photo, mask, steps=STEPS) for _ in range(2)]
        where = start(own.url, photo, mask, steps=STEPS)
        with httpx.stream("GET", f"{where}/events", timeout=60) as answer:
            seen = events(answer.iter_lines())
            wait_until(lambda: '"step": 2' in next(seen)[2], "the network is at work")
            os.kill(second, signal.SIGKILL)
            *_, (_, last, _) = seen
        assert last == "done" and httpx.get(f"{where}/result").content == expected
        assert [each.result().content for each in asked] == [expected] * 2
    assert numbers(own.url)[RESTARTS] == 2 and own.worker not in (first, second)
    assert not psutil.pid_exists(first) and not psutil.pid_exists(second)


def test_a_photo_that_workers_die_of_harms_no_other(
    photo: bytes, mask: bytes, monkeypatch: pytest.MonkeyPatch, server: str, tmp_path: Path
) -> None:
    monkeypatch.setattr(link, "run_worker", run_poisoned)
    photos = [png(picture(96, 64, seed=seed)) for seed in range(4)]
    expected = [fill(server, each, mask).content for each in photos]

    def ask(url: str) -> None:
        with ThreadPoolExecutor(8) as pool:
            poisoned = pool.submit(fill, url, photo + POISON, mask)
            others = [pool.submit(fill, url, each, mask) for each in photos]
            worse = pool.submit(fill, url, photo + POISON, mask)
            for each in (poisoned, worse):
                assert error_of(each.result())[:2] == (500, "worker") and "died" in each.result().text
            assert [each.result().content for each in others] == expected
        assert numbers(url)[RESTARTS] in (3, 4) and quiet(numbers(url))  # 3 if both met in one worker
        assert numbers(url)["moebius_held_bytes"] == 0
        assert fill(url, photos[0], mask).content == expected[0]

    serve_here(ask, quick_nano(tmp_path / "nano"))


def serve_here(ask: Callable[[str], None], model: Path) -> None:
    """A server in a thread of this process, for as long as `ask` needs it."""
    import uvicorn

    app = create_app([WorkerOptions(str(model))], Limits())
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None, ws="none", lifespan="on"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        wait_until(lambda: server.started, "the server listens")
        host, port = server.servers[0].sockets[0].getsockname()
        ask(f"http://{host}:{port}")
    finally:
        server.should_exit = True
        thread.join()


def test_a_client_that_leaves_takes_its_job_along(server: str, photo: bytes, mask: bytes) -> None:
    before = numbers(server)
    given = form(photo, mask, **LONG)
    asked = httpx.Request("POST", f"{server}/v1/inpaint", data=given["data"], files=given["files"])
    head = "POST /v1/inpaint HTTP/1.1\r\nHost: x\r\n"
    for name in ("Content-Type", "Content-Length"):
        head += f"{name}: {asked.headers[name]}\r\n"
    with socket.create_connection((asked.url.host, asked.url.port or 80)) as wire:
        wire.sendall(f"{head}\r\n".encode() + asked.read())
        rows = before["moebius_network_rows_total"]
        wait_until(lambda: numbers(server)["moebius_jobs_running"] == 1, "the fill is under way")
    wait_until(lambda: quiet(numbers(server)), "the fill is given up")
    after = numbers(server)
    assert after[CANCELLED] == before.get(CANCELLED, 0) + 1
    assert after["moebius_network_rows_total"] - rows < 500
    assert after['moebius_requests_total{route="/v1/inpaint",status="499"}'] >= 1


def test_sigterm_finishes_what_is_there(own: Server, photo: bytes, mask: bytes) -> None:
    expected = fill(own.url, photo, mask, steps=STEPS).content
    worker = own.worker
    with ThreadPoolExecutor(2) as pool, httpx.Client(base_url=own.url) as client:
        asked: Future[httpx.Response] = pool.submit(fill, own.url, photo, mask, steps=STEPS)
        wait_until(lambda: numbers(client)["moebius_jobs_running"] == 1, "the fill is under way")
        own.terminate()
        wait_until(lambda: client.get("/readyz").status_code == 503, "it says that it is ending")
        assert client.get("/readyz").headers["Retry-After"] and client.get("/healthz").status_code == 200
        refused = client.post("/v1/inpaint", **form(photo, mask))
        assert error_of(refused)[:2] == (503, "busy") and refused.headers["Retry-After"]
        assert asked.result().status_code == 200 and asked.result().content == expected
    assert own.process.wait(PATIENCE) == 0
    assert not psutil.pid_exists(worker)
    assert "Traceback" not in own.log.read_text()


def test_jobs_can_be_fetched_while_the_server_ends(own: Server, photo: bytes, mask: bytes) -> None:
    where = start(own.url, photo, mask, steps=STEPS)
    own.terminate()
    with httpx.Client() as client:
        wait_until(lambda: client.get(where).json()["state"] == "done", "the job is done")
        assert client.get(f"{where}/result").status_code == 200
    assert own.process.wait(PATIENCE) == 0


def test_draining_has_an_end(tmp_path: Path, photo: bytes, mask: bytes) -> None:
    with running_server(tmp_path, "--drain", "0.5") as server, ThreadPoolExecutor(1) as pool:
        asked = pool.submit(fill, server.url, photo, mask, **LONG)
        wait_until(lambda: numbers(server.url)["moebius_jobs_running"] == 1, "the fill is under way")
        worker = server.worker
        server.terminate()
        assert server.process.wait(PATIENCE) == 0
        assert not psutil.pid_exists(worker)
        assert error_of(asked.result())[:2] == (503, "busy")


def test_a_second_signal_ends_at_once(own: Server, photo: bytes, mask: bytes) -> None:
    start_long(own.url, photo, mask)
    worker = own.worker
    own.terminate()
    wait_until(lambda: httpx.get(f"{own.url}/readyz").status_code == 503, "it says that it is ending")
    own.terminate()
    assert own.process.wait(20) == 0  # the job would go on for longer, and so would draining
    wait_until(lambda: not psutil.pid_exists(worker), "the worker ends too")


def test_a_worker_ends_with_its_server(own: Server, photo: bytes, mask: bytes) -> None:
    start_long(own.url, photo, mask)
    worker = own.worker
    own.process.kill()
    own.process.wait()
    wait_until(lambda: not psutil.pid_exists(worker), "the worker notices")


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--model", "no-such-model"], 3, "no-such-model"),
        (["--device", "cuda:7"], 4, "cuda"),
        (["--deadline", "0"], 2, "deadline_seconds: expected a number above 0, got 0.0"),
        (["--token", " "], 2, "token"),
        (["--port", "TAKEN"], 2, "expected a free port"),
    ],
)
def test_a_server_that_cannot_start_says_why(
    server: str, arguments: list[str], code: int, said: str, tmp_path: Path
) -> None:
    taken = server.rpartition(":")[2]
    given = [taken if each == "TAKEN" else each for each in arguments]
    if "--port" not in given:
        given += ["--port", "0"]
    done = subprocess.run(
        [sys.executable, "-m", "moebius", "serve", "--log-level", "error", *given], capture_output=True, text=True,
        timeout=60, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == code, done.stderr
    errors = [line for line in done.stderr.splitlines() if "serving" not in line]
    assert said in errors[-1] and "Traceback" not in done.stderr
    assert done.stdout == ""


def test_two_addresses_are_one_service(photo: bytes) -> None:
    """`run` in a thread has no signals, and still ends with its failure."""
    app = create_app([WorkerOptions("no-such-model")], Limits())
    heard: list[str] = []
    with pytest.raises(Exception, match="no-such-model") as caught:
        run(app, Address(port=0), idle_seconds=5, listening=heard.append)
    assert getattr(caught.value, "exit_code", 0) == 3 and heard
    assert pixels_of(photo).shape
