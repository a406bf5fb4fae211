"""Studies: what is varied and what is not, and that their tables say what was measured."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from evaluation_stubs import write_photos, write_removals

from moebius.cli.study import study as command
from moebius.errors import InputError
from moebius.evaluation.holes import Case, Hole, open_case
from moebius.evaluation.models import model_method, parse_model
from moebius.evaluation.protocol import cases, open_protocol
from moebius.evaluation.study import (
    StudyRequest,
    combinations,
    open_study,
    open_variants,
    run_study,
    study_names,
)
from moebius.evaluation.variants import save_rounded
from moebius.imaging import bounding_box
from moebius.weights import open_folder


@pytest.mark.parametrize("name", study_names())
def test_every_study_opens_and_every_variant_is_understood(name: str) -> None:
    study = open_study(name)
    assert study.title and study.question.endswith((".", "?"))
    assert set(study.families) <= set(open_protocol(study.protocol).families)
    variants = combinations(study)
    assert len(variants) == len(set(variants)) >= (1 if name == "versions" or study.margins else 2)
    for options in variants:
        parse_model(f"nano:{options}" if options else "nano")


def test_combinations_are_the_grid_with_what_is_fixed() -> None:
    study = replace(open_study("sizes"), vary={"steps": [1, 2], "solver": ["ddim"]}, fixed={"size": 256})
    assert combinations(study) == ["size=256,steps=1,solver=ddim", "size=256,steps=2,solver=ddim"]
    assert combinations(replace(study, vary={}, fixed={})) == [""]


def test_what_a_model_cannot_do_is_left_out_and_said(tiny_prefill: Path, photos: Path) -> None:
    study = replace(open_study("steps"), vary={"guidance": [1.0, 2.0], "steps": [1]})
    methods, refused = open_variants(study, [f"{tiny_prefill}:engine=torch"], True)
    assert [method.id for method in methods] == [
        "tiny-prefill:engine=torch,detail=network,guidance=1.0,steps=1"
    ]
    assert len(refused) == 1 and refused[0].startswith(
        "detail=network,guidance=2.0,steps=1: guidance: model tiny-prefill"
    )
    with pytest.raises(InputError, match="expected a model that can do one"):
        open_variants(replace(study, vary={"guidance": [3.0]}), [f"{tiny_prefill}:engine=torch"], True)
    with pytest.raises(InputError, match="did you mean steps"):
        open_study("stesp")


def test_a_study_from_the_command_line(
    photos: Path, networks: Path, tiny_prefill: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("moebius.cli.evaluate.one_thread_each", lambda: None)
    arguments = [
        "precision", "--data", str(photos), "--features", str(networks), "--model", str(tiny_prefill), "--limit", "2",
        "--out", str(tmp_path / "study"), "--workers", "1",
    ]  # fmt: skip
    done = CliRunner().invoke(command, arguments)
    assert isinstance(done.exception, Exception)  # no ONNX graphs in this folder: said, not skipped
    assert "onnx" in str(done.exception)
    request = StudyRequest(
        study="steps", data=photos, features=networks, models=(f"{tiny_prefill}:engine=torch",), limit=2,
        out=tmp_path / "steps",
    )  # fmt: skip
    text = run_study(request)
    assert text == (tmp_path / "steps" / "study.md").read_text()
    assert text.startswith("### Steps, guidance, solver\n\n*How many steps pay")
    assert text.count("| `tiny-prefill:") == 10  # steps and solvers; guidance is not for this model
    assert "Left out, 40 of them: guidance: model tiny-prefill" in text
    first = next(line for line in text.splitlines() if line.startswith("| `"))
    assert first.endswith("| 1.00 |") and "better" not in first and "worse" not in first
    assert CliRunner().invoke(command, []).output.count("\n") == len(study_names())


def test_grown_masks_are_holes_of_their_own(tiny_prefill: Path, tmp_path: Path) -> None:
    (tmp_path / "scenes").mkdir()
    request = StudyRequest(
        study="grow", data=write_removals(tmp_path / "scenes"), models=(f"{tiny_prefill}:engine=torch,steps=1",),
        out=tmp_path / "grow",
    )  # fmt: skip
    text = run_study(request)
    assert text.count("| grow ") == 7 and "2 photos, 14 holes" in text
    areas = [cell["area"] for cell in json.loads((tmp_path / "grow" / "results.json").read_text())["cells"]]
    assert areas[1] < areas[2] < areas[3] < areas[4] < areas[5]  # 0, 4, 8, 16, 32 px


def test_central_crops_cut_picture_and_mask_alike(photos: Path) -> None:
    case = cases(open_protocol("photos"), photos, families=("thick",))[0]
    whole, part = open_case(case), open_case(replace(case, crop=(48, 32)))
    assert part.mask.shape == (32, 48)
    assert (part.pixels == whole.pixels[16:48, 8:56]).all() and (part.mask == whole.mask[16:48, 8:56]).all()


@pytest.mark.parametrize(("shape", "crop"), [("own", (64, 32)), ("own", (32, 64)), ("square", (64, 32))])
def test_fills_in_the_pictures_own_shape(
    shape: str, crop: tuple[int, int], tiny_prefill: Path, photos: Path
) -> None:
    method = model_method(parse_model(f"{tiny_prefill}:engine=torch,steps=1,shape={shape}"))
    hole = open_case(replace(cases(open_protocol("photos"), photos, families=("thick",))[0], crop=crop))
    filled = method.fill(hole)
    assert filled.shape == hole.pixels.shape and filled.dtype == np.uint8
    other = np.where(hole.mask[..., None], 255 - hole.pixels, hole.pixels)
    assert (filled == method.fill(replace(hole, pixels=other))).all()


def test_own_shape_of_a_square_is_the_square(tiny_prefill: Path, photos: Path) -> None:
    hole = open_case(cases(open_protocol("photos"), photos, families=("medium",))[1])
    own, square = (
        model_method(parse_model(f"{tiny_prefill}:engine=torch,steps=2,shape={shape}")).fill(hole)
        for shape in ("own", "square")
    )
    assert np.abs(own[hole.mask].astype(int) - square[hole.mask]).max() <= 1


def test_rounded_weights(tiny_prefill: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    model = open_folder(tiny_prefill)
    before = load_file(tiny_prefill / "weights.safetensors")
    worst = {}
    for bits in (8, 4):
        after = load_file(save_rounded(model, tmp_path / f"{bits}", bits) / "weights.safetensors")
        assert after.keys() == before.keys()
        errors = []
        for name, tensor in before.items():
            same = tensor.ndim < 2 or not name.startswith("denoiser.") or not tensor.is_floating_point()
            change = (after[name].float() - tensor.float()).abs()
            if same:
                assert not change.any(), name
            else:
                step = tensor.float().abs().amax(tuple(range(1, tensor.ndim)), keepdim=True) / (
                    2 ** (bits - 1) - 1
                )
                assert (change <= 0.51 * step + 1e-3 * tensor.float().abs() + 1e-6).all(), name
                assert len(after[name][0].unique()) <= 2**bits
                errors.append(float(change.mean()))
        worst[bits] = float(np.mean(errors))
    assert worst[4] > 8 * worst[8] > 0


def test_planted_holes_lie_beside_the_object(tmp_path: Path) -> None:
    data = write_removals(tmp_path)
    planted = cases(open_protocol("planted"), data)
    assert len(planted) == 2 * 4 and len({case.key for case in planted}) == 8
    objects = {
        case.photo: open_case(replace(case, margin=None)) for case in cases(open_protocol("removal"), data)
    }
    shapes = set()
    for case in planted:
        hole = open_case(case)
        taken = objects[case.photo].mask
        assert not (hole.mask & taken).any()
        assert 0 < hole.mask.sum() <= taken.sum() * 1.05
        assert (hole.mask == open_case(case).mask).all()
        shapes.add((case.photo, bounding_box(hole.mask)))
    assert len(shapes) == 8


def test_an_object_that_leaves_no_room(tmp_path: Path) -> None:
    write_photos(tmp_path, count=1)
    (tmp_path / "manifest.jsonl").unlink()
    mask = np.ones((64, 64), bool)
    mask[0, :3] = False
    from PIL import Image

    Image.fromarray(mask).save(tmp_path / "photo0_mask.png")
    for path in tmp_path.glob("mask0-*"):
        path.unlink()
    case = cases(open_protocol("planted"), tmp_path)[0]
    with pytest.raises(InputError, match="expected room for its object"):
        open_case(case)


def test_holes_know_their_picture() -> None:
    case = Case(photo="a", image=Path("a.png"), mask=Path("m.png"), family="thin")
    pixels = np.full((4, 4, 3), 9, np.uint8)
    mask = np.eye(4, dtype=bool)
    hole = Hole(case, pixels, mask)
    assert case.key == "a/thin"
    assert (hole.emptied[mask] == 0).all() and (hole.emptied[~mask] == 9).all() and (pixels == 9).all()
