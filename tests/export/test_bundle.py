"""A model folder from a training, made ready to ship: half the bytes, graphs beside it, the same fills."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from made_photos import picture
from random_models import LIKE_NANO, LIKE_PUBLISHED, save_tiny

from moebius import Moebius
from moebius.errors import WeightsError
from moebius.export.bundle import bundle
from moebius.weights import open_folder

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore"),  # the exporter's own deprecations
]


def test_a_trained_folder_becomes_one_to_ship(tmp_path: Path) -> None:
    trained = save_tiny(LIKE_NANO, tmp_path / "trained")
    out = tmp_path / "shipped"
    out.mkdir()
    (out / "README.md").write_text("a card")
    bundle(trained, out, name="small", title="for a test", size=64, cascade=(32,), steps=2)
    shipped = open_folder(out)
    assert (out / "README.md").read_text() == "a card"
    assert (shipped.spec.name, shipped.spec.cascade, shipped.spec.defaults.steps) == ("small", (32,), 2)
    assert (out / "weights.safetensors").stat().st_size < 0.6 * (
        trained / "weights.safetensors"
    ).stat().st_size
    photo, mask = picture(64, 64), np.zeros((64, 64), bool)
    mask[20:40, 24:44] = True
    fills = [
        np.asarray(Moebius.from_pretrained(out, engine=engine)(photo, mask).image, np.int16)  # type: ignore[arg-type]
        for engine in ("onnx", "torch")
    ]
    assert np.abs(fills[0] - fills[1]).max() <= 2


def test_what_cannot_be_shipped(tmp_path: Path) -> None:
    folder = save_tiny(replace(LIKE_PUBLISHED, name="large"), tmp_path / "large")
    from safetensors.torch import load_file, save_file

    from moebius.weights import seal

    state = load_file(folder / "weights.safetensors")
    state["denoiser.norm_out.weight"] = state["denoiser.norm_out.weight"] * 0 + 1e6
    save_file(state, folder / "weights.safetensors")
    seal(folder, replace(LIKE_PUBLISHED, name="large"))
    with pytest.raises(WeightsError, match="does not fit float16"):
        bundle(folder, tmp_path / "out")
    assert not (tmp_path / "out").exists()
