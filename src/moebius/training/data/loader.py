"""Batches of samples for one rank of a training, made ahead of it by a thread or by processes."""

from __future__ import annotations

import warnings
from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from moebius.errors import InputError, MoebiusError, TrainingError
from moebius.training.data.recipe import DataRecipe
from moebius.training.data.records import Source
from moebius.training.data.sample import Sample, check_source, make_sample

AHEAD = 2
"""Batches that are made ahead, by the thread or by each process."""


@dataclass(frozen=True, eq=False)
class Batch:
    """B samples of side S; see `Sample`."""

    keys: list[str]
    positions: Tensor
    """(B,) int64: in the endless stream that all ranks share."""
    image: Tensor
    """(B, 3, S, S) float32 in [-1, 1]."""
    condition: Tensor
    """(B, 3, S, S) float32 in [-1, 1]."""
    mask: Tensor
    """(B, 1, S, S) float32, 1 = hole."""
    category: Tensor
    """(B,) int64: 0 = the first half of the category table, 1 = the second."""
    rows: Tensor
    """(B,) int64: rows of the latent cache; -1 = none."""
    digests: list[str]
    broken: list[tuple[str, str]]
    """(key, reason) of the records that were passed over."""

    @classmethod
    def of(cls, samples: list[Sample]) -> Batch:
        """Samples of one size, stacked."""
        return cls(
            keys=[sample.key for sample in samples],
            positions=torch.tensor([sample.position for sample in samples]),
            image=torch.from_numpy(np.stack([sample.image for sample in samples])),
            condition=torch.from_numpy(np.stack([sample.condition for sample in samples])),
            mask=torch.from_numpy(np.stack([sample.mask for sample in samples])),
            category=torch.tensor([sample.category for sample in samples]),
            rows=torch.tensor([sample.row for sample in samples]),
            digests=[sample.digest for sample in samples],
            broken=[entry for sample in samples for entry in sample.broken],
        )

    def to(self, device: torch.device | str) -> Batch:
        """The same batch with its tensors on the device."""
        return replace(
            self,
            positions=self.positions.to(device),
            image=self.image.to(device),
            condition=self.condition.to(device),
            mask=self.mask.to(device),
            category=self.category.to(device),
            rows=self.rows.to(device),
        )


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Which positions a rank's batches hold."""

    recipe: DataRecipe
    batch: int
    rank: int
    ranks: int
    accumulate: int

    def positions(self, step: int, micro: int) -> tuple[range, int]:
        """Positions of a batch, and its samples' side in px."""
        count, size = self.recipe.rows(step, self.batch)
        rounds, rest = divmod(step, len(self.recipe.sizes))
        before = rounds * self._rows(len(self.recipe.sizes)) + self._rows(rest)
        first = before * self.accumulate * self.ranks + (micro * self.ranks + self.rank) * count
        return range(first, first + count), size

    def _rows(self, steps: int) -> int:
        """Of one batch of each of the first steps, together."""
        return sum(self.recipe.rows(step, self.batch)[0] for step in range(steps))


class Batches(Dataset["Batch | MoebiusError"]):
    """A rank's batches by number. Errors come back as values, for torch would wrap a traceback around them."""

    def __init__(self, source: Source, plan: Plan, seed: int, steps: range):
        self._source, self._plan, self._seed, self._steps = source, plan, seed, steps

    def __len__(self) -> int:
        return len(self._steps) * self._plan.accumulate

    def __getitem__(self, number: int) -> Batch | MoebiusError:
        step, micro = divmod(number, self._plan.accumulate)
        positions, size = self._plan.positions(self._steps[step], micro)
        try:
            return Batch.of(
                [make_sample(self._source, self._plan.recipe, self._seed, each, size) for each in positions]
            )
        except MoebiusError as error:
            return error


def batches(
    source: Source,
    recipe: DataRecipe,
    *,
    seed: int,
    batch: int,
    first_step: int,
    steps: int,
    rank: int = 0,
    ranks: int = 1,
    accumulate: int = 1,
    workers: int = 0,
) -> Iterator[Batch]:
    """This rank's batches of steps `first_step` to `steps` - 1, `accumulate` of them a step.

    With one size the first row stands at position ((step accumulate + micro) ranks + rank) batch; with several,
    a step's positions begin where the last one's end, so that nothing is left out or repeated.

    Args:
        batch: rows at the first of the recipe's sizes; others have as many as make the same number of pixels.
        steps: of the whole run.
        workers: processes that make batches; 0 = one thread of this process. The batches are the same.

    Raises:
        InputError: no record can be used (at once), or 100 in a row cannot (when their batch comes).
        TrainingError: a process died.
    """
    for name, value, least in (
        ("seed", seed, 0),
        ("batch", batch, 1),
        ("first_step", first_step, 0),
        ("ranks", ranks, 1),
        ("accumulate", accumulate, 1),
        ("workers", workers, 0),
    ):
        if value < least:
            raise InputError(f"{name}: expected {least} or more, got {value}")
    if not 0 <= rank < ranks:
        raise InputError(f"rank: expected 0 to {ranks - 1}, got {rank}")
    check_source(source, recipe)
    plan = Plan(recipe=recipe, batch=batch, rank=rank, ranks=ranks, accumulate=accumulate)
    dataset = Batches(source, plan, seed, range(first_step, steps))
    made = _by_processes(dataset, workers) if workers else _by_thread(dataset)
    return _checked(made)


def _checked(made: Generator[Batch | MoebiusError, None, None]) -> Iterator[Batch]:
    with closing(made):
        for each in made:
            if isinstance(each, MoebiusError):
                raise each
            yield each


def _by_thread(dataset: Batches) -> Generator[Batch | MoebiusError, None, None]:
    pool = ThreadPoolExecutor(1, thread_name_prefix="batches")
    try:
        numbers = iter(range(len(dataset)))
        ahead = deque(pool.submit(dataset.__getitem__, number) for number in islice(numbers, AHEAD))
        while ahead:
            ready = ahead.popleft()
            ahead.extend(pool.submit(dataset.__getitem__, number) for number in islice(numbers, 1))
            yield ready.result()
    finally:
        pool.shutdown(cancel_futures=True)


def _by_processes(dataset: Batches, workers: int) -> Generator[Batch | MoebiusError, None, None]:
    """Started afresh (spawn): a copy of a process whose torch threads or GPU are at work may hang."""
    if not len(dataset):
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # more processes than cores: the person asked for them
        loader = DataLoader(
            dataset,
            batch_size=None,
            num_workers=workers,
            collate_fn=_as_it_is,
            multiprocessing_context="spawn",
            prefetch_factor=AHEAD,
            generator=torch.Generator(),  # else it would take a number from the process's own
        )
        made = iter(loader)
    try:
        yield from made
    except RuntimeError as error:  # torch's word for a process that died
        raise TrainingError(f"a process that makes batches ended: {str(error).splitlines()[0]}") from error


def _as_it_is(batch: Any) -> Any:
    return batch
