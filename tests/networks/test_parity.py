"""The network against measurements of the published one; and proof that the comparison can fail."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

from moebius.errors import CorruptWeightsError
from moebius.networks import InteractiveLambda, LocalLambda, MoebiusConfig, MoebiusUNet
from moebius.networks.blocks import DepthwiseSeparableConv, LambdaMixBlock, MixFFN
from moebius.weights.adapter import from_official, to_official

DATA = Path(__file__).parent.parent / "data" / "student"
TINY = MoebiusConfig(
    latent_size=16, channels=(32, 64, 96), category_channels=48, context_channels=40, norm_groups=16
)


@pytest.fixture(scope="module")
def golden() -> dict[str, Tensor]:
    return load_file(DATA / "golden_public_tiny.io.safetensors")


@pytest.fixture()
def tiny() -> MoebiusUNet:
    net = MoebiusUNet(TINY)
    net.load_state_dict(from_official(load_file(DATA / "golden_public_tiny.weights.safetensors"), TINY))
    return net.eval()


@torch.no_grad()
def run(
    net: MoebiusUNet, golden: dict[str, Tensor], dtype: torch.dtype = torch.float32
) -> tuple[Tensor, list[Tensor]]:
    return net.to(dtype)(
        golden["input.latents"].to(dtype),
        golden["input.timesteps"],
        golden["input.input_ids"],
        return_features=True,
    )


def test_tiny_output_float32(tiny: MoebiusUNet, golden: dict[str, Tensor]) -> None:
    out, features = run(tiny, golden)
    assert (out - golden["output.sample"]).abs().max() < 2e-5
    for index, feature in enumerate(features):
        expected = golden[f"output.block_outputs.{index}"]
        assert (feature - expected).abs().max() < 2e-5 * expected.abs().max()


def test_tiny_output_float64(tiny: MoebiusUNet, golden: dict[str, Tensor]) -> None:
    out, _ = run(tiny, golden, torch.float64)
    assert (out - golden["output.sample_fp64"]).abs().max() < 1e-9


def test_one_timestep_for_the_whole_batch(tiny: MoebiusUNet, golden: dict[str, Tensor]) -> None:
    with torch.no_grad():
        out = tiny(golden["cfg.input.latents"], golden["cfg.input.timesteps"], golden["input.input_ids"])
    assert (out - golden["cfg.output.sample"]).abs().max() < 2e-5


def _swap_norm(kind: type, **change: float) -> Callable[[MoebiusUNet], None]:
    def apply(net: MoebiusUNet) -> None:
        for module in net.modules():
            if isinstance(module, kind):
                for name, value in change.items():
                    setattr(module, name, value)

    return apply


def _patch(kind: type[nn.Module], forward: Callable[..., Tensor]) -> Callable[[MoebiusUNet], None]:
    def apply(net: MoebiusUNet) -> None:
        for module in net.modules():
            if type(module) is kind:
                module.forward = forward.__get__(module)  # type: ignore[method-assign]

    return apply


def _no_inner_skip(net: MoebiusUNet) -> None:
    for module in net.modules():
        if isinstance(module, DepthwiseSeparableConv):
            module.residual = False


def _silu_inside(self: DepthwiseSeparableConv, x: Tensor) -> Tensor:
    out: Tensor = self.bn2(self.conv_pw(F.silu(self.bn1(self.conv_dw(x)))))
    return out + x if self.residual else out


def _ffn_without_first_activation(self: MixFFN, x: Tensor) -> Tensor:
    value, gate = self.depthwise(self.expand(x)).chunk(2, dim=1)
    out: Tensor = self.project(value * F.silu(gate))
    return out


def _ffn_gate_first(self: MixFFN, x: Tensor) -> Tensor:
    gate, value = self.depthwise(F.silu(self.expand(x))).chunk(2, dim=1)
    out: Tensor = self.project(value * F.silu(gate))
    return out


def _scaled_local(self: LocalLambda, x: Tensor) -> Tensor:
    return LocalLambda.forward(self, x) / self.depth**0.5


def _no_positions(net: MoebiusUNet) -> None:
    for module in net.modules():
        if isinstance(module, InteractiveLambda):
            module.positions.data.zero_()


def _sine_first(net: MoebiusUNet) -> None:
    weight = net.time_embedding.linear_1.weight.data
    net.time_embedding.linear_1.weight.data = weight.roll(weight.shape[1] // 2, 1)


BREAKS: dict[str, Callable[[MoebiusUNet], None]] = {
    "batch norm eps 1e-3": _swap_norm(nn.BatchNorm2d, eps=1e-3),
    "token batch norm eps 1e-3": _swap_norm(nn.BatchNorm1d, eps=1e-3),
    "group norm eps 1e-3": _swap_norm(nn.GroupNorm, eps=1e-3),
    "no inner residual": _no_inner_skip,
    "SiLU for ReLU": _patch(DepthwiseSeparableConv, _silu_inside),
    "FFN without its first SiLU": _patch(MixFFN, _ffn_without_first_activation),
    "FFN gate and value swapped": _patch(MixFFN, _ffn_gate_first),
    "local lambda scaled": _patch(LocalLambda, _scaled_local),
    "no interactive positions": _no_positions,
    "sine before cosine": _sine_first,
}


@pytest.mark.parametrize("name", BREAKS)
def test_parity_check_fails_when_broken(name: str, tiny: MoebiusUNet, golden: dict[str, Tensor]) -> None:
    BREAKS[name](tiny)
    out, _ = run(tiny, golden)
    assert (out - golden["output.sample"]).abs().max() > 2e-5


def test_group_norm_eps_of_mixers_alone_is_seen(tiny: MoebiusUNet, golden: dict[str, Tensor]) -> None:
    """1e-6 there, 1e-5 elsewhere: float64 tells them apart."""
    for module in tiny.modules():
        if isinstance(module, LambdaMixBlock):
            module.norm.eps = 1e-5
    out, _ = run(tiny, golden, torch.float64)
    assert (out - golden["output.sample_fp64"]).abs().max() > 1e-9


def test_published_size_and_keys() -> None:
    official = json.loads((DATA / "official_state_dict.json").read_text())
    with torch.device("meta"):
        net = MoebiusUNet(MoebiusConfig())
    assert sum(p.numel() for p in net.parameters()) == 226_041_531
    theirs = to_official(net.state_dict())
    expected = {name: tuple(shape) for name, (shape, *_) in official["state_dict"].items()}
    assert len(expected) == 1203
    assert {name: tuple(tensor.shape) for name, tensor in theirs.items()} == expected


def test_adapters_are_inverse_and_strict() -> None:
    theirs = load_file(DATA / "golden_public_tiny.weights.safetensors")
    back = to_official(from_official(theirs, TINY), TINY)
    assert back.keys() == theirs.keys()
    assert all(torch.equal(back[name], theirs[name]) for name in theirs)

    with pytest.raises(CorruptWeightsError, match=r"conv_in\.bn1\.bias is missing"):
        from_official({k: v for k, v in theirs.items() if k != "diff_model.conv_in.bn1.bias"}, TINY)
    with pytest.raises(CorruptWeightsError, match="extra is unknown"):
        from_official({**theirs, "extra": torch.zeros(1)}, TINY)
    with pytest.raises(CorruptWeightsError, match=r"should be \(20, 48\), got \(3, 48\)"):
        from_official({**theirs, "embedding_layer.weight": torch.zeros(3, 48)}, TINY)
    with pytest.raises(CorruptWeightsError, match=r"and .* more"):
        from_official({}, TINY)


def golden_tensor(name: str, index: int, shape: tuple[int, ...]) -> np.ndarray:
    """The full-size golden's weights: a published formula on Philox normals, one stream a tensor."""
    a = np.random.Generator(np.random.Philox(key=index)).standard_normal(size=shape, dtype=np.float32)
    if name.endswith("running_mean"):
        return np.float32(0.1) * a
    if name.endswith("running_var"):
        return np.float32(0.5) + np.float32(0.25) * a * a
    if name.endswith("rel_pos_emb"):
        return a * np.float32(1 / np.sqrt(shape[1] * shape[2]))
    if name.endswith("pos_conv.weight"):
        return a * np.float32(1 / np.sqrt(225 * shape[0]))
    if name == "embedding_layer.weight":
        return a
    if len(shape) == 1:
        return np.float32(1) + np.float32(0.1) * a if name.endswith(".weight") else np.float32(0.05) * a
    return a * np.float32(1 / np.sqrt(np.prod(shape[1:])))


@pytest.mark.slow
def test_full_size_golden() -> None:
    facts = json.loads((DATA / "golden_full.json").read_text())
    io = load_file(DATA / "golden_full.io.safetensors")
    with torch.device("meta"):
        net = MoebiusUNet(MoebiusConfig())
    shapes = {name: tuple(t.shape) for name, t in to_official(net.state_dict()).items()}
    digest = hashlib.sha256()
    weights = {}
    for index, name in enumerate(sorted(shapes)):
        if name.endswith("num_batches_tracked"):
            weights[name] = torch.tensor(0)
            digest.update(np.int64(0).tobytes())
            continue
        array = golden_tensor(name, index, shapes[name]).astype(np.float32)
        digest.update(array.tobytes())
        weights[name] = torch.from_numpy(array)
    assert digest.hexdigest() == facts["sha256_weights"]

    net.load_state_dict(from_official(weights), assign=True)
    net.eval().requires_grad_(False)
    out, features = net(
        io["input.latents"], io["input.timesteps"], io["input.input_ids"], return_features=True
    )
    assert (out - io["output.sample"]).abs().max() < 1e-4
    for index, feature in enumerate(features):
        channels, rows, columns = (
            int(part.strip(" :[]")) for part in facts["block_stats"][str(index)]["sub"].split(",")[1:]
        )
        sub = feature[:, ::channels, ::rows, ::columns]
        expected = io[f"output.block_outputs.{index}.sub"]
        assert (sub - expected).abs().max() < 1e-4 * expected.abs().max()
