"""PyTorch and ONNX Runtime make the same pictures with the bundled model, from one file of weights."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from made_photos import disc, picture
from numpy.typing import NDArray

from moebius import Moebius
from moebius.engines import Engine, open_engine
from moebius.engines.onnx import OnnxEngine
from moebius.sampling import normal
from moebius.weights import open_folder, open_model, save_folder
from moebius.weights.spec import Detail

NANO = open_model("nano")
SIDE = 128
"""Side of the square here, px: a sixteenth of the work at nano's own 512."""
WORST, MEAN = 2 / 255, 0.1 / 255
"""Tolerance of a finished picture, the default steps run: largest and mean difference, of [0, 1]."""
STAGES = {"encode": 3e-5, "predict": 5e-4, "decode": 3e-5}
"""Tolerance of each network alone: largest difference, of the output's standard deviation."""


def engine(name: str, folder: Path = NANO.path) -> Engine:
    return open_engine(NANO.spec, folder, engine=name, device="cpu", dtype="float32")


@pytest.fixture(scope="module")
def torch_engine(torch_where_asked: None) -> Engine:
    return engine("torch")


@pytest.fixture(scope="module")
def onnx_engine() -> Engine:
    return engine("onnx")


@pytest.fixture(scope="module")
def perturbed(tmp_path_factory: pytest.TempPathFactory, torch_where_asked: None) -> Engine:
    """nano on PyTorch with the weights of one layer of the denoiser, the first, 2 % too large."""
    from safetensors.torch import load_file

    tensors = load_file(NANO.path / "weights.safetensors")
    name = next(n for n in tensors if n.startswith("denoiser.conv_in") and n.endswith("weight"))
    tensors[name] = tensors[name] * 1.02
    folder = save_folder(tmp_path_factory.mktemp("perturbed") / "nano", NANO.spec, tensors)
    return engine("torch", open_folder(folder).path)


def stages(engine: Engine) -> dict[str, NDArray[np.float32]]:
    """Each network's answer to the same inputs, none of which another network made."""
    channels, cells = NANO.spec.latent_channels, SIDE // NANO.spec.latent_factor
    image = np.tanh(normal((1, 3, SIDE, SIDE), seed=1)).astype(np.float32)
    x, condition = (normal((1, channels, cells, cells), seed=seed) for seed in (2, 3))
    mask = np.zeros((1, 1, cells, cells), np.float32)
    mask[..., 4:9, 3:12] = 1
    noisy, hole, told = (engine.array(values) for values in (x, mask, condition))
    return {
        "encode": engine.numpy(engine.encode(image)),
        "predict": engine.numpy(engine.predict(noisy, 700, hole, told, 1.0)),
        "guided": engine.numpy(engine.predict(noisy, 700, hole, told, 2.5)),
        "decode": engine.decode(told),
    }


def misfits(ours: Engine, theirs: Engine) -> list[str]:
    """Stages whose outputs differ by more than their tolerance."""
    first, second = stages(ours), stages(theirs)
    return [
        stage
        for stage, tolerance in {**STAGES, "guided": STAGES["predict"]}.items()
        if np.abs(first[stage] - second[stage]).max() > tolerance * first[stage].std()
    ]


def agree(ours: Engine, theirs: Engine, side: int, detail: Detail = "network") -> bool:
    """Whether two engines make the same picture: a big hole, not cropped, so that all of it is told.

    With the photo's detail, a picture takes over little of what the networks make.
    """
    cascade = tuple(s for s in NANO.spec.cascade if s < side)
    spec = replace(NANO.spec, size=side, cascade=cascade, detail=detail)
    photo, mask = picture(side, side), disc(side, side, (0.5 * side, 0.6 * side), 0.3 * side)
    pictures = [
        Moebius(spec, engine, model_hash="")(photo, mask, grow=0, feather=0).photo.pixels.astype(float) / 255
        for engine in (ours, theirs)
    ]
    assert not np.array_equal(pictures[0], photo / 255)
    difference = np.abs(pictures[0] - pictures[1])[mask]
    return bool(difference.max() <= WORST and difference.mean() < MEAN)


def test_each_network_agrees(torch_engine: Engine, onnx_engine: Engine) -> None:
    assert misfits(torch_engine, onnx_engine) == []


@pytest.mark.parametrize("detail", get_args(Detail))
def test_pictures_agree(torch_engine: Engine, onnx_engine: Engine, detail: Detail) -> None:
    assert agree(torch_engine, onnx_engine, SIDE, detail)


@pytest.mark.slow
def test_pictures_agree_at_native_size(torch_engine: Engine, onnx_engine: Engine) -> None:
    assert agree(torch_engine, onnx_engine, NANO.spec.size, NANO.spec.detail)


def test_a_wrong_weight_would_be_seen(perturbed: Engine, onnx_engine: Engine) -> None:
    assert misfits(perturbed, onnx_engine) == ["predict", "guided"]
    assert not agree(perturbed, onnx_engine, SIDE)


def test_onnx_computes_half_without_guidance(onnx_engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    run = OnnxEngine._run

    def counting(self: OnnxEngine, graph: str, **inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        seen.append((graph, len(inputs["noisy"])))
        return run(self, graph, **inputs)

    monkeypatch.setattr(OnnxEngine, "_run", counting)
    x, mask = normal((1, NANO.spec.latent_channels, 8, 8), seed=0), np.ones((1, 1, 8, 8), np.float32)
    onnx_engine.predict(x, 10, mask, x, 1.0)
    assert seen == [("denoiser", 1)]
    onnx_engine.predict(x, 10, mask, x, 2.0)
    assert seen == [("denoiser", 1)] * 3


def test_bundled_model_chooses_onnx_on_a_cpu() -> None:
    model = Moebius.from_pretrained("nano", device="cpu")
    assert (model.engine.name, model.engine.device, model.engine.dtype) == ("onnx", "cpu", "float32")
