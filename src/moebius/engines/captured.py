"""Functions of tensors as CUDA graphs: everything that a call launches, recorded once and replayed in one go.

A step of the denoiser is some 700 small operators; launching them one by one takes the processor longer than the GPU
takes to run them. A graph launches them all at once. It has places of its own in memory for its inputs and its output,
so `Captured` copies inputs in and the output out, and keeps a graph for each signature: shapes, number formats,
constants.

What records is a part by itself (`Recorder`): CUDA's graphs, or for tests on machines without them the same function
run again over the same places.
"""

from __future__ import annotations

import logging
import threading
import time
import weakref
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import torch
    from torch import Tensor

WARM_UPS = 3
"""Runs before a capture: libraries choose algorithms and make their workspaces when they first see a shape."""
MOST = 16
"""Graphs that are kept. Those of one size of picture are three: encode, predict, decode."""

log = logging.getLogger(__name__)
_RECORDING = threading.Lock()
"""One capture at a time in a process, of all engines."""


@dataclass(frozen=True, eq=False)
class Recording:
    """A call that can be run again over the same memory."""

    replay: Callable[[], object]
    output: Tensor
    """Where each replay leaves its result."""
    graph: object = None
    """What has to live as long as the recording."""


class Recorder(Protocol):
    """What records calls, on one device."""

    def turn(self) -> AbstractContextManager[None]:
        """Around all that is done with recordings: calls from several streams follow one another."""

    def warm(self, run: Callable[[], Tensor]) -> None:
        """Run what will be recorded until it does no more than it will do every time."""

    def record(self, run: Callable[[], Tensor]) -> Recording:
        """Record a run.

        Raises:
            RuntimeError: it does something that cannot be recorded.
        """


class CudaRecorder:
    """CUDA graphs on one device. Their memory is shared: one runs at a time, and its output is copied out."""

    def __init__(self, device: torch.device):
        self._device = device
        self._stream: torch.cuda.Stream | None = None
        self._done: torch.cuda.Event | None = None
        self._living: weakref.WeakSet[Recording] = weakref.WeakSet()

    @contextmanager
    def turn(self) -> Iterator[None]:
        import torch

        with torch.cuda.device(self._device):
            if self._done is not None:
                torch.cuda.current_stream().wait_event(self._done)
            try:
                yield
            finally:
                self._done = torch.cuda.current_stream().record_event()

    def warm(self, run: Callable[[], Tensor]) -> None:
        """On a stream beside the caller's, as a capture needs; see "CUDA Graphs" in PyTorch's CUDA semantics."""
        import torch

        caller, side = torch.cuda.current_stream(), self._side()
        side.wait_stream(caller)
        with torch.cuda.stream(side):
            for _ in range(WARM_UPS):
                run()
        caller.wait_stream(side)

    def record(self, run: Callable[[], Tensor]) -> Recording:
        import torch

        graph, caller = torch.cuda.CUDAGraph(), torch.cuda.current_stream()
        # Memory can be shared with a graph that lives; a pool whose graphs have all gone is not taken up again.
        pool = next((kept.graph.pool() for kept in self._living), None)  # type: ignore[attr-defined]
        side = self._side()
        try:
            # thread_local: other threads may allocate and copy while this one records.
            with (
                _RECORDING,
                torch.cuda.graph(graph, pool=pool, stream=side, capture_error_mode="thread_local"),
            ):
                output = run()
        except BaseException:
            # A capture that broke off leaves its stream current and, in the allocator, its pool open: use neither.
            torch.cuda.set_stream(caller)
            self._stream, self._living = None, weakref.WeakSet()
            raise
        made = Recording(graph.replay, output, graph)
        self._living.add(made)
        return made

    def _side(self) -> torch.cuda.Stream:
        import torch

        if self._stream is None:
            self._stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        return self._stream


class Rerun:
    """Stands in for CUDA's graphs, on any device: a replay runs the function again, over the same places."""

    def turn(self) -> AbstractContextManager[None]:
        return nullcontext()

    def warm(self, run: Callable[[], Tensor]) -> None:
        run()

    def record(self, run: Callable[[], Tensor]) -> Recording:
        output = run()

        def replay() -> None:
            output.copy_(run())

        return Recording(replay, output)


@dataclass(frozen=True)
class _Kept:
    inputs: tuple[Tensor, ...]
    recording: Recording


class Captured:
    """Calls as graphs, one for each signature. May be used by several threads; one call runs at a time.

    A signature that cannot be captured is warned of once, and runs as it is from then on.

    Args:
        recorder: what records.
        most: graphs kept; the one that was not used for longest goes first.
    """

    def __init__(self, recorder: Recorder, most: int = MOST):
        self.made = 0
        """Graphs captured so far."""
        self.seconds = 0.0
        """Spent on warming up and capturing."""
        self._recorder, self._most = recorder, max(1, most)
        self._kept: OrderedDict[Hashable, _Kept] = OrderedDict()
        self._refused: set[Hashable] = set()
        self._lock = threading.RLock()

    def __len__(self) -> int:
        """Graphs kept."""
        return len(self._kept)

    def __call__(
        self,
        name: str,
        function: Callable[..., Tensor],
        tensors: Sequence[Tensor],
        constants: tuple[Hashable, ...] = (),
    ) -> Tensor:
        """`function(*tensors, *constants)`, as a tensor of its own. Without gradients: call it in inference mode.

        Args:
            name: of the function, in signatures and in the log; one name always means one function.
            function: of nothing but its arguments and what never changes. It neither waits for the device nor brings
                tensors there; what it makes at its first call and keeps, it makes while warming up.
            tensors: on the device.
            constants: other arguments. Each combination is a graph of its own.
        """
        key = (name, tuple((tuple(t.shape), t.dtype) for t in tensors), constants)
        with self._lock, self._recorder.turn():
            kept = self._kept.get(key)
            if kept is None and key not in self._refused:
                kept = self._capture(key, name, function, tensors, constants)
            if kept is None:
                return function(*tensors, *constants)
            self._kept.move_to_end(key)
            for place, given in zip(kept.inputs, tensors, strict=True):
                place.copy_(given, non_blocking=True)
            kept.recording.replay()
            return kept.recording.output.clone()

    def _capture(
        self,
        key: Hashable,
        name: str,
        function: Callable[..., Tensor],
        tensors: Sequence[Tensor],
        constants: tuple[Hashable, ...],
    ) -> _Kept | None:
        """A new graph; None if there cannot be one. What `function` itself raises is raised."""
        began = time.perf_counter()
        title = f"{name} {' '.join('x'.join(map(str, t.shape)) for t in tensors if t.ndim == 4)}"
        places = tuple(t.contiguous().clone() for t in tensors)

        def run() -> Tensor:
            return function(*places, *constants)

        self._recorder.warm(run)
        try:
            recording = self._recorder.record(run)
        except Exception as error:
            self._refused.add(key)
            first = error
            while isinstance(first.__context__, Exception):  # what broke the capture, not what ended it
                first = first.__context__
            reason = (str(first).splitlines() or [type(first).__name__])[0]
            log.warning("no CUDA graph of %s, it runs without one: %s", title, reason)
            return None
        kept = self._kept[key] = _Kept(places, recording)
        while len(self._kept) > self._most:
            self._kept.popitem(last=False)
        took = time.perf_counter() - began
        self.made += 1
        self.seconds += took
        log.info("captured %s in %.2f s; %d graphs kept", title, took, len(self._kept))
        return kept


def recorder_of(device: torch.device) -> Recorder | None:
    """What captures there: CUDA's graphs on NVIDIA's GPUs, nothing elsewhere."""
    return CudaRecorder(device) if is_nvidia(device) else None


def is_nvidia(device: torch.device) -> bool:
    """Whether that is an NVIDIA GPU: ROCm's devices are called "cuda" as well."""
    import torch

    return device.type == "cuda" and torch.version.hip is None
