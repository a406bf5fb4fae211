"""Graphs: what is kept for which call, on a stand-in that runs the function again over the same memory."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from moebius.engines.captured import (
    WARM_UPS,
    Captured,
    CudaRecorder,
    Recording,
    Rerun,
    is_nvidia,
    recorder_of,
)


class Spied:
    """x, y -> x + factor y; remembers where its arguments were."""

    def __init__(self) -> None:
        self.places: list[tuple[int, int]] = []

    def __call__(self, x: Tensor, y: Tensor, factor: int = 1) -> Tensor:
        self.places.append((x.data_ptr(), y.data_ptr()))
        return x + factor * y


def pair(value: float, rows: int = 2) -> tuple[Tensor, Tensor]:
    return torch.full((rows, 3), value), torch.full((rows, 3), 10 * value)


def test_a_graph_reads_places_of_its_own() -> None:
    captured, spied = Captured(Rerun()), Spied()
    given = [pair(value) for value in (1.0, 2.0, 3.0)]
    answers = [captured("sum", spied, each) for each in given]
    assert [float(answer[0, 0]) for answer in answers] == [11.0, 22.0, 33.0]
    assert len(set(spied.places)) == 1
    assert not set(spied.places) & {(x.data_ptr(), y.data_ptr()) for x, y in given}
    assert (captured.made, len(captured)) == (1, 1)


def test_an_answer_is_the_callers_own() -> None:
    captured = Captured(Rerun())
    first = captured("sum", Spied(), pair(1.0))
    first += 100
    assert float(captured("sum", Spied(), pair(1.0))[0, 0]) == 11.0
    kept = captured("same", lambda x: x, pair(1.0)[:1])
    captured("same", lambda x: x, pair(2.0)[:1])
    assert float(kept[0, 0]) == 1.0


def test_signatures() -> None:
    """Shapes, formats, constants and the name each make another; numbers do not."""
    captured, spied = Captured(Rerun()), Spied()
    captured("sum", spied, pair(1.0))
    for count, (name, tensors, constants) in enumerate(
        [
            ("sum", pair(1.0, rows=3), ()),
            ("sum", tuple(each.double() for each in pair(1.0)), ()),
            ("sum", pair(1.0), (2,)),
            ("other", pair(1.0), ()),
        ],
        start=2,
    ):
        answer = captured(name, spied, tensors, constants)
        assert captured.made == count
        assert torch.equal(answer, spied(*tensors, *constants))
    captured("sum", spied, pair(5.0))
    assert captured.made == count


def test_strides_do_not_matter() -> None:
    captured, spied = Captured(Rerun()), Spied()
    across = torch.arange(6.0).reshape(3, 2).T
    assert torch.equal(captured("sum", spied, (across, across)), 2 * across)
    assert torch.equal(captured("sum", spied, (across.contiguous(), across)), 2 * across)
    assert captured.made == 1


def test_the_one_that_was_not_used_for_longest_goes() -> None:
    captured, spied = Captured(Rerun(), most=2), Spied()
    for rows in (1, 2, 1, 3):
        captured("sum", spied, pair(1.0, rows))
    assert (captured.made, len(captured)) == (3, 2)
    captured("sum", spied, pair(1.0, 1))
    assert captured.made == 3
    captured("sum", spied, pair(1.0, 2))
    assert captured.made == 4


class Refusing(Rerun):
    """Cannot record more than one row, as CUDA says it: the capture ends in an error of its own."""

    def record(self, run: Callable[[], Tensor]) -> Recording:
        if len(run()) > 1:
            try:
                raise ValueError("operation not permitted when stream is capturing\nCompile with ...")
            finally:
                raise RuntimeError("capture invalidated")
        return super().record(run)


def test_what_cannot_be_captured_runs_as_it_is(caplog: pytest.LogCaptureFixture) -> None:
    captured, spied = Captured(Refusing()), Spied()
    with caplog.at_level(logging.WARNING, logger="moebius"):
        answers = [captured("sum", spied, pair(value)) for value in (1.0, 2.0)]
    assert [float(answer[0, 0]) for answer in answers] == [11.0, 22.0]
    assert [record.getMessage().partition(": ")[2] for record in caplog.records] == [
        "operation not permitted when stream is capturing"
    ]
    assert captured.made == 0
    captured("sum", spied, pair(1.0, rows=1))
    assert captured.made == 1


def test_an_error_of_the_function_is_no_matter_of_capturing(caplog: pytest.LogCaptureFixture) -> None:
    captured, spied = Captured(Rerun()), Spied()
    with pytest.raises(RuntimeError, match="size of tensor"):
        captured("sum", spied, (torch.zeros(2), torch.zeros(3)))
    assert len(captured) == 0 and not caplog.records
    assert float(captured("sum", spied, pair(1.0))[0, 0]) == 11.0


def test_capturing_is_visible(caplog: pytest.LogCaptureFixture) -> None:
    captured = Captured(Rerun())
    with caplog.at_level(logging.INFO, logger="moebius"):
        captured("decode", lambda x: x + 1, (torch.zeros(1, 4, 8, 12),))
        captured("decode", lambda x: x + 1, (torch.zeros(1, 4, 8, 12),))
    (record,) = caplog.records
    assert record.getMessage().startswith("captured decode 1x4x8x12 in ")
    assert captured.seconds > 0


def test_threads_take_turns() -> None:
    captured, wrong = Captured(Rerun()), []

    def slow(x: Tensor) -> Tensor:
        time.sleep(0.0005)
        return 2 * x

    def work(value: float) -> None:
        for _ in range(10):
            answer = captured("slow", slow, (torch.full((4,), value),))
            if not torch.equal(answer, torch.full((4,), 2 * value)):
                wrong.append(value)

    threads = [threading.Thread(target=work, args=(float(value),)) for value in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong and captured.made == 1


class Cuda:
    """Enough of `torch.cuda` to see in which order it is used."""

    def __init__(self) -> None:
        self.now = "caller"
        self.told: list[str] = []
        self.broken = False
        self.streams = self.pools = 0
        self.CUDAGraph = self._graph_of

    def _graph_of(self) -> Any:
        cuda = self

        class Graph:
            held = ""

            def pool(self) -> str:
                return self.held

            def replay(self) -> None:
                cuda.told.append("replay")

        return Graph()

    def Stream(self) -> Any:
        self.streams += 1
        return self._stream(f"side {self.streams}")

    def _stream(self, name: str) -> Any:
        def tell(what: str) -> Callable[..., Any]:
            return lambda *args: self.told.append(f"{name} {what} {getattr(args[0], 'name', args[0])}")

        return SimpleNamespace(
            name=name,
            wait_stream=tell("waits for"),
            wait_event=tell("waits for"),
            record_event=lambda: f"end of {name}",
        )

    def current_stream(self) -> Any:
        return self._stream(self.now)

    def set_stream(self, stream: Any) -> None:
        self.now = stream.name

    @contextmanager
    def device(self, device: torch.device) -> Iterator[None]:
        yield

    @contextmanager
    def stream(self, stream: Any) -> Iterator[None]:
        before, self.now = self.now, stream.name
        yield
        self.now = before

    @contextmanager
    def graph(self, graph: Any, *, pool: str | None, stream: Any, capture_error_mode: str) -> Iterator[None]:
        assert capture_error_mode == "thread_local"
        self.pools += pool is None
        graph.held = pool or f"pool {self.pools}"
        before, self.now = self.now, stream.name
        self.told.append(f"capture into {graph.held}")
        yield
        if self.broken:  # as torch.cuda.graph: its stream stays current
            raise RuntimeError("capture invalidated")
        self.now = before


def test_the_order_in_which_cuda_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = Cuda()
    monkeypatch.setattr(torch, "cuda", cuda)
    captured = Captured(CudaRecorder(torch.device("cuda", 0)))
    runs: list[str] = []

    def work(x: Tensor) -> Tensor:
        runs.append(cuda.now)
        return x + 1

    captured("work", work, (torch.zeros(2),))
    assert runs == ["side 1"] * (WARM_UPS + 1)
    first = ["side 1 waits for caller", "caller waits for side 1", "capture into pool 1", "replay"]
    assert cuda.told == first
    captured("work", work, (torch.zeros(2),))
    assert cuda.told[len(first) :] == ["caller waits for end of caller", "replay"]

    captured("work", work, (torch.zeros(3),))
    assert cuda.told[-2:] == ["capture into pool 1", "replay"]

    cuda.broken = True
    assert torch.equal(captured("work", work, (torch.zeros(4),)), torch.ones(4))
    assert cuda.now == "caller" and runs[-1] == "caller"
    cuda.broken = False
    captured("work", work, (torch.zeros(5),))
    assert cuda.told[-2:] == ["capture into pool 2", "replay"] and runs[-1] == "side 2"


def test_graphs_are_for_nvidia_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = torch.device("cuda", 0)
    monkeypatch.setattr(torch.version, "hip", None)
    assert is_nvidia(gpu) and isinstance(recorder_of(gpu), CudaRecorder)
    assert recorder_of(torch.device("mps")) is None and recorder_of(torch.device("cpu")) is None
    monkeypatch.setattr(torch.version, "hip", "6.4.0")
    assert not is_nvidia(gpu) and recorder_of(gpu) is None
