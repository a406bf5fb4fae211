"""The service behind every route: a bounded queue, the workers, and the jobs on their way.

Everything here happens in the event loop; nothing waits for a lock. A worker that dies takes no job with it: they go
back to the front of the queue, and each of them is then run alone, so that one that kills its worker again is found
out and the others are not blamed for it.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import math
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

from moebius.errors import MoebiusError
from moebius.serve import errors
from moebius.serve.errors import (
    BusyError,
    CancelledError,
    DeadlineError,
    ServeError,
    UnavailableError,
    WorkerError,
)
from moebius.serve.jobs import Job
from moebius.serve.limits import Limits
from moebius.serve.link import Link
from moebius.serve.memory import Memory
from moebius.serve.pace import Pace
from moebius.serve.request import FillRequest
from moebius.serve.worker import WorkerOptions

log = logging.getLogger(__name__)

MAX_DEATHS = 2
"""Workers that may die with a job before it is given up."""
STUCK_SECONDS = 60.0
"""How long a worker may take to notice that a job is given up, before it is killed."""
FIRST_WAIT, LONGEST_WAIT = 0.2, 30.0
"""Seconds before a worker that has died is replaced: doubled each time it dies before it was ready."""


class StartError(MoebiusError):
    """No worker could be started; carries the exit code of what was wrong."""

    def __init__(self, message: str, exit_code: int):
        super().__init__(message)
        self.exit_code = exit_code


class Service:
    """See the module. Use it between `start` and `stop`, in one event loop.

    Args:
        workers: what each worker is started with; one for each device.
        on_job_end: told of every job that has ended, for metrics.
    """

    def __init__(
        self, workers: list[WorkerOptions], limits: Limits, *, on_job_end: Callable[[Job], None] | None = None
    ):
        self.limits = limits
        self.memory = Memory(limits.memory_bytes)
        self.jobs: dict[str, Job] = {}
        """By id; those that have ended too, until they are forgotten."""
        self.waiting: deque[Job] = deque()
        self.links: list[Link | None] = [None] * len(workers)
        self.draining = False
        self.restarts = 0
        self.broken: asyncio.Future[StartError] = asyncio.get_running_loop().create_future()
        """Done when the server cannot work, with the reason."""
        self._options = workers
        self._on_job_end = on_job_end or (lambda job: None)
        self._numbers = itertools.count(1)
        self._waits = [FIRST_WAIT] * len(workers)
        self._timers: dict[tuple[str, int], asyncio.TimerHandle] = {}
        self._stopped = False
        self._pace = Pace()
        self._retired = {"busy": 0.0, "calls": 0.0, "rows": 0.0}
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def ready(self) -> bool:
        """Whether there is a worker with a loaded model, and new jobs are taken."""
        return not self.draining and any(link is not None and link.ready for link in self.links)

    @property
    def info(self) -> dict[str, Any]:
        """What a worker has said of its model; empty as long as none is ready."""
        return next((link.info for link in self.links if link is not None and link.ready), {})

    @property
    def unfinished(self) -> int:
        return sum(not job.finished for job in self.jobs.values())

    def counts(self) -> dict[str, float]:
        """Seconds in the network, calls of it and rows in them, over all workers since the start."""
        links = [link.counts for link in self.links if link is not None]
        return {name: self._retired[name] + sum(each[name] for each in links) for name in self._retired}

    def start(self) -> None:
        """Start the workers; `ready` becomes true when the first has loaded its model."""
        for place in range(len(self.links)):
            self._start_link(place)

    async def stop(self) -> None:
        """End now: jobs that are not finished fail, workers end."""
        self.draining = self._stopped = True
        self._fail_all()
        for timer in self._timers.values():
            timer.cancel()
        links = [link for link in self.links if link is not None]
        for link in links:
            link.end()
        await asyncio.gather(*(link.join(2.0) for link in links))

    async def drain(self) -> None:
        """Take no new jobs, and wait until those that are here have ended; fail them when the limits say so."""
        self.draining = True
        try:
            async with asyncio.timeout(self.limits.drain_seconds):
                while self.unfinished:
                    self._idle.clear()
                    await self._idle.wait()
        except TimeoutError:
            log.warning("draining: %d jobs were not finished in time", self.unfinished)
            self._fail_all()

    def _fail_all(self) -> None:
        for job in list(self.jobs.values()):
            if not job.finished:
                self._end(job, UnavailableError("the server is ending", retry_after=5))

    def submit(self, request: FillRequest, *, request_id: str = "", deadline: float | None = None) -> Job:
        """Put a job into the queue.

        Args:
            deadline: seconds from now in which the picture is needed; at most the server's own limit.

        Raises:
            UnavailableError: the server is ending. A server that is starting takes jobs: they wait.
            BusyError: the queue or the memory is full, or the deadline would pass in the queue.
        """
        if self.draining:
            raise UnavailableError("the server is ending: it takes no new photos", retry_after=5)
        seconds = min(deadline or math.inf, self.limits.deadline_seconds)
        self._refuse_if_full(seconds)
        job = Job(
            next(self._numbers), request, request_id=request_id, deadline=seconds, cancel=self._cancel
        )  # fmt: skip
        self._make_room(job.nbytes)
        self.memory.take(job.nbytes)
        job.counted = job.nbytes
        self.jobs[job.id] = job
        self.waiting.append(job)
        self._later("deadline", job, job.deadline, self._too_late)
        self._dispatch()
        if job.state == "queued":
            job.tell("queued", {"position": len(self.waiting)})
        return job

    def find(self, id: str) -> Job:
        """A job by its id.

        Raises:
            NotFoundError: there is none, or it has been forgotten.
        """
        job = self.jobs.get(id)
        if job is None:
            raise errors.NotFoundError("no such job: it may have been fetched, forgotten or never been here")
        return job

    def forget(self, job: Job) -> None:
        """Drop a job and its picture; one that has not ended is cancelled."""
        job.cancel()
        if self.jobs.pop(job.id, None) is not None:
            self.memory.give_back(job.counted)
        for name in ("deadline", "keep", "linger"):
            self._unset(name, job)

    def joined(self, job: Job) -> None:
        """A listener to the job's events has come."""
        job.listeners += 1
        self._unset("linger", job)

    def left(self, job: Job) -> None:
        """A listener has gone; when the last one has, the job is cancelled a little later."""
        job.listeners -= 1
        if not job.listeners and not job.finished:
            self._later("linger", job, self.limits.linger_seconds, Job.cancel)

    def _refuse_if_full(self, deadline: float) -> None:
        """A photo whose turn would come too late is told so at once: most clients would have left by then."""
        waiting = len(self.waiting)
        links = zip(self.links, self._options, strict=True)
        places = sum(options.threads for link, options in links if link is not None and link.ready)
        expected = self._pace.wait(waiting, places)
        if waiting >= self.limits.queue or (waiting and expected > deadline):
            text = f"{waiting} photos are waiting already, for about {expected:.0f} s: come back later"
            raise BusyError(text, retry_after=max(1.0, expected / 2))

    def _make_room(self, nbytes: int) -> None:
        """Forget pictures that have been fetched, oldest first, until so many bytes fit."""
        for job in list(self.jobs.values()):
            if self.memory.held + nbytes <= self.memory.limit:
                return
            if job.finished and job.fetched:
                self.forget(job)

    def _recount(self, job: Job) -> None:
        """Count what a job holds now: it is here, whatever the limit says."""
        self.memory.held += job.nbytes - job.counted
        job.counted = job.nbytes

    def _dispatch(self) -> None:
        """Give waiting jobs to workers that have room. The order of arrival is kept."""
        while self.waiting:
            job = self.waiting[0]
            link = self._link_for(job)
            if link is None:
                return
            self.waiting.popleft()
            job.start()
            job.tell("progress", _STARTED)
            link.give(job)

    def _link_for(self, job: Job) -> Link | None:
        """The worker with the fewest jobs that can take this one. Jobs that have seen one die go alone."""
        best: Link | None = None
        for link, options in zip(self.links, self._options, strict=True):
            if link is None or not link.ready:
                continue
            alone = job.deaths or any(other.deaths for other in link.running.values())
            if len(link.running) >= (1 if alone else options.threads):
                continue
            if best is None or len(link.running) < len(best.running):
                best = link
        return best

    def _start_link(self, place: int) -> None:
        if not self._stopped:
            self.links[place] = Link(self._options[place], self._heard)

    def _heard(self, link: Link, message: tuple[Any, ...]) -> None:
        """A worker's message; see `worker`."""
        kind, *rest = message
        if kind == "ready":
            link.ready, link.info = True, rest[0]
            self._waits[self.links.index(link)] = FIRST_WAIT
            log.info("worker ready", extra={"fields": link.info})
        elif kind == "failed to start":
            code, text = rest
            if not self.broken.done():
                self.broken.set_result(StartError(text, code))
        elif kind == "counts":
            link.counts = rest[0]
        elif kind == "gone":
            self._on_death(link)
            return
        elif kind == "progress":
            number, data = rest
            if (job := link.running.get(number)) is not None and not job.finished:
                job.tell("progress", data)
                self._recount(job)
            return
        else:
            self._on_answer(link, kind, rest)
        self._dispatch()

    def _on_answer(self, link: Link, kind: str, rest: list[Any]) -> None:
        job = link.running.pop(rest[0], None)
        if job is None:
            return
        self._unset("stuck", job)
        if job.finished:  # given up meanwhile
            return
        if kind == "done":
            job.finish(rest[1])
            self._pace.note(seconds_of(job)[1])
            self._ended(job)
        elif kind == "failed":
            name, text = rest[1]
            self._end(job, getattr(errors, name, WorkerError)(text))
        else:
            self._end(job, CancelledError("the job was cancelled"))

    def _on_death(self, link: Link) -> None:
        """Replace a worker, and put its jobs back."""
        if link.gone:
            return
        link.gone = True
        if link not in self.links:
            return
        place = self.links.index(link)
        was_ready, link.ready = link.ready, False
        self.links[place] = None
        for name, value in link.counts.items():
            self._retired[name] += value
        if self._stopped or self.broken.done():
            return
        self.restarts += 1
        log.error(
            "a worker died with exit code %s and %d jobs", link.process.exitcode, len(link.running),
        )  # fmt: skip
        for job in reversed(link.running.values()):
            self._unset("stuck", job)
            if job.finished:
                continue
            job.deaths += 1
            if job.deaths >= MAX_DEATHS:
                self._end(job, WorkerError("the worker that filled this photo died, twice"))
            else:
                job.state, job.started = "queued", None
                self.waiting.appendleft(job)
        wait = self._waits[place]
        self._waits[place] = FIRST_WAIT if was_ready else min(LONGEST_WAIT, wait * 2)
        asyncio.get_running_loop().call_later(wait, self._start_link, place)
        self._dispatch()

    def _cancel(self, job: Job) -> None:
        self._end(job, CancelledError("the job was cancelled"))

    def _too_late(self, job: Job) -> None:
        self._end(job, DeadlineError(f"expected a picture within {job.deadline:g} s, there is none yet"))

    def _end(self, job: Job, error: ServeError) -> None:
        """End a job without a picture, wherever it is."""
        if job.finished:
            return
        if job.state == "queued":
            self.waiting.remove(job)
        for link in self.links:
            if link is not None and job.number in link.running:
                link.cancel(job.number)
                self._later("stuck", job, STUCK_SECONDS, partial(_kill, link))
        job.fail(error)
        self._ended(job)

    def _ended(self, job: Job) -> None:
        self._unset("deadline", job)
        self._unset("linger", job)
        self._recount(job)
        if job.id in self.jobs:
            self._later("keep", job, self.limits.keep_seconds, self.forget)
        self._on_job_end(job)
        if not self.unfinished:
            self._idle.set()

    def _later(self, name: str, job: Job, seconds: float, call: Callable[[Job], None]) -> None:
        self._unset(name, job)

        def due() -> None:
            self._timers.pop((name, job.number), None)
            call(job)

        self._timers[name, job.number] = asyncio.get_running_loop().call_later(seconds, due)

    def _unset(self, name: str, job: Job) -> None:
        timer = self._timers.pop((name, job.number), None)
        if timer is not None:
            timer.cancel()


def _kill(link: Link, job: Job) -> None:
    log.error("a worker does not notice that job %d is given up: it is replaced", job.number)
    link.kill()


_STARTED: dict[str, Any] = {
    "fraction": 0.0, "step": 0, "steps": 0, "region": 0, "regions": 0, "box": None, "preview": None,
}  # fmt: skip


def seconds_of(job: Job) -> tuple[float, float]:
    """Seconds that a job has waited and worked, so far or in all."""
    now = time.monotonic()
    ended = now if job.ended is None else job.ended
    started = ended if job.started is None else job.started
    return started - job.arrived, ended - started
