"""Distances between whole sets of pictures: of the fills to the same photos' truth, for any part of the holes.

Fréchet distances compare paired sets and are 0 for perfect fills; kernel distances compare no picture with its own
photo, as if the sets shared none. For the intervals photos are left out, not holes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from moebius.evaluation.distances import (
    NORMAL_95,
    PairedFrechet,
    PairedKid,
    frechet,
    jackknife_blocks,
    jackknife_estimate,
    kid,
    separability,
)
from moebius.evaluation.holes import Case
from moebius.evaluation.rows import Row
from moebius.evaluation.run import Measurements
from moebius.evaluation.statistics import Estimate

Features = NDArray[np.float32]
Index = NDArray[np.intp]
Replicates = tuple[float, NDArray[np.float64]]
"""A distance, and the same without each block of photos."""

FEW = 8
"""Photos below which a set is none."""
MANY = 4000
"""Holes above which products of all with all would not fit into memory."""
NAMES = {"mobilenetv2": ("fd_mobilenetv2", "kid_mobilenetv2"), "inception": ("fid", "kid")}
"""Fréchet and kernel distance by network."""


class SetStatistics:
    """The distances of one method's fills to their truth.

    Args:
        keys: (photo, family) of each row of the matrices.
        fills, truths: (N, D) descriptors by network.
    """

    def __init__(
        self, keys: Sequence[tuple[str, str]], fills: Mapping[str, Features], truths: Mapping[str, Features]
    ):
        self._places = {key: place for place, key in enumerate(keys)}
        self._photos = np.unique([photo for photo, _ in keys], return_inverse=True)[1]
        self._fills, self._truths = fills, truths
        self._measures: dict[str, Callable[[Index], float]] = {}
        for network in fills:
            self._measures |= dict(zip(NAMES[network], self._distances(network), strict=True))
        self._known: dict[tuple[str, tuple[int, ...]], Replicates] = {}

    @classmethod
    def of_methods(
        cls, measured: Measurements, cases: Sequence[Case], methods: Sequence[str]
    ) -> dict[str, SetStatistics]:
        """By method; nothing where no descriptors were measured, or of too few pictures to say anything."""
        if not measured.features or len({case.photo for case in cases}) < FEW:
            return {}
        keys = [(case.photo, case.family) for case in cases]
        truths = {network: by_method["truth"] for network, by_method in measured.features.items()}
        return {
            method: cls(keys, {network: by[method] for network, by in measured.features.items()}, truths)
            for method in methods
        }

    def estimates(self, rows: Sequence[Row]) -> dict[str, Estimate]:
        """Each distance over these holes of the method, with its interval."""
        index = self._index(rows)
        found = {name: _interval(*self._replicates(name, index)) for name in self._possible(index)}
        return found | self._separability(index)

    def differences(self, other: SetStatistics, rows: Sequence[Row]) -> dict[str, Estimate]:
        """Each distance minus the other method's over the same holes, with its interval."""
        index = self._index(rows)
        found = {}
        for name in self._possible(index):
            (value, without), (theirs, theirs_without) = (
                each._replicates(name, index) for each in (self, other)
            )
            found[name] = _interval(value - theirs, without - theirs_without)
        return found

    def _distances(self, network: str) -> tuple[Callable[[Index], float], Callable[[Index], float]]:
        fills, truths = self._fills[network], self._truths[network]
        if len(fills) <= MANY:
            paired, kernel = PairedFrechet(fills, truths), PairedKid(fills, truths)
            return paired.value, lambda index: kernel.apart(index, self._photos[index].tolist())
        return (
            lambda index: frechet(fills[index], truths[index]),
            partial(_across_halves, fills, truths, self._photos),
        )

    def _index(self, rows: Sequence[Row]) -> Index:
        return np.array([self._places[row.photo, row.family] for row in rows], np.intp)

    def _possible(self, index: Index) -> list[str]:
        return list(self._measures) if len(np.unique(self._photos[index])) >= FEW else []

    def _replicates(self, name: str, index: Index) -> Replicates:
        key = name, tuple(index.tolist())
        if key not in self._known:
            measure = self._measures[name]
            blocks = jackknife_blocks(self._photos[index].tolist())
            without = [measure(np.delete(index, block)) for block in blocks]
            self._known[key] = measure(index), np.array(without)
        return self._known[key]

    def _separability(self, index: Index) -> dict[str, Estimate]:
        """U-IDS and P-IDS; with fewer pictures than features they say nothing, and are left out.

        The intervals are those of shares of so many pictures. The classifier is not fitted anew for them.
        """
        found: dict[str, Estimate] = {}
        fills = self._fills.get("inception")
        if fills is not None and len(index) > 2 * fills.shape[1]:
            shares = separability(self._truths["inception"][index], fills[index])
            for name, share, count in zip(
                ("uids", "pids"), shares, (2 * len(index), len(index)), strict=True
            ):
                error = NORMAL_95 * float(np.sqrt(share * (1 - share) / count))
                found[name] = Estimate(round(share, 6), round(share - error, 6), round(share + error, 6))
        return found


def _interval(value: float, without: NDArray[np.float64]) -> Estimate:
    return Estimate(*(round(number, 6) for number in jackknife_estimate(value, without)))


def _across_halves(fills: Features, truths: Features, photos: Index, index: Index) -> float:
    """Fills of every other photo against the truth of the rest, both ways; at most `MANY` of each."""
    odd, even = index[photos[index] % 2 == 1], index[photos[index] % 2 == 0]
    odd, even = (half[:: -(-len(half) // MANY)] for half in (odd, even))
    return (kid(fills[odd], truths[even]) + kid(fills[even], truths[odd])) / 2
