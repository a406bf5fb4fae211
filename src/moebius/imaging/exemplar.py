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

from functools import partial
from itertools import product

import numpy as np
from numpy.typing import NDArray

from moebius.imaging.components import connected_runs
from moebius.imaging.patches import (
    MARGIN,
    Exact,
    Level,
    Mask,
    Numbers,
    Patches,
    Places,
    Values,
    depth,
    widened,
)
from moebius.imaging.prefill import push_pull
from moebius.imaging.spread import Spread

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
TURNS, FINE_TURNS = 10, 3
"""Turns up to `SEARCHED`, and at most above it."""
MIRROR_TURNS = 3
"""In the first of so many all patches in the mirror are compared, too."""
WORK = 1 << 15
"""Patches that may look in all turns of a finer scale: the larger the hole, the fewer turns, down to none."""
ROUNDS = 3
"""In which offsets spread to neighbours."""
AROUND = (MARGIN, 8, 2)
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
NOWHERE = 1 << 62
"""An offset that no patch has."""
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
    with Spread() as spread:
        found = _filled(pyramid, spread)
    if found is None:
        return None
    height, width = mask.shape
    picture, reached = (each[:height, :width] for each in found)
    return np.where(reached[..., None], picture / np.float32(255), smooth)


def _filled(pyramid: list[tuple[Values, Mask]], spread: Spread) -> tuple[Values, Mask] | None:
    """The finest picture with what the patches say, and where they say it."""
    level: Level | None = None
    places = np.zeros(0, np.int64)
    for guess, hole in pyramid:
        coarse = max(hole.shape) <= SEARCHED
        before, level = level, Level(guess, hole, COARSE_RADIUS if max(hole.shape) <= SMALL else RADIUS)
        if level.own < ENOUGH:
            level = None
            continue
        fill, distances = guess, None
        pairs = len(level) * len(level.known)
        turns = TURNS if coarse else min(FINE_TURNS, WORK // len(level))
        searched = coarse or pairs <= (FIRST_PAIRS if before is None else PAIRS)
        if before is None:
            turns = max(turns, 1)
            places = _next_known(level)
        else:
            places = _hand_on(before, places, level)
            if turns:
                fill = _vote(level, places, None, spread, radius=TURN_VOTES)
        if turns:
            level.lay_out()
        for turn in range(turns):
            if turn:
                fill = _vote(level, places, distances, spread, radius=TURN_VOTES)
            patches = level.patches(fill)
            if searched:
                places = level.nearest(patches, spread, mirror=turn % MIRROR_TURNS == 0)
            if searched and turn + 1 < turns:
                distances = _distances(level, patches, places, spread)
            else:
                places, distances = _agree(level, patches, places, () if searched else AROUND, spread)
    if level is None:
        return None
    reached = widened(level.hole, RING)
    return _vote(level, places, distances, spread, reached), reached


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
    known = np.zeros((2 * (height + beside), 2 * (width + beside), 4), np.float32)
    inner = known[beside : beside + 2 * height, beside : beside + 2 * width]
    inner[..., 3] = ~hole
    np.multiply(picture, inner[..., 3:], out=inner[..., :3])
    total = _pooled(_pooled(known, shares).swapaxes(0, 1), shares).swapaxes(0, 1)
    count = total[..., 3:]
    mean = np.floor((total[..., :3] + np.floor(count / 2)) / np.maximum(count, 1))
    left = picture[::2, ::2] + picture[1::2, ::2]
    guessed = np.floor((left + picture[::2, 1::2] + picture[1::2, 1::2] + np.float32(2)) / np.float32(4))
    any_hole: Mask = hole[::2, ::2] | hole[::2, 1::2] | hole[1::2, ::2] | hole[1::2, 1::2]
    deep = count[..., 0] == 0
    pieces = connected_runs(any_hole)
    lengths = pieces.ends - pieces.starts
    lasting = np.add.reduceat(deep[any_hole], np.cumsum(lengths) - lengths)
    vanishing = np.bincount(pieces.pieces, weights=lasting, minlength=len(lasting))[pieces.pieces] == 0
    return np.where(deep[..., None], guessed, mean), deep | pieces.paint(vanishing, deep.shape)


def _pooled(values: Values, shares: tuple[int, ...]) -> Values:
    """Of every second row the sum of as many as there are shares: (2 n + len(shares) - 2, ...) -> (n, ...)."""
    count = (len(values) - len(shares)) // 2 + 1
    total = np.zeros((count, *values.shape[1:]), np.float32)
    for row, share in enumerate(shares):
        total += share * values[row : row + 2 * count : 2]
    return total


def _hand_on(coarse: Level, places: Places, fine: Level) -> Places:
    """Offsets of the scale before, doubled; where there is none that leads to a known patch, a neighbour's.

    Neighbours are asked in turns, each in the order of `NEIGHBOURS`, all patches at once; whoever has none in the end
    takes the next known patch.
    """
    parents = coarse.numbers.take(coarse.places_of(fine.y // 2, fine.x // 2))
    has = parents >= 0
    y, x = coarse.rows_columns(places)
    offsets = 2 * (y - coarse.y) * fine.stride + 2 * (x - coarse.x)
    offsets = np.where(has, offsets[parents], 0)
    has &= fine.usable(fine.places + offsets)
    while True:
        given = has.copy()
        for beside in fine.beside:
            rows = np.nonzero(~given & (beside >= 0) & has[beside])[0]
            theirs = offsets[beside[rows]]
            fits = fine.usable(fine.places[rows] + theirs)
            rows = rows[fits]
            offsets[rows], given[rows] = theirs[fits], True
        if np.array_equal(given, has):
            break
        has = given
    return np.where(has, fine.places + offsets, _next_known(fine))


def _next_known(level: Level) -> Places:
    """The known patch that comes next to each in reading order, from the first again after the last."""
    own = level.known[: level.own]
    found: Places = own[np.searchsorted(own, level.places) % level.own]
    return found


def _distances(level: Level, patches: Patches, places: Places, spread: Spread) -> Exact:
    """Of each patch from the known one at its place."""
    parts = spread(lambda part: level.distances(patches, part, places[part]), len(level))
    return np.concatenate(parts)


def _agree(
    level: Level, patches: Patches, places: Places, around: tuple[int, ...], spread: Spread
) -> tuple[Places, Exact]:
    """Better offsets: those of neighbours, and others `around` where they point. Returns places and distances."""
    distances = _distances(level, patches, places, spread)
    offsets = np.append(places - level.places, NOWHERE)  # of no neighbour: the last, by its number -1

    def better(rows: Numbers, theirs: Places, far: Exact) -> Mask:
        """Which offsets are, as far as neighbours have them now."""
        found = far < distances[rows] + len(level.beside) * ALIKE
        rows = rows[found]
        theirs, own, gain = theirs[found], offsets[rows], np.zeros(len(rows), np.int64)
        for beside in level.beside:
            next_to = offsets.take(beside.take(rows))
            gain += next_to == theirs
            gain -= next_to == own
        found[found] = far[found] < distances[rows] + ALIKE * gain
        return found

    def neighbours(rows: Numbers, beside: list[Numbers], part: slice) -> None:
        """Take over what is better of what neighbours have, who are none of `rows`."""
        rows = rows[part]
        for others in beside:
            theirs = offsets.take(others[part])
            differs = (theirs != NOWHERE) & (theirs != offsets.take(rows))
            asking, theirs = rows[differs], theirs[differs]
            fits = level.usable(level.places.take(asking) + theirs)
            asking, theirs = asking[fits], theirs[fits]
            far = level.distances(patches, asking, level.places.take(asking) + theirs)
            taken = better(asking, theirs, far)
            asking = asking[taken]
            offsets[asking], distances[asking] = theirs[taken], far[taken]

    def others(part: slice, number: int, radius: int) -> tuple[Places, Exact, Mask]:
        """Offsets near those that the patches have, their distances, and which are better."""
        rows = np.arange(part.start, part.stop)
        draw = _scrambled(rows.astype(np.uint32), number)
        wide = np.uint32(2 * radius + 1)
        down, right = (
            each.astype(np.int64) - radius for each in ((draw & 65535) % wide, (draw >> 16) % wide)
        )
        own, at = offsets[part], level.places[part]
        theirs = own + down * level.stride + right
        theirs = np.where(level.usable(at + theirs), theirs, own)
        far = level.distances(patches, part, at + theirs)
        return theirs, far, better(rows, theirs, far)

    squares = (level.y + level.x) % 2
    colours = [np.nonzero(squares == colour)[0] for colour in (0, 1)]
    around_colours = [[beside[rows] for beside in level.beside] for rows in colours]
    for turn in range(ROUNDS):
        for rows, beside in zip(colours, around_colours, strict=True):
            # Of a chessboard: neighbours do not change at once.
            spread(partial(neighbours, rows, beside), len(rows))
        for number, radius in enumerate(around):
            look = partial(others, number=turn * len(AROUND) + number, radius=radius)
            theirs, far, taken = map(np.concatenate, zip(*spread(look, len(level)), strict=True))
            offsets[:-1][taken], distances[taken] = theirs[taken], far[taken]
    return level.places + offsets[:-1], distances


def _scrambled(numbers: NDArray[np.uint32], turn: int) -> NDArray[np.uint32]:
    """Others of 32 bits for each number and turn, with nothing to be seen in them."""
    start = np.uint32((turn + 1) * 0x85EBCA6B % 2**32)
    x = numbers * np.uint32(0x9E3779B1) ^ start
    for shift, factor in ((15, 0x2C1B3C6D), (12, 0x297A2D39)):
        x = (x ^ x >> np.uint32(shift)) * np.uint32(factor)
    return x ^ x >> np.uint32(15)


def _vote(
    level: Level,
    places: Places,
    distances: Exact | None,
    spread: Spread,
    reached: Mask | None = None,
    radius: int = VOTES,
) -> Values:
    """The fill: each pixel the mean of what the patches over it say, near ones and their middles most.

    Args:
        places: (N,), of the known patch of each.
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
    # Where no patch lies, the number is -1: the last, which says nothing.
    weight, offsets = np.append(weight, 0), np.append(places - level.places, 0)
    asked, colours = level.places_of(*np.nonzero(reached)), level.colours

    def said(part: slice) -> Exact:
        """Sums of (n, 4): colours, and weights."""
        pixels = asked[part]
        total = np.zeros((len(pixels), 4))
        for dy, dx in product(range(-radius, radius + 1), repeat=2):
            number = level.numbers.take(pixels - (dy * level.stride + dx))
            share = weight.take(number) * ((radius + 1 - abs(dy)) * (radius + 1 - abs(dx)))
            total += colours.take(pixels + offsets.take(number), axis=0) * share[:, None]
        return total

    total = np.concatenate(spread(said, len(asked)))
    found = level.picture.copy()
    found[reached] = np.floor((total[:, :3] + np.floor(total[:, 3:] / 2)) / total[:, 3:])
    return found
