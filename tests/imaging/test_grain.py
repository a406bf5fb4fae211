"""Grain: the noise of the surroundings, and nothing that they do not have."""

from __future__ import annotations

import json
import os
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from moebius.evaluation.ring import Ring
from moebius.imaging import Box, distance_outside, push_pull, read_photo
from moebius.imaging.grain import Grain, match_grain
from moebius.sampling import normal

DRAW = partial(normal, seed=1, key="grain")
SIDE = 256
_BESIDE = Path(__file__).parents[3] / "shared" / "data"


def disc(side: int = SIDE, radius: float = 50) -> np.ndarray:
    y, x = np.ogrid[:side, :side]
    return np.hypot(y - side / 2, x - side / 2) < radius


def ramp(side: int = SIDE) -> np.ndarray:
    """Brighter from top to bottom, and of another colour from left to right."""
    y, x = np.mgrid[:side, :side] / side
    return np.stack([0.2 + 0.5 * y + 0.1 * x, 0.25 + 0.5 * y, 0.3 + 0.5 * y - 0.1 * x], axis=-1)


def blurred(noise: np.ndarray, sigma: float) -> np.ndarray:
    """Noise whose neighbours go together, as strong as before."""
    frequency = np.fft.fftfreq(len(noise))
    response = np.exp(-2 * (np.pi * sigma) ** 2 * (frequency[:, None] ** 2 + frequency[None] ** 2))
    soft = np.fft.ifft2(np.fft.fft2(noise, axes=(0, 1)) * response[..., None], axes=(0, 1)).real
    return soft / soft.std()


def noisy(kind: str) -> np.ndarray:
    white = np.random.default_rng(0).standard_normal((SIDE, SIDE, 3))
    grain = {
        "white": 0.02 * white,
        "faint": 0.006 * white,
        "correlated": 0.02 * blurred(white, 0.8),
        "grey": 0.02 * white[..., :1],
        "by brightness": (0.04 - 0.045 * ramp().mean(axis=-1, keepdims=True)) * white,
        "coarse": 0.03 * blurred(white, 1.2),
    }[kind]
    return (np.round(np.clip(ramp() + grain, 0, 1) * 255) / 255).astype(np.float32)


def pasted(fill: np.ndarray, photo: np.ndarray, mask: np.ndarray) -> np.ndarray:
    return np.where(mask[..., None], fill, photo)


needs_opencv = pytest.mark.skipif(find_spec("cv2") is None, reason="what measures the edge needs OpenCV")
KINDS = ["white", "faint", "correlated", "grey", "by brightness", "coarse"]


@needs_opencv
@pytest.mark.parametrize("kind", KINDS)
def test_the_edge_is_as_fine_inside_as_outside(kind: str) -> None:
    photo, mask = noisy(kind), disc()
    fill = push_pull(photo, mask)
    ring = Ring(photo, mask, seed=0)
    before = ring(pasted(fill, photo, mask))["ring_grain"]
    after = ring(pasted(match_grain(fill, photo, mask, noise=DRAW), photo, mask))["ring_grain"]
    assert before < 0.4
    assert 0.85 <= after <= 1.15


def test_channels_and_neighbours_go_together_as_outside() -> None:
    mask = disc()

    def residual(kind: str) -> np.ndarray:
        photo = noisy(kind)
        fill = push_pull(photo, mask)
        return (match_grain(fill, photo, mask, noise=DRAW) - fill)[96:160, 96:160]

    grey, white, soft = residual("grey"), residual("white"), residual("correlated")
    assert np.corrcoef(grey[..., 0].ravel(), grey[..., 2].ravel())[0, 1] > 0.95  # no colour speckle
    assert abs(np.corrcoef(white[..., 0].ravel(), white[..., 2].ravel())[0, 1]) < 0.2

    def neighbours(values: np.ndarray) -> float:
        return float(np.corrcoef(values[:, 1:, 1].ravel(), values[:, :-1, 1].ravel())[0, 1])

    outside = (noisy("correlated") - ramp())[:60]
    assert abs(neighbours(soft) - neighbours(outside)) < 0.15
    assert abs(neighbours(white)) < 0.15
    assert np.abs(soft.mean(axis=(0, 1))).max() < 0.003


def test_strength_follows_brightness() -> None:
    photo, mask = noisy("by brightness"), disc()
    fill = push_pull(photo, mask)
    added = match_grain(fill, photo, mask, noise=DRAW) - fill
    dark, bright = added[85:105, 100:156].std(), added[151:171, 100:156].std()
    assert 1.15 < dark / bright < 1.6  # outside it is 1.4


def test_the_hole_is_never_read() -> None:
    photo, mask = noisy("white"), disc()
    fill = push_pull(photo, mask)
    hidden = photo.copy()
    hidden[mask] = np.nan
    one, other = (match_grain(fill, each, mask, noise=DRAW) for each in (photo, hidden))
    np.testing.assert_array_equal(one, other)
    assert np.isfinite(other).all()


def test_what_the_fill_holds_outside_does_not_matter() -> None:
    photo, mask = noisy("white"), disc()
    fill = push_pull(photo, mask)
    strange = fill.copy()
    strange[~mask] = np.nan
    expected = match_grain(fill, photo, mask, noise=DRAW)
    np.testing.assert_array_equal(match_grain(strange, photo, mask, noise=DRAW)[mask], expected[mask])


def test_a_fill_that_has_the_grain_gets_no_more() -> None:
    photo, mask = noisy("white"), disc()
    again = match_grain(photo, photo, mask, noise=DRAW)
    inner = distance_outside(~mask, 60) > 8
    added = (again - photo)[mask & inner].std()
    assert added < 0.008  # of 0.02: what one square happens to have less than the mean


def test_half_the_amount_is_half_the_amplitude() -> None:
    photo, mask = noisy("white"), disc()
    fill = push_pull(photo, mask)
    half, whole = (match_grain(fill, photo, mask, noise=DRAW, amount=each) - fill for each in (0.5, 1.0))
    np.testing.assert_allclose(half[mask], whole[mask] / 2, atol=1e-6)
    assert match_grain(fill, photo, mask, noise=DRAW, amount=0) is fill


def test_clean_photos_get_almost_nothing() -> None:
    mask = disc()
    for photo in (ramp().astype(np.float32), np.full((SIDE, SIDE, 3), 0.4, np.float32)):
        photo = (np.round(photo * 255) / 255).astype(np.float32)
        fill = push_pull(photo, mask)
        assert np.abs(match_grain(fill, photo, mask, noise=DRAW) - fill).max() < 2 / 255


def test_texture_is_not_taken_for_noise() -> None:
    """Bricks of every size and contrast have no level at which all squares are alike."""
    random = np.random.default_rng(0)
    bricks = np.kron(random.random((SIDE // 4, SIDE // 4)), np.ones((4, 4)))
    contrast = np.kron(random.random((SIDE // 16, SIDE // 16)), np.ones((16, 16)))
    photo = np.repeat((0.5 + (bricks - 0.5) * contrast)[..., None], 3, axis=2).astype(np.float32)
    mask = disc()
    fill = push_pull(photo, mask)
    np.testing.assert_array_equal(match_grain(fill, photo, mask, noise=DRAW), fill)


@pytest.mark.parametrize("mask", [np.ones((64, 64), bool), np.pad(np.ones((40, 40), bool), 12)])
def test_too_little_is_known(mask: np.ndarray) -> None:
    fill = np.full((64, 64, 3), 0.5, np.float32)
    np.testing.assert_array_equal(match_grain(fill, fill, mask, noise=DRAW), fill)


def test_parts_of_a_large_crop_fit_together_and_do_not_repeat() -> None:
    """Larger than a tile: the same whether added at once or by strips (but for the strips' own edges)."""
    side = 1200
    mask = np.zeros((side, side), bool)
    mask[60:, 60:] = True
    noise = np.random.default_rng(0).standard_normal((side, side, 3)).astype(np.float32)
    photo = np.where(mask[..., None], np.float32(np.nan), 0.5 + np.float32(0.02) * noise)
    drawn = []

    def draw(shape: tuple[int, ...]) -> np.ndarray:
        drawn.append(shape)
        return normal(shape, seed=0, key="")

    grain = Grain(lambda box: photo[box.slices], mask, draw)
    fill = np.full((side, side, 3), 0.5, np.float32)
    whole = grain.add(fill, mask)
    part = Box(300, 500, 1100, 700)
    strip = grain.add(fill[part.slices], mask[part.slices], top=part.top, left=part.left)
    np.testing.assert_allclose(strip, whole[part.slices], atol=1e-6)
    assert len(drawn) == 1
    assert np.prod(drawn[0]) < 3 * 2 * 512 * 512
    field = whole[100:, 100:, 1] - 0.5
    assert abs(field.std() - 0.02) < 0.002
    for shift in (405, 512, 917):
        assert abs(np.corrcoef(field[:, shift:].ravel(), field[:, :-shift].ravel())[0, 1]) < 0.7
    steps = np.abs(np.diff(field, axis=1)).mean(axis=0)
    assert steps.max() < 1.15 * steps.mean()  # no column in which tiles meet


def photo_of_the_set() -> tuple[np.ndarray, np.ndarray]:
    folder = Path(os.environ.get("MOEBIUS_EVAL_DATA", _BESIDE / "eval"))
    if not (folder / "manifest.jsonl").exists():
        pytest.skip("the photos set is not here: set MOEBIUS_EVAL_DATA")
    rows = [json.loads(line) for line in (folder / "manifest.jsonl").read_text().splitlines()]
    row = next(each for each in rows if each["group"] == "natural")
    photo = read_photo(folder / row["image"])
    return photo.crop_rgb(Box(0, 0, *photo.size)), disc(photo.height, photo.height / 5)


@needs_opencv
def test_a_photo_of_the_set_is_not_made_rougher_than_it_is() -> None:
    photo, mask = photo_of_the_set()
    fill = push_pull(photo, mask)
    ring = Ring(photo, mask, seed=0)
    before, after = (
        ring(pasted(each, photo, mask)) for each in (fill, match_grain(fill, photo, mask, noise=DRAW))
    )
    assert before["ring_grain"] - 1e-6 <= after["ring_grain"] <= 1.15
    assert after["ring_tone"] <= before["ring_tone"] + 0.05
