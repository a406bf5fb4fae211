"""Time and memory of methods, each in a fresh process of its own, as a person would run it.

    python -m moebius.evaluation.cost      the process: reads a method's name and a hole, fills it whenever told to

All processes stay open and take turns, so that a busy moment of the machine falls on every method alike.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from moebius.engines.measuring import peak_mib, timed
from moebius.engines.processor import processor_name
from moebius.errors import MoebiusError
from moebius.evaluation.holes import Case, Hole
from moebius.evaluation.opening import MethodName

ROUNDS = 3


@dataclass(frozen=True)
class Cost:
    """What filling one hole costs a process that does nothing else."""

    method: str
    seconds: float
    """Wall time of one fill, loaded: median over the rounds."""
    seconds_low: float
    seconds_high: float
    """Fastest and slowest round."""
    cpu_seconds: float
    """Processor time of one fill over all threads, median."""
    start_seconds: float
    """From the start of the process to the end of its first fill."""
    peak_mb: float
    """Largest resident memory of the process, MiB."""
    machine: str


def measure_cost(names: Sequence[MethodName], hole: Hole, folder: Path, rounds: int = ROUNDS) -> list[Cost]:
    """Fill one hole by each method, in turns.

    Args:
        names: methods; those that cannot be opened again by name are the caller's to leave out.
        hole: what is filled.
        folder: where the hole is put for the processes; a file there is written and removed.

    Raises:
        MoebiusError: a process failed.
    """
    path = folder / "cost.npz"
    np.savez(path, pixels=hole.pixels, mask=hole.mask)
    workers = []
    try:
        for name in names:
            workers.append(_Worker(name, path))
            workers[-1].fill()
        for _ in range(rounds):
            for worker in workers:
                worker.fill()
        return [worker.cost() for worker in workers]
    finally:
        for worker in workers:
            worker.close()
        path.unlink(missing_ok=True)


class _Worker:
    """A process that fills one hole by one method, once for every line it is sent."""

    def __init__(self, name: MethodName, hole: Path):
        self._began = time.perf_counter()
        command = [sys.executable, "-m", "moebius.evaluation.cost", name.to_json(), str(hole)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._name = name
        self._fills: list[dict[str, Any]] = []
        self._start = 0.0

    def fill(self) -> None:
        sent, answers = self._pipes()
        try:
            sent.write("fill\n")
            sent.flush()
            answer = json.loads(answers.readline())
        except (OSError, ValueError) as error:
            raise MoebiusError(f"{self._name.text}: the process that measures its cost ended") from error
        if not self._fills:
            self._start = time.perf_counter() - self._began
        self._fills.append(answer)

    def cost(self) -> Cost:
        """Over all fills but the first, which also warms up."""
        seconds = sorted(fill["seconds"] for fill in self._fills[1:])
        return Cost(
            method=self._fills[0]["method"],
            seconds=round(float(np.median(seconds)), 4),
            seconds_low=round(seconds[0], 4),
            seconds_high=round(seconds[-1], 4),
            cpu_seconds=round(float(np.median([fill["cpu"] for fill in self._fills[1:]])), 4),
            start_seconds=round(self._start, 3),
            peak_mb=round(self._fills[-1]["peak_mb"], 1),
            machine=processor_name(),
        )

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in self._pipes():
            pipe.close()

    def _pipes(self) -> tuple[IO[str], IO[str]]:
        assert self._process.stdin is not None and self._process.stdout is not None
        return self._process.stdin, self._process.stdout


def _serve(name: str, path: str) -> None:
    """The process: one fill for each line of standard input, one line of JSON for each fill."""
    from moebius.evaluation import models

    models.THREADS = 0  # as many as there are: nothing else runs in this process
    method = MethodName.from_json(name).open()
    with np.load(path) as stored:
        hole = Hole(Case(photo="cost", image=Path(path), mask=Path(path)), stored["pixels"], stored["mask"])
    for _ in sys.stdin:
        seconds, processor = timed(lambda: method.fill(hole))
        answer = {"method": method.id, "seconds": seconds, "cpu": processor, "peak_mb": peak_mib()}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


def as_json(costs: Sequence[Cost]) -> list[dict[str, Any]]:
    """Plain values, as results carry them."""
    return [asdict(cost) for cost in costs]


if __name__ == "__main__":
    _serve(sys.argv[1], sys.argv[2])
