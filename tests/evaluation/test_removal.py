"""Does the object come back?"""

from __future__ import annotations

import numpy as np
import pytest

from moebius.evaluation.metrics import Picture
from moebius.evaluation.removal import object_left, returns
from moebius.imaging import push_pull

MASK = np.zeros((96, 96), bool)
MASK[30:70, 20:80] = True


def scene(seed: int) -> Picture:
    """A soft pattern that differs by seed."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:96, :96] / 96
    waves = [
        np.sin(2 * np.pi * (random.integers(2, 7) * x + random.integers(2, 7) * y + random.random()))
        for _ in range(3)
    ]
    return (0.5 + 0.2 * np.stack(waves, axis=-1)).astype(np.float32)


PHOTO = scene(1)
SMOOTH = push_pull(PHOTO, MASK)


def mixed(share: float) -> Picture:
    """Something else, with a share of the hidden object in it."""
    return np.where(MASK[..., None], share * PHOTO + (1 - share) * scene(2), PHOTO).astype(np.float32)


def test_nothing_and_everything() -> None:
    assert returns(SMOOTH, PHOTO, SMOOTH, MASK) == 0
    assert returns(PHOTO, PHOTO, SMOOTH, MASK) == pytest.approx(1)
    negative = (2 * SMOOTH - PHOTO).astype(np.float32)
    assert returns(negative, PHOTO, SMOOTH, MASK) == pytest.approx(-1, abs=1e-5)


def test_it_grows_with_what_leaks() -> None:
    values = [returns(mixed(share), PHOTO, SMOOTH, MASK) for share in (0, 0.2, 0.5, 0.8, 1)]
    assert values == sorted(values)
    assert abs(values[0]) < 0.2 and values[-1] == pytest.approx(1)


def test_pixels_outside_the_hole_do_not_count() -> None:
    other = mixed(0.3).copy()
    other[~MASK] = 0
    assert returns(other, PHOTO, SMOOTH, MASK) == returns(mixed(0.3), PHOTO, SMOOTH, MASK)


def test_what_a_classifier_still_sees() -> None:
    cat, lawn, other = np.eye(3, dtype=np.float32)
    photo, smooth = 0.9 * cat + 0.1 * lawn, 0.9 * lawn + 0.1 * other
    assert object_left(photo, photo, smooth) == pytest.approx(1)
    assert object_left(smooth, photo, smooth) == pytest.approx(0)
    assert object_left(0.45 * cat + 0.55 * other, photo, smooth) == pytest.approx(0.5)
    assert object_left(other, photo, smooth) == pytest.approx(0)


def test_no_answer_where_the_classifier_knows_nothing() -> None:
    flat = np.full(10, 0.1, np.float32)
    nearly = flat + np.float32(0.02) * np.array([1, -1] * 5, np.float32)
    assert object_left(flat, nearly, flat) is None
