"""The server's end of all replicas, and what is at their end."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any

from moebius.errors import MoebiusError
from moebius.serve.errors import ServeError
from moebius.serve.jobs import Job
from moebius.serve.limits import Limits
from moebius.serve.link import Link
from moebius.serve.ray_cluster import APPLICATION, Replicas, last_line
from moebius.serve.request import FillRequest
from moebius.serve.service import MAX_DEATHS, Service, StartError
from moebius.serve.worker import WorkerOptions

log = logging.getLogger(__name__)

DEPLOYMENT = "fill"
UPSCALE_SECONDS = 10.0
"""How long photos have to wait before Ray Serve starts another replica."""
_POLL_SECONDS = 0.05


class RayLink(Link):
    """The server's end of all replicas. Deploys them at its start, and deletes them at its end.

    Photos beyond what the replicas have room for wait in Ray Serve's queue, by which it sees that more are needed; such
    a job counts as running.
    """

    def __init__(
        self, worker: WorkerOptions, limits: Limits, replicas: Replicas, heard: Callable[[Link, tuple[Any, ...]], None]
    ):  # fmt: skip
        self.running = {}
        self.ready = False
        self.info = {}
        self.counts = {"busy": 0.0, "calls": 0, "rows": 0}
        self.gone = False
        self._heard = heard
        self._counts: dict[str, dict[str, float]] = {}
        self._fills: dict[int, asyncio.Task[None]] = {}
        self._deployed = asyncio.ensure_future(self._start(worker, limits, replicas))

    def give(self, job: Job) -> None:
        assert job.request is not None
        self.running[job.number] = job
        self._fills[job.number] = asyncio.ensure_future(self._fill(job.number, job.request, job.deadline))

    def cancel(self, number: int) -> None:
        if (fill := self._fills.get(number)) is not None:
            fill.cancel()

    def end(self) -> None:
        self.kill()
        self._deployed.cancel()

    def kill(self) -> None:
        for fill in self._fills.values():
            fill.cancel()

    async def join(self, seconds: float) -> None:
        """Wait until Ray Serve has no replicas any more: those that are still at work end theirs."""
        from ray import serve

        await asyncio.gather(*self._fills.values(), self._deployed, return_exceptions=True)
        try:
            await asyncio.to_thread(serve.delete, APPLICATION)
        except Exception as error:  # the cluster is gone
            log.warning("cannot delete the replicas: %s", last_line(error))

    async def _start(self, worker: WorkerOptions, limits: Limits, replicas: Replicas) -> None:
        try:
            handle = await asyncio.to_thread(_deploy, worker, limits, replicas)
            self._handle = handle.options(method_name="fill", stream=True)
            info = await handle.info.remote()
        except Exception as error:  # Ray's own, in which a replica's is quoted with its traceback
            why = await asyncio.to_thread(_last_words) or last_line(error)
            message = f"Ray Serve has no replica that works: {why}"
            self._heard(self, ("failed to start", MoebiusError.exit_code, message))
            return
        self._heard(self, ("ready", info))

    async def _fill(self, number: int, request: FillRequest, deadline: float) -> None:
        """Have one photo filled; by another replica if the first dies of it or with it."""
        from ray.exceptions import NodeDiedError, ObjectLostError, RayActorError

        try:
            for _ in range(MAX_DEATHS):
                try:
                    message = await self._ask(number, request, deadline)
                    break
                except (RayActorError, NodeDiedError, ObjectLostError) as error:
                    log.error("a replica died with a photo: %s", type(error).__name__)
            else:
                message = "failed", number, ("WorkerError", "the replica that filled this photo died, twice")
        except asyncio.CancelledError:
            message = "given up", number
        except Exception as error:
            log.exception("the cluster failed")
            message = "failed", number, ("WorkerError", f"the cluster failed ({type(error).__name__})")
        del self._fills[number]
        self._heard(self, message)

    async def _ask(self, number: int, request: FillRequest, deadline: float) -> tuple[Any, ...]:
        """What a replica says in the end; its progress is passed on."""
        stream = self._handle.remote(request, deadline)
        try:
            async for kind, *rest in stream:
                if kind == "progress":
                    self._heard(self, ("progress", number, *rest))
                elif kind == "counts":
                    self._count(*rest)
                else:
                    last = (kind, number, *rest)
        except BaseException:
            stream.cancel()
            raise
        return last

    def _count(self, replica: str, counts: dict[str, float]) -> None:
        self._counts[replica] = counts
        self.counts = {name: sum(each[name] for each in self._counts.values()) for name in counts}


class Replica:
    """The class of the deployment: a service with one worker process, spoken to through Ray."""

    def __init__(self, worker: WorkerOptions, limits: Limits):
        from ray import serve

        self._name = str(serve.get_replica_context().replica_id)
        # The process that listens bounds queue and memory, and cancels what is late.
        self._service = Service([worker], replace(limits, queue=10**6, memory_bytes=1 << 50))
        self._service.start()
        self._was_ready = False

    async def check_health(self) -> None:
        """Comes back when the model is loaded; Ray Serve gives a replica nothing to do before.

        Raises:
            StartError: it cannot be loaded.
        """
        while not (self._was_ready or self._service.ready):
            if self._service.broken.done():
                raise self._service.broken.result()
            await asyncio.sleep(_POLL_SECONDS)
        self._was_ready = True  # a worker that has died since is being replaced

    async def info(self) -> dict[str, Any]:
        """What the worker says of its model."""
        return {**self._service.info, "engine": f"ray, {self._service.info.get('engine')}"}

    async def fill(self, request: FillRequest, deadline: float) -> AsyncIterator[tuple[Any, ...]]:
        """Fill a photo. If the caller goes away, the job is cancelled.

        Yields:
            ("progress", {...}) and ("counts", replica, {...}); at the end ("done", FillAnswer) or ("failed", error).
        """
        job = self._service.submit(request, deadline=deadline)
        try:
            async for event in job.events():
                if event.kind == "progress":
                    yield "progress", event.data
            yield "done", await job.answer()
        except ServeError as error:
            yield "failed", (type(error).__name__, str(error))
        finally:
            self._service.forget(job)
        yield "counts", self._name, self._service.counts()

    async def __del__(self) -> None:  # Ray Serve's way to end a replica, after its last photo
        await self._service.stop()


def _deploy(worker: WorkerOptions, limits: Limits, replicas: Replicas) -> Any:
    """Start the replicas, or change those that a server before this one has left; a handle to them."""
    from ray import serve

    if replicas.least == replicas.most:
        size: dict[str, Any] = {"num_replicas": replicas.least}
    else:
        size = {
            "autoscaling_config": {
                "min_replicas": replicas.least, "max_replicas": replicas.most, "initial_replicas": replicas.least,
                "target_ongoing_requests": worker.threads, "upscale_delay_s": UPSCALE_SECONDS,
            }
        }  # fmt: skip
    deployment = serve.deployment(
        Replica, name=DEPLOYMENT, max_ongoing_requests=worker.threads,
        ray_actor_options={"num_cpus": replicas.processors, "num_gpus": replicas.gpus},
        graceful_shutdown_wait_loop_s=0.2, graceful_shutdown_timeout_s=limits.drain_seconds,
        health_check_period_s=5, logging_config={"enable_access_log": False}, **size,
    )  # fmt: skip
    return serve.run(deployment.bind(worker, limits), name=APPLICATION, route_prefix=None)


def _last_words() -> str:
    """What the replicas that did not start died of; "" if Ray Serve does not know."""
    from ray import serve

    try:
        told = serve.status().applications[APPLICATION].deployments[DEPLOYMENT].message
    except Exception:  # it is asked because something has failed already
        return ""
    _, found, words = told.rpartition(f"{StartError.__name__}: ")
    return words.strip().partition("\n")[0] if found else ""
