"""A worker: a process of its own with a model in it, which takes requests from a pipe and sends answers back.

Pictures are decoded and encoded here, never in the process that listens: a decoder that crashes on hostile bytes takes
only a worker with it. Several threads share the model through a lane, as in `moebius.batch.local`.

    from the server     ("fill", number, FillRequest)    ("cancel", number)    ("end",)
    to the server       ("ready", {...})    ("failed to start", kind, message)
                        ("progress", number, {...})    ("done", number, FillAnswer)
                        ("failed", number, error)    ("given up", number)    ("counts", {...})
"""

from __future__ import annotations

import logging
import os
import queue
import signal
import threading
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

from moebius.engines import Lane
from moebius.errors import MoebiusError
from moebius.pipeline import Moebius
from moebius.pipeline.places import Places, places_for
from moebius.serve.errors import ServeError, from_library
from moebius.serve.fill import GivenUpError, fill, pixels_of
from moebius.serve.request import FillRequest

log = logging.getLogger(__name__)

THREADS = 4
"""Requests at a time: two in the network, two before or after it."""


@dataclass(frozen=True)
class WorkerOptions:
    """What a worker is started with."""

    model: str
    device: str = "auto"
    engine: str = "auto"
    dtype: str = "auto"
    rows: int = 1
    """Regions in a network call, of one request or of several."""
    max_pixels: int = 100_000_000
    threads: int = THREADS


def run_worker(connection: Connection, options: WorkerOptions) -> None:
    """Serve until the pipe closes or says "end". The main function of a worker process."""
    for number in (signal.SIGINT, signal.SIGTERM):  # whoever started it says when to end
        signal.signal(number, signal.SIG_IGN)
    try:
        model = Moebius.from_pretrained(
            options.model, device=options.device, engine=options.engine, dtype=options.dtype
        )
    except MoebiusError as error:
        connection.send(("failed to start", error.exit_code, str(error)))
        return
    with Lane(model.engine, None if options.rows == 1 else options.rows) as lane:
        Worker(connection, Moebius(model.spec, lane, model_hash=model.model_hash), lane, options).serve()


class Worker:
    """The inside of a worker process; apart from `run_worker` so that tests can hold the pipe's other end."""

    def __init__(self, connection: Connection, model: Moebius, lane: Lane, options: WorkerOptions):
        self._connection, self._model, self._lane, self._options = connection, model, lane, options
        self._sending = threading.Lock()
        self._todo: queue.SimpleQueue[tuple[int, FillRequest] | None] = queue.SimpleQueue()
        self._given_up: dict[int, threading.Event] = {}
        """For each request that is here."""
        self._places = Places(options.threads)

    def serve(self) -> None:
        threads = [
            threading.Thread(target=self._work, name=f"moebius worker {number}", daemon=True)
            for number in range(self._options.threads)
        ]
        for thread in threads:
            thread.start()
        spec = self._model.spec
        self._send(
            "ready",
            {
                "name": spec.name, "title": spec.title, "size": spec.size, "parameters": spec.parameters,
                "hash": self._model.model_hash, "engine": self._lane.name, "device": self._lane.device,
                "dtype": self._lane.dtype, "rows": self._lane.rows, "pid": os.getpid(),
            },
        )  # fmt: skip
        try:
            while True:
                kind, *rest = self._connection.recv()
                if kind == "fill":
                    self._given_up[rest[0]] = threading.Event()
                    self._todo.put((rest[0], rest[1]))
                elif kind == "cancel":
                    if (given_up := self._given_up.get(rest[0])) is not None:
                        given_up.set()
                else:
                    break
        except (EOFError, OSError):  # the server is gone
            return
        for _ in threads:
            self._todo.put(None)
        for thread in threads:
            thread.join()

    def _work(self) -> None:
        while (task := self._todo.get()) is not None:
            number, request = task
            try:
                self._send(*self._answer(number, request))
            except OSError:
                return
            del self._given_up[number], task, request  # a photo is not kept until the next one comes
            lane = self._lane
            self._send("counts", {"busy": lane.busy, "calls": lane.calls_made, "rows": lane.rows_made})

    def _answer(self, number: int, request: FillRequest) -> tuple[Any, ...]:
        given_up = self._given_up[number].is_set
        try:
            pixels = pixels_of(request, self._options.max_pixels)
            with self._places.taken(places_for(pixels)):
                if given_up():
                    raise GivenUpError
                answer = fill(
                    self._model, request, max_pixels=self._options.max_pixels,
                    tell=lambda event: self._send("progress", number, event), given_up=given_up,
                )  # fmt: skip
            return "done", number, answer
        except GivenUpError:
            return "given up", number
        except MoebiusError as error:
            return "failed", number, _plain(from_library(error))
        except MemoryError:
            return "failed", number, ("WorkerError", "not enough memory for this photo")
        except Exception as error:  # a defect of ours; the worker goes on
            log.exception("request %d failed", number)
            return "failed", number, ("WorkerError", f"the fill failed ({type(error).__name__})")

    def _send(self, *message: Any) -> None:
        with self._sending:
            self._connection.send(message)


def _plain(error: ServeError) -> tuple[str, str]:
    return type(error).__name__, str(error)
