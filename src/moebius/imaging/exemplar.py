"""A hole filled with what the photo has elsewhere: sharp, in the photo's own texture, not knowing what things are.

From coarse to fine, in turns: every patch that touches the hole looks for the known patch that is most like it, and
every pixel of the hole becomes what the patches over it agree on (Wexler, Shechtman & Irani, Space-Time Completion of
Video, 2007). Known pixels have nearly all the say in what is alike, so the fill grows inwards from its edge. At coarse
scales all known patches are compared; from there offsets are handed on, taken over from neighbours and tried around
where they point, as in PatchMatch (Barnes et al., 2009), with a bonus for the offset that a neighbour has, which keeps
what is copied in one piece.

At coarser scales the hole is smaller: a pixel is known there where any of what it stands for is, and at the coarsest
where anything near it is. So the colours around the hole are carried inwards, and what is copied is held against them.

The result depends on the known pixels alone, and is the same on every machine: all arithmetic is on whole numbers.
"""

from __future__ import annotations

from itertools import product

import numpy as np
from numpy.typing import NDArray

from moebius.imaging.components import connected_runs
from moebius.imaging.patches import Exact, Level, Mask, Patches, Places, Values, depth, widened
from moebius.imaging.prefill import push_pull

DEEPEST = 8
"""Depth of the hole at the coarsest scale, px, where the picture has as many."""
LEAST = 24
"""Shorter side from which a picture is halved again, px."""
ENOUGH = 40
"""Known patches that a scale needs."""
SEARCHED = 64
"""Longer side up to which all known patches are compared, px."""
PAIRS, FIRST_PAIRS = 1 << 23, 1 << 26
"""Comparisons up to which they are at finer scales, too, and where no coarser one had enough to copy from."""
TURNS, FINE_TURNS = 6, 3
"""Turns up to `SEARCHED`, and at most above it."""
WORK = 1 << 15
"""Patches that may look in all turns of a finer scale: the larger the hole, the fewer turns, down to none."""
ROUNDS = 3
"""In which offsets spread to neighbours."""
AROUND = (32, 8, 2)
"""How far from where an offset points others are tried, px."""
ALIKE = 600
"""What one neighbour with the same offset is worth, in squares of colour summed over a patch."""
VOTES, TURN_VOTES = 1, 2
"""Radius of the part of a patch that votes: in the end, and between turns."""
COARSE_RADIUS, RADIUS = 3, 2
"""Of patches up to `SMALL` and above it: 7 x 7 and 5 x 5 px."""
SMALL = 256
"""Longer side, px."""
SHARES, NEAR_SHARES = (1, 5, 10, 10, 5, 1), (1, 1)
"""Of pixels in a row in the one that stands for the middle two at the next scale, up to `SEARCHED` and above it."""
RING = RADIUS + VOTES
"""How far around the hole patches that touch it have a vote, px."""


def exemplar_fill(picture: NDArray[np.float32], mask: Mask) -> NDArray[np.float32]:
    """The picture with its hole filled from patches of its known part.

    Args:
        picture: (H, W, 3) in [0, 1]. What is under the mask is not read.
        mask: (H, W), True = hole.

    Returns:
        (H, W, 3): known pixels exactly as they came; the hole in steps of 1/255. Where hardly anything is known, the
        smooth fill (`push_pull`).

    Raises:
        ValueError: the shapes do not belong together.
    """
    smooth = push_pull(picture, mask)
    copied = copied_patches(smooth, mask)
    return smooth if copied is None else np.where(mask[..., None], copied, smooth)


def copied_patches(smooth: NDArray[np.float32], mask: Mask) -> NDArray[np.float32] | None:
    """What the patches say of the hole and of the `RING` around it, where they can be held against what is known.

    Args:
        smooth: (H, W, 3) in [0, 1], filled smoothly already.

    Returns:
        (H, W, 3): `smooth` elsewhere; None where there is too little to copy from.
    """
    if not mask.any() or mask.all():
        return None
    pad = [(0, -side % _unit(mask)) for side in mask.shape]
    levels = np.floor(np.clip(smooth, 0, 1) * np.float32(255) + np.float32(0.5))
    pyramid = _pyramid(np.pad(levels, (*pad, (0, 0)), mode="symmetric"), np.pad(mask, pad, mode="symmetric"))
    level: Level | None = None
    y = x = np.zeros(0, np.int64)
    for guess, hole in pyramid:
        coarse = max(hole.shape) <= SEARCHED
        before, level = level, Level(guess, hole, COARSE_RADIUS if max(hole.shape) <= SMALL else RADIUS)
        if level.known.sum() < ENOUGH:
            level = None
            continue
        fill, distances = guess, None
        pairs = len(level) * int(level.known.sum())
        turns = TURNS if coarse else min(FINE_TURNS, WORK // len(level))
        searched = coarse or pairs <= (FIRST_PAIRS if before is None else PAIRS)
        if before is None:
            turns = max(turns, 1)
            y, x = _next_known(level)
        else:
            y, x = _hand_on(before, y, x, level)
            if turns:
                fill = _vote(level, y, x, None, radius=TURN_VOTES)
        for turn in range(turns):
            if turn:
                fill = _vote(level, y, x, distances, radius=TURN_VOTES)
            patches = level.patches(fill)
            if searched:
                y, x = level.nearest(patches)
            if searched and turn + 1 < turns:
                distances = level.distances(patches, None, y, x)
            else:
                y, x, distances = _agree(level, patches, y, x, () if searched else AROUND)
    if level is None:
        return None
    height, width = mask.shape
    reached = widened(level.hole, RING)
    found = _vote(level, y, x, distances, reached)[:height, :width] / np.float32(255)
    return np.where(reached[:height, :width, None], found, smooth)


def _unit(mask: Mask) -> int:
    """What the sides have to divide by, to be halved down to the searched scales."""
    unit = 1
    while max(mask.shape) > SEARCHED * unit:
        unit *= 2
    return unit


def _pyramid(picture: Values, hole: Mask) -> list[tuple[Values, Mask]]:
    """The picture at scales of a half each, the coarsest first."""
    found = [(picture, hole)]
    while min(hole.shape) >= LEAST and not any(side % 2 for side in hole.shape):
        if max(hole.shape) <= SEARCHED and depth(hole, DEEPEST + 1).max() <= DEEPEST:
            break
        picture, hole = _halved(picture, hole)
        found.append((picture, hole))
    return found[::-1]


def _halved(picture: Values, hole: Mask) -> tuple[Values, Mask]:
    """(H, W, 3) and (H, W) at half the scale: each pixel the mean of what is known of 2 x 2, or of 6 x 6 in `SHARES`.

    It is hole where nothing of them is known; in a piece of the hole that would vanish so, where any of 2 x 2 is hole.
    """
    height, width = hole.shape[0] // 2, hole.shape[1] // 2
    shares = SHARES if max(height, width) <= SEARCHED else NEAR_SHARES
    beside = len(shares) // 2 - 1
    known = np.concatenate(
        [np.where(hole[..., None], 0, picture), ~hole[..., None]], axis=-1, dtype=np.float32
    )
    wide = np.pad(known, ((beside, beside), (beside, beside), (0, 0)))
    total = np.zeros((height, width, 4), np.float32)
    for (y, down), (x, right) in product(enumerate(shares), repeat=2):
        total += down * right * wide[y : y + 2 * height : 2, x : x + 2 * width : 2]
    count = total[..., 3:]
    mean = np.floor((total[..., :3] + np.floor(count / 2)) / np.maximum(count, 1))
    guessed = np.floor((picture.reshape(height, 2, width, 2, 3).sum(axis=(1, 3)) + 2) / 4)
    deep, any_hole = count[..., 0] == 0, np.asarray(hole.reshape(height, 2, width, 2).any(axis=(1, 3)))
    pieces = connected_runs(any_hole)
    lengths = pieces.ends - pieces.starts
    lasting = np.add.reduceat(deep[any_hole], np.cumsum(lengths) - lengths)
    vanishing = np.bincount(pieces.pieces, weights=lasting, minlength=len(lasting))[pieces.pieces] == 0
    return np.where(deep[..., None], guessed, mean), deep | pieces.paint(vanishing, deep.shape)


def _hand_on(coarse: Level, y: Places, x: Places, fine: Level) -> tuple[Places, Places]:
    """Offsets of the scale before, doubled; where there is none that leads to a known patch, a neighbour's.

    Neighbours are asked in turns, each in the order of `NEIGHBOURS`, all patches at once; whoever has none in the end
    takes the next known patch.
    """
    parents = coarse.index_of(fine.y // 2, fine.x // 2)
    has = parents >= 0
    off_y = np.where(has, 2 * (y - coarse.y)[parents], 0)
    off_x = np.where(has, 2 * (x - coarse.x)[parents], 0)
    has &= fine.usable(fine.y + off_y, fine.x + off_x)
    while True:
        given = has.copy()
        for beside in fine.beside:
            rows = np.nonzero(~given & (beside >= 0) & has[beside])[0]
            at_y, at_x = off_y[beside[rows]], off_x[beside[rows]]
            fits = fine.usable(fine.y[rows] + at_y, fine.x[rows] + at_x)
            rows = rows[fits]
            off_y[rows], off_x[rows], given[rows] = at_y[fits], at_x[fits], True
        if np.array_equal(given, has):
            break
        has = given
    next_y, next_x = _next_known(fine)
    return np.where(has, fine.y + off_y, next_y), np.where(has, fine.x + off_x, next_x)


def _next_known(level: Level) -> tuple[Places, Places]:
    """The known patch that comes next to each in reading order, from the first again after the last."""
    y, x = np.nonzero(level.known)
    found = np.searchsorted(y * level.width + x, level.y * level.width + level.x) % len(y)
    return y[found], x[found]


def _agree(
    level: Level, patches: Patches, y: Places, x: Places, around: tuple[int, ...]
) -> tuple[Places, Places, Exact]:
    """Better offsets: those of neighbours, and others `around` where they point. Returns rows, columns, distances."""
    distances = level.distances(patches, None, y, x)
    off_y, off_x = y - level.y, x - level.x

    def same(rows: Places, at_y: Places, at_x: Places) -> Places:
        """How many neighbours have that offset."""
        found = np.zeros(len(rows), np.int64)
        for beside in level.beside:
            other = beside[rows]
            found += (other >= 0) & (off_y[other] == at_y) & (off_x[other] == at_x)
        return found

    def take(rows: Places, at_y: Places, at_x: Places, far: Exact) -> None:
        """Those offsets that are better, all at once."""
        near = far < distances[rows] + len(level.beside) * ALIKE
        rows, at_y, at_x, far = rows[near], at_y[near], at_x[near], far[near]
        gain = ALIKE * (same(rows, at_y, at_x) - same(rows, off_y[rows], off_x[rows]))
        better = far < distances[rows] + gain
        rows = rows[better]
        off_y[rows], off_x[rows], distances[rows] = at_y[better], at_x[better], far[better]

    squares, all_rows = (level.y + level.x) % 2, np.arange(len(level))
    for turn in range(ROUNDS):
        for colour in (0, 1):  # of a chessboard: neighbours do not change at once
            for beside in level.beside:
                differs = (off_y[beside] != off_y) | (off_x[beside] != off_x)
                rows = np.nonzero((squares == colour) & (beside >= 0) & differs)[0]
                at_y, at_x = off_y[beside[rows]], off_x[beside[rows]]
                fits = level.usable(level.y[rows] + at_y, level.x[rows] + at_x)
                rows, at_y, at_x = rows[fits], at_y[fits], at_x[fits]
                far = level.distances(patches, rows, level.y[rows] + at_y, level.x[rows] + at_x)
                take(rows, at_y, at_x, far)
        for number, radius in enumerate(around):
            draw = _scrambled(all_rows, turn * len(AROUND) + number)
            wide = 2 * radius + 1
            at_y, at_x = off_y + draw % 65536 % wide - radius, off_x + draw // 65536 % wide - radius
            fits = level.usable(level.y + at_y, level.x + at_x)
            at_y, at_x = np.where(fits, at_y, off_y), np.where(fits, at_x, off_x)
            take(all_rows, at_y, at_x, level.distances(patches, None, level.y + at_y, level.x + at_x))
    return level.y + off_y, level.x + off_x, distances


def _scrambled(rows: Places, turn: int) -> Places:
    """A number of 32 bits for each row and turn, with nothing to be seen in it."""
    start = np.uint32((turn + 1) * 0x85EBCA6B % 2**32)
    x = rows.astype(np.uint32) * np.uint32(0x9E3779B1) ^ start
    for shift, factor in ((15, 0x2C1B3C6D), (12, 0x297A2D39)):
        x = (x ^ x >> np.uint32(shift)) * np.uint32(factor)
    return (x ^ x >> np.uint32(15)).astype(np.int64)


def _vote(
    level: Level,
    y: Places,
    x: Places,
    distances: Exact | None,
    reached: Mask | None = None,
    radius: int = VOTES,
) -> Values:
    """The fill: each pixel the mean of what the patches over it say, near ones and their middles most.

    Args:
        y, x: (N,), the known patch of each.
        distances: (N,); None where all count alike.
        reached: (H, W), the pixels that are asked for, at most `RING` from the hole; the hole by default.
        radius: of the part of a patch that votes.
    """
    reached = level.hole if reached is None else reached
    weight = np.ones(len(level))
    if distances is not None:
        middle = np.sort(distances)[len(distances) // 2] + 1
        fourth = np.floor(np.floor(64 * middle / (middle + distances)) ** 4 / 256)
        weight = np.maximum(1, np.floor(fourth * fourth / 65536))
    width = level.width + 2 * radius
    wide = np.pad(level.picture, ((radius, radius), (radius, radius), (0, 0)), mode="edge").reshape(-1, 3)
    source = np.ones((len(wide), 4))
    source[:, :3] = wide
    total = np.zeros_like(source)
    to, come = level.y * width + level.x, y * width + x
    for dy in range(2 * radius + 1):
        for dx in range(2 * radius + 1):
            share = weight * ((radius + 1 - abs(dy - radius)) * (radius + 1 - abs(dx - radius)))
            step = dy * width + dx
            said = source.take(come + step, axis=0)
            said *= share[:, None]
            total[to + step] += said
    total = total.reshape(-1, width, 4)[radius : radius + level.height, radius : radius + level.width]
    said = total[reached]
    found = level.picture.copy()
    found[reached] = np.floor((said[:, :3] + np.floor(said[:, 3:] / 2)) / said[:, 3:])
    return found
