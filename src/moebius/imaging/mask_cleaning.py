"""Masks made whole: enclosed islands, specks and gaps, as hand-drawn and computed masks have them.

Every function takes a mask (H, W), True = fill, and gives a new one. The work goes by runs of pixels, so that a sparse
mask of a large photo costs little more than looking at it once.
"""

from __future__ import annotations

import numpy as np

from moebius.imaging.arrays import Mask
from moebius.imaging.box import bounding_box
from moebius.imaging.components import connected_runs
from moebius.imaging.distance import MAX_DISTANCE, squared_distances, squared_distances_in


def fill_holes(mask: Mask, max_area: int | None = None) -> Mask:
    """Mask the islands that the mask encloses: 4-connected unmasked pieces that do not reach the photo's border.

    Args:
        max_area: islands of more pixels stay; None fills them all.

    Raises:
        ValueError: max_area is negative.
    """
    if max_area is not None and max_area < 0:
        raise ValueError(f"max_area: expected 0 or more pixels, got {max_area}")
    filled = mask.copy()
    box = bounding_box(mask)
    if box is None:
        return filled
    inside = filled[box.slices]
    runs = connected_runs(~inside, corners=False)
    at_edge = (runs.rows == 0) | (runs.rows == box.height - 1) | (runs.starts == 0) | (runs.ends == box.width)
    open_pieces = np.zeros(len(runs.rows), dtype=bool)
    open_pieces[runs.pieces[at_edge]] = True
    enclosed = ~open_pieces[runs.pieces]
    if max_area is not None:
        enclosed &= runs.areas() <= max_area
    inside |= runs.paint(enclosed, inside.shape)
    return filled


def drop_specks(mask: Mask, min_area: int) -> Mask:
    """Drop the 8-connected pieces of fewer than `min_area` pixels.

    Raises:
        ValueError: min_area is negative.
    """
    if min_area < 0:
        raise ValueError(f"min_area: expected 0 or more pixels, got {min_area}")
    kept = mask.copy()
    box = bounding_box(mask)
    if box is None:
        return kept
    inside = kept[box.slices]
    runs = connected_runs(inside)
    inside &= ~runs.paint(runs.areas() < min_area, inside.shape)
    return kept


def close_gaps(mask: Mask, pixels: int) -> Mask:
    """Mask the gaps into which no disk of radius `pixels` fits: the morphological closing.

    What is masked stays masked. Gaps between two strokes close; a gap between a stroke and the photo's border does not.

    Args:
        pixels: radius, 0 to 32767; gaps of up to about twice as many pixels close.

    Raises:
        ValueError: pixels is out of range.
    """
    if not 0 <= pixels <= MAX_DISTANCE:
        raise ValueError(f"pixels: expected 0 to {MAX_DISTANCE}, got {pixels}")
    closed = mask.copy()
    box = bounding_box(mask)
    if box is None or pixels == 0:
        return closed
    padded = np.pad(mask[box.slices], 2 * pixels)
    unmasked, parts = ~padded, []
    for part, squared in squared_distances(padded, pixels):
        unmasked[part.slices] &= squared > pixels * pixels
        parts.append(part)  # a gap that closes lies within reach of the mask
    for part in parts:
        padded[part.slices] |= squared_distances_in(unmasked, part, pixels) > pixels * pixels
    inner = slice(2 * pixels, 2 * pixels + box.height), slice(2 * pixels, 2 * pixels + box.width)
    closed[box.slices] = padded[inner]
    return closed
