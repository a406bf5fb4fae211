"""One lane to an engine for many threads: calls that wait together become one call of the network.

    with Lane(engine) as lane:
        model = Moebius(spec, lane, model_hash=model_hash)
        # any number of threads may use `model` now

Each thread waits for its own answer. Whatever is waiting when the engine gets free, of the same kind and shape as the
call that came first, goes in together, up to `rows` rows; nothing is delayed to gather more. An engine that does better
with several calls at a time gets as many (`Engine.calls`).
"""

from __future__ import annotations

import threading
import time
import weakref
from collections import deque
from collections.abc import Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import numpy as np

from moebius.engines.base import Array, Engine, FloatArray
from moebius.errors import MoebiusError


@dataclass(eq=False)
class _Call:
    """What one thread asks for, and in the end the answer."""

    kind: Hashable
    """Calls of one kind can go in together."""
    arrays: tuple[Array, ...]
    """Each (B, ...), rows of the batch first."""
    finished: threading.Event = field(default_factory=threading.Event)
    answer: Any = None
    error: BaseException | None = None

    @property
    def rows(self) -> int:
        return len(self.arrays[0])


class Lane:
    """An engine (see `Engine`) that may be called from any thread. A context manager; else its threads end when nothing
    refers to it any more.

    Args:
        engine: what does the work, in threads of the lane's own.
        rows: most rows of one network call; the engine's own number by default, up to which rows do not influence
            one another. With more, every call is filled up to exactly this many, because the last bits of a row may
            depend on the number of rows: pictures then depend on `rows`, but still on nothing that happens beside them.

    Raises:
        ValueError: rows < 1.
    """

    def __init__(self, engine: Engine, rows: int | None = None):
        if rows is not None and rows < 1:
            raise ValueError(f"expected rows >= 1, got {rows}")
        self.name, self.device, self.dtype = engine.name, engine.device, engine.dtype
        self.calls = engine.calls
        self.rows = engine.rows if rows is None else rows
        self._engine = engine
        self._work = _Work(engine, self.rows)
        # The threads hold what they work on, and not the lane: so it can be given up.
        self._threads = [
            threading.Thread(target=self._work.serve, name=f"moebius lane {number}", daemon=True)
            for number in range(engine.calls)
        ]
        for thread in self._threads:
            thread.start()
        weakref.finalize(self, self._work.close).atexit = False

    @property
    def busy(self) -> float:
        """Seconds in which the engine was computing, with one call or several."""
        return self._work.busy

    @property
    def calls_made(self) -> int:
        """Network calls."""
        return self._work.calls_made

    @property
    def rows_made(self) -> int:
        """Rows in them, without those that only fill up."""
        return self._work.rows_made

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Answer what is waiting, and end the lane's threads. Later calls raise `MoebiusError`."""
        self._work.close()
        for thread in self._threads:
            thread.join()

    def array(self, values: FloatArray) -> Array:
        return self._engine.array(values)

    def numpy(self, values: Array) -> FloatArray:
        return self._engine.numpy(values)

    def join(self, parts: Sequence[Array]) -> Array:
        return self._engine.join(parts)

    def encode(self, image: FloatArray) -> Array:
        return self._work.ask(("encode", image.shape[1:]), image)

    def predict(self, noisy: Array, timestep: int, mask: Array, condition: Array, guidance: float) -> Array:
        kind = ("predict", tuple(noisy.shape[1:]), timestep, guidance)
        return self._work.ask(kind, noisy, mask, condition)

    def decode(self, latents: Array) -> FloatArray:
        pixels: FloatArray = self._work.ask(("decode", tuple(latents.shape[1:])), latents)
        return pixels


class _Work:
    """What waits for the engine, and doing it: all that a lane's threads have to know."""

    def __init__(self, engine: Engine, rows: int):
        self.busy = 0.0
        self.calls_made = self.rows_made = 0
        self.waiting: deque[_Call] = deque()
        self._engine, self._rows = engine, rows
        self._fill_up = rows > engine.rows
        self._changed = threading.Condition()
        self._closed = False
        self._running, self._since = 0, 0.0

    def close(self) -> None:
        """No more calls; those that wait are answered."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def ask(self, kind: Hashable, *arrays: Array) -> Any:
        call = _Call(kind, arrays)
        with self._changed:
            if self._closed:
                raise MoebiusError("the lane to the engine is closed: expected calls before that only")
            self.waiting.append(call)
            self._changed.notify()
        call.finished.wait()
        if call.error is not None:
            raise call.error
        return call.answer

    def serve(self) -> None:
        while True:
            with self._changed:
                while not self.waiting and not self._closed:
                    self._changed.wait()
                if not self.waiting:
                    return
                group = self._take()
            self._answer(group)

    def _take(self) -> list[_Call]:
        """The call that came first, and those like it that fit in beside it, in the order they came."""
        first = self.waiting[0]
        group, rows = [first], first.rows
        for call in list(self.waiting)[1:]:
            if call.kind == first.kind and rows + call.rows <= self._rows:
                group.append(call)
                rows += call.rows
        for call in group:
            self.waiting.remove(call)
        return group

    def _answer(self, group: list[_Call]) -> None:
        try:
            self._run(group)
        except BaseException as error:
            if len(group) == 1:
                group[0].error = error
            else:  # nobody fails because of a neighbour
                for call in group:
                    self._answer([call])
                return
        for call in group:
            call.finished.set()

    def _run(self, group: list[_Call]) -> None:
        name, timestep, guidance = _parts(group[0].kind)
        inputs = [self._joined(parts) for parts in zip(*(call.arrays for call in group), strict=True)]
        total = len(inputs[0])
        outputs = []
        for start in range(0, total, self._rows):
            rows = [self._filled_up(each[start : start + self._rows]) for each in inputs]
            with self._counted(min(self._rows, total - start)):
                if name == "predict":
                    output = self._engine.predict(rows[0], timestep, rows[1], rows[2], guidance)
                else:
                    output = getattr(self._engine, name)(rows[0])
            outputs.append(output[: min(self._rows, total - start)])
        answer = self._joined(outputs)
        start = 0
        for call in group:
            call.answer = answer[start : start + call.rows]
            start += call.rows

    @contextmanager
    def _counted(self, rows: int) -> Iterator[None]:
        """Around a network call."""
        with self._changed:
            if not self._running:
                self._since = time.perf_counter()
            self._running += 1
        try:
            yield
        finally:
            with self._changed:
                self._running -= 1
                now = time.perf_counter()
                self.busy += now - self._since
                self._since = now
                self.calls_made += 1
                self.rows_made += rows

    def _joined(self, parts: Sequence[Array]) -> Array:
        if len(parts) == 1:
            return parts[0]
        return np.concatenate(parts) if isinstance(parts[0], np.ndarray) else self._engine.join(parts)

    def _filled_up(self, rows: Array) -> Array:
        missing = self._rows - len(rows)
        return self._joined([rows, *[rows[:1]] * missing]) if self._fill_up and missing else rows


def _parts(kind: Any) -> tuple[str, int, float]:
    """What is called, and for "predict" the timestep and the guidance."""
    return (kind[0], kind[2], kind[3]) if kind[0] == "predict" else (kind[0], 0, 1.0)
