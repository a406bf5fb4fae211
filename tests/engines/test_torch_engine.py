"""The torch engine on the rewritten denoiser: the same answers, the same promises."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from fused_networks import inputs, random_network, relative
from random_models import DENOISER
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from moebius.engines.fuse import FusedUNet, fuse
from moebius.engines.fused_convolution import Convolution
from moebius.engines.fused_loading import load_fused
from moebius.engines.fused_onednn import JoinedConvolution, prepare_for_cpu
from moebius.engines.networks import load_autoencoder
from moebius.engines.torch import TorchEngine
from moebius.errors import CorruptWeightsError
from moebius.networks import MoebiusConfig, MoebiusUNet
from moebius.testing import LIKE_PUBLISHED, save_tiny_model
from moebius.weights import ModelFolder
from moebius.weights.adapter import from_official

DATA = Path(__file__).parent.parent / "data" / "student"
CPU = torch.device("cpu")
GOLDEN = MoebiusConfig(
    latent_size=16, channels=(32, 64, 96), category_channels=48, context_channels=40, norm_groups=16
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(LIKE_PUBLISHED, tmp_path_factory.mktemp("models") / "tiny")


@pytest.mark.parametrize(("dtype", "bound"), [(torch.float64, 1e-9), (torch.float32, 2e-5)])
@pytest.mark.parametrize("joined", [False, True])
def test_golden_output(dtype: torch.dtype, bound: float, joined: bool) -> None:
    """The same measurements, within the same bounds, as the plain network."""
    golden = load_file(DATA / "golden_public_tiny.io.safetensors")
    net = MoebiusUNet(GOLDEN)
    net.load_state_dict(from_official(load_file(DATA / "golden_public_tiny.weights.safetensors"), GOLDEN))
    fused = fuse(net.to(dtype))
    if joined:
        fused = prepare_for_cpu(fused, CPU, dtype)
    ids = golden["input.input_ids"]
    out = fused(golden["input.latents"].to(dtype), golden["input.timesteps"], ids)
    expected = golden["output.sample_fp64" if dtype is torch.float64 else "output.sample"]
    assert (out - expected).abs().max() < bound
    if dtype is torch.float32:
        out = fused(golden["cfg.input.latents"], golden["cfg.input.timesteps"], ids)
        assert (out - golden["cfg.output.sample"]).abs().max() < bound


@pytest.mark.parametrize("shape", [(8, 8), (8, 20)])
def test_joined_operators_change_nothing(shape: tuple[int, int]) -> None:
    net = random_network().float()
    x, times, ids = (each.float() if each.is_floating_point() else each for each in inputs(*shape))
    joined = prepare_for_cpu(fuse(net), CPU, torch.float32)
    kinds = [type(m) for m in joined.modules() if isinstance(m, Convolution)]
    if not torch.backends.mkldnn.is_available():
        pytest.skip("no oneDNN here")
    assert kinds and set(kinds) == {JoinedConvolution}
    expected = net(x, times, ids)
    assert relative(joined(x, times, ids), expected) < 1e-5
    assert relative(joined(x, times[:1], ids), net(x, times[:1], ids)) < 1e-5
    with torch.no_grad():
        joined.get_submodule("down.0.mixers.0.ffn.expand_gate").bias[:4] += 1.0  # type: ignore[operator,index]
    assert relative(joined(x, times, ids), expected) > 1e-5


def arrays(engine: TorchEngine) -> list[Tensor]:
    noise = np.random.default_rng(0).standard_normal((2, 9, 8, 12)).astype(np.float32)
    return [engine.array(part) for part in (noise[:, :4], noise[:, 4:5], noise[:, 5:])]


@pytest.mark.parametrize("guidance", [1.0, 2.5])
def test_fused_and_plain_engines_agree(folder: Path, guidance: float) -> None:
    answers = {}
    for fused in (True, False):
        engine = TorchEngine(LIKE_PUBLISHED, folder, device="cpu", fused=fused)
        assert isinstance(engine._denoiser, FusedUNet) is fused
        noisy, mask, condition = arrays(engine)
        answers[fused] = engine.predict(noisy, 500, mask, condition, guidance)
    assert answers[True].dtype is torch.float32
    assert relative(answers[True], answers[False]) < 1e-5


def test_bfloat16_keeps_its_islands(folder: Path) -> None:
    engine = TorchEngine(LIKE_PUBLISHED, folder, device="cpu", dtype="bfloat16")
    assert isinstance(engine._denoiser, FusedUNet)
    assert engine._denoiser.time.table is not None and engine._denoiser.time.table.dtype is torch.float32
    noisy, mask, condition = arrays(engine)
    out = engine.predict(noisy, 500, mask, condition, 2.0)
    exact = TorchEngine(LIKE_PUBLISHED, folder, device="cpu")
    assert out.dtype is torch.float32
    assert relative(out, exact.predict(noisy, 500, mask, condition, 2.0)) < 0.1


def test_networks_in_training_stay_plain(folder: Path) -> None:
    net = MoebiusUNet(DENOISER).eval()
    coder = load_autoencoder(ModelFolder(folder, LIKE_PUBLISHED))
    engine = TorchEngine.over(LIKE_PUBLISHED, net, coder, CPU)
    assert engine._denoiser is net
    noisy, mask, condition = arrays(engine)
    assert engine.predict(noisy, 500, mask, condition, 2.0).shape == noisy.shape


def test_read_part_by_part_it_is_the_same(folder: Path) -> None:
    model = ModelFolder(folder, LIKE_PUBLISHED)
    net = MoebiusUNet(DENOISER).eval()
    stored = load_file(folder / "weights.safetensors")
    net.load_state_dict(
        {k.removeprefix("denoiser."): v.float() for k, v in stored.items() if "denoiser." in k}
    )
    x, times, ids = (each.float() if each.is_floating_point() else each for each in inputs(8, 8))
    with torch.no_grad():
        assert relative(load_fused(model, torch.float32)(x, times, ids), net(x, times, ids)) < 1e-5


def test_weights_that_do_not_fit(folder: Path, tmp_path: Path) -> None:
    broken = save_tiny_model(LIKE_PUBLISHED, tmp_path / "broken")
    tensors = load_file(broken / "weights.safetensors")
    del tensors["denoiser.conv_in.conv_dw.weight"]
    save_file(tensors, broken / "weights.safetensors")
    with pytest.raises(CorruptWeightsError, match=r"do not fit .* the first is conv_in\.conv_dw\.weight"):
        load_fused(ModelFolder(broken, LIKE_PUBLISHED), torch.float32)
    sizes = {**LIKE_PUBLISHED.denoiser, "channels": (16, 32, 64)}
    with pytest.raises(CorruptWeightsError, match="do not fit"):
        load_fused(ModelFolder(folder, replace(LIKE_PUBLISHED, denoiser=sizes)), torch.float32)


def test_a_published_autoencoder_encodes_in_float32_beside_bfloat16() -> None:
    diffusers = pytest.importorskip("diffusers")
    from moebius.engines.networks import Autoencoder
    from moebius.engines.torch import ready

    def small() -> nn.Module:
        torch.manual_seed(0)
        net: nn.Module = diffusers.AutoencoderKL(
            block_out_channels=(8,), norm_num_groups=4, sample_size=16, latent_channels=4
        )
        return net.eval()

    plain = Autoencoder(small(), LIKE_PUBLISHED)
    mixed = ready(Autoencoder(small(), LIKE_PUBLISHED), CPU, torch.bfloat16)
    image, latents = torch.rand(1, 3, 16, 16) * 2 - 1, torch.randn(1, 4, 16, 16)
    with torch.inference_mode():
        assert relative(mixed.encode_moments(image)[0], plain.encode_moments(image)[0]) < 1e-5
        assert mixed.decode(latents).dtype is torch.bfloat16
        assert relative(mixed.decode(latents), plain.decode(latents)) < 0.1
