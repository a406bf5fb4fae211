"""The batch on this machine: a few threads that each work on one photo, and one model for all.

While the network works on some photos' regions, others are decoded, prepared and encoded; so the network is what
everything waits for. Memory is bounded: a thread holds one photo, and a large photo takes the place of several.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections import deque
from collections.abc import Generator, Sequence
from contextlib import suppress
from pathlib import Path

from moebius.batch.files import is_url
from moebius.batch.item import Item, Options, Record
from moebius.batch.ledger import Ledger
from moebius.batch.work import Stopped, fill_item
from moebius.engines import Lane
from moebius.errors import InputError, MoebiusError, OutputError, PhotoError
from moebius.imaging.decode import ImageSource
from moebius.imaging.frames import fits_all_frames, read_frames
from moebius.pipeline import Moebius
from moebius.pipeline.places import Places, places_for
from moebius.settings import MAX_PIXELS

log = logging.getLogger(__name__)

WORKERS = 4
"""Photos at a time: ONNX Runtime takes two calls at once, and while they last two more photos get ready for theirs."""
THREAD_NAME = "moebius batch"
"""What the names of its threads begin with."""
_GIF_SHARE = 0.15
"""What a GIF's encoder keeps of each frame (measured: 1.2 bytes a pixel), as part of what a photo takes (8 bytes)."""
_LOOK = 0.2
"""Seconds between two looks at what has changed."""


class LocalRun:
    """One run over the items of a plan.

        with ledger:
            run = LocalRun(model, plan.todo, options, ledger)
            for record in run.records():
                ...

    Args:
        workers: photos at a time.
    """

    def __init__(
        self, model: Moebius, items: Sequence[Item], options: Options, ledger: Ledger, *, workers: int = WORKERS
    ):  # fmt: skip
        self.done_elsewhere = self.failed_elsewhere = 0
        """Items that another process has dealt with meanwhile."""
        self.busy = self.seconds = 0.0
        """Seconds in the network, and in all."""
        self.calls = self.rows = 0
        """Network calls, and rows in them."""
        self._model, self._options, self._ledger = model, options, ledger
        self._workers = workers
        self._waiting = deque(items)
        self._places = Places(workers)
        self._guard = threading.Lock()
        self._stop = threading.Event()
        self._failed_before = frozenset(ledger.manifest.failed)
        self._known_before = {item.output_name: ledger.manifest.done.get(item.output_name) for item in items}
        self._told: queue.SimpleQueue[Record | BaseException | None] = queue.SimpleQueue()

    @property
    def busy_share(self) -> float:
        """Part of the time in which the network was at work, 0 to 1."""
        return self.busy / self.seconds if self.seconds else 0.0

    def stop(self) -> None:
        """End the run soon: what is being encoded is finished, other fills are given up. From any thread."""
        self._stop.set()

    @property
    def stopped(self) -> bool:
        return self._stop.is_set()

    def records(self) -> Generator[Record, None, None]:
        """Records of finished and failed items, in the order they end; each is in the manifest by then.

        Closing the iterator stops the run, and waits until it has.

        Raises:
            MoebiusError: the disk is full, or the manifest cannot be written. The run can be gone on with later.
        """
        began = time.perf_counter()
        failure: BaseException | None = None
        with Lane(self._model.engine, None if self._options.rows == 1 else self._options.rows) as lane:
            threads = self._start(lane)
            running = len(threads)
            try:
                while running:
                    with suppress(queue.Empty):
                        told = self._told.get(timeout=_LOOK)
                        if told is None:
                            running -= 1
                        elif isinstance(told, Record):
                            yield told
                        else:
                            failure = failure or told
                            self.stop()
            finally:
                if running:
                    self.stop()
                for thread in threads:
                    thread.join()
                self.seconds = time.perf_counter() - began
                self.busy, self.calls, self.rows = lane.busy, lane.calls_made, lane.rows_made
        if failure is not None:
            raise failure

    def _start(self, lane: Lane) -> list[threading.Thread]:
        model = Moebius(self._model.spec, lane, model_hash=self._model.model_hash)
        threads = [
            threading.Thread(target=self._work, args=(model,), name=f"{THREAD_NAME} {number}", daemon=True)
            for number in range(self._workers)
        ]
        for thread in threads:
            thread.start()
        return threads

    def _work(self, model: Moebius) -> None:
        """One thread: items until there are none, or the run is stopped."""
        try:
            while not self.stopped and (item := self._next()) is not None:
                self._claim_and_fill(model, item)
        except Stopped:
            pass
        except OutputError as error:  # an exit code of its own says "before work began"
            self._told.put(MoebiusError(str(error)))
        except BaseException as error:
            self._told.put(error)
        finally:
            self._told.put(None)

    def _next(self) -> Item | None:
        with self._guard:
            return self._waiting.popleft() if self._waiting else None

    def _claim_and_fill(self, model: Moebius, item: Item) -> None:
        if not self._ledger.claims.take(item.output_name):
            with self._guard:
                self._waiting.append(item)
            self._stop.wait(_LOOK)
            return
        try:
            if not self._is_done_elsewhere(item):
                with self._places.taken(_places(item)):
                    self._fill(model, item)
        finally:
            self._ledger.claims.release(item.output_name)

    def _is_done_elsewhere(self, item: Item) -> bool:
        """Whether another process has dealt with the item since the plan was made."""
        manifest = self._ledger.manifest
        manifest.refresh()
        name = item.output_name
        failed = name in manifest.failed and name not in self._failed_before
        is_news = manifest.done.get(name) is not self._known_before[name]  # without, the files need no look
        finished = not failed and is_news and self._is_finished(item)
        with self._guard:
            self.done_elsewhere += finished
            self.failed_elsewhere += failed
        return finished or failed

    def _is_finished(self, item: Item) -> bool:
        try:
            return self._ledger.verdict(item) == "finished"
        except InputError as error:  # of this item alone; it is made once more
            log.debug("%s: cannot be looked at (%s)", item.output, error)
            return False

    def _fill(self, model: Moebius, item: Item) -> None:
        record = fill_item(model, item, self._options, self._ledger.commit, self._stop.is_set)
        if record.status == "failed":
            if self.stopped:  # it may have failed because of that
                raise Stopped
            self._ledger.note(record)
        self._told.put(record)
        if record.stops and record.error is not None:
            raise MoebiusError(record.error["message"])


def _places(item: Item) -> int:
    """Places that a photo takes, by the size in its header; 1 where that cannot be told. A GIF that stays one takes
    them for all its frames too."""
    if is_url(item.photo):
        return 1
    try:
        with ImageSource(Path(item.photo), noun="photo", error=PhotoError, max_pixels=MAX_PIXELS) as source:
            width, height = source.open().size
        pixels = width * height
        if item.output.lower().endswith(".gif") and fits_all_frames(item.photo, item.output):
            pixels += round(_GIF_SHARE * pixels * len(read_frames(item.photo)))
    except PhotoError:
        return 1
    return places_for(pixels)
