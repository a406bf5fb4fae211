"""Cleaning, against a flood fill in plain Python."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_files import random_mask
from made_photos import within

from moebius.imaging.arrays import Mask
from moebius.imaging.components import connected_runs
from moebius.imaging.mask_cleaning import close_gaps, drop_specks, fill_holes

SIDES = st.integers(1, 22)
MASKS = st.builds(
    random_mask, st.integers(0, 2**32), st.sampled_from([0.0, 0.1, 0.4, 0.6, 0.9, 1.0]), SIDES, SIDES
)
SIDEWAYS = ((0, 1), (1, 0), (0, -1), (-1, 0))
ALL_AROUND = (*SIDEWAYS, (1, 1), (1, -1), (-1, 1), (-1, -1))


def pieces(mask: Mask, steps: tuple[tuple[int, int], ...]) -> list[set[tuple[int, int]]]:
    """The connected pieces, by flood fill."""
    left = {(int(y), int(x)) for y, x in np.argwhere(mask)}
    found = []
    while left:
        piece, todo = set(), [left.pop()]
        while todo:
            y, x = todo.pop()
            piece.add((y, x))
            for down, right in steps:
                if (y + down, x + right) in left:
                    left.remove((y + down, x + right))
                    todo.append((y + down, x + right))
        found.append(piece)
    return found


@given(MASKS, st.booleans())
@settings(deadline=None, max_examples=120)
def test_runs_know_their_piece(mask: Mask, corners: bool) -> None:
    runs = connected_runs(mask, corners=corners)
    expected = pieces(mask, ALL_AROUND if corners else SIDEWAYS)
    assert len(set(runs.pieces.tolist())) == len(expected)
    sizes = {pixel: len(piece) for piece in expected for pixel in piece}
    firsts = zip(runs.rows.tolist(), runs.starts.tolist(), strict=True)
    assert runs.areas().tolist() == [sizes[pixel] for pixel in firsts]
    np.testing.assert_array_equal(runs.paint(np.ones(len(runs.rows), bool), mask.shape), mask)


@given(MASKS, st.one_of(st.none(), st.integers(0, 12)))
@settings(deadline=None, max_examples=120)
def test_fill_holes(mask: Mask, max_area: int | None) -> None:
    before, (height, width) = mask.copy(), mask.shape
    expected = mask.copy()
    for piece in pieces(~mask, SIDEWAYS):
        enclosed = all(0 < y < height - 1 and 0 < x < width - 1 for y, x in piece)
        if enclosed and (max_area is None or len(piece) <= max_area):
            expected[tuple(zip(*piece, strict=True))] = True
    np.testing.assert_array_equal(fill_holes(mask, max_area), expected)
    np.testing.assert_array_equal(mask, before)


@given(MASKS, st.integers(0, 12))
@settings(deadline=None, max_examples=120)
def test_drop_specks(mask: Mask, min_area: int) -> None:
    before = mask.copy()
    expected = np.zeros_like(mask)
    for piece in pieces(mask, ALL_AROUND):
        if len(piece) >= min_area:
            expected[tuple(zip(*piece, strict=True))] = True
    np.testing.assert_array_equal(drop_specks(mask, min_area), expected)
    np.testing.assert_array_equal(mask, before)


@given(MASKS, st.integers(0, 4))
@settings(deadline=None, max_examples=80)
def test_close_gaps(mask: Mask, pixels: int) -> None:
    before, margin = mask.copy(), 2 * pixels + 1
    wide = np.pad(mask, margin)
    height, width = mask.shape
    closed = ~within(~within(wide, pixels), pixels)[margin : margin + height, margin : margin + width]
    np.testing.assert_array_equal(close_gaps(mask, pixels), closed)
    np.testing.assert_array_equal(mask, before)


@pytest.mark.parametrize("density", [0.00005, 0.001])
def test_close_gaps_of_pieces_far_apart(density: float) -> None:
    """Wide enough for work in parts, which must not show."""
    mask = within(random_mask(1, density, 300, 1300), 5)
    pixels, margin = 9, 19
    closed = ~within(~within(np.pad(mask, margin), pixels), pixels)[margin:-margin, margin:-margin]
    assert closed.sum() > mask.sum()
    np.testing.assert_array_equal(close_gaps(mask, pixels), closed)


def test_a_gap_at_the_border_stays() -> None:
    mask = np.zeros((20, 20), bool)
    mask[:, 3:8] = mask[:, 10:15] = True
    closed = close_gaps(mask, 3)
    assert closed[:, 8:10].any(axis=1)[3:-3].all() and not closed[:, :3].any()


def test_cleaned_masks_hold_the_byte_one() -> None:
    mask = random_mask(3, 0.5, 30, 30)
    for cleaned in (fill_holes(mask), drop_specks(mask, 3), close_gaps(mask, 2)):
        assert set(np.unique(cleaned.view(np.uint8))) <= {0, 1}


def test_wrong_numbers() -> None:
    mask = random_mask(3, 0.5, 30, 30)
    with pytest.raises(ValueError, match="max_area: expected 0 or more pixels, got -1"):
        fill_holes(mask, -1)
    with pytest.raises(ValueError, match="min_area: expected 0 or more pixels, got -1"):
        drop_specks(mask, -1)
    with pytest.raises(ValueError, match="expected 0 to 32767"):
        close_gaps(mask, -1)


def test_a_large_sparse_mask() -> None:
    mask = np.zeros((4000, 5000), bool)
    mask[100:3900, 100:4900] = True
    mask[200:3800, 200:4800] = False
    mask[50, 50] = True
    assert fill_holes(mask).sum() == 3800 * 4800 + 1
    assert fill_holes(mask, 3600 * 4600 - 1).sum() == mask.sum()
    assert drop_specks(mask, 2).sum() == mask.sum() - 1
