"""Holes larger than the network's field: tiles that cover them, and fills that nobody can see the tiles in."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_photos import disc, noise, picture

from moebius import Moebius
from moebius.engines.base import FloatArray as Floats
from moebius.imaging import Box, Photo, bounding_box, grow_mask
from moebius.pipeline.canvas import Canvas, Picture, tile_step, tile_window
from moebius.pipeline.frame import prepare, reduce_known
from moebius.pipeline.tiles import keep_tone, refinements
from moebius.testing import LIKE_NANO, LIKE_PUBLISHED, FakeEngine

SPEC = replace(LIKE_NANO, cascade=(32,))
PHOTO = picture(420, 360)
MASK = disc(420, 360, (200, 170), 90)


def model_of(spec=SPEC, rows: int = 1) -> tuple[Moebius, FakeEngine]:  # type: ignore[no-untyped-def]
    engine = FakeEngine()
    engine.rows = rows
    return Moebius(spec, engine, model_hash="0"), engine


def test_resolutions_double_up_to_the_photos_own() -> None:
    assert refinements(1.2) == [1]
    assert refinements(3.0) == [2, 1]
    assert refinements(12.0) == [8, 4, 2, 1]
    for scale in np.linspace(1.1, 40, 50):
        steps = [scale, *refinements(float(scale))]
        assert steps[-1] == 1 and all(1 < a / b <= 3 for a, b in pairwise(steps))


@given(
    st.integers(20, 300), st.integers(20, 300), st.sampled_from([1, 2, 3, 4]), st.integers(0, 12),
    st.tuples(st.floats(0, 0.8), st.floats(0, 0.8), st.floats(0.05, 1), st.floats(0.05, 1)),
)  # fmt: skip
@settings(deadline=None, max_examples=120)
def test_tiles_cover_the_hole_and_show_what_is_known(
    height: int, width: int, factor: int, reach: int, place: tuple[float, float, float, float]
) -> None:
    mask = np.zeros((height, width), bool)
    top, left = int(place[0] * height), int(place[1] * width)
    mask[top : top + max(1, int(place[2] * height)), left : left + max(1, int(place[3] * width))] = True
    mask &= noise((height, width), seed=height) > 60
    hole = bounding_box(mask)
    if hole is None:
        return
    region = Box(0, 0, width, height)
    before = Picture(np.full((4, 4, 3), 0.25, np.float32), (0, 0, width, height))
    photo = Photo(picture(width, height), "RGB")
    canvas = Canvas(photo, mask, region, hole, reach=reach, factor=factor, side=32, grid=8, before=before)
    covered = np.zeros((height + 400 * factor, width + 400 * factor), bool)
    averaged, unknown = reduce_known(photo, region, mask, factor)
    for y, x in canvas.places:
        assert (
            y % 8 == x % 8 == 0 and 0 <= y <= canvas.window.height - 32 and 0 <= x <= canvas.window.width - 32
        )
        row, column = (canvas.window.top + y) * factor, (canvas.window.left + x) * factor
        covered[row : row + 32 * factor, column : column + 32 * factor] = True
        pixels, cells = canvas.tile((y, x))
        assert pixels.shape == (32, 32, 3) and cells.shape == (32, 32)
        assert np.allclose(pixels[cells], 0.25), "the hole holds the fill so far"
        rows = canvas.window.top + y + np.arange(32)
        columns = canvas.window.left + x + np.arange(32)
        inside = np.ix_(rows < len(averaged), columns < averaged.shape[1])
        part = averaged[canvas.window.top + y :, canvas.window.left + x :][:32, :32]
        known = ~cells[inside].reshape(part.shape[:2])
        assert np.allclose(pixels[: len(part), : part.shape[1]][known], part[known], atol=1e-6)
        assert not unknown[canvas.window.top + y :, canvas.window.left + x :][:32, :32][known].any()
    assert covered[:height, :width][grow_mask(mask, reach)].all()


def test_tiles_weigh_the_same_everywhere() -> None:
    """Away from the border the weights of a row of tiles add up to one."""
    side, step = 32, tile_step(32)
    total = np.zeros((side, side + 2 * step))
    for start in (0, step, 2 * step):
        total[:, start : start + side] += tile_window(side, step)
    middle = total[side // 2]
    np.testing.assert_allclose(middle[side - step : -(side - step)], 1.0, atol=1e-6)


@pytest.mark.parametrize("spec", [SPEC, LIKE_PUBLISHED], ids=["prefill", "masked"])
def test_nothing_under_the_mask_is_read_and_nothing_outside_is_written(spec) -> None:  # type: ignore[no-untyped-def]
    model, engine = model_of(spec)
    other = PHOTO.copy()
    other[MASK] = noise((int(MASK.sum()), 3), seed=5)
    a, b = (model(each, MASK, strategy="tiles", grow=0, feather=3).photo.pixels for each in (PHOTO, other))
    assert np.array_equal(a, b)
    assert np.array_equal(a[~grow_mask(MASK, 3)], PHOTO[~grow_mask(MASK, 3)])
    assert not np.array_equal(a[MASK], PHOTO[MASK])
    assert engine.encoded > 8, "tiles were filled, not one crop"


def test_the_number_of_rows_changes_nothing() -> None:
    results = [
        model_of(rows=rows)[0](PHOTO, MASK, strategy="tiles", grow=0).photo.pixels for rows in (1, 3, 8)
    ]
    assert np.array_equal(results[0], results[1]) and np.array_equal(results[0], results[2])


def test_refining_keeps_the_coarse_structure() -> None:
    """An engine that adds nothing: tiles give the smooth fill back, at the photo's resolution, without a seam."""

    class Nothing(FakeEngine):
        def predict(
            self, noisy: Floats, timestep: int, mask: Floats, condition: Floats, guidance: float
        ) -> Floats:
            return super().predict(noisy, timestep, mask, condition, guidance) * 0

    spec = replace(LIKE_NANO, prediction="sample")
    model = Moebius(spec, Nothing(), model_hash="0")
    ramp = np.linspace(100, 130, 420, dtype=np.float32)[None, :, None] + np.zeros((360, 420, 3), np.float32)
    photo = ramp.astype(np.uint8)
    filled = model(photo, MASK, strategy="tiles", grow=0, steps=1).photo.pixels.astype(int)
    assert np.abs(np.diff(filled, axis=1)).max() <= 4 and np.abs(np.diff(filled, axis=0)).max() <= 4
    crop = model(photo, MASK, strategy="crop", grow=0, steps=1).photo.pixels.astype(int)
    assert np.abs(filled - crop).max() <= 4


def test_progress_goes_up_and_closing_stops_the_work() -> None:
    model, engine = model_of()
    events = list(model.stream(PHOTO, MASK, strategy="tiles", grow=0))
    fractions = [event.fraction for event in events]
    assert fractions == sorted(fractions) and fractions[-1] == 1.0 and len(events) > 20
    assert max(b - a for a, b in pairwise(fractions)) < 0.2
    assert events[-2].preview().width <= 64
    engine.timesteps.clear()
    stream = model.stream(PHOTO, MASK, strategy="tiles", grow=0)
    for _ in range(12):
        next(stream)
    calls = len(engine.timesteps) + engine.encoded
    stream.close()
    assert len(engine.timesteps) + engine.encoded == calls


def test_scratches_are_refined_without_being_asked_for() -> None:
    scratch = np.zeros((360, 420), bool)
    scratch[np.arange(300) + 20, np.arange(300) + 40] = scratch[np.arange(300) + 20, np.arange(300) + 41] = (
        True
    )
    for mask, refined in ((scratch, True), (MASK, False)):
        model, engine = model_of()
        model(PHOTO, mask, grow=1)
        assert (engine.encoded > 2) == refined


def test_a_hole_at_the_models_own_resolution_is_left_at_that() -> None:
    model, engine = model_of()
    model(PHOTO, disc(420, 360, (200, 170), 12), strategy="tiles", grow=0)
    assert engine.encoded == 2, "one for each side of the cascade"


def test_the_whole_photo_in_one_frame() -> None:
    model, engine = model_of()
    mask = disc(420, 360, (60, 50), 12) | disc(420, 360, (380, 300), 9)
    result = model(PHOTO, mask, strategy="whole")
    assert result.regions == (Box(0, 0, 420, 360),) and engine.encoded == 2


def test_large_crops_are_averaged_down_alike() -> None:
    """Averaging first gives what filling and resizing at full resolution gives, but for a little."""
    photo, mask = Photo(picture(1200, 900), "RGB"), disc(1200, 900, (500, 400), 150)
    box = Box(10, 20, 1150, 880)
    frame = prepare(photo, box, mask[box.slices], (64, 64))
    assert frame.inner == (48, 64) and frame.outer == (860, 1140)
    from moebius.imaging import push_pull, resize

    exact = resize(push_pull(photo.crop_rgb(box), mask[box.slices]), frame.inner)
    difference = np.abs(frame.filled[:48, :64] - exact)
    assert difference[~frame.mask[:48, :64]].mean() < 0.01 and difference.mean() < 0.02


def test_detail_is_all_that_refining_adds() -> None:
    before, pixels = (picture(64, 64, seed=seed).astype(np.float32) / 255 * 0.5 + 0.25 for seed in (0, 1))
    toned = keep_tone(pixels + 0.1, before)
    blocks = [each.reshape(8, 8, 8, 8, 3).mean(axis=(1, 3)) for each in (toned, before)]
    assert np.abs(blocks[0] - blocks[1]).mean() < 0.02
    assert np.corrcoef(np.diff(toned).ravel(), np.diff(pixels).ravel())[0, 1] > 0.8
