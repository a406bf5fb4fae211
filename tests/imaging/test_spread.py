"""Work on rows, spread over threads."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from made_photos import disc, noise

from moebius.imaging import exemplar_fill
from moebius.imaging.spread import LEAST, MOST, Spread, threads


@pytest.fixture(autouse=True)
def _four_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr("moebius.imaging.spread.threads", lambda: 4)


@pytest.mark.parametrize("count", [0, 1, LEAST, LEAST + 1, 5 * LEAST - 1, 5 * MOST + 1])
def test_slices_cover_all_rows_in_order(count: int) -> None:
    with Spread() as spread:
        parts = spread(lambda part: np.arange(part.start, part.stop), count)
    assert all(0 < len(part) <= MOST for part in parts)
    assert len(parts) >= min(4, count // LEAST)
    assert np.array_equal(np.concatenate([np.zeros(0, int), *parts]), np.arange(count))


def test_blocks_run_at_the_same_time() -> None:
    """Each waits for the other three: alone, none would come back."""
    meeting = threading.Barrier(4, timeout=60)
    with Spread() as spread:
        assert sorted(spread(lambda part: meeting.wait(), 4 * LEAST)) == [0, 1, 2, 3]


def test_what_goes_wrong_is_raised_and_threads_end() -> None:
    before = threading.active_count()

    def work(part: slice) -> None:
        raise MemoryError(str(part.start))

    with pytest.raises(MemoryError, match=r"^0$"), Spread() as spread:
        spread(work, 3 * LEAST)
    assert threading.active_count() == before


def test_threads_are_limited_as_numpys_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    every = threads()
    assert every >= 1
    for limit, expected in (("1", 1), ("100000", every), ("0", every), ("4,2", every), ("", every)):
        monkeypatch.setenv("OMP_NUM_THREADS", limit)
        assert threads() == expected, limit


def test_the_fill_does_not_depend_on_threads_and_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    photo = (noise((96, 160, 3)) / np.float32(255)).astype(np.float32)
    mask = disc(160, 96, (60, 50), 20)
    filled = exemplar_fill(photo, mask)
    monkeypatch.setattr("moebius.imaging.spread.LEAST", 1)
    monkeypatch.setattr("moebius.imaging.spread.MOST", 90)
    for _ in range(2):
        assert np.array_equal(filled, exemplar_fill(photo, mask))
