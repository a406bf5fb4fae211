"""A worker that dies of certain photos: what a crash in a decoder would do. Only tests start it."""

from __future__ import annotations

import os
from multiprocessing.connection import Connection
from typing import Any

from moebius.serve import worker
from moebius.serve.request import FillRequest
from moebius.serve.worker import WorkerOptions

POISON = b"a photo to die of"


def run_poisoned(connection: Connection, options: WorkerOptions) -> None:
    """`run_worker`, until it meets poison."""
    fill = worker.fill

    def fill_or_die(model: Any, request: FillRequest, **rest: Any) -> Any:
        if POISON in request.image:
            os._exit(11)
        return fill(model, request, **rest)

    worker.fill = fill_or_die  # type: ignore[assignment]
    worker.run_worker(connection, options)
