"""Queues that are full, clients that leave, workers that fail: what the foreign dialects make of it.

The service is real but has no workers; the tests do their work.
"""

from __future__ import annotations

import asyncio
import base64
import io
import json
from collections.abc import Awaitable, Callable
from importlib import import_module
from typing import Any

import pytest
from child_processes import PATIENCE
from PIL import Image

from moebius.serve.app import create_app
from moebius.serve.errors import BusyError, DeadlineError, WorkerError
from moebius.serve.jobs import Job
from moebius.serve.limits import Limits
from moebius.serve.request import FillAnswer
from moebius.serve.service import Service

openai = pytest.importorskip("openai")
http = import_module(openai.DefaultAsyncHttpxClient.__mro__[1].__module__.partition(".")[0])
"""The HTTP client that theirs is made of."""

Test = Callable[["Setting"], Awaitable[None]]
IMAGE = ("photo.png", b"the workers would look into it")
ANSWER = FillAnswer(b"the picture", "png", "image/png", 5, {"size": [8, 6]})


class Setting:
    """An app whose service has no workers, and OpenAI's client for it."""

    def __init__(self, **limits: Any):
        self.app = create_app([], page=False)
        self.service = self.app.state.service = Service([], Limits(**limits))
        inside = openai.DefaultAsyncHttpxClient(transport=http.ASGITransport(self.app))
        self.client = openai.AsyncOpenAI(
            base_url="http://test/v1", api_key="none", max_retries=0, http_client=inside
        )

    async def edit(self, **options: Any) -> Any:
        return await self.client.images.edit(image=IMAGE, prompt="", **options)

    async def job(self) -> Job:
        """The next job that waits, as a worker would take it."""
        while not self.service.waiting:
            await asyncio.sleep(0)
        job = self.service.waiting.popleft()
        job.start()
        return job

    @property
    def is_empty(self) -> bool:
        return not self.service.jobs and not self.service.waiting and self.service.memory.held == 0


def run(test: Test, **limits: Any) -> None:
    async def inside() -> None:
        setting = Setting(**limits)
        async with asyncio.timeout(PATIENCE):
            await test(setting)
        assert setting.is_empty

    asyncio.run(inside())


def preview(width: int) -> str:
    buffer = io.BytesIO()
    Image.new("RGB", (width, 8)).save(buffer, "JPEG")
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def progress(fraction: float) -> dict[str, Any]:
    seen = preview(round(100 * fraction))
    return {"fraction": fraction, "step": 1, "steps": 4, "box": [0, 0, 8, 6], "preview": seen}


def test_a_full_queue_is_a_rate_limit_and_takes_none_of_several() -> None:
    async def test(setting: Setting) -> None:
        with pytest.raises(openai.RateLimitError) as caught:
            await setting.edit(n=3)
        assert int(caught.value.response.headers["retry-after"]) >= 1
        assert (caught.value.type, caught.value.code) == ("rate_limit_error", "rate_limit_exceeded")
        assert setting.is_empty

    run(test, queue=2)


@pytest.mark.parametrize("path", ["/v1/inpaint", "/v1/images/edits", "/api/v1/inpaint"])
def test_nobody_is_told_to_come_back_too_early(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whole seconds, upwards, in every dialect."""

    def submit(*_: Any, **__: Any) -> None:
        raise BusyError("the queue is full", retry_after=2.2)

    async def test(setting: Setting) -> None:
        monkeypatch.setattr(setting.service, "submit", submit)
        data = base64.b64encode(b"no photo").decode()
        body: dict[str, Any] = {"json": {"image": data, "mask": data}}
        if path == "/v1/images/edits":
            body = {"files": {"image": IMAGE}, "data": {"prompt": ""}}
        async with http.AsyncClient(
            transport=http.ASGITransport(setting.app), base_url="http://test"
        ) as client:
            answer = await client.post(path, **body)
        assert answer.status_code == 429 and answer.headers["Retry-After"] == "3", answer.text

    run(test)


@pytest.mark.parametrize(("failure", "again"), [(WorkerError, None), (DeadlineError, "false")])
def test_failures_are_internal_errors(failure: Any, again: str | None) -> None:
    async def test(setting: Setting) -> None:
        asking = asyncio.ensure_future(setting.edit())
        (await setting.job()).fail(failure("it went wrong"))
        with pytest.raises(openai.InternalServerError, match="it went wrong") as caught:
            await asking
        assert caught.value.type == "server_error"
        assert caught.value.response.headers.get("x-should-retry") == again

    run(test)


def test_no_model_yet_is_worth_asking_again() -> None:
    async def test(setting: Setting) -> None:
        with pytest.raises(openai.InternalServerError) as caught:
            await setting.client.models.list()
        assert caught.value.status_code == 503 and caught.value.response.headers["retry-after"] == "2"

    run(test)


def test_a_wrong_token_is_an_authentication_error() -> None:
    async def test(setting: Setting) -> None:
        setting.app = create_app([], token="secret", page=False)
        inside = openai.DefaultAsyncHttpxClient(transport=http.ASGITransport(setting.app))
        client = setting.client.with_options(http_client=inside)
        with pytest.raises(openai.AuthenticationError, match="expected the server's token"):
            await client.models.list()

    run(test)


def test_partial_images_are_spread_over_the_work() -> None:
    async def test(setting: Setting) -> None:
        asking = asyncio.ensure_future(setting.edit(stream=True, partial_images=2))
        job = await setting.job()
        for tenths in range(1, 10):
            job.tell("progress", progress(tenths / 10))
        job.finish(ANSWER)
        first, second, last = [event async for event in await asking]
        assert (first.type, first.size, first.box) == ("image_edit.partial_image", "40x8", [0, 0, 8, 6])
        assert (second.size, second.partial_image_index) == ("70x8", 1)
        assert first.b64_json == preview(40).partition(",")[2]
        assert (last.type, last.size, last.seed) == ("image_edit.completed", "8x6", "5")
        assert base64.b64decode(last.b64_json) == ANSWER.data

    run(test)


def test_a_failure_in_the_middle_of_a_stream_is_an_error_there() -> None:
    async def test(setting: Setting) -> None:
        asking = asyncio.ensure_future(setting.edit(stream=True))
        job = await setting.job()
        job.tell("progress", progress(0.1))
        job.fail(WorkerError("it went wrong"))
        with pytest.raises(openai.APIError, match="it went wrong"):
            async for _ in await asking:
                pass

    run(test)


def multipart(fields: dict[str, str]) -> tuple[bytes, bytes]:
    """Body and content type of an edit."""
    parts = [f'--b\r\nContent-Disposition: form-data; name="{n}"\r\n\r\n{v}\r\n' for n, v in fields.items()]
    parts.append(
        '--b\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n\r\nphoto\r\n--b--\r\n'
    )
    return "".join(parts).encode(), b"multipart/form-data; boundary=b"


@pytest.mark.parametrize(
    ("path", "fields", "begun"),
    [
        ("/v1/images/edits", {"n": "2"}, False),
        ("/v1/images/edits", {"stream": "true"}, False),
        ("/v1/images/edits", {"stream": "true", "partial_images": "3"}, True),
        ("/api/v1/inpaint", None, False),
    ],
    ids=["pictures", "stream that has not begun", "stream", "iopaint"],
)
def test_a_client_that_leaves_takes_its_jobs_along(
    path: str, fields: dict[str, str] | None, begun: bool
) -> None:
    async def test(setting: Setting) -> None:
        body, kind = multipart(fields) if fields is not None else (b'{"image": "AAAA"}', b"application/json")
        left, answering = asyncio.Event(), asyncio.Event()
        messages = iter([{"type": "http.request", "body": body, "more_body": False}])

        async def receive() -> dict[str, Any]:
            message = next(messages, None)
            if message is None:
                await left.wait()
                return {"type": "http.disconnect"}
            return message

        async def send(message: Any) -> None:
            if message["type"] == "http.response.start":
                answering.set()

        scope = {
            "type": "http", "method": "POST", "path": path, "raw_path": path.encode(), "query_string": b"",
            "headers": [(b"content-type", kind)], "asgi": {"spec_version": "2.3"}, "root_path": "",
        }  # fmt: skip
        asking = asyncio.ensure_future(setting.app(scope, receive, send))
        job = await setting.job()
        if begun:
            job.tell("progress", progress(0.01))
            await answering.wait()
        assert not job.finished and setting.service.jobs
        left.set()
        await asking
        assert setting.is_empty and job.finished and answering.is_set() == begun

    run(test)


def test_errors_are_in_their_forms() -> None:
    async def test(setting: Setting) -> None:
        async with http.AsyncClient(
            transport=http.ASGITransport(setting.app), base_url="http://test"
        ) as client:
            ours = await client.post(
                "/v1/images/edits", content=b"{}", headers={"content-type": "text/plain"}
            )
            theirs = await client.post("/api/v1/inpaint", content=b"{")
            early = await client.post("/api/v1/inpaint", content=b"{}", headers={"x-deadline": "0"})
        assert ours.status_code == 415 and set(ours.json()["error"]) == {"message", "type", "param", "code"}
        assert theirs.status_code == 400 and set(theirs.json()) == {"error", "detail", "body", "errors"}
        assert json.loads(theirs.content)["error"] == "BadRequestError"
        assert early.status_code == 400 and early.json()["errors"].startswith("X-Deadline: ")

    run(test)
