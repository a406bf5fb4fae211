"""All methods fill the same pixels, and none looks under the mask."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from evaluation_stubs import SPEC, StubEngine, stub_model

from moebius.errors import InputError, MaskError, SettingsError
from moebius.evaluation.fillers import Filler, Pixels, model_fillers, plain_fillers, without_denoiser
from moebius.evaluation.photos import EvalPhoto, Hole, open_hole, read_manifest, spread
from moebius.imaging import match_tone, push_pull
from moebius.pipeline import Moebius

FILLERS = [*plain_fillers(), *model_fillers(stub_model(), (1, 3), ("ddim", "dpm++"))]


@pytest.fixture
def hole() -> Hole:
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    mask = np.zeros((64, 64), bool)
    mask[16:40, 20:50] = True
    return Hole(EvalPhoto("a", "natural", "", Path("a.png"), {}), "medium", pixels, mask)


def test_names() -> None:
    assert [filler.id for filler in FILLERS] == [
        "telea", "navier-stokes", "push-pull", "autoencoder",
        "model:1:ddim", "model:3:ddim", "model:1:dpm++", "model:3:dpm++",
    ]  # fmt: skip
    assert [filler.title for filler in FILLERS[-2:]] == [
        "stub, 1 step at each of 2 sizes, dpm++", "stub, 3 steps at each of 2 sizes, dpm++",
    ]  # fmt: skip
    assert [filler.of_model for filler in FILLERS] == [False] * 3 + [True] * 5


@pytest.mark.parametrize("filler", FILLERS, ids=lambda filler: filler.id)
def test_only_the_hole_changes_and_nothing_hidden_is_read(filler: Filler, hole: Hole) -> None:
    other = hole.pixels.copy()
    other[hole.mask] = 255 - other[hole.mask]
    before = hole.pixels.copy()
    filled, again = filler(hole), filler(replace(hole, pixels=other))
    assert filled.dtype == np.uint8
    assert (hole.pixels == before).all()
    assert (filled[~hole.mask] == hole.pixels[~hole.mask]).all()
    assert (filled == again).all()
    assert (filled[hole.mask] != hole.pixels[hole.mask]).mean() > 0.9


def test_a_filler_that_changes_more_is_held_to_the_hole(hole: Hole) -> None:
    filled = Filler("white", "", lambda hole: np.full_like(hole.pixels, 255))(hole)
    assert (filled[hole.mask] == 255).all()
    assert (filled[~hole.mask] == hole.pixels[~hole.mask]).all()


def by(name: str, hole: Hole) -> Pixels:
    return next(filler for filler in FILLERS if filler.id == name)(hole)


def test_plain_fillers_are_what_they_say(hole: Hole) -> None:
    mask = hole.mask.astype(np.uint8)
    assert (by("telea", hole) == cv2.inpaint(hole.pixels, mask, 3, cv2.INPAINT_TELEA)).all()
    assert (by("navier-stokes", hole) == cv2.inpaint(hole.pixels, mask, 3, cv2.INPAINT_NS)).all()
    smooth = push_pull(hole.pixels.astype(np.float32) / np.float32(255), hole.mask)
    assert np.abs(by("push-pull", hole) - smooth * 255).max() <= 0.501


def test_autoencoder_alone_is_the_smooth_fill_coded(hole: Hole) -> None:
    smooth = push_pull(hole.pixels.astype(np.float32) / np.float32(255), hole.mask)
    cells = smooth.reshape(8, 8, 8, 8, 3).mean((1, 3)).repeat(8, 0).repeat(8, 1)
    expected = match_tone(cells.astype(np.float32), smooth, hole.mask)
    assert np.abs(by("autoencoder", hole) - expected * 255)[hole.mask].max() <= 0.51


def test_the_denoiser_is_called_once_a_step_and_size_unless_left_out() -> None:
    pixels = np.zeros((64, 64, 3), np.uint8)
    mask = np.zeros((64, 64), bool)
    mask[20:30, 20:30] = True
    engine = StubEngine()
    model = Moebius(SPEC, engine, model_hash="")
    without_denoiser(model)(pixels, mask)
    assert engine.calls == 0
    case = Hole(EvalPhoto("a", "", "", Path("a"), {}), "thin", pixels, mask)
    model_fillers(model, (5,), ("ddim",))[-1](case)
    assert engine.calls == 5 * 2  # at two sizes


def test_holes_of_one_photo_get_different_noise(hole: Hole) -> None:
    other = replace(hole, family="thick")
    assert (by("model:1:ddim", hole) != by("model:1:ddim", other)).any()
    assert (by("telea", hole) == by("telea", other)).all()


@pytest.mark.parametrize(("steps", "solver"), [(0, "ddim"), (4, "euler")])
def test_impossible_settings_are_refused_before_work(steps: int, solver: str) -> None:
    with pytest.raises(SettingsError):
        model_fillers(stub_model(), (steps,), (solver,))


@pytest.mark.parametrize("limit", [1, 3, 7, 150, 1000])
def test_spread(limit: int) -> None:
    items = list(range(150))
    chosen = spread(items, limit)
    assert len(chosen) == min(limit, 150)
    assert chosen == sorted(set(chosen))
    gaps = np.diff([-1, *chosen, 150])
    assert gaps[1:-1].max(initial=0) - gaps[1:-1].min(initial=150) <= 1
    assert spread(items, None) == items
    with pytest.raises(InputError, match="at least 1"):
        spread(items, 0)


def test_reading_the_set(photos: Path, tmp_path: Path) -> None:
    found = read_manifest(photos)
    assert [photo.id for photo in found] == ["photo0", "photo1", "photo2", "photo3"]
    opened = open_hole(found[1], "thin")
    assert opened.key == "photo1/thin"
    assert opened.mask.sum() == 3 * 40 and opened.mask[11, 12]
    with pytest.raises(MaskError, match="family 'huge'"):
        open_hole(found[0], "huge")
    with pytest.raises(InputError, match=r"manifest\.jsonl.*No such file"):
        read_manifest(tmp_path)
    for text, said in {
        "": "found none",
        "{}\n": "line 1: expected id",
        "[]\n": "line 1",
        "{": "line 1",
    }.items():
        (tmp_path / "manifest.jsonl").write_text(text)
        with pytest.raises(InputError, match=said):
            read_manifest(tmp_path)


def test_the_real_set(eval_data: Path) -> None:
    photos = read_manifest(eval_data)
    assert len(photos) == 150
    hole = open_hole(photos[75], "thick")
    assert hole.pixels.shape == (512, 512, 3)
    assert 0.25 <= hole.mask.mean() <= 0.59
