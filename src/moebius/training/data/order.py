"""Which record stands at which position of an endless stream.

Every record comes once an epoch. What is computed is small and kept for the epoch, so that asking for positions
in any order costs a look-up.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

_RECORDS, _WINDOWS, _KINDS = 11, 12, 13
"""What random numbers are for: their place in a generator's seed."""
CHUNKS = 16
"""Runs of consecutive records in a window: as many places are read from at a time."""
BLOCK = 256
"""Positions over which two kinds are mixed in exact proportion."""


def index_at(count: int, position: int, seed: int, *, window: int | None = None) -> int:
    """Which of `count` records stands at `position`. Each comes once in positions e count to (e + 1) count - 1.

    Without `window` an epoch is a permutation of all. With it, runs of window / 16 consecutive records are
    permuted, and what falls into `window` positions is permuted among itself, so that records read one after the
    other lie in 16 places. Where runs begin changes from epoch to epoch.

    Raises:
        ValueError: count or window is below 1, or position below 0.
    """
    if count < 1 or position < 0 or (window is not None and window < 1):
        raise ValueError(f"expected count >= 1 and position >= 0, got {count}, {position}, window {window}")
    epoch, place = divmod(position, count)
    if window is None or window >= count:
        return int(_permutation(count, (seed, _RECORDS, epoch))[place])
    run = max(1, window // CHUNKS)
    runs = _permutation(count // run, (seed, _RECORDS, epoch))
    first = place - place % (run * CHUNKS)
    inside = _permutation(min(run * CHUNKS, count - first), (seed, _WINDOWS, epoch, first))
    number, rest = divmod(first + int(inside[place - first]), run)
    start = int(runs[number]) * run if number < len(runs) else len(runs) * run  # what is left over comes last
    return (start + rest + _offset(count, seed, epoch)) % count


def kind_at(share: float, position: int, seed: int) -> tuple[bool, int]:
    """Two streams mixed: whether `position` belongs to the second, and its position within its own stream.

    Of every 256 positions floor(256 share), or one more, belong to the second, in random order.
    """
    block, place = divmod(position, BLOCK)
    at = block * BLOCK + int(_permutation(BLOCK, (seed, _KINDS, block))[place])
    before, after = int(at * share), int((at + 1) * share)
    return (True, before) if after > before else (False, at - before)


@lru_cache(maxsize=8)
def _permutation(count: int, seed: tuple[int, ...]) -> NDArray[np.int64]:
    return np.random.default_rng(seed).permutation(count)


@lru_cache(maxsize=8)
def _offset(count: int, seed: int, epoch: int) -> int:
    return int(np.random.default_rng([seed, _RECORDS, epoch, 1]).integers(count))
