"""The teacher against measurements of the published one; and proof that the comparison can fail."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable

import pytest
import torch
from safetensors.torch import load_file
from teacher_models import DATA, TINY, import_diffusers
from torch import Tensor, nn

from moebius.errors import CorruptWeightsError
from moebius.networks import (
    GatedLinearAttention,
    MoebiusConfig,
    MoebiusUNet,
    PixelHackerConfig,
    PixelHackerUNet,
    build_denoiser,
    denoiser_config,
)
from moebius.networks.gla import GatedRMSNorm
from moebius.networks.gla import gla as forwards
from moebius.weights import from_official, to_official

CASES = ("square", "wide", "per_sample_t")
Break = Callable[[PixelHackerUNet, pytest.MonkeyPatch], None]


@pytest.fixture(scope="module", autouse=True)
def diffusers() -> None:
    import_diffusers()


@pytest.fixture(scope="module")
def golden() -> dict[str, Tensor]:
    return load_file(DATA / "golden_tiny.io.safetensors")


@pytest.fixture(scope="module")
def theirs() -> dict[str, Tensor]:
    return load_file(DATA / "golden_tiny.weights.safetensors")


@pytest.fixture()
def tiny(theirs: dict[str, Tensor]) -> PixelHackerUNet:
    with torch.device("meta"):
        net = PixelHackerUNet(TINY)
    net.load_state_dict(from_official(theirs, TINY), assign=True)
    return net.eval()


def made(batch: int, height: int, width: int) -> tuple[Tensor, Tensor, Tensor]:
    """x, timesteps and ids, the same every time."""
    x = torch.randn(batch, 9, height, width, generator=torch.Generator().manual_seed(0))
    return x, torch.tensor([3, 700])[:batch], torch.arange(20).reshape(2, 10)[:batch]


@torch.no_grad()
def run(
    net: PixelHackerUNet, golden: dict[str, Tensor], name: str, dtype: torch.dtype = torch.float32
) -> tuple[Tensor, list[Tensor]]:
    x, timesteps, ids = (golden[f"case.{name}.{part}"] for part in ("x", "timesteps", "input_ids"))
    return net.to(dtype)(x.to(dtype), timesteps, ids, return_features=True)


def difference(net: PixelHackerUNet, golden: dict[str, Tensor], dtype: torch.dtype = torch.float32) -> float:
    """Of the square case's output to the published one."""
    suffix = "_fp64" if dtype is torch.float64 else ""
    return float((run(net, golden, "square", dtype)[0] - golden[f"case.square.sample{suffix}"]).abs().max())


@pytest.mark.parametrize("name", CASES)
def test_published_output_float32(tiny: PixelHackerUNet, golden: dict[str, Tensor], name: str) -> None:
    out, features = run(tiny, golden, name)
    assert (out - golden[f"case.{name}.sample"]).abs().max() < 1e-4
    assert len(features) == 9
    for index, feature in enumerate(features):
        expected = golden[f"case.{name}.block_outputs.{index}"]
        assert feature.shape == expected.shape
        assert (feature - expected).abs().max() < 1e-4 * expected.abs().max()


@pytest.mark.parametrize("name", CASES)
def test_published_output_float64(tiny: PixelHackerUNet, golden: dict[str, Tensor], name: str) -> None:
    out, features = run(tiny, golden, name, torch.float64)
    assert (out - golden[f"case.{name}.sample_fp64"]).abs().max() < 1e-11
    assert (features[5] - golden[f"case.{name}.block_outputs.5_fp64"]).abs().max() < 1e-11


@pytest.mark.parametrize("sides", [(16, 16), (9, 7), (5, 13), (1, 3)])
def test_any_size_equals_the_stock_forward(tiny: PixelHackerUNet, sides: tuple[int, int]) -> None:
    x, timesteps, ids = made(2, *sides)
    with torch.no_grad():
        stock = tiny.unet(x, timesteps, tiny.category_embedding(ids)).sample
        assert torch.equal(tiny(x, timesteps, ids), stock)
    assert stock.shape == (2, 4, *sides)


def test_each_sample_has_its_own_timestep(tiny: PixelHackerUNet) -> None:
    x, timesteps, ids = made(2, 8, 8)
    x, tiny = x.double(), tiny.double()
    with torch.no_grad():
        both = tiny(x, timesteps, ids)
        alone = torch.cat([tiny(x[row, None], timesteps[row, None], ids[row, None]) for row in range(2)])
        shared = tiny(x, timesteps[:1], ids)
    assert (both - alone).abs().max() < 1e-11
    assert (both[0] - shared[0]).abs().max() < 1e-11
    assert (both[1] - shared[1]).abs().max() > 1e-2


def test_down_features_are_the_first_and_nothing_else(tiny: PixelHackerUNet) -> None:
    x, timesteps, ids = made(1, 8, 12)
    _, features = tiny(x, timesteps, ids, return_features=True)
    tiny.unet.mid_block = tiny.unet.up_blocks = nn.Identity()
    x.requires_grad_()
    down = tiny.requires_grad_(False).down_features(x, timesteps, ids)
    assert len(down) == 4
    assert len(tiny.down_features(x, timesteps, ids, 2)) == 2
    assert all(torch.equal(ours, expected) for ours, expected in zip(down, features, strict=False))
    for feature in down:
        (gradient,) = torch.autograd.grad(feature.square().mean(), x, retain_graph=True)
        assert gradient.isfinite().all()
        assert (gradient != 0).any(dim=(2, 3)).all(), "every input channel counts"


def test_gradients_reach_every_weight_and_survive_checkpointing(tiny: PixelHackerUNet) -> None:
    x, timesteps, ids = made(1, 16, 16)
    gradients = []
    for saving in (False, True):
        tiny.gradient_checkpointing = saving
        assert tiny.gradient_checkpointing is saving
        tiny.zero_grad()
        tiny.train()(x, timesteps, ids).square().mean().backward()
        gradients.append({name: p.grad for name, p in tiny.named_parameters()})
    for name, gradient in gradients[0].items():
        assert gradient is not None and gradient.isfinite().all(), name
        assert torch.allclose(gradient, gradients[1][name], rtol=1e-4, atol=1e-7), name
        assert gradient.any(), name


def test_published_size_and_keys() -> None:
    official = json.loads((DATA / "official_state_dict.json").read_text())
    with torch.device("meta"):
        net = PixelHackerUNet()
    assert sum(p.numel() for p in net.parameters()) == 862_251_708
    state = net.state_dict()
    theirs = to_official(state)
    assert len(theirs) == 753
    assert list(theirs) == list(official), "the published order too"
    assert {name: list(tensor.shape) for name, tensor in theirs.items()} == official
    assert list(from_official(theirs)) == list(state)
    layers = [m for m in net.modules() if isinstance(m, GatedLinearAttention)]
    assert len(layers) == 16
    assert {m.heads for m in layers} == {8}


def test_features_at_the_published_size() -> None:
    """Number 5 is what the student's number 2 is compared with in distillation."""
    with torch.device("meta"):
        x, timesteps, ids = torch.empty(1, 9, 64, 64), torch.zeros(1), torch.zeros(1, 10, dtype=torch.long)
        _, features = PixelHackerUNet()(x, timesteps, ids, return_features=True)
        _, student = MoebiusUNet()(x, timesteps, ids, return_features=True)
    assert [tuple(f.shape[1:3]) for f in features] == [
        (320, 32), (640, 16), (1280, 8), (1280, 8), (1280, 8), (1280, 16), (1280, 32), (640, 64), (320, 64),
    ]  # fmt: skip
    assert features[5].shape == student[2].shape


def test_adapters_are_inverse_and_strict(theirs: dict[str, Tensor]) -> None:
    back = to_official(from_official(theirs, TINY), TINY)
    assert back.keys() == theirs.keys()
    assert all(torch.equal(back[name], theirs[name]) for name in theirs)
    with pytest.raises(CorruptWeightsError, match=r"of 753 tensors: diff_model\.conv_in\.bias is missing"):
        from_official({k: v for k, v in theirs.items() if k != "diff_model.conv_in.bias"}, TINY)
    with pytest.raises(CorruptWeightsError, match="extra is unknown"):
        from_official({**theirs, "extra": torch.zeros(1)}, TINY)
    with pytest.raises(CorruptWeightsError, match=r"should be \(20, 3072\), got \(20, 40\)"):
        from_official(theirs)  # without a config, the published network with these names
    with pytest.raises(CorruptWeightsError, match=r"a PixelHackerUNet state dict of 753 tensors"):
        to_official({}, TINY)


def test_denoisers_by_name() -> None:
    small = {
        "channels": (32, 32),
        "heads": 4,
        "category_channels": 8,
        "context_channels": 8,
        "norm_groups": 8,
    }
    for name, config in (("moebius", MoebiusConfig(**small)), ("pixelhacker", PixelHackerConfig(**small))):
        assert denoiser_config(name, json.loads(json.dumps(config.to_dict()))) == config
        assert build_denoiser(name, config).config == build_denoiser(name, small).config == config
    assert PixelHackerConfig().tokens == MoebiusConfig().tokens == 10
    assert PixelHackerConfig().multiple == 1
    with pytest.raises(ValueError, match="expected moebius or pixelhacker, got 'unet'"):
        build_denoiser("unet", {})
    with pytest.raises(TypeError, match="ffn_ratio"):
        build_denoiser("pixelhacker", MoebiusConfig())


def test_errors_have_both_values(tiny: PixelHackerUNet) -> None:
    with pytest.raises(ValueError, match=r"expected 9 input channels .* got 8"):
        tiny(torch.zeros(1, 8, 8, 8), torch.zeros(1), torch.zeros(1, 10, dtype=torch.long))
    with pytest.raises(ValueError, match=r"\(2 x 8\) and by norm_groups \(32\), got 40"):
        PixelHackerConfig(channels=(40, 80))
    with pytest.raises(ValueError, match="two levels or more"):
        PixelHackerConfig(channels=(64,))
    with pytest.raises(ValueError, match=r"categories must be even .* got 7"):
        PixelHackerConfig(categories=7)


def test_the_other_networks_come_without_diffusers() -> None:
    code = "import sys, moebius.networks as n; n.PixelHackerConfig(); print({'diffusers', 'fla'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def _change(name: str, value: object) -> Break:
    return lambda net, patch: patch.setattr(f"moebius.networks.gla.{name}", value)


def _attention(changed: Callable[..., Tensor]) -> Break:
    return _change("gla", changed)


def _norms(**change: float) -> Break:
    def apply(net: PixelHackerUNet, patch: pytest.MonkeyPatch) -> None:
        for part in net.modules():
            if isinstance(part, GatedRMSNorm):
                for name, value in change.items():
                    setattr(part, name, value)

    return apply


def _norm_forward(forward: Callable[[GatedRMSNorm, Tensor, Tensor], Tensor]) -> Break:
    return lambda net, patch: patch.setattr(GatedRMSNorm, "forward", forward)


NORMED = GatedRMSNorm.forward


def _backwards(q: Tensor, k: Tensor, v: Tensor, decay: Tensor, **_: str) -> Tensor:
    return forwards(*(tensor.flip(1) for tensor in (q, k, v, decay))).flip(1)


def _without_itself(q: Tensor, k: Tensor, v: Tensor, decay: Tensor, **_: str) -> Tensor:
    own = (q * k).sum(-1, keepdim=True) * v * q.shape[-1] ** -0.5
    return forwards(q, k, v, decay) - own


def _heads_fastest(net: PixelHackerUNet, patch: pytest.MonkeyPatch) -> None:
    """Channels split as (channel, head) for (head, channel)."""
    for part in net.modules():
        if isinstance(part, GatedLinearAttention):
            for name in ("q_proj", "k_proj", "v_proj", "g_proj"):
                weight = getattr(part, name).weight
                weight.data = weight.data.unflatten(0, (-1, part.heads)).transpose(0, 1).flatten(0, 1)


def _columns_first(net: PixelHackerUNet, patch: pytest.MonkeyPatch) -> None:
    """Tokens in the order of columns: each map is transposed before the scan and back after it."""
    forward = GatedLinearAttention.forward

    def transposed(self: GatedLinearAttention, x: Tensor, *rest: object, **more: object) -> Tensor:
        side = round(x.shape[1] ** 0.5)
        turned = x.unflatten(1, (side, side)).transpose(1, 2).flatten(1, 2)
        return forward(self, turned).unflatten(1, (side, side)).transpose(1, 2).flatten(1, 2)

    patch.setattr(GatedLinearAttention, "forward", transposed)


BREAKS: dict[str, Break] = {
    "gates divided by 8": _change("GATE_DIVISOR", 8.0),
    "gates not divided": _change("GATE_DIVISOR", 1.0),
    "scan from the end": _attention(_backwards),
    "scan by columns": _columns_first,
    "a token does not see itself": _attention(_without_itself),
    "no forgetting": _attention(lambda q, k, v, decay, **_: forwards(q, k, v, 0 * decay)),
    "queries not scaled": _attention(
        lambda q, k, v, decay, **_: forwards(q * q.shape[-1] ** 0.5, k, v, decay)
    ),
    "heads fastest": _heads_fastest,
    "norm eps 1e-3": _norms(eps=1e-3),
    "no gate": _norm_forward(lambda norm, x, gate: NORMED(norm, x, torch.full_like(gate, 1.2784645))),
    "sigmoid gate": _norm_forward(lambda norm, x, gate: NORMED(norm, x, gate) / gate),
    "layer norm": _norm_forward(lambda norm, x, gate: NORMED(norm, x - x.mean(-1, keepdim=True), gate)),
}


@pytest.mark.parametrize("name", BREAKS)
def test_parity_check_fails_when_broken(
    name: str, tiny: PixelHackerUNet, golden: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    BREAKS[name](tiny, monkeypatch)
    assert difference(tiny, golden) > 1e-4


def test_norm_eps_is_seen_in_float64(tiny: PixelHackerUNet, golden: dict[str, Tensor]) -> None:
    """1e-6: float64 tells it from 1e-5."""
    assert difference(tiny, golden, torch.float64) < 1e-11
    for part in tiny.modules():
        if isinstance(part, GatedRMSNorm):
            part.eps = 1e-5
    assert difference(tiny, golden, torch.float64) > 1e-11
