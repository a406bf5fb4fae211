"""The batch on a Ray cluster: the same work on the same items, by a pool of actors that each hold the model.

Only items and records travel through Ray. An actor reads photos and writes pictures itself, whole or not at all; so
the object store stays nearly empty, and Ray Data's back-pressure bounds the rows that are under way. No process holds
more than one photo. The caller alone keeps the manifest.

An actor that dies is started again and its rows are given out again (what Ray Data does with actors by default); that
shows in Ray's log only. What it had written already is written once more, with the same bytes.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moebius.batch.files import absolute, write_bytes
from moebius.batch.item import LISTS_OF_FILES, SINGLE_FILES, Item, Options, Record
from moebius.batch.manifest import WORKER_DIED
from moebius.batch.ray_pool import cluster, pool_size, processors_for
from moebius.batch.work import fill_item
from moebius.engines import open_engine
from moebius.errors import DeviceError, MoebiusError
from moebius.pipeline import Moebius
from moebius.processors import processor_count
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
    processors: float | None
    """None: see `run_ray`."""
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

    Outputs that are there are replaced. The machines have this package and Ray, and see the same paths and URLs;
    relative paths are taken from this process's folder.
    Closing the generator ends the run; pictures under way may still appear.

    Args:
        model_name: a name, or a folder that all machines see.
        workers: actors, (least, most): Ray starts more while rows wait. 0 = as many as the cluster has room for now.
        engine, device, dtype: see `open_engine`, in each actor. GPUs are used with device "cuda" only.
        threads: of ONNX Runtime in each actor. The last bits of pictures can depend on it; None takes this machine's
            processors, as the local engine does here, and so makes its bytes.
        processors: that Ray counts an actor for. None takes half of `threads`, but no more than the largest machine of
            the cluster has: two actors share them, and one decodes and encodes while the other's network computes.
        gpus: that Ray counts an actor for, with device "cuda". 0.25 lets four actors share one GPU.

    Yields:
        Records of done and failed items, one for every item, in the order they come.

    Logs a warning, and waits, if no machine of a cluster has room for a worker.

    Raises:
        DeviceError: Ray is not installed, or this machine has no room for a single worker.
        InputError: a file that all masks share cannot be read.
        ValueError: workers are not 1 <= least <= most.
        MoebiusError: a disk is full, or actors cannot be started. The run can be gone on with later.
    """
    least, most = workers
    if least < 1 or (most and most < least):
        raise ValueError(f"workers: expected 1 <= least <= most, or most 0, got {workers}")
    _need_ray()
    threads = threads or processor_count()
    gpus = gpus if device.startswith("cuda") else 0.0
    if Path(model_name).is_dir():
        model_name = absolute(model_name)
    setup = _Setup(model_name, engine, device, dtype, threads, processors, gpus)
    return _records(items, _for_elsewhere(options), setup, workers)


def _for_elsewhere(options: Options) -> Options:
    """The options for processes in other folders."""
    paths = {name: absolute(options.mask[name]) for name in SINGLE_FILES if options.mask.get(name)}
    files = {
        name: tuple(absolute(each) if isinstance(each, str) else each for each in options.mask[name])
        for name in LISTS_OF_FILES
        if name in options.mask
    }
    told = options.mask_told  # which goes with them: the files are looked at once, here
    options = replace(options, mask={**options.mask, **paths, **files})
    vars(options)["mask_told"] = told
    return options


def _records(
    items: Sequence[Item], options: Options, setup: _Setup, workers: tuple[int, int]
) -> Generator[Record, None, None]:
    if not items:
        return
    with cluster(MOST_DEATHS) as machines:
        processors = processors_for(machines, setup.threads, setup.processors)
        setup = replace(setup, processors=processors)
        size = pool_size(machines, workers, processors, setup.gpus)
        for row in _rows_of(_dataset(items, options, setup, size)):
            if row["record"]:
                yield Record.from_dict(json.loads(row["record"]))
            if row["stops"]:
                raise MoebiusError(row["stops"])


def _dataset(items: Sequence[Item], options: Options, setup: _Setup, size: tuple[int, int]) -> Dataset:
    import ray

    # Items as JSON: no Arrow type holds every seed, and names need not be UTF-8.
    rows = [
        {"number": number, "item": json.dumps(asdict(_anywhere(item)))} for number, item in enumerate(items)
    ]
    tasks = min(_MOST_TASKS, len(rows))
    deaths = ray.remote(_Deaths).options(num_cpus=0, max_restarts=-1, max_task_retries=-1).remote()
    return ray.data.from_items(rows, override_num_blocks=tasks).map(
        FillActor,
        fn_constructor_args=(setup, options, deaths),
        compute=ray.data.ActorPoolStrategy(min_size=min(size[0], tasks), max_size=min(size[1], tasks)),
        num_cpus=setup.processors,
        num_gpus=setup.gpus or None,
    )


def _anywhere(item: Item) -> Item:
    """The item for a process in another folder."""
    mask = None if item.mask is None else absolute(item.mask)
    return replace(item, photo=absolute(item.photo), output=absolute(item.output), mask=mask)


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
        item = Item.from_dict(json.loads(row["item"]))
        if ray.get(self._deaths.begin.remote(row["number"])) >= MOST_DEATHS:
            record = _failed(item, WORKER_DIED, f"{MOST_DEATHS} workers died while they worked on it")
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


def _need_ray() -> None:
    try:
        import ray.data  # noqa: F401
    except ImportError as error:
        raise DeviceError("engine ray: pip install 'moebius-inpaint[ray]'") from error


def _last_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
