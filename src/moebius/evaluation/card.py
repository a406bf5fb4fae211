"""What a model's card states: its quality beside that of classical methods, on exactly the same holes."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from moebius.errors import InputError
from moebius.evaluation.fillers import Filler, Pixels, model_fillers, plain_fillers
from moebius.evaluation.metrics import Judge, Perceptual, Picture
from moebius.evaluation.photos import FAMILIES, EvalPhoto, open_hole, read_manifest, spread
from moebius.evaluation.provenance import fingerprint, of_measuring, of_model, require_extra
from moebius.evaluation.rows import Row, RowFile, write_csv
from moebius.evaluation.sheet import write_sheet
from moebius.evaluation.summary import Cell, summarise
from moebius.imaging import atomic_file
from moebius.pipeline import Moebius

log = logging.getLogger(__name__)

Work = tuple[EvalPhoto, str, list[Filler]]
"""A photo, a mask family, and the fillers that have not been measured there."""
Measured = tuple[list[Row], dict[str, float]]
"""Their rows, and seconds by part."""
Watch = Callable[[Iterable[Measured], int], Iterable[Measured]]
"""Passes finished holes on, of which there will be so many; shows progress if it likes."""


@dataclass(frozen=True, kw_only=True)
class Card:
    """What is measured, and where the numbers go.

    Raises:
        InputError: a field is out of its range.
    """

    data: Path
    """Folder of the `photos` set."""
    features: Path
    """Weights of LPIPS-squeeze (safetensors)."""
    out: Path
    """results.json; results.csv and results.rows.jsonl, from which a run goes on, appear beside it."""
    steps: tuple[int, ...] = ()
    """Of the model; none = its default number."""
    solvers: tuple[str, ...] = ()
    """Of the model; none = its default one."""
    families: tuple[str, ...] = FAMILIES
    limit: int | None = None
    """Photos, evenly spaced over the set; None = all."""
    workers: int = 1
    """Holes at a time, each mostly on one core."""

    def __post_init__(self) -> None:
        if self.workers < 1:
            raise InputError(f"workers: expected at least 1, got {self.workers}")
        if not self.families:
            raise InputError("families: expected at least one mask family, got none")
        if not self.out.parent.is_dir():
            raise InputError(f"{self.out}: expected an existing folder, got {self.out.parent}")


@dataclass(frozen=True)
class Report:
    """The finished measurement."""

    results: dict[str, Any]
    """What results.json holds: the same for the same inputs, however often the run was interrupted."""
    cells: list[Cell]
    titles: dict[str, str]
    """Method ids to what people call them."""
    seconds: dict[str, float]
    """What this run took, by part, added up over holes; not in `results`."""
    measured: int
    """Holes of which something had to be measured in this run."""


def measure(card: Card, model: Moebius, watch: Watch = lambda pieces, count: pieces) -> Report:
    """Fill every hole by every method, measure, and write results.json and results.csv.

    Rows that an earlier run left beside `card.out` are taken over if nothing they depend on has changed.

    Raises:
        InputError: data or features are missing or damaged.
        OutputError: results cannot be written.
    """
    require_extra()
    photos = spread(read_manifest(card.data), card.limit)
    default = model.spec.defaults
    fillers = plain_fillers()
    fillers += model_fillers(model, card.steps or (default.steps,), card.solvers or (default.solver,))
    measuring = of_measuring(card.data, card.features)
    fingerprints = {filler.id: fingerprint(filler, model, measuring) for filler in fillers}
    file = RowFile(card.out.with_suffix(".rows.jsonl"))

    def known(photo: EvalPhoto, family: str, filler: Filler) -> Row | None:
        return file.get(fingerprints[filler.id], photo.id, family)

    places = [(photo, family) for photo in photos for family in card.families]
    work: list[Work] = []
    for place in places:
        missing = [filler for filler in fillers if known(*place, filler) is None]
        if missing:
            work.append((*place, missing))
    log.info("%d of %d holes to measure, by %d methods", len(work), len(places), len(fillers))
    seconds: dict[str, float] = {}
    each = partial(_measure_hole, Perceptual(card.features))
    for made, took in watch(_run(work, each, card.workers), len(work)):
        file.add((fingerprints[row.method], row) for row in made)
        for part, spent in took.items():
            seconds[part] = seconds.get(part, 0.0) + spent

    rows = [row for place in places for filler in fillers if (row := known(*place, filler)) is not None]
    cells, titles = summarise(rows), {filler.id: filler.title for filler in fillers}
    results = {
        "format": 1,
        "protocol": "photos",
        "photos": len(photos),
        "holes": len(places),
        "model": of_model(model),
        **measuring,
        "methods": titles,
        "summary": [asdict(cell) for cell in cells],
    }
    write_csv(card.out.with_suffix(".csv"), rows)
    with atomic_file(card.out, overwrite=True) as target:
        target.write(json.dumps(results, indent=1, allow_nan=False).encode() + b"\n")
    return Report(results, cells, titles, seconds, len(work))


def draw_sheet(card: Card, model: Moebius, path: Path, count: int) -> None:
    """A contact sheet of `count` photos of the set, mask families in turn.

    Beside each photo with its hole: Telea's fill, the smooth one, the model's with its defaults, the truth.

    Raises:
        InputError: data cannot be read.
        OutputError: the sheet cannot be written.
    """
    photos = spread(spread(read_manifest(card.data), card.limit), count)
    holes = [open_hole(photo, card.families[i % len(card.families)]) for i, photo in enumerate(photos)]
    default = model.spec.defaults
    by_model = model_fillers(model, (default.steps,), (default.solver,))[-1]
    plain = [filler for filler in plain_fillers() if filler.id in ("telea", "push-pull")]
    write_sheet(path, holes, [*plain, by_model])


def _run(work: Sequence[Work], each: Callable[[Work], Measured], workers: int) -> Iterator[Measured]:
    """Do the work, some at a time; results come in order, so files are the same for any number of workers."""
    pool = ThreadPoolExecutor(workers)
    try:
        yield from pool.map(each, work)
    finally:
        pool.shutdown(cancel_futures=True)


def _measure_hole(perceptual: Perceptual, work: Work) -> Measured:
    photo, family, fillers = work
    took: dict[str, float] = {}
    began = time.perf_counter()

    def clock(part: str) -> None:
        nonlocal began
        now = time.perf_counter()
        took[part], began = took.get(part, 0.0) + now - began, now

    hole = open_hole(photo, family)
    area = round(float(hole.mask.mean()), 6)
    clock("read")
    judge = Judge(_picture(hole.pixels), hole.mask, perceptual)
    clock("truth")
    rows = []
    for filler in fillers:
        filled = filler(hole)
        clock(filler.id)
        numbers = judge(_picture(filled))
        clock("metrics")
        rows.append(Row(photo.id, photo.group, photo.source, family, area, filler.id, numbers))
    return rows, took


def _picture(pixels: Pixels) -> Picture:
    return pixels.astype(np.float32) / np.float32(255)
