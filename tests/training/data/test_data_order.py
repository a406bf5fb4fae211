"""The order of records: every one once an epoch, whatever the window."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moebius.training.data.order import BLOCK, CHUNKS, index_at, kind_at


@settings(max_examples=60, deadline=None)
@given(
    count=st.integers(1, 700),
    epoch=st.integers(0, 5),
    seed=st.integers(0, 2**40),
    window=st.none() | st.integers(1, 900),
)
def test_every_record_comes_once_an_epoch(count: int, epoch: int, seed: int, window: int | None) -> None:
    seen = [index_at(count, epoch * count + place, seed, window=window) for place in range(count)]
    assert sorted(seen) == list(range(count))


def test_orders_differ_by_epoch_and_seed_and_not_by_the_asking() -> None:
    def order(epoch: int, seed: int, window: int | None) -> list[int]:
        return [index_at(200, epoch * 200 + i, seed, window=window) for i in range(200)]

    for window in (None, 64):
        assert order(0, 1, window) == order(0, 1, window)
        assert order(0, 1, window) != order(1, 1, window) != order(0, 2, window)
        backwards = [index_at(200, i, 1, window=window) for i in reversed(range(200))]
        assert backwards[::-1] == order(0, 1, window)


def test_windows_keep_reads_near_each_other() -> None:
    count, window = 40_000, 1600
    run = window // CHUNKS
    for first in (0, 16 * window):
        places = sorted(index_at(count, first + i, 3, window=window) for i in range(window))
        jumps = sum(1 for a, b in pairwise(places) if b != a + 1)
        assert jumps <= CHUNKS
        assert len({place // run for place in places}) <= 2 * CHUNKS + 1
    firsts = [index_at(count, i, 3, window=window) for i in range(50)]
    assert max(firsts) - min(firsts) > count / 4, "a window mixes records from all over"


@pytest.mark.parametrize(("count", "position", "window"), [(0, 0, None), (3, -1, None), (3, 0, 0)])
def test_impossible_questions(count: int, position: int, window: int | None) -> None:
    with pytest.raises(ValueError, match="expected count >= 1"):
        index_at(count, position, 0, window=window)


@settings(max_examples=30, deadline=None)
@given(share=st.floats(0, 1), seed=st.integers(0, 99))
def test_two_kinds_are_mixed_in_proportion_and_without_gaps(share: float, seed: int) -> None:
    mixed = [kind_at(share, position, seed) for position in range(2 * BLOCK)]
    for kind in (False, True):
        own = sorted(place for is_second, place in mixed if is_second == kind)
        assert own == list(range(len(own)))
    for block in (mixed[:BLOCK], mixed[BLOCK:]):
        assert abs(sum(is_second for is_second, _ in block) - share * BLOCK) < 1 + 1e-6
