"""The Ray cluster that a server's replicas are on: how many there are to be, and the connection to it."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from moebius.errors import DeviceError, MoebiusError, SettingsError
from moebius.processors import processor_count

APPLICATION = "moebius"
"""What Ray Serve knows the replicas by; also the namespace of what else is there."""


@dataclass(frozen=True, kw_only=True)
class Replicas:
    """How many replicas, and what Ray counts each for. Validated on construction.

    Raises:
        SettingsError: not 1 <= least <= most.
    """

    least: int = 1
    most: int = 1
    processors: float
    """That Ray sets aside for each."""
    gpus: float = 0.0

    def __post_init__(self) -> None:
        if not 1 <= self.least <= self.most:
            raise SettingsError(f"replicas: expected 1 <= MIN <= MAX, got {self.least},{self.most}")

    @classmethod
    def parse(cls, text: str, device: str) -> Replicas:
        """Replicas of half of this machine's processors, as `moebius batch --engine ray` has its actors: one decodes
        and encodes while the other's network computes. With device "cuda" each has a GPU too; others see none.

        Args:
            text: "MIN,MAX", or one number for both.
        """
        least, _, most = text.partition(",")
        if not (least.isdecimal() and (most or least).isdecimal()) or (text.endswith(",")):
            raise SettingsError(f"replicas: expected MIN,MAX or one number, got {text[:40]!r}")
        gpus = 1.0 if device.startswith("cuda") else 0.0
        processors = max(1.0, processor_count() / 2)
        return cls(least=int(least), most=int(most or least), processors=processors, gpus=gpus)


@contextmanager
def cluster(replicas: Replicas) -> Iterator[None]:
    """Connected, while the block lasts, to the cluster that RAY_ADDRESS or an earlier `ray.init` names, else to one of
    this machine's own, which ends with the block.

    Raises:
        DeviceError: Ray is not installed, or this machine, being the only one, has no room for a replica.
        MoebiusError: there is no cluster, or another server works with it.
    """
    try:
        import ray
        from ray import serve
    except ImportError as error:
        raise DeviceError("engine ray: pip install 'moebius-inpaint[ray,serve]'") from error
    with contextlib.ExitStack() as stack:
        try:
            if not ray.is_initialized():
                os.environ.setdefault(
                    "RAY_USAGE_STATS_ENABLED", "0"
                )  # for the processes that are started now
                stack.callback(ray.shutdown)
                ray.init(
                    namespace=APPLICATION, include_dashboard=False, log_to_driver=False,
                    logging_level=logging.ERROR,
                )  # fmt: skip
            for name in ("ray", "ray.serve"):
                logging.getLogger(name).setLevel(logging.ERROR)
            _check_room(replicas)
            stack.callback(_forget, only_server())
            serve.start(proxy_location="Disabled")
        except (OSError, RuntimeError, ray.exceptions.RayError) as error:
            raise MoebiusError(f"no Ray cluster could be reached or started: {last_line(error)}") from error
        yield


class _Only:
    """An actor that lives as long as the server that made it: its name tells other servers of it."""


def only_server() -> Any:
    """Take the cluster for this server. What comes back has to be kept.

    Raises:
        MoebiusError: another server has it. Each would change the replicas of the other.
    """
    import ray

    try:
        return ray.remote(_Only).options(name="moebius serve", namespace=APPLICATION, num_cpus=0).remote()
    except ValueError as error:
        raise MoebiusError(
            "engine ray: expected no other moebius serve on this Ray cluster, found one"
        ) from error


def _forget(only: Any) -> None:
    """Leave the cluster to the next server."""
    import ray

    with contextlib.suppress(ray.exceptions.RayError):
        ray.kill(only)


def _check_room(replicas: Replicas) -> None:
    """A cluster of one machine will not grow: say at once if it is too small. Others may."""
    import ray

    there = ray.cluster_resources()
    processors, gpus = there.get("CPU", 0.0), there.get("GPU", 0.0)
    if len(ray.nodes()) == 1 and (processors < replicas.processors or gpus < replicas.gpus):
        raise DeviceError(
            f"expected room for a replica ({replicas.processors:g} processors, {replicas.gpus:g} GPUs), this machine "
            f"has {processors:g} and {gpus:g}"
        )


def last_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
