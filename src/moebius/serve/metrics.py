"""Numbers for Prometheus. One registry for each app, so that several can live in a process."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from moebius.serve.jobs import Job

if TYPE_CHECKING:
    from moebius.serve.service import Service

_SECONDS = (0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 30, 60, 120)


class Metrics:
    """What `/metrics` tells."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "moebius_requests", "Requests answered.", ["route", "status"], registry=self._registry
        )
        self._request_seconds = Histogram(
            "moebius_request_seconds", "From a request's head to its answer.", ["route"], buckets=_SECONDS,
            registry=self._registry,
        )  # fmt: skip
        self._jobs = Counter(
            "moebius_jobs_ended", "Jobs that have ended.", ["state"], registry=self._registry
        )
        self._wait = Histogram(
            "moebius_job_wait_seconds", "In the queue.", buckets=_SECONDS, registry=self._registry
        )
        self._work = Histogram(
            "moebius_job_work_seconds", "With a worker.", buckets=_SECONDS, registry=self._registry
        )

    def watch(self, service: Service) -> None:
        """Tell of a service's queue and workers too."""
        self._registry.register(_Watched(service))

    def request(self, route: str, status: int, seconds: float) -> None:
        self._requests.labels(route, str(status)).inc()
        self._request_seconds.labels(route).observe(seconds)

    def job(self, job: Job) -> None:
        """A job has ended."""
        from moebius.serve.service import seconds_of

        waited, worked = seconds_of(job)
        self._jobs.labels(job.state).inc()
        self._wait.observe(waited)
        if job.started is not None:
            self._work.observe(worked)

    def text(self) -> bytes:
        text: bytes = generate_latest(self._registry)
        return text


class _Watched(Collector):  # type: ignore[misc]
    """Reads the service when somebody asks."""

    def __init__(self, service: Service):
        self._service = service

    def collect(self) -> Iterator[Metric]:
        service, counts = self._service, self._service.counts()
        running = sum(len(link.running) for link in service.links if link is not None)
        ready = sum(link is not None and link.ready for link in service.links)
        gauges: tuple[tuple[str, str, float], ...] = (
            ("moebius_jobs_waiting", "Jobs in the queue.", len(service.waiting)),
            ("moebius_jobs_running", "Jobs with a worker.", running),
            ("moebius_held_bytes", "Bytes of uploads and pictures in memory.", service.memory.held),
            ("moebius_workers_ready", "Workers with a loaded model.", ready),
        )
        for gauge in gauges:
            yield GaugeMetricFamily(*gauge)
        counters: tuple[tuple[str, str, float], ...] = (
            ("moebius_worker_restarts", "Workers that were replaced.", service.restarts),
            ("moebius_network_busy_seconds", "In which the network was at work.", counts["busy"]),
            ("moebius_network_calls", "Calls of the network.", counts["calls"]),
            ("moebius_network_rows", "Regions in them.", counts["rows"]),
        )
        for counter in counters:
            yield CounterMetricFamily(*counter)
