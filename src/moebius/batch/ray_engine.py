"""The batch on a Ray cluster: the same work on the same items, by a pool of actors that each hold the model.

Only items and records travel through Ray. An actor reads photos and writes pictures itself, whole or not at all; so
the object store stays nearly empty, and Ray Data's back-pressure bounds the rows that are under way. No process holds
more than one photo. The caller alone keeps the manifest.

An actor that dies is started again and its rows are given out again (what Ray Data does with actors by default); that
shows in Ray's log only. What it had written already is written once more, with the same bytes.
"""

from __future__ import annotations

import json
import logging
import os
from collections import Counter
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from moebius.batch.files import write_bytes
from moebius.batch.item import Item, Options, Record
from moebius.batch.work import fill_item
from moebius.engines import open_engine
from moebius.errors import DeviceError, MoebiusError
from moebius.pipeline import Moebius
from moebius.weights import open_model

if TYPE_CHECKING:
    from ray.data import Dataset

MOST_DEATHS = 3
"""After so many actors have died while they worked on an item, it is a failed one."""
_MOST_TASKS = 5_000
"""A task is one item, or several where there would be more tasks: the driver needs about 8 ms for each."""


@dataclass(frozen=True)
class _Setup:
    """How each actor opens the model, and what Ray counts it for."""

    model_name: str
    engine: str
    device: str
    dtype: str
    threads: int
    processors: float
    gpus: float

    def open(self) -> Moebius:
        model = open_model(self.model_name)
        device = self.device.partition(":")[0]  # Ray shows an actor its own GPUs only
        engine = open_engine(
            model.spec, model.path, engine=self.engine, device=device, dtype=self.dtype, threads=self.threads
        )
        return Moebius(model.spec, engine, model_hash=model.hash)


def run_ray(
    items: Sequence[Item],
    options: Options,
    model_name: str,
    *,
    workers: tuple[int, int] = (1, 0),
    engine: str = "auto",
    device: str = "auto",
    dtype: str = "auto",
    threads: int | None = None,
    processors: float | None = None,
    gpus: float = 1.0,
) -> Generator[Record, None, None]:
    """Fill all items on the cluster that RAY_ADDRESS or an earlier `ray.init` names, else on one of its own here.

    Outputs that are there are replaced. The machines have this package and Ray, and see the same paths and URLs.
    Closing the generator ends the run; pictures under way may still appear.

    Args:
        model_name: a name, or a folder that all machines see.
        workers: actors, (least, most): Ray starts more while rows wait. 0 = as many as the cluster has room for now.
        engine, device, dtype: see `open_engine`, in each actor. GPUs are used with device "cuda" only.
        threads: of ONNX Runtime in each actor. The last bits of pictures can depend on it; None takes this machine's
            processors, as the local engine does here, and so makes its bytes.
        processors: that Ray counts an actor for. None takes half of `threads`: two actors share them, and one decodes
            and encodes while the other's network computes.
        gpus: that Ray counts an actor for, with device "cuda". 0.25 lets four actors share one GPU.

    Yields:
        Records of done and failed items, one for every item, in the order they come.

    Raises:
        DeviceError: Ray is not installed, or this machine has no room for a single worker.
        ValueError: workers are not 1 <= least <= most.
        MoebiusError: a disk is full, or actors cannot be started. The run can be gone on with later.
    """
    least, most = workers
    if least < 1 or (most and most < least):
        raise ValueError(f"workers: expected 1 <= least <= most, or most 0, got {workers}")
    _need_ray()
    threads = threads or _processors()
    processors = max(1.0, threads / 2) if processors is None else processors
    gpus = gpus if device.startswith("cuda") else 0.0
    return _records(
        items, options, _Setup(model_name, engine, device, dtype, threads, processors, gpus), workers
    )


def _records(
    items: Sequence[Item], options: Options, setup: _Setup, workers: tuple[int, int]
) -> Generator[Record, None, None]:
    if not items:
        return
    with _cluster() as alone:
        size = _pool_size(workers, setup, alone)
        for row in _rows_of(_dataset(items, options, setup, size)):
            if row["record"]:
                yield Record.from_dict(json.loads(row["record"]))
            if row["stops"]:
                raise MoebiusError(row["stops"])


def _dataset(items: Sequence[Item], options: Options, setup: _Setup, size: tuple[int, int]) -> Dataset:
    import ray

    # Items as JSON: no Arrow type holds every seed, and names need not be UTF-8.
    rows = [{"number": number, "item": json.dumps(asdict(item))} for number, item in enumerate(items)]
    tasks = min(_MOST_TASKS, len(rows))
    deaths = ray.remote(_Deaths).options(num_cpus=0, max_restarts=-1, max_task_retries=-1).remote()
    return ray.data.from_items(rows, override_num_blocks=tasks).map(
        FillActor,
        fn_constructor_args=(setup, options, deaths),
        compute=ray.data.ActorPoolStrategy(min_size=min(size[0], tasks), max_size=min(size[1], tasks)),
        num_cpus=setup.processors,
        num_gpus=setup.gpus or None,
    )


def _rows_of(dataset: Dataset) -> Iterator[dict[str, Any]]:
    """The dataset's rows as they come; what Ray raises becomes one line."""
    rows = iter(dataset.iter_rows())
    while True:
        try:
            row = next(rows, None)
        except Exception as error:  # Ray's own, in which an actor's is quoted with its traceback
            raise MoebiusError(f"the Ray cluster gave up: {_last_line(error)}") from error
        if row is None:
            return
        yield row


class FillActor:
    """What an actor holds: the model."""

    def __init__(self, setup: _Setup, options: Options, deaths: Any):
        self._options, self._deaths = options, deaths
        self._model: Moebius | None = None
        try:
            self._model = setup.open()
        except MoebiusError as error:  # raised here, Ray would start the actor again
            self._fault = str(error)

    def __call__(self, row: Mapping[str, Any]) -> dict[str, str]:
        """{"number", "item": its JSON} -> {"record": its JSON, "stops": why the run ends}; "" = none."""
        import ray

        if self._model is None:
            return {"record": "", "stops": self._fault}
        fields = json.loads(row["item"])
        item = Item(**{**fields, "boxes": tuple(fields["boxes"])})
        if ray.get(self._deaths.begin.remote(row["number"])) >= MOST_DEATHS:
            record = _failed(item, "WorkerDied", f"{MOST_DEATHS} workers died while they worked on it")
        else:
            try:
                record = fill_item(self._model, item, self._options, _put)
            except Exception as error:  # a fault of ours must not end a run of millions
                record = _failed(item, type(error).__name__, " ".join(str(error).split()))
        self._deaths.end.remote(row["number"])
        stops = record.error["message"] if record.stops and record.error else ""
        return {"record": json.dumps(record.to_dict()), "stops": stops}


class _Deaths:
    """Of which rows workers die: those that were begun and not ended. One actor for all."""

    def __init__(self) -> None:
        self._begun: Counter[int] = Counter()

    def begin(self, number: int) -> int:
        """How many have begun this row before, and not ended it."""
        self._begun[number] += 1
        return self._begun[number] - 1

    def end(self, number: int) -> None:
        del self._begun[number]


def _failed(item: Item, kind: str, message: str) -> Record:
    error = {"kind": kind, "message": message}
    return Record(item.name, item.output_name, "failed", key=item.key, error=error)


def _put(item: Item, record: Record, data: bytes) -> None:
    """Write an output; again, if a row is given out again."""
    write_bytes(item.output, data, overwrite=True)


def _pool_size(workers: tuple[int, int], setup: _Setup, alone: bool) -> tuple[int, int]:
    """Actors, (least, most)."""
    import ray

    least, most = workers
    there = ray.cluster_resources()
    room = int(there.get("CPU", 0) / setup.processors)
    if setup.gpus:
        room = min(room, int(there.get("GPU", 0) / setup.gpus))
    if alone and not room:
        raise DeviceError(
            f"expected room for a worker ({setup.processors:g} processors, {setup.gpus:g} GPUs), this machine has "
            f"{there.get('CPU', 0):g} and {there.get('GPU', 0):g}"
        )
    return least, most or max(least, room)


@contextmanager
def _cluster() -> Iterator[bool]:
    """A cluster while the block lasts, quiet; whether it is this machine alone."""
    import ray

    settings = {"enable_progress_bars": False, "max_consecutive_actor_init_deaths": MOST_DEATHS}
    with _connection():
        context = ray.data.DataContext.get_current()
        before = {name: getattr(context, name) for name in settings if hasattr(context, name)}
        try:
            for name in before:
                setattr(context, name, settings[name])
            with _quiet(logging.getLogger("ray.data")):
                yield len(ray.nodes()) == 1
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


def _need_ray() -> None:
    try:
        import ray.data  # noqa: F401
    except ImportError as error:
        raise DeviceError("engine ray: pip install 'moebius-inpaint[ray]'") from error


def _processors() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _last_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
