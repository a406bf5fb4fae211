"""A Ray cluster for one run, and how many workers its machines have room for."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from moebius.errors import DeviceError

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Machine:
    """A machine of the cluster, as Ray counts it."""

    processors: float
    gpus: float = 0.0

    def room(self, processors: float, gpus: float) -> int:
        """Workers that fit in, each counted for so much."""
        rooms = [int(self.processors / processors)] if processors else []
        rooms += [int(self.gpus / gpus)] if gpus else []
        return min(rooms, default=0)


def processors_for(machines: Sequence[Machine], threads: int, asked: float | None) -> float:
    """Processors that a worker counts for: see `run_ray`."""
    if asked is not None:
        return asked
    largest = max((machine.processors for machine in machines), default=0.0)
    return max(1.0, min(threads / 2, largest))


def pool_size(
    machines: Sequence[Machine], workers: tuple[int, int], processors: float, gpus: float
) -> tuple[int, int]:
    """Workers, (least, most): what was asked for, with the room that there is in place of a 0.

    Raises:
        DeviceError: the only machine has no room for one.
    """
    least, most = workers
    room = sum(machine.room(processors, gpus) for machine in machines)
    if not room:
        wanted = f"{processors:g} processors, {gpus:g} GPUs"
        if len(machines) == 1:
            (only,) = machines
            raise DeviceError(
                f"expected room for a worker ({wanted}), this machine has {only.processors:g} and {only.gpus:g}"
            )
        log.warning(
            "no machine of the Ray cluster has room for a worker (%s): waiting for one that has", wanted
        )
    return least, most or max(least, room)


def _machines(nodes: Sequence[dict[str, Any]]) -> list[Machine]:
    """From what `ray.nodes` tells."""
    return [
        Machine(node["Resources"].get("CPU", 0.0), node["Resources"].get("GPU", 0.0))
        for node in nodes
        if node["Alive"]
    ]


@contextmanager
def cluster(most_deaths: int) -> Iterator[list[Machine]]:
    """A cluster while the block lasts, quiet; its machines as they are now.

    Args:
        most_deaths: of workers that die while they open the model, before the run ends.
    """
    import ray

    settings = {"enable_progress_bars": False, "max_consecutive_actor_init_deaths": most_deaths}
    with _connection():
        context = ray.data.DataContext.get_current()
        before = {name: getattr(context, name) for name in settings if hasattr(context, name)}
        try:
            for name in before:
                setattr(context, name, settings[name])
            with _quiet(logging.getLogger("ray.data")):
                yield _machines(ray.nodes())
        finally:
            for name, value in before.items():
                setattr(context, name, value)


@contextmanager
def _connection() -> Iterator[None]:
    """Connected to Ray while the block lasts; ends what was begun here."""
    import ray
    from ray._private import worker

    if ray.is_initialized():
        yield
        return
    # Ray tells of each death on standard output, where only this switch (of its debugger) reaches it.
    before = vars(worker).get("_worker_logs_enabled", True)
    vars(worker)["_worker_logs_enabled"] = False
    try:
        with _environment(RAY_USAGE_STATS_ENABLED="0", RAY_BACKEND_LOG_LEVEL="fatal"):
            ray.init(include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
        yield
    finally:
        ray.shutdown()
        vars(worker)["_worker_logs_enabled"] = before


@contextmanager
def _quiet(logger: logging.Logger) -> Iterator[None]:
    """Nothing on the terminal; Ray's log file has it all."""
    levels = {each: each.level for each in logger.handlers if isinstance(each, logging.StreamHandler)}
    for handler in levels:
        handler.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for handler, level in levels.items():
            handler.setLevel(level)


@contextmanager
def _environment(**values: str) -> Iterator[None]:
    """Environment variables for the processes that are started in the block, where they are not set already."""
    added = {name: value for name, value in values.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            del os.environ[name]
