"""Distances between whole sets of pictures: of the fills to the same photos' truth, for any part of the holes.

Fréchet distances compare paired sets and are 0 for perfect fills; kernel distances compare the fills of one half of
the photos with the truth of the other half, as for sets that share no photo. Photos, not holes, are left out for the
intervals.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from moebius.evaluation.distances import (
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

FEW = 8
"""Photos below which a set is none."""
MANY = 4000
"""Holes above which distances are computed from the descriptors each time."""
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
        self._keys = {key: place for place, key in enumerate(keys)}
        self._measures: dict[str, Callable[[Index, Sequence[str]], float]] = {}
        for network, fill in fills.items():
            self._add(network, fill, truths[network])
        self._known: dict[tuple[str, Any], tuple[float, NDArray[np.float64]]] = {}

    @classmethod
    def of_methods(
        cls, measured: Measurements, cases: Sequence[Case], methods: Sequence[str]
    ) -> dict[str, SetStatistics]:
        """By method; nothing where no descriptors were measured."""
        if not measured.features:
            return {}
        keys = [(case.photo, case.family) for case in cases]
        truths = {network: by_method["truth"] for network, by_method in measured.features.items()}
        return {
            method: cls(keys, {network: by[method] for network, by in measured.features.items()}, truths)
            for method in methods
        }

    def estimates(self, rows: Sequence[Row]) -> dict[str, Estimate]:
        """Each distance over these holes of the method, with its interval."""
        return {name: _interval(*self._jackknife(name, rows)) for name in self._possible(rows)}

    def differences(self, other: SetStatistics, rows: Sequence[Row]) -> dict[str, Estimate]:
        """Each distance minus the other method's over the same holes, with its interval."""
        found = {}
        for name in self._possible(rows):
            value, without = self._jackknife(name, rows)
            their_value, theirs_without = other._jackknife(name, rows)
            found[name] = _interval(value - their_value, without - theirs_without)
        return found

    def _add(self, network: str, fills: Features, truths: Features) -> None:
        name, kernel_name = NAMES[network]
        if len(fills) <= MANY:
            paired, kernel = PairedFrechet(fills, truths), PairedKid(fills, truths)
            self._measures[name] = lambda index, photos: paired.value(index)
            self._measures[kernel_name] = lambda index, photos: _across_halves(kernel.value, index, photos)
        else:  # products of all with all would not fit into memory
            self._measures[name] = lambda index, photos: frechet(fills[index], truths[index])
            self._measures[kernel_name] = lambda index, photos: _across_halves(
                lambda i, j: kid(fills[_thinned(i)], truths[_thinned(j)]), index, photos
            )
        if network == "inception":
            for place, each in enumerate(("uids", "pids")):
                self._measures[each] = lambda index, photos, place=place: separability(  # type: ignore[misc]
                    truths[index], fills[index]
                )[place]

    def _possible(self, rows: Sequence[Row]) -> list[str]:
        return list(self._measures) if len({row.photo for row in rows}) >= FEW else []

    def _jackknife(self, name: str, rows: Sequence[Row]) -> tuple[float, NDArray[np.float64]]:
        """The distance over all of these holes, and without each block of photos."""
        photos = [row.photo for row in rows]
        part = name, tuple((row.photo, row.family) for row in rows)
        if part not in self._known:
            measure = self._measures[name]
            index = np.array([self._keys[row.photo, row.family] for row in rows])
            without = []
            for left_out in jackknife_blocks(photos):
                kept = np.setdiff1d(np.arange(len(rows)), left_out)
                without.append(measure(index[kept], [photos[place] for place in kept]))
            self._known[part] = measure(index, photos), np.array(without)
        return self._known[part]


def _interval(value: float, without: NDArray[np.float64]) -> Estimate:
    return Estimate(*(round(number, 6) for number in jackknife_estimate(value, without)))


def _thinned(index: Index) -> Index:
    """At most `MANY` rows, evenly spread."""
    return index[:: -(-len(index) // MANY)]


def _across_halves(kernel: Callable[[Index, Index], float], index: Index, photos: Sequence[str]) -> float:
    """Fills of every other photo against the truth of the rest, both ways."""
    order = {photo: place for place, photo in enumerate(dict.fromkeys(photos))}
    odd = np.array([order[photo] % 2 == 1 for photo in photos])
    return (kernel(index[odd], index[~odd]) + kernel(index[~odd], index[odd])) / 2
