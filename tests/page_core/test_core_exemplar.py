"""The photo's own texture in a hole: bit for bit what Python finds, for all arithmetic is on whole numbers."""

from __future__ import annotations

from collections.abc import Callable
from itertools import cycle, product

import numpy as np
import pytest
from core_client import Call, Core, as_array, as_image, as_mask
from made_photos import disc, noise, picture

from moebius.imaging import push_pull, textured
from moebius.imaging.arrays import FloatImage, Mask
from moebius.imaging.exemplar import RING, copied_patches
from moebius.imaging.patches import widened

Photo = Callable[[int, int], np.ndarray]


def shown(pixels: np.ndarray, mask: Mask) -> FloatImage:
    """Whole levels, filled smoothly under the mask."""
    return push_pull((pixels / np.float32(255)).astype(np.float32), mask)


def flat(width: int, height: int) -> np.ndarray:
    """Two areas and a bar, in which nearly every patch is as near as many others."""
    pixels = np.full((height, width, 3), (90, 120, 30), np.uint8)
    pixels[:, width // 2 :] = 200
    pixels[height // 3, :] = 0
    return pixels


def grained(width: int, height: int) -> np.ndarray:
    """A photo with as much noise as a phone takes at night."""
    clean = picture(width, height, seed=3).astype(float)
    return (clean + np.random.default_rng(4).normal(0, 12, clean.shape)).clip(0, 255).astype(np.uint8)


def alternating(size: tuple[int, int], photos: tuple[Photo, Photo]) -> list[tuple[FloatImage, Mask]]:
    """Every hole, in one of two photos in turn."""
    return [(photo(*size), mask) for photo, mask in zip(cycle(photos), holes(*size).values())]


def holes(width: int, height: int) -> dict[str, Mask]:
    bar, thin, block = np.zeros((3, height, width), bool)
    bar[:, : width // 3] = True
    thin[np.arange(height), np.arange(height) * (width - 1) // max(1, height - 1)] = True
    block[:11, :11] = True  # 49 patches
    least = min(width, height)
    return {
        "thick": disc(width, height, (width / 2, height / 3), least / 4),
        "corner": disc(width, height, (0, 0), least / 2.5),
        "side": bar,
        "thin": thin,
        "dots": np.random.default_rng(width).random((height, width)) < 0.004,
        "small": disc(width, height, (width / 3, height / 2), 4.6),
        "all but a block": ~block,
        "nearly all": ~disc(width, height, (width / 2, height / 2), least / 3),
        "all but a corner": ~disc(width, height, (width, height), least / 7),
    }


@pytest.mark.parametrize("size", [(44, 44), (160, 48), (75, 50)], ids=str)
def test_copied_patches(core: Core, size: tuple[int, int]) -> None:
    compare(core, alternating(size, (grained, flat)))


@pytest.mark.parametrize("size", [(30, 47), (50, 26), (9, 7), (5, 5), (2, 60), (1, 1)], ids=str)
def test_copied_patches_of_small_frames(core: Core, size: tuple[int, int]) -> None:
    masks = holes(*size)
    pairs = list(product((grained, flat), masks.values()))
    cases = [(photo(*size), mask) for photo, mask in pairs]
    compare(core, [*cases, (noise((size[1], size[0], 3)), masks["thick"]), (picture(*size), masks["corner"])])


@pytest.mark.parametrize("size", [(512, 256), (512, 320), (201, 300)], ids=str)
def test_copied_patches_of_large_frames(core: Core, size: tuple[int, int]) -> None:
    """Several scales, at most of which offsets are handed on and tried."""
    width, height = size
    large = disc(width, height, (0.6 * width, 0.4 * height), 0.3 * height)
    thick = disc(width, height, (0.5 * width, 0.9 * height), 0.15 * height)
    compare(core, [(grained(*size), large), (flat(*size), thick), (picture(*size), holes(*size)["thin"])])


@pytest.mark.parametrize("share", [0.005, 0.01, 0.02])
def test_dust(core: Core, share: float) -> None:
    """Offsets lead into other specks, and at some scale nothing is known whole."""
    mask = np.random.default_rng(1).random((128, 192)) < share
    mask[40:80, 60:100] = True
    compare(core, [(grained(192, 128), mask)])


def test_values_between_levels(core: Core) -> None:
    """Frames are resized: known pixels come back as they were, the fill in whole levels."""
    random = np.random.default_rng(2)
    image = random.uniform(-0.1, 1.1, (64, 96, 3)).astype(np.float32)
    mask = disc(96, 64, (40, 30), 12)
    expected = copied_patches(image, mask)
    assert expected is not None
    found = as_array(core("core/exemplar.js", "copiedPatches", as_image(image), as_mask(mask)))
    assert np.array_equal(found, expected)
    far = ~widened(mask, RING)
    assert np.array_equal(found[far], image[far])


def test_nothing_to_copy_from(core: Core) -> None:
    image = shown(picture(40, 30), np.zeros((30, 40), bool))
    masks = [np.zeros((30, 40), bool), np.ones((30, 40), bool), ~disc(40, 30, (20, 15), 5)]
    for mask in masks:
        assert copied_patches(image, mask) is None
        assert core("core/exemplar.js", "copiedPatches", as_image(image), as_mask(mask)) is None


def compare(core: Core, cases: list[tuple[np.ndarray, Mask]]) -> None:
    pictures = [shown(*case) for case in cases]
    masks = [mask for _, mask in cases]
    calls: list[Call] = [
        ("core/exemplar.js", "copiedPatches", [as_image(image), as_mask(mask)])
        for image, mask in zip(pictures, masks, strict=True)
    ]
    for image, mask, found in zip(pictures, masks, core.all(calls), strict=True):
        expected = copied_patches(image, mask)
        assert (found is None) == (expected is None)
        if expected is not None:
            assert np.array_equal(as_array(found), expected)


@pytest.mark.parametrize("size", [(40, 40), (104, 52), (9, 7)], ids=str)
def test_textured(core: Core, size: tuple[int, int]) -> None:
    cases = [(shown(pixels, mask), mask) for pixels, mask in alternating(size, (picture, grained))]
    fills = [np.where(mask[..., None], 0.7 * known[::-1] + np.float32(0.1), known) for known, mask in cases]
    calls: list[Call] = [
        ("core/texture.js", "textured", [as_image(fill), as_image(known), as_mask(mask)])
        for fill, (known, mask) in zip(fills, cases, strict=True)
    ]
    for fill, (known, mask), found in zip(fills, cases, core.all(calls), strict=True):
        pixels = as_array(found)
        assert np.abs(pixels - textured(fill, known, mask)).max() <= 1e-6
        assert np.array_equal(pixels[~mask], known[~mask])


def test_both_draw_the_same_numbers(core: Core) -> None:
    """Where offsets are tried, and not all known patches compared; otherwise the numbers above would be idle."""
    width = height = 256
    mask = disc(width, height, (128, 128), 60)
    compare(core, [(noise((height, width, 3)), mask)])
