"""Holes to try peers on, and what is asked of every one of them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
from made_photos import disc, noise, picture

from moebius.evaluation.holes import Case, Hole, Mask
from moebius.evaluation.methods import Method


def make_hole(
    width: int = 64,
    height: int = 64,
    mask: Mask | None = None,
    *,
    photo: str = "a",
    family: str = "all",
    seed: int = 0,
) -> Hole:
    """A hole in a picture with ramps, stripes and grain; a disc in its middle by default."""
    if mask is None:
        mask = disc(width, height, (width * 0.45, height * 0.55), min(width, height) / 5)
    case = Case(photo=photo, image=Path(f"{photo}.png"), mask=lambda size: mask, family=family)
    return Hole(case, picture(width, height, seed=seed), mask)


def assert_hidden_is_not_read(method: Method, hole: Hole) -> None:
    """The same fill, whatever lies under the hole; and the hole's own arrays are left alone."""
    before = hole.pixels.copy(), hole.mask.copy()
    filled = method.fill(hole)
    assert filled.dtype == np.uint8
    assert filled.shape == hole.pixels.shape
    for hidden in (noise(hole.pixels.shape, seed=1), np.full_like(hole.pixels, 255)):
        other = replace(hole, pixels=np.where(hole.mask[..., None], hidden, hole.pixels))
        assert (method.fill(other) == filled).all()
    assert (hole.pixels == before[0]).all()
    assert (hole.mask == before[1]).all()


def assert_repeats(method: Method, holes: list[Hole]) -> None:
    """The same fills from two threads at once as one after the other, and again."""
    serial = [method.fill(hole) for hole in holes]
    assert len({fill.tobytes() for fill in serial}) == len(holes)
    with ThreadPoolExecutor(2) as pool:
        for _ in range(2):
            for expected, filled in zip(serial, pool.map(method.fill, holes), strict=True):
                assert (filled == expected).all()
