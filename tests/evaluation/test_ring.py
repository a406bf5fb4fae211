"""The edge of a fill without a truth: what it sees, what it does not, and that it grows with the fault."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from moebius.evaluation.holes import Mask, open_case
from moebius.evaluation.metrics import Picture, to_picture
from moebius.evaluation.protocol import cases, open_protocol
from moebius.evaluation.ring import Ring
from moebius.imaging import push_pull


def noise(shape: tuple[int, int] = (128, 128), strength: float = 0.1, seed: int = 0) -> Picture:
    values = np.random.default_rng(seed).standard_normal((*shape, 3)).astype(np.float32)
    return 0.5 + np.float32(strength) * values


def block(shape: tuple[int, int] = (128, 128)) -> Mask:
    hole = np.zeros(shape, bool)
    hole[40:80, 50:90] = True
    return hole


def pasted(photo: Picture, fill: Picture | float, hole: Mask) -> Picture:
    return np.where(hole[..., None], np.float32(fill), photo)


def test_an_untouched_photo_is_like_itself() -> None:
    numbers = Ring(noise(), block(), seed=1)(noise())
    assert numbers["ring_step"] == pytest.approx(1, abs=0.05)
    assert numbers["ring_tone"] == pytest.approx(1, abs=0.25)
    assert numbers["ring_grain"] == pytest.approx(1, abs=0.1)


def test_another_texture_of_the_same_kind_does_not_show() -> None:
    fine = Ring(noise(), block(), seed=1)(pasted(noise(), noise(seed=5), block()))
    assert fine["ring_step"] == pytest.approx(1, abs=0.05)
    assert fine["ring_grain"] == pytest.approx(1, abs=0.1)


def test_a_shift_of_tone_shows_in_tone_and_no_texture_in_grain() -> None:
    ring = Ring(noise(strength=0.02), block(), seed=1)
    shifted = ring(pasted(noise(strength=0.02), noise(strength=0.02) + 0.2, block()))
    assert shifted["ring_tone"] > 10 and shifted["ring_step"] > 5
    assert shifted["ring_grain"] == pytest.approx(1, abs=0.1)
    smooth = ring(pasted(noise(strength=0.02), 0.5, block()))
    assert smooth["ring_grain"] < 0.1
    assert smooth["ring_step"] < 1 and smooth["ring_tone"] < 1.5


def test_the_step_of_a_constant_over_a_constant() -> None:
    """A flat photo has no variation of its own: the step is counted in levels of 8 bits."""
    photo = np.full((128, 128, 3), 0.5, np.float32)
    numbers = Ring(photo, block(), seed=1)(pasted(photo, 0.7, block()))
    assert numbers["ring_step"] == pytest.approx(0.2 * 255, rel=1e-4)
    assert numbers["ring_tone"] == pytest.approx(0.2 * 255, rel=1e-3)
    assert numbers["ring_grain"] == pytest.approx(1, abs=1e-3)


def test_nothing_beyond_the_surroundings_counts() -> None:
    ring, photo = Ring(noise(), block(), seed=1), noise()
    changed = photo.copy()
    changed[:10], changed[55:65, 65:75] = 0, 1  # far outside, and deep inside
    assert ring(changed) == pytest.approx(ring(photo), rel=1e-6)


def test_growing_faults_grow() -> None:
    ring = Ring(noise(), block(), seed=1)
    tones = [
        ring(pasted(noise(), noise(seed=5) + shift, block()))["ring_tone"] for shift in (0, 0.1, 0.2, 0.4)
    ]
    assert tones == sorted(tones)
    grains = [
        ring(pasted(noise(), 0.5 + (noise(seed=5) - 0.5) * scale, block()))["ring_grain"]
        for scale in (0.1, 0.5, 1.0, 2.0)
    ]
    assert grains == sorted(grains)


def test_a_hole_that_leaves_no_other_place() -> None:
    hole = np.zeros((64, 64), bool)
    hole[4:60, 4:60] = True
    numbers = Ring(noise((64, 64)), hole, seed=1)(noise((64, 64)))
    assert all(np.isfinite(value) for value in numbers.values())


def test_on_real_photos_the_truth_shows_least(eval_data: Path) -> None:
    """Over ten photos: the photo itself about 1; a smooth fill lacks grain; a shifted one shows its tone."""
    rows = []
    for case in cases(open_protocol("photos"), eval_data, families=("medium",), limit=10):
        hole = open_case(case)
        photo = to_picture(hole.pixels)
        ring = Ring(photo, hole.mask, seed=0)
        smooth = push_pull(photo, hole.mask)
        fills = [photo, smooth, np.clip(photo + 0.1 * hole.mask[..., None], 0, 1)]
        rows.append(
            [[ring(fill)[name] for name in ("ring_step", "ring_tone", "ring_grain")] for fill in fills]
        )
    truth, smooth, shifted = np.median(np.array(rows), axis=0)
    assert truth == pytest.approx([1, 1, 1], abs=0.25)
    assert smooth[2] < 0.7
    assert shifted[0] > truth[0] and shifted[1] > 1.5 * truth[1]
