"""The server's end of one worker: starts the process, speaks with it through a pipe, and notices when it dies."""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import queue
import threading
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

from moebius.serve.jobs import Job
from moebius.serve.worker import WorkerOptions, run_worker


class Link:
    """A worker process, from its start to its end; the next one gets a link of its own.

    Args:
        heard: called in the event loop with every message of the worker, and with ("gone",) when it has ended.
    """

    def __init__(self, options: WorkerOptions, heard: Callable[[Link, tuple[Any, ...]], None]):
        self.running: dict[int, Job] = {}
        """Jobs that it has been given, by number."""
        self.ready = False
        self.info: dict[str, Any] = {}
        self.counts: dict[str, float] = {"busy": 0.0, "calls": 0, "rows": 0}
        self.gone = False
        self._heard = heard
        self._loop = asyncio.get_running_loop()
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self.process = context.Process(
            target=run_worker, args=(theirs, options), name="moebius worker", daemon=True
        )
        self.process.start()
        theirs.close()  # or its end would not be seen
        self._outbox: queue.SimpleQueue[tuple[Any, ...] | None] = queue.SimpleQueue()
        self._sender = threading.Thread(target=self._send, name="moebius link, sending", daemon=True)
        self._sender.start()
        threading.Thread(target=self._receive, name="moebius link, receiving", daemon=True).start()

    def give(self, job: Job) -> None:
        """Hand a job over."""
        assert job.request is not None
        self.running[job.number] = job
        self._outbox.put(("fill", job.number, job.request))

    def cancel(self, number: int) -> None:
        self._outbox.put(("cancel", number))

    def end(self) -> None:
        """Ask the worker to finish what it has and leave."""
        self._outbox.put(("end",))

    def kill(self) -> None:
        self.process.kill()

    async def join(self, seconds: float) -> None:
        """Wait for its end; kill it after so long."""
        await asyncio.to_thread(self.process.join, seconds)
        if self.process.exitcode is None:
            self.kill()
            await asyncio.to_thread(self.process.join)

    def _receive(self) -> None:
        connection: Connection = self._connection
        try:
            while True:
                self._tell(connection.recv())
        except (EOFError, OSError):
            pass
        except Exception:  # half a message of a worker that was killed while it wrote
            self.process.kill()
        self._outbox.put(None)
        self.process.join()
        self._sender.join()  # closed under a thread that uses it, its number could be another connection's by then
        connection.close()
        self._tell(("gone",))

    def _send(self) -> None:
        with contextlib.suppress(OSError):
            while (message := self._outbox.get()) is not None:
                self._connection.send(message)

    def _tell(self, message: tuple[Any, ...]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed already
            self._loop.call_soon_threadsafe(self._heard, self, message)
