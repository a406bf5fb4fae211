"""Exported graphs: the same answers as torch, at any size, with their weights in the safetensors file."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from safetensors.torch import save_file

from moebius.export.onnx import export_graphs, safetensors_layout
from moebius.networks import AutoencoderConfig, MoebiusConfig, MoebiusUNet, NanoAutoencoder

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore"),  # the exporter's own deprecations
]

NET = MoebiusConfig(
    latent_channels=4, latent_size=8, channels=(16, 32, 32), layers=1, heads=4, category_channels=8,
    context_channels=8, norm_groups=4,
)  # fmt: skip
CODER = AutoencoderConfig(
    latent_channels=4, widths=(8, 12, 16), encoder_blocks=(0, 0, 1), decoder_blocks=(0, 0, 1)
)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, MoebiusUNet, NanoAutoencoder]:
    folder = tmp_path_factory.mktemp("graphs")
    torch.manual_seed(0)
    net, coder = MoebiusUNet(NET).eval(), NanoAutoencoder(CODER).eval()
    for module in (net, coder):
        for tensor in module.state_dict().values():
            if tensor.is_floating_point():
                tensor.copy_(tensor.half().float())
    state = {f"denoiser.{k}": v for k, v in net.state_dict().items()}
    state |= {f"autoencoder.{k}": v for k, v in coder.state_dict().items()}
    save_file(
        {k: v.half() if v.is_floating_point() else v for k, v in state.items()},
        folder / "weights.safetensors",
    )
    export_graphs(net, coder, folder)
    return folder, net, coder


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
