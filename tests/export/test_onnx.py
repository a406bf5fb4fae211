"""Exported graphs: the same answers as torch, at any size, with their weights in the safetensors file."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from made_photos import picture
from random_models import AUTOENCODER, DENOISER
from safetensors.torch import load_file, save_file

from moebius import Moebius
from moebius.errors import WeightsError
from moebius.export.bundle import bundle
from moebius.export.onnx import export_graphs, safetensors_layout
from moebius.networks import MoebiusUNet, NanoAutoencoder
from moebius.testing import LIKE_NANO, save_tiny_model
from moebius.weights import open_folder, seal

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore"),  # the exporter's own deprecations
]


SIZES = replace(DENOISER, layers=1, channels=(16, 32))
SPEC = replace(LIKE_NANO, denoiser=SIZES.to_dict())


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, MoebiusUNet, NanoAutoencoder]:
    """A trained folder made ready to ship, and its networks with the weights as they are in the file."""
    folder = tmp_path_factory.mktemp("graphs")
    out = folder / "shipped"
    out.mkdir()
    (out / "README.md").write_text("a card")
    trained = save_tiny_model(SPEC, folder / "trained")
    bundle(trained, out, name="small", title="for a test", size=64, cascade=(32,), steps=2)
    state = {
        k: v.float() if v.is_floating_point() else v
        for k, v in load_file(out / "weights.safetensors").items()
    }
    net, coder = MoebiusUNet(SIZES).eval(), NanoAutoencoder(AUTOENCODER).eval()
    for prefix, module in (("denoiser.", net), ("autoencoder.", coder)):
        own = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
        module.load_state_dict(own)
    return out, net, coder


def run(path: Path, *inputs: torch.Tensor) -> np.ndarray:
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_inputs()]
    return np.asarray(session.run(None, dict(zip(names, (t.numpy() for t in inputs), strict=True)))[0])


@pytest.mark.parametrize(("batch", "height", "width"), [(1, 8, 8), (2, 8, 8), (1, 16, 12), (3, 4, 20)])
def test_denoiser_agrees_at_any_size(
    model: tuple[Path, MoebiusUNet, NanoAutoencoder], batch: int, height: int, width: int
) -> None:
    folder, net, _ = model
    noisy, condition = torch.randn(batch, 4, height, width), torch.randn(batch, 4, height, width)
    mask = (torch.rand(batch, 1, height, width) > 0.5).float()
    timestep, ids = torch.arange(batch) * 400 + 7, torch.arange(10).expand(batch, -1).contiguous()
    with torch.no_grad():
        expected = net(torch.cat([noisy, mask, condition], 1), timestep, ids).numpy()
    got = run(folder / "denoiser.onnx", noisy, mask, condition, timestep, ids)
    assert np.abs(got - expected).max() < 2e-5 * max(1.0, np.abs(expected).max())


def test_autoencoder_agrees(model: tuple[Path, MoebiusUNet, NanoAutoencoder]) -> None:
    folder, _, coder = model
    image = torch.rand(2, 3, 40, 24) * 2 - 1
    with torch.no_grad():
        latents = coder.encode(image)
        back = coder.decode(latents).numpy()
    assert np.abs(run(folder / "encoder.onnx", image) - latents.numpy()).max() < 1e-4
    assert np.abs(run(folder / "decoder.onnx", latents) - back).max() < 1e-4


def test_weights_are_read_from_the_safetensors_file(
    model: tuple[Path, MoebiusUNet, NanoAutoencoder], tmp_path: Path
) -> None:
    """Every parameter lies outside the graph; zeroing bytes there changes what the graph answers."""
    folder, _, _ = model
    graph = onnx.load(folder / "decoder.onnx", load_external_data=False)
    outside = [t for t in graph.graph.initializer if t.data_location == onnx.TensorProto.EXTERNAL]
    assert len(outside) >= 8
    assert {entry.value for t in outside for entry in t.external_data if entry.key == "location"} == {
        "weights.safetensors"
    }

    for path in folder.iterdir():
        shutil.copy(path, tmp_path)
    layout = safetensors_layout(tmp_path / "weights.safetensors")
    _, _, offset, length = layout["autoencoder.decoder.layers.0.weight"]
    latents = torch.randn(1, 4, 3, 3)
    before = run(tmp_path / "decoder.onnx", latents)
    data = bytearray((tmp_path / "weights.safetensors").read_bytes())
    data[offset : offset + length] = bytes(length)
    (tmp_path / "weights.safetensors").write_bytes(data)
    assert np.abs(run(tmp_path / "decoder.onnx", latents) - before).max() > 1e-3


def test_a_weight_that_is_not_in_the_file_is_told(
    model: tuple[Path, MoebiusUNet, NanoAutoencoder], tmp_path: Path
) -> None:
    _, net, coder = model
    save_file({"denoiser.nothing": torch.zeros(1)}, tmp_path / "weights.safetensors")
    with pytest.raises(ValueError, match=r"is not in weights\.safetensors"):
        export_graphs(net, coder, tmp_path)


def test_a_trained_folder_becomes_one_to_ship(model: tuple[Path, MoebiusUNet, NanoAutoencoder]) -> None:
    """Half the bytes, its card kept, what was asked for in its description, and the same fills by both engines."""
    out, _, _ = model
    spec, trained = open_folder(out).spec, out.parent / "trained"
    assert (out / "README.md").read_text() == "a card"
    assert (spec.name, spec.cascade, spec.defaults.steps) == ("small", (32,), 2)
    size = (trained / "weights.safetensors").stat().st_size
    assert (out / "weights.safetensors").stat().st_size < 0.6 * size
    photo, mask = picture(64, 64), np.zeros((64, 64), bool)
    mask[20:40, 24:44] = True
    onnx_fill, torch_fill = (
        np.asarray(Moebius.from_pretrained(out, engine=engine)(photo, mask).image, np.int16)  # type: ignore[arg-type]
        for engine in ("onnx", "torch")
    )
    assert np.abs(onnx_fill - torch_fill).max() <= 2


def test_weights_that_do_not_fit_are_not_shipped(tmp_path: Path) -> None:
    folder = save_tiny_model(LIKE_NANO, tmp_path / "large")
    state = load_file(folder / "weights.safetensors")
    state["denoiser.norm_out.weight"] = state["denoiser.norm_out.weight"] * 0 + 1e6
    save_file(state, folder / "weights.safetensors")
    seal(folder, LIKE_NANO)
    with pytest.raises(WeightsError, match="does not fit float16"):
        bundle(folder, tmp_path / "out")
    assert not (tmp_path / "out").exists()
