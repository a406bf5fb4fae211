"""Prefill, resizing and tone: smooth, exact where pixels are known, and blind under the mask."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.transform import resize as skimage_resize

from moebius.imaging import match_tone, push_pull, resize
from moebius.imaging.arrays import FloatImage, Mask


def scene(height: int, width: int, seed: int = 0) -> tuple[FloatImage, Mask]:
    rng = np.random.default_rng(seed)
    mask = np.zeros((height, width), dtype=bool)
    mask[height // 4 : height // 2 + 1, width // 3 : 2 * width // 3 + 1] = True
    return rng.random((height, width, 3), dtype=np.float32), mask


Step = Callable[[FloatImage], FloatImage]

shapes = st.tuples(st.integers(1, 50), st.integers(1, 50))


@given(shapes, st.integers(0, 2**32), st.sampled_from([np.nan, np.inf, -1e30, 0.0, 0.3]))
@settings(deadline=None, max_examples=80)
def test_push_pull_never_reads_the_hole(shape: tuple[int, int], seed: int, value: float) -> None:
    image, _ = scene(*shape, seed=seed)
    mask = np.random.default_rng(seed).random(shape) < 0.4
    other = np.where(mask[..., None], np.float32(value), image)
    filled = push_pull(image, mask)
    assert filled.tobytes() == push_pull(other, mask).tobytes()
    assert filled.dtype == np.float32
    np.testing.assert_array_equal(filled[~mask], image[~mask])
    assert np.isfinite(filled).all()
    if not mask.all():
        known = image[~mask]
        assert (filled >= known.min(axis=0) - 1e-5).all()
        assert (filled <= known.max(axis=0) + 1e-5).all()


def test_push_pull_by_hand() -> None:
    """Known, hole: one level, of weight a half, so that the hole takes the pair's average."""
    image = np.array([[[0.2], [9.0]]], dtype=np.float32)
    np.testing.assert_allclose(push_pull(image, np.array([[False, True]])), [[[0.2], [0.2]]], atol=1e-7)
    np.testing.assert_array_equal(push_pull(image, np.ones((1, 2), bool)), [[[0.5], [0.5]]])
    np.testing.assert_array_equal(push_pull(image, np.zeros((1, 2), bool)), image)


def test_push_pull_trusts_a_cell_that_is_a_quarter_known() -> None:
    """One known pixel of four, 0.2, among cells of 0.8: its cell is 0.2, and bilinear between the cells."""
    image = np.full((4, 4, 1), 0.8, dtype=np.float32)
    mask = np.zeros((4, 4), dtype=bool)
    image[0, 0] = 0.2
    mask[0, 1] = mask[1, 0] = mask[1, 1] = True
    filled = push_pull(image, mask)[:2, :2, 0]
    np.testing.assert_allclose(filled, [[0.2, 0.35], [0.35, 0.4625]], atol=1e-6)


def test_push_pull_of_one_colour_and_of_a_ramp() -> None:
    image, mask = scene(64, 96)
    flat = np.full_like(image, 0.3)
    np.testing.assert_allclose(push_pull(flat, mask), flat, atol=1e-6)
    ramp = np.repeat(np.linspace(0, 1, 96, dtype=np.float32)[None, :, None], 64, axis=0)
    filled = push_pull(ramp, mask)
    assert np.abs(filled - ramp).max() < 0.15
    assert np.abs(np.diff(filled, axis=1)).max() < 0.08, "no visible edge at the rim of the hole"


def plain_push_pull(image: FloatImage, mask: Mask) -> FloatImage:
    """The same pyramid with every cell of every level made."""

    def halved(cells: FloatImage) -> FloatImage:
        padded = np.pad(cells, ((0, cells.shape[0] % 2), (0, cells.shape[1] % 2), (0, 0)))
        rows = padded[0::2] + padded[1::2]
        return (rows[:, 0::2] + rows[:, 1::2]) * np.float32(0.25)

    def doubled(cells: FloatImage) -> FloatImage:
        for axis in (0, 1):
            index = np.arange(2 * cells.shape[axis])
            near = index // 2
            far = np.clip(near + 2 * (index % 2) - 1, 0, cells.shape[axis] - 1)
            cells = cells.take(near, axis) * np.float32(0.75) + cells.take(far, axis) * np.float32(0.25)
        return cells

    colour, weight = np.where(mask[..., None], np.float32(0), image), (~mask[..., None]).astype(np.float32)
    if weight.size == 1:
        return colour / weight if weight.item() else np.full_like(colour, 0.5)
    coarser = doubled(plain_pyramid_above(halved(colour), halved(weight), halved, doubled))
    return np.where(mask[..., None], coarser[: mask.shape[0], : mask.shape[1]], image)


def plain_pyramid_above(colour: FloatImage, weight: FloatImage, halved: Step, doubled: Step) -> FloatImage:
    if weight.size == 1:
        return colour / weight if weight.item() else np.full_like(colour, 0.5)
    below = doubled(plain_pyramid_above(halved(colour), halved(weight), halved, doubled))
    confidence = np.minimum(4 * weight, np.float32(1))
    own = colour / np.where(weight > 0, weight, np.float32(1))
    return own * confidence + below[: weight.shape[0], : weight.shape[1]] * (1 - confidence)


@given(shapes, st.integers(0, 2**32), st.sampled_from([0.02, 0.5, 0.95, 1.0]), st.integers(1, 12))
@settings(deadline=None, max_examples=150)
def test_push_pull_is_the_whole_pyramid_to_the_bit(
    shape: tuple[int, int], seed: int, density: float, blob: int
) -> None:
    """What no pixel of the hole asks for is left out; what is made is the same."""
    rng = np.random.default_rng(seed)
    image = rng.random((*shape, 3), dtype=np.float32)
    blobs = rng.random((-(-shape[0] // blob), -(-shape[1] // blob))) < density
    mask = np.kron(blobs, np.ones((blob, blob), bool))[: shape[0], : shape[1]]
    assert push_pull(image, mask).tobytes() == plain_push_pull(image, mask).tobytes()


def test_push_pull_shapes() -> None:
    with pytest.raises(ValueError, match="an image"):
        push_pull(np.zeros((4, 4, 3), np.float32), np.zeros((4, 5), bool))


@pytest.mark.parametrize("shape", [(16, 24), (9, 13), (100, 150), (64, 20)])
def test_resize(shape: tuple[int, int]) -> None:
    y, x = np.mgrid[:64, :96].astype(np.float32)
    smooth = np.stack([np.sin(x / 15) / 2 + 0.5, np.cos(y / 11) / 2 + 0.5, (x + y) / 160], axis=-1)
    resized = resize(smooth.astype(np.float32), shape)
    assert (resized.shape, resized.dtype) == ((*shape, 3), np.float32)
    expected = skimage_resize(smooth, shape, order=3, mode="edge", anti_aliasing=True)
    assert np.abs(resized - expected).mean() < 0.02


def test_resize_same_size_is_a_copy_and_values_stay_in_range() -> None:
    image, _ = scene(32, 32)
    same = resize(image, (32, 32))
    np.testing.assert_array_equal(same, image)
    same[:] = 0
    assert image.any()
    edges = np.zeros((32, 32, 3), dtype=np.float32)
    edges[::2] = 1
    for shape in ((21, 21), (57, 57)):
        resized = resize(edges, shape)
        assert resized.min() >= 0
        assert resized.max() <= 1


def test_shrinking_does_not_alias() -> None:
    board = (np.indices((128, 128)).sum(axis=0) % 2).astype(np.float32)[..., None]
    np.testing.assert_allclose(resize(board, (32, 32)), 0.5, atol=0.02)


def test_match_tone_removes_a_slow_difference() -> None:
    known, mask = scene(64, 64)
    drift = np.linspace(-0.05, 0.05, 64, dtype=np.float32)[:, None, None]
    matched = match_tone(np.clip(known * 0.8 + 0.1 + drift, 0, 1), known * 0.8 + 0.1, mask)
    assert np.abs(matched - (known * 0.8 + 0.1)).mean() < 0.01
    hidden = np.where(mask[..., None], np.float32(np.nan), known)
    assert match_tone(known, hidden, mask).tobytes() == match_tone(known, known, mask).tobytes()


def test_match_tone_with_nothing_to_compare() -> None:
    known, mask = scene(16, 16)
    for empty in (np.zeros_like(mask), np.ones_like(mask)):
        np.testing.assert_array_equal(match_tone(known, known * 0, empty), known)
    with pytest.raises(ValueError, match="divide by 8"):
        match_tone(known[:12], known[:12], mask[:12])
