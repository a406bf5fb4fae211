"""`moebius serve --engine ray`: the server here, its workers on a Ray cluster.

The process that listens is the one of `moebius serve`: its routes, queue, jobs, limits and draining. Only what its
`Link` leads to is another thing: replicas of a Ray Serve deployment, on any machine of the cluster. Ray Serve places
them, starts more while photos wait, lets those that are no longer needed finish, and replaces those that die. Jobs live
in the one process that listens, so it does not matter which replica fills which of them, and no request can meet a
replica that has not heard of its job. Clients do not reach Ray: nothing on the cluster opens a port for HTTP.

A replica holds a `Service` of its own with one worker process, so a photo that kills its decoder takes no replica with
it. If a replica dies, or its machine, its photos are filled again by others, with the same bytes.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace

from fastapi import FastAPI

from moebius.errors import SettingsError
from moebius.serve.app import create_app
from moebius.serve.jobs import Job
from moebius.serve.limits import Limits
from moebius.serve.ray_cluster import Replicas, cluster
from moebius.serve.ray_link import RayLink
from moebius.serve.service import Service
from moebius.serve.worker import WorkerOptions


@contextmanager
def ray_app(
    workers: Sequence[WorkerOptions], limits: Limits, replicas: str, *, token: str | None = None,
    origins: Sequence[str] = (), page: bool = True,
) -> Iterator[FastAPI]:  # fmt: skip
    """The server's app on a Ray cluster, to be run within the block: `cluster` and `create_ray_app` in one.

    Args:
        workers: one; what each replica's worker process is started with.
        replicas: see `Replicas.parse`.

    Raises:
        SettingsError: several workers, or no such number of replicas.
        DeviceError, MoebiusError: see `cluster`.
    """
    if len(workers) != 1:
        raise SettingsError(
            f"device: expected one with --engine ray, the same for all replicas, got {len(workers)}"
        )
    size = Replicas.parse(replicas, workers[0].device)
    with cluster(size):
        yield create_ray_app(workers[0], limits, size, token=token, origins=origins, page=page)


def create_ray_app(
    worker: WorkerOptions,
    limits: Limits,
    replicas: Replicas,
    *,
    token: str | None = None,
    origins: Sequence[str] = (),
    page: bool = True,
) -> FastAPI:
    """The server's app (see `create_app`), whose photos are filled by replicas. To be run inside `cluster`.

    Args:
        worker: what each replica's worker process is started with.
    """
    app = create_app([worker], limits, token=token, origins=origins, page=page)
    device = worker.device.partition(":")[0]  # Ray shows a replica its own GPUs only
    worker = replace(worker, device=device)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        service = RayService(worker, limits, replicas, on_job_end=app.state.metrics.job)
        app.state.service = service
        app.state.metrics.watch(service)
        service.start()
        try:
            yield
        finally:
            await service.stop()

    app.router.lifespan_context = lifespan
    return app


class RayService(Service):
    """A service whose only link leads to all replicas.

    Args:
        worker: what each replica's worker process is started with.
    """

    def __init__(
        self, worker: WorkerOptions, limits: Limits, replicas: Replicas, *, on_job_end: Callable[[Job], None]
    ):  # fmt: skip
        everywhere = replace(worker, threads=worker.threads * replicas.most)  # what the link takes at a time
        super().__init__([everywhere], limits, on_job_end=on_job_end)
        self._worker, self._replicas = worker, replicas

    def _start_link(self, place: int) -> None:
        self.links[place] = RayLink(self._worker, self.limits, self._replicas, self._heard)
