"""Holes filled from elsewhere in the picture, alone and in a network's colours."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from made_photos import disc, noise, picture

from moebius.imaging import exemplar_fill, patches, push_pull, textured
from moebius.imaging.arrays import FloatImage, Mask
from moebius.imaging.patches import HEAVIEST, Level
from moebius.imaging.spread import Spread


def floats(pixels: np.ndarray) -> FloatImage:
    return (pixels / np.float32(255)).astype(np.float32)


PHOTO, HOLE = floats(picture(64, 48)), disc(64, 48, (30, 20), 9)


@settings(max_examples=25, deadline=None)
@given(
    mask=st.tuples(st.integers(1, 40), st.integers(1, 40)).flatmap(lambda shape: arrays(bool, shape)),
    spoiling=st.sampled_from([np.nan, np.inf, -1e9, 0.5]),
)
def test_known_pixels_stay_and_hidden_ones_are_not_read(mask: Mask, spoiling: float) -> None:
    height, width = mask.shape
    photo = floats(noise((height, width, 3), seed=width))
    hidden = np.where(mask[..., None], np.float32(spoiling), photo)
    filled = exemplar_fill(photo, mask)
    assert filled.shape == photo.shape and filled.dtype == np.float32
    assert filled[~mask].tobytes() == photo[~mask].tobytes()
    assert filled.tobytes() == exemplar_fill(hidden, mask).tobytes()
    assert filled.min() >= 0 and filled.max() <= 1


@pytest.mark.parametrize("size", [(64, 64), (75, 50), (128, 96), (256, 128)], ids=str)
@pytest.mark.parametrize("spoiling", [np.nan, np.inf, 0.0])
def test_nothing_is_read_under_a_hole_at_any_scale(size: tuple[int, int], spoiling: float) -> None:
    photo, mask = floats(picture(*size)), disc(*size, (size[0] / 2, size[1] / 3), min(size) / 4)
    hidden = np.where(mask[..., None], np.float32(spoiling), photo)
    filled = exemplar_fill(photo, mask)
    assert np.array_equal(filled, exemplar_fill(hidden, mask))
    assert np.array_equal(filled, exemplar_fill(photo, mask)), "the same twice"
    assert np.array_equal(filled[~mask], photo[~mask])
    levels = filled[mask] * np.float32(255)
    assert np.abs(levels - np.round(levels)).max() < 1e-4, "the hole has whole levels"


def test_hidden_pixels_do_not_change() -> None:
    photo, mask = PHOTO.copy(), HOLE.copy()
    exemplar_fill(photo, mask)
    assert np.array_equal(photo, PHOTO) and np.array_equal(mask, HOLE)


def stripes(width: int, height: int) -> np.ndarray:
    columns = np.arange(width) // 4 % 2
    return np.broadcast_to(np.array([[40, 60, 90], [220, 200, 170]], np.uint8)[columns], (height, width, 3))


def checker(width: int, height: int) -> np.ndarray:
    rows, columns = np.mgrid[0:height, 0:width]
    return np.array([[20, 20, 60], [240, 230, 200]], np.uint8)[(rows // 4 + columns // 4) % 2]


@pytest.mark.parametrize("pattern", [stripes, checker])
@pytest.mark.parametrize("size", [(64, 64), (128, 128), (256, 128)], ids=str)
def test_a_pattern_goes_on(pattern: object, size: tuple[int, int]) -> None:
    """Exactly, or at another phase along a seam: a smooth fill has it nowhere.

    At a quarter of 128 px the pattern cannot be seen, and two phases may meet.
    """
    whole = floats(pattern(*size))  # type: ignore[operator]
    mask = disc(*size, (size[0] / 2 + 1, size[1] / 2 - 3), min(size) / 6)
    error = np.abs(exemplar_fill(whole, mask) - whole)[mask].mean()
    smooth = np.abs(push_pull(whole, mask) - whole)[mask].mean()
    assert smooth > 0.2
    assert error <= (0.4 if size == (128, 128) else 0.1) * smooth


def test_a_flat_area_stays_flat() -> None:
    whole = np.full((64, 64, 3), np.float32(77 / 255))
    assert np.array_equal(exemplar_fill(whole, disc(64, 64, (20, 60), 16)), whole)


def test_noise_stays_noise() -> None:
    """What is filled in is about as rough as what is known, although each pixel is what several patches agree on."""
    photo, mask = floats(noise((64, 64, 3))), disc(64, 64, (32, 32), 10)
    smooth, found = push_pull(photo, mask)[mask].std(), exemplar_fill(photo, mask)[mask].std()
    assert found > 0.55 * photo[~mask].std() > 2 * smooth


def test_empty_and_full_masks() -> None:
    none = np.zeros(HOLE.shape, bool)
    assert np.array_equal(exemplar_fill(PHOTO, none), PHOTO)
    assert (exemplar_fill(PHOTO, ~none) == 0.5).all()


@pytest.mark.parametrize("radius", [1, 3, 5])
def test_where_hardly_anything_is_known_the_fill_is_smooth(radius: int) -> None:
    mask = ~disc(64, 48, (30, 20), radius)
    assert np.array_equal(exemplar_fill(PHOTO, mask), push_pull(PHOTO, mask))


@pytest.mark.parametrize(
    ("image", "mask"),
    [((48, 64, 3), (48, 63)), ((48, 64, 3), (64, 48)), ((48, 64), (48, 64)), ((0, 0, 3), (0, 0))],
)
def test_shapes_must_belong_together(image: tuple[int, ...], mask: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="expected an image"):
        exemplar_fill(np.zeros(image, np.float32), np.ones(mask, bool))


def test_thin_and_thick_pieces_of_one_hole() -> None:
    """A scratch is gone at scales where a disc still is hole; it is filled from its own surroundings all the same."""
    whole = floats(stripes(256, 256))
    thick, scratch = disc(256, 256, (70, 128), 40), np.zeros((256, 256), bool)
    scratch[20:236, 200:203] = True
    filled = exemplar_fill(whole, thick | scratch)
    assert np.abs(filled - whole)[scratch].mean() < 0.02


@settings(max_examples=20, deadline=None)
@given(
    colour=st.tuples(*[st.floats(0, 1, width=32)] * 3),
    centre=st.tuples(st.integers(0, 63), st.integers(0, 47)),
)
def test_texture_keeps_what_is_known(colour: tuple[float, float, float], centre: tuple[int, int]) -> None:
    mask = disc(64, 48, centre, 9)
    known = push_pull(PHOTO, mask)
    fill = np.where(mask[..., None], np.float32(colour), known)
    found = textured(fill, known, mask)
    assert found.dtype == np.float32 and found.min() >= 0 and found.max() <= 1
    assert found[~mask].tobytes() == PHOTO[~mask].tobytes()
    assert np.array_equal(found, textured(fill, known, mask))


@pytest.mark.parametrize(
    ("shift", "least", "most"), [(-0.04, 0.7, 0.78), (0.04, 0.7, 0.78), (-0.3, 0.9, 1.02), (0.3, 0.9, 1.02)]
)
def test_slow_colours_move_towards_the_fill(shift: float, least: float, most: float) -> None:
    """By the share that is the network's, where the two are alike; where they are not, what was copied stays."""
    mask = disc(128, 128, (64, 64), 40)
    known = push_pull(floats(picture(128, 128) // 2 + 64), mask)
    own = exemplar_fill(known, mask)
    fill = np.where(mask[..., None], own + np.float32(shift), known)
    found = textured(fill, known, mask)
    inner = disc(128, 128, (64, 64), 24)
    left = (fill - found)[inner].mean() / (fill - own)[inner].mean()
    assert least < left < most


def test_fine_detail_is_the_photos() -> None:
    """What changes from pixel to pixel in the network's fill leaves no trace."""
    mask = disc(128, 128, (64, 64), 30)
    known = push_pull(floats(picture(128, 128) // 2 + 64), mask)
    grain = np.float32(0.2) * (-1) ** np.indices(mask.shape).sum(0)[..., None]
    own = exemplar_fill(known, mask)
    fill = np.where(mask[..., None], own + grain, own).astype(np.float32)
    found = textured(fill, known, mask)
    inner = disc(128, 128, (64, 64), 24)
    assert np.abs(np.diff(found - own, axis=0))[inner[1:]].max() < 0.01


def test_without_texture_the_networks_fill_remains() -> None:
    mask = ~disc(64, 48, (30, 20), 3)
    known = push_pull(PHOTO, mask)
    fill = np.where(mask[..., None], np.float32(0.3), known)
    assert np.array_equal(textured(fill, known, mask), fill)


def test_tones_meet_at_the_edge() -> None:
    """A bump has no second place of the same tone: what is copied is off, and meets the photo's at the edge."""
    grain = np.random.default_rng(0).normal(0, 0.02, (128, 128, 3))
    far = ((np.indices((128, 128)) - 64) ** 2).sum(0)[..., None]
    bump = (0.7 * np.exp(-far / 2500) + 0.05 + grain).astype(np.float32)
    mask = disc(128, 128, (64, 64), 26)
    known = push_pull(bump, mask)
    inside, outside = mask & ~disc(128, 128, (64, 64), 24), disc(128, 128, (64, 64), 28) & ~mask
    halves = [np.indices(mask.shape)[axis] > 64 for axis in (0, 1)]

    def step(picture: np.ndarray) -> float:
        """Mean difference of tone across the edge, over its four quarters."""
        quarters = [(halves[0] == a) & (halves[1] == b) for a in (0, 1) for b in (0, 1)]
        return float(
            np.mean([abs(picture[inside & q].mean() - picture[outside & q].mean()) for q in quarters])
        )

    assert step(textured(known, known, mask)) < 0.6 * step(exemplar_fill(bump, mask))
    assert step(textured(known, known, mask)) < step(bump) + 0.006


def test_how_patches_lie_in_memory_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    filled = exemplar_fill(PHOTO, HOLE)
    monkeypatch.setattr("moebius.imaging.patches.LAID_OUT", 0)
    assert np.array_equal(filled, exemplar_fill(PHOTO, HOLE))


def test_what_the_mirror_shows_is_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a face is hidden, and the other half is seen: here of something that is nowhere else, and never repeats."""
    half = push_pull(floats(noise((96, 64, 3), seed=3)), noise((96, 64), seed=4) < 236)
    whole = np.concatenate([half, half[:, ::-1]], axis=1)
    mask = disc(128, 96, (34, 48), 16)
    error = np.abs(exemplar_fill(whole, mask) - whole)[mask].mean()
    monkeypatch.setattr(patches, "MIRRORED", 1e7)
    without = np.abs(exemplar_fill(whole, mask) - whole)[mask].mean()
    assert error < 0.5 * without


@pytest.mark.parametrize("grain", [0, 1, 40])
@pytest.mark.parametrize("mirror", [False, True])
def test_the_nearest_patch_is_the_first_of_the_nearest(grain: int, mirror: bool) -> None:
    """Single precision finds it, although with little grain a tile is as near as its next, as far as that can tell."""
    random = np.random.default_rng(grain)
    tiles = np.tile(random.integers(0, 256 - grain, (10, 13, 3)), (4, 4, 1))
    photo = (tiles + random.integers(0, grain + 1, tiles.shape)).astype(np.float32)
    level = Level(photo, disc(52, 40, (26, 18), 6), 3)
    fill = np.clip(photo + random.integers(-1, 2, photo.shape), 0, 255)
    asked = level.patches(fill)
    with Spread() as spread:
        found = level.nearest(asked, spread, mirror=mirror)
    count = len(level.known) if mirror else level.own
    known, weights = level._sources(level.known[:count]).astype(np.int64), level._weights.astype(np.int64)
    off = ((asked.astype(np.int64)[:, None] - known) ** 2 * weights[:, None]).sum(axis=2)
    off[:, level.own :] += patches.MIRRORED * weights[:, ::3].sum(axis=1)[:, None]
    assert np.array_equal(found, level.known[off.argmin(axis=1)])
    assert weights.max() == HEAVIEST and len(np.unique(found)) > 1
