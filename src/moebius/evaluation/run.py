"""One evaluation: every hole of a protocol filled by every method and measured, however often it is interrupted."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from moebius.errors import InputError, OutputError
from moebius.evaluation.features import identity, open_descriptor, open_perceptual
from moebius.evaluation.holes import Case, Hole, open_case, spread
from moebius.evaluation.judge import Judge, Networks
from moebius.evaluation.methods import Method
from moebius.evaluation.metrics import square_around, to_picture
from moebius.evaluation.protocol import Protocol
from moebius.evaluation.provenance import fingerprint, hole_id, versions
from moebius.evaluation.rows import Row
from moebius.evaluation.store import Measured, Store

STORE = "measured.sqlite"
DIVERSE_PHOTOS = 8
"""Photos, evenly spread, on which the diversity of seeds is measured."""

Finished = tuple[str, Mapping[str, Measured]]
"""A hole, and what was measured there by fingerprint."""
Watch = Callable[[Iterable[Finished], int], Iterable[Finished]]
"""Passes finished holes on, of which there will be so many; shows progress if it likes."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """What is measured.

    Raises:
        InputError, OutputError: a field is out of its range.
    """

    protocol: Protocol
    cases: Sequence[Case]
    methods: Sequence[Method]
    """In the order of tables."""
    networks: Mapping[str, Path]
    """Files of the feature networks, by name; see `features.py`."""
    out: Path
    """The run's folder; made if it is not there."""
    workers: int = 1
    """Holes at a time, each mostly on one core."""
    seeds: Mapping[str, Sequence[Method]] = field(default_factory=dict)
    """By a method's id: the same method with other seeds, for its diversity."""
    fade: int = 0
    """Pixels beyond the hole in which a fill may fade out; see `Judge`."""

    def __post_init__(self) -> None:
        if self.workers < 1:
            raise InputError(f"workers: expected at least 1, got {self.workers}")
        if not self.cases:
            raise InputError(f"protocol {self.protocol.name}: expected at least one hole, got none")
        ids = [method.id for method in self.methods]
        twice = next((name for name in ids if ids.count(name) > 1), None)
        if twice is not None:
            raise InputError(f"methods: expected each of them once, got {twice} twice")

    @property
    def paired(self) -> bool:
        """Whether what the holes hide is the truth."""
        return self.protocol.kind != "removal"

    def measuring(self) -> dict[str, Any]:
        """What all rows depend on."""
        return {
            "networks": {name: identity(name, path) for name, path in self.networks.items()},
            "versions": versions(),
            "fade": self.fade,
            "published": list(self.protocol.run.metrics),
        }


@dataclass(frozen=True)
class Measurements:
    """The finished rows, and the descriptors behind the metrics of sets."""

    rows: list[Row]
    """Hole by hole in the cases' order, methods in theirs."""
    features: Mapping[str, Mapping[str, np.ndarray[Any, Any]]]
    """By network, then method (None is called "truth"): (holes, D) in the cases' order."""
    seconds: Mapping[str, list[float]]
    """By method: wall time of each fill, while other workers ran."""
    fresh: int
    """Holes of which something had to be measured now."""


@dataclass(frozen=True)
class _Work:
    case: Case
    hole: str
    truth: str | None
    """The truth's fingerprint if its descriptors are missing."""
    methods: tuple[tuple[str, Method], ...]
    """Fingerprints and methods that are missing."""
    seeds: tuple[tuple[str, Method, Sequence[Method]], ...]
    """Fingerprints of missing diversities, the method, and its others."""


def measure(run: Run, watch: Watch = lambda pieces, count: pieces) -> Measurements:
    """Measure what is missing in the run's folder, and give back all of it.

    Raises:
        InputError: pictures, masks or feature networks are missing or damaged.
        OutputError: the folder cannot be written.
    """
    try:
        run.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{run.out}: cannot be made ({error.strerror})") from error
    measuring = run.measuring()
    truth = fingerprint(None, measuring)
    prints = {method.id: fingerprint(method, measuring) for method in run.methods}
    with Store(run.out / STORE) as store:
        holes = {case.key: hole_id(case) for case in run.cases}
        work = list(_missing(run, store, holes, truth, prints))
        networks = open_networks(run.networks)
        whole = bool(run.protocol.run.metrics)
        each = partial(_measure_hole, networks, partial(Judge, paired=run.paired, fade=run.fade, whole=whole))
        for hole, measured in watch(_all(work, each, run.workers), len(work)):
            store.add(hole, measured)
        return _collect(run, store, holes, truth, prints, len(work))


def open_networks(paths: Mapping[str, Path]) -> Networks:
    """The feature networks of these files.

    Raises:
        InputError: a file is damaged or holds something else.
    """
    return Networks(
        {name: open_perceptual(name, path) for name, path in paths.items() if name.startswith("lpips")},
        {name: open_descriptor(name, path) for name, path in paths.items() if not name.startswith("lpips")},
    )


def _missing(
    run: Run, store: Store, holes: Mapping[str, str], truth: str, prints: Mapping[str, str]
) -> Iterator[_Work]:
    diverse = set(spread(list(dict.fromkeys(case.photo for case in run.cases)), DIVERSE_PHOTOS))
    for case in run.cases:
        hole = holes[case.key]
        methods = tuple((prints[m.id], m) for m in run.methods if not store.has(prints[m.id], hole))
        wants_truth = run.paired and not store.has(truth, hole)
        seeds = []
        for method in run.methods:
            key = _diversity_print(prints[method.id], run.seeds.get(method.id, ()))
            if method.id in run.seeds and case.photo in diverse and not store.has(key, hole):
                seeds.append((key, method, run.seeds[method.id]))
        if methods or wants_truth or seeds:
            yield _Work(case, hole, truth if wants_truth else None, methods, tuple(seeds))


def _diversity_print(fingerprint: str, others: Sequence[Method]) -> str:
    return f"{fingerprint}+{len(others)}"


def _all(work: Sequence[_Work], each: Callable[[_Work], Finished], workers: int) -> Iterator[Finished]:
    """Do the work, some at a time; results come in order."""
    pool = ThreadPoolExecutor(workers)
    try:
        yield from pool.map(each, work)
    finally:
        pool.shutdown(cancel_futures=True)


def _measure_hole(networks: Networks, judge_of: Callable[..., Judge], work: _Work) -> Finished:
    hole = open_case(work.case)
    judge = judge_of(hole, networks)
    measured: dict[str, Measured] = {}
    if work.truth is not None:
        measured[work.truth] = judge.truth()
    for key, method in work.methods:
        began = time.perf_counter()
        filled = method.fill(hole)
        measured[key] = judge(filled, time.perf_counter() - began)
    for key, method, others in work.seeds:
        measured[key] = Measured(_diversity(hole, judge, networks, [method, *others]))
    return work.hole, measured


def _diversity(hole: Hole, judge: Judge, networks: Networks, methods: Sequence[Method]) -> dict[str, float]:
    """Mean LPIPS-squeeze of the crops between each two fills."""
    network = networks.perceptual.get("lpips-squeeze")
    if network is None:
        return {}
    crop = square_around(hole.mask)
    pictures = [
        np.ascontiguousarray(to_picture(judge.paste(method.fill(hole)))[crop.slices]) for method in methods
    ]
    prepared = [network.prepare(picture) for picture in pictures]
    distances = [
        network.distance(pictures[a], prepared[b]) for a, b in itertools.combinations(range(len(pictures)), 2)
    ]
    return {"diversity": float(np.mean(distances))}


def _collect(
    run: Run, store: Store, holes: Mapping[str, str], truth: str, prints: Mapping[str, str], fresh: int
) -> Measurements:
    rows = []
    seconds: dict[str, list[float]] = {method.id: [] for method in run.methods}
    for case in run.cases:
        for method in run.methods:
            found = store.get(prints[method.id], holes[case.key])
            assert found is not None
            numbers = dict(found.numbers)
            diversity = store.get(
                _diversity_print(prints[method.id], run.seeds.get(method.id, ())), holes[case.key]
            )
            numbers |= diversity.numbers if diversity is not None else {}
            area = numbers.pop("area")
            rows.append(Row(case.photo, case.group, case.source, case.family, area, method.id, numbers))
            seconds[method.id].append(found.seconds)
    features: dict[str, dict[str, np.ndarray[Any, Any]]] = {}
    for network in (name for name in run.networks if not name.startswith("lpips") and run.paired):
        owners = {"truth": truth, **prints}
        features[network] = {
            owner: np.stack([_vector(store, key, holes[case.key], network) for case in run.cases])
            for owner, key in owners.items()
        }
    return Measurements(rows, features, seconds, fresh)


def _vector(store: Store, fingerprint: str, hole: str, network: str) -> np.ndarray[Any, Any]:
    vector = store.features(fingerprint, hole, network)
    assert vector is not None, f"{hole}: no {network} descriptor"
    return vector
