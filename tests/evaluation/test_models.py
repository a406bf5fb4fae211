"""Models as methods: their options, their references, and that they see nothing they should not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from moebius.errors import InputError, SettingsError
from moebius.evaluation.holes import Case, Hole
from moebius.evaluation.methods import Method
from moebius.evaluation.models import (
    autoencoder_method,
    ceiling_method,
    load,
    model_method,
    parse_model,
    seeded,
)
from moebius.imaging import match_tone, push_pull
from moebius.pipeline import Moebius


@pytest.fixture
def hole() -> Hole:
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    mask = np.zeros((64, 64), bool)
    mask[16:40, 20:50] = True
    return Hole(Case(photo="a", family="medium", image=Path("a.png"), mask=Path("m.png")), pixels, mask)


def test_what_a_request_says() -> None:
    request = parse_model(
        "runs/mine/:steps=4,solver=dpm++,dtype=bfloat16,size=256,cascade=none", seed=3, start=None
    )
    assert request.name == "runs/mine/"
    assert dict(request.settings) == {"seed": 3, "steps": 4, "solver": "dpm++"}
    assert dict(request.engine) == {"dtype": "bfloat16"}
    assert dict(request.entry) == {"size": 256, "cascade": ()}
    assert request.id == "mine:dtype=bfloat16,size=256,cascade=none,seed=3,steps=4,solver=dpm++"
    assert parse_model("nano").id == "nano"
    assert parse_model("nano:context=1.5,cascade=64+128").entry["cascade"] == (64, 128)
    assert parse_model("C:/models/mine").name == "C:/models/mine"
    with pytest.raises(InputError, match=r"size, cascade, .*got 'stops'"):
        parse_model("nano:stops=2")
    with pytest.raises(InputError, match="whole number for size, got 'big'"):
        parse_model("nano:size=big")


def method_of(name: str, folder: Path) -> Method:
    request = parse_model(f"{folder}:engine=torch,steps=2", seed=1)
    return {"model": model_method, "autoencoder": autoencoder_method, "ceiling": ceiling_method}[name](
        request
    )


@pytest.mark.parametrize("name", ["model", "autoencoder"])
def test_nothing_hidden_is_read(name: str, hole: Hole, tiny_prefill: Path) -> None:
    method = method_of(name, tiny_prefill)
    other = hole.pixels.copy()
    other[hole.mask] = 255 - other[hole.mask]
    assert (method.fill(hole) == method.fill(replace(hole, pixels=other))).all()
    assert (method.fill(hole)[~hole.mask] == hole.pixels[~hole.mask]).all()
    assert not method.sees_all


def test_the_model_is_the_pipelines_own(hole: Hole, tiny_prefill: Path) -> None:
    model = Moebius.from_pretrained(tiny_prefill, engine="torch", device="cpu")
    expected = model(hole.pixels, hole.mask, key="a/medium", seed=1, steps=2, grow=0, feather=0)
    assert (method_of("model", tiny_prefill).fill(hole) == expected.photo.pixels).all()


def test_the_autoencoder_alone_is_the_smooth_fill_coded(hole: Hole, tiny_prefill: Path) -> None:
    engine = load(parse_model(f"{tiny_prefill}:engine=torch")).engine
    smooth = push_pull(hole.pixels.astype(np.float32) / np.float32(255), hole.mask)
    image = np.ascontiguousarray(smooth.transpose(2, 0, 1)[None] * 2 - 1)
    coded = np.clip(engine.decode(engine.encode(image))[0].transpose(1, 2, 0) / 2 + np.float32(0.5), 0, 1)
    expected = match_tone(coded.astype(np.float32), smooth, hole.mask) * 255
    filled = method_of("autoencoder", tiny_prefill).fill(hole)
    assert np.abs(filled - expected)[hole.mask].max() <= 0.51


def test_the_ceiling_is_shown_the_truth_and_says_so(hole: Hole, tiny_prefill: Path) -> None:
    method = method_of("ceiling", tiny_prefill)
    assert method.sees_all
    other = replace(hole, pixels=255 - hole.pixels)
    assert (method.fill(hole)[hole.mask] != method.fill(other)[hole.mask]).mean() > 0.5


def test_identities_tell_apart_what_differs(tiny_prefill: Path, tiny_masked: Path) -> None:
    texts = ("steps=1", "steps=2", "steps=2,start=prefill", "steps=2,dtype=bfloat16", "steps=2,size=32")
    identities = [
        repr(model_method(parse_model(f"{folder}:engine=torch,{text}")).identity)
        for folder in (tiny_prefill, tiny_masked) for text in texts
    ]  # fmt: skip
    assert len(set(identities)) == len(identities)


def test_another_seed_and_another_hole_give_another_fill(hole: Hole, tiny_prefill: Path) -> None:
    request = parse_model(f"{tiny_prefill}:engine=torch,steps=2", seed=1)
    first = model_method(request).fill(hole)
    assert (model_method(seeded(request, 2)).fill(hole) != first).any()
    thick = replace(hole, case=replace(hole.case, family="thick"))
    assert (model_method(request).fill(thick) != first).any()


def test_impossible_settings_are_refused_before_work(tiny_prefill: Path) -> None:
    for text in ("steps=0", "solver=euler", "guidance=2", "steps=1000000"):
        with pytest.raises(SettingsError):
            model_method(parse_model(f"{tiny_prefill}:engine=torch,{text}"))
    with pytest.raises(SettingsError, match="cascade"):
        model_method(parse_model(f"{tiny_prefill}:engine=torch,cascade=4096"))
