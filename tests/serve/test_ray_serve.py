"""The server with its workers on a real Ray cluster of two replicas, one of which is killed."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import os
import signal
import tempfile
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import numpy as np
import pytest
from child_processes import PATIENCE
from PIL import Image
from running import running_server

from moebius.cli.serve import serve
from moebius.errors import MoebiusError, SettingsError
from moebius.serve import FillRequest, Limits, WorkerOptions
from moebius.serve.ray_cluster import Replicas, only_server
from moebius.serve.ray_link import RayLink
from moebius.serve.ray_serve import RayService, ray_app
from moebius.serve.service import MAX_DEATHS

pytest.importorskip("ray.serve", reason="the extra [ray] is not installed")

BIG = 2 * 2**20
"""Bytes; Ray sends what is so large through its object store, another way than small photos."""
AT_ONCE = 5
"""More than one replica takes."""


@pytest.fixture
def short_folder() -> Iterator[str]:
    """For Ray's sockets, whose paths may have 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="ray") as folder:
        yield folder


@pytest.mark.slow
def test_two_replicas_of_which_one_is_killed(
    server: str, photo: bytes, mask: bytes, tmp_path: Path, short_folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    big, big_mask = _big_photo()
    monkeypatch.setenv("RAY_TMPDIR", short_folder)
    files = {"image": ("a.png", photo), "mask": ("m.png", mask)}
    big_files = {"image": ("b.png", big), "mask": ("m.png", big_mask)}
    with httpx.Client(base_url=server, timeout=60) as local:
        expected = _fill(local, files, seed="3")
        expected_big = _fill(local, big_files, steps="2")

    with (
        running_server(tmp_path, "--engine", "ray", "--replicas", "2") as here,
        httpx.Client(base_url=here.url, timeout=120) as client,
    ):
        assert _fill(client, files, seed="3") == expected, "a form"
        body = {"image": base64.b64encode(photo).decode(), "mask": base64.b64encode(mask).decode(), "seed": 3}
        said = client.post("/v1/inpaint?response=json", json=body)
        assert base64.b64decode(said.json()["image"]) == expected, "JSON"
        said = client.post("/v1/inpaint", files={"image": ("c.png", b"nothing like a photo")})
        assert (said.status_code, said.json()["error"]["type"]) == (400, "photo")
        assert here.info()["model"]["engine"] == "ray, onnx"

        job = client.post("/v1/jobs?previews=true", files=files, data={"seed": "3", "steps": "5"}).json()
        kinds, fractions = _events(client, job["events"])
        assert kinds[-1] == "done" and fractions == sorted(fractions) and len(set(fractions)) > 4
        assert client.get(job["result"]).status_code == 200, "whichever replica has made it"

        job = client.post("/v1/jobs", files=big_files, data={"steps": "900"}).json()
        with client.stream("GET", job["events"]) as stream:
            next(line for line in stream.iter_lines() if '"step": 1,' in line)
            assert client.delete(f"/v1/jobs/{job['id']}").status_code == 204

        replica = _parent(here.worker)
        with ThreadPoolExecutor(AT_ONCE) as pool:
            job = client.post("/v1/jobs", files=big_files, data={"steps": "2"}).json()
            answers = [pool.submit(_fill, client, big_files, steps="2") for _ in range(AT_ONCE)]
            with client.stream("GET", job["events"]) as stream:  # the cluster is at work now
                next(line for line in stream.iter_lines() if '"step": 1,' in line)
            os.kill(replica, signal.SIGKILL)
            assert {answer.result() for answer in answers} == {expected_big}
        assert client.delete(f"/v1/jobs/{job['id']}").status_code == 204
        died = [record for record in here.records() if "a replica died" in record.get("message", "")]
        assert died, "expected the killed replica to have had photos"

        here.terminate()
        assert here.process.wait(PATIENCE) == 0


def _fill(client: httpx.Client, files: dict[str, Any], **fields: str) -> bytes:
    said = client.post("/v1/inpaint", files=files, data=fields)
    assert said.status_code == 200, said.text
    return said.content


def _big_photo() -> tuple[bytes, bytes]:
    """A photo of more than `BIG` bytes, and a mask with a small hole."""
    random = np.random.default_rng(0)
    pixels, hole = random.integers(0, 256, (900, 900, 3), dtype=np.uint8), np.zeros((900, 900), np.uint8)
    hole[400:440, 400:440] = 255
    found = []
    for each in (pixels, hole):
        buffer = io.BytesIO()
        Image.fromarray(each).save(buffer, "PNG")
        found.append(buffer.getvalue())
    assert len(found[0]) > BIG
    return found[0], found[1]


def _events(client: httpx.Client, path: str) -> tuple[list[str], list[float]]:
    """Kinds of a job's events, and the fractions they tell."""
    kinds, fractions = [], []
    with client.stream("GET", path) as stream:
        for line in stream.iter_lines():
            if line.startswith("event: "):
                kinds.append(line.removeprefix("event: "))
            elif line.startswith("data: ") and "fraction" in line:
                fractions.append(json.loads(line.removeprefix("data: "))["fraction"])
    return kinds, fractions


def _parent(process: int) -> int:
    """The replica whose worker that is."""
    return int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])


@pytest.mark.parametrize("text", ["", "0", "3,2", "1,", ",2", "two", "1,2,3", "-1"])
def test_replicas_have_to_be_a_range(text: str) -> None:
    with pytest.raises(SettingsError, match="replicas: expected"):
        Replicas.parse(text, "auto")


def test_replicas_are_for_ray() -> None:
    with pytest.raises(SettingsError, match="--replicas: expected --engine ray"):
        serve.main(["--replicas", "2"], standalone_mode=False)


def test_what_a_replica_counts_for() -> None:
    several, one = Replicas.parse("1,4", "cpu"), Replicas.parse("2", "cuda:1")
    assert (several.least, several.most, several.gpus) == (1, 4, 0)
    assert (one.least, one.most, one.gpus) == (2, 2, 1)
    assert one.processors >= 1


def test_replicas_are_all_alike() -> None:
    workers = [WorkerOptions("nano", device=device) for device in ("cuda:0", "cuda:1")]
    with (
        pytest.raises(SettingsError, match="device: expected one with --engine ray"),
        ray_app(workers, Limits(), "1"),
    ):
        pass


class _Handle:
    """A deployment's handle whose calls end as they are told to."""

    def __init__(self, ends: list[Any]):
        self.ends, self.cancelled = ends, 0

    def remote(self, request: FillRequest, deadline: float) -> _Handle:
        return self

    def cancel(self) -> None:
        self.cancelled += 1

    async def __aiter__(self) -> AsyncIterator[Any]:
        end = self.ends.pop(0)
        yield "progress", {"fraction": 0.5}
        if isinstance(end, BaseException):
            raise end
        if end is None:
            await asyncio.Event().wait()
        yield "counts", "one", {"busy": 1.0, "calls": 2, "rows": 3}
        yield end


class _LinkOf(RayLink):
    """A link that is deployed already."""

    def __init__(self, handle: _Handle, service: RayService):
        self._given = handle
        super().__init__(service._worker, service.limits, service._replicas, service._heard)

    async def _start(self, *arguments: Any) -> None:
        self._handle = self._given
        self._heard(self, ("ready", {"name": "nano"}))


def _service(handle: _Handle) -> RayService:
    class Service(RayService):
        def _start_link(self, place: int) -> None:
            self.links[place] = _LinkOf(handle, self)

    replicas = Replicas(processors=1)
    service = Service(WorkerOptions("nano"), Limits(), replicas, on_job_end=lambda job: None)
    service.start()
    return service


def _run(handle: _Handle, *, cancel: bool = False) -> tuple[str, list[str]]:
    """How a job ends, and its events."""

    async def run() -> tuple[str, list[str]]:
        service = _service(handle)
        job = service.submit(FillRequest(b"photo", b"mask"))
        kinds = []
        async for event in job.events():
            kinds.append(event.kind)
            if cancel and event.data.get("fraction") == 0.5:
                job.cancel()
        link = service.links[0]
        assert link is not None
        while link.running:  # until it has heard that the job is given up
            await asyncio.sleep(0)
        assert service.memory.held == 0
        return (str(job.error) if job.error else "done"), kinds

    return asyncio.run(run())


def test_a_photo_whose_replicas_die_is_given_up() -> None:
    from ray.exceptions import ActorDiedError

    handle = _Handle([ActorDiedError() for _ in range(MAX_DEATHS)])
    assert _run(handle)[0] == "the replica that filled this photo died, twice"
    assert handle.ends == []


def test_a_photo_whose_replica_died_is_filled_by_another() -> None:
    from ray.exceptions import ActorDiedError

    end = ("failed", ("BadPhotoError", "photo: expected an image, got text"))
    assert _run(_Handle([ActorDiedError(), end]))[0] == "photo: expected an image, got text"


def test_a_cluster_that_fails_is_told_in_one_line() -> None:
    assert _run(_Handle([OSError("many\nlines")]))[0] == "the cluster failed (OSError)"


def test_a_job_that_is_cancelled_is_cancelled_there() -> None:
    handle = _Handle([None])
    said, kinds = _run(handle, cancel=True)
    assert (said, kinds[-1]) == ("the job was cancelled", "cancelled")
    assert handle.cancelled == 1


TOLD = """failed to start 3 times in a row. Error:
  File "replica.py", line 1926, in initialize
moebius.serve.service.StartError: device 'mps' is not available here
"""


@pytest.mark.parametrize(("told", "words"), [(TOLD, "device 'mps' is not available here"), ("", "no room")])
def test_a_deployment_that_fails_ends_the_server(
    told: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ray import serve as ray_serve

    def fail(*arguments: Any) -> None:
        raise RuntimeError("Deploying failed.\nTraceback:\n  no room\n")

    deployments = {"fill": SimpleNamespace(message=told)}
    status = SimpleNamespace(applications={"moebius": SimpleNamespace(deployments=deployments)})
    monkeypatch.setattr("moebius.serve.ray_link._deploy", fail)
    monkeypatch.setattr(ray_serve, "status", lambda: status)

    async def run() -> MoebiusError:
        replicas = Replicas(processors=1)
        service = RayService(WorkerOptions("nano"), Limits(), replicas, on_job_end=lambda job: None)
        service.start()
        return await service.broken

    assert str(asyncio.run(run())) == f"Ray Serve has no replica that works: {words}"


def test_a_cluster_has_one_server(monkeypatch: pytest.MonkeyPatch) -> None:
    import ray

    class Taken:
        def options(self, *, name: str, **options: Any) -> Taken:
            return self

        def remote(self) -> None:
            raise ValueError("an actor of that name is alive")

    monkeypatch.setattr(ray, "remote", lambda kind: Taken())
    with pytest.raises(MoebiusError, match="expected no other moebius serve on this Ray cluster"):
        only_server()
