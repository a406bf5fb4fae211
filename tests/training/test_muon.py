"""Muon: the release's numbers, equal steps for every kind of weight, and runs that go on to the bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from moebius.errors import SettingsError
from moebius.networks import MoebiusConfig, MoebiusUNet
from moebius.training.muon import Muon, orthogonalise, split_parameters, update_scale

DATA = Path(__file__).parents[1] / "data" / "training"
GOLDEN = load_file(DATA / "muon_3steps.safetensors")
MATRICES = ("lin_8x12", "lin_12x8", "conv_6x4x3x3", "dw_10x1x3x3")
OTHERS = ("emb_5x6", "bias_7")
TINY = MoebiusConfig(
    latent_size=8, channels=(16, 32, 48), category_channels=12, context_channels=20, heads=4, norm_groups=4
)


def by_name(groups: list[dict[str, Any]], net: nn.Module) -> dict[str, str]:
    """Which group each parameter is in."""
    where = {id(p): group["name"] for group in groups for p in group["params"]}
    return {name: where[id(p)] for name, p in net.named_parameters()}


def like_training(shape: tuple[int, ...], seed: int = 0) -> Tensor:
    """A gradient whose singular values fall from 1 to 0.03, as those of real layers do; random vectors."""
    flat = torch.randn(shape, generator=torch.Generator().manual_seed(seed)).reshape(shape[0], -1)
    u, _, v = torch.linalg.svd(flat, full_matrices=False)
    values = torch.logspace(0, -1.5, u.shape[1])
    return ((u * values) @ v).reshape(shape)


# The release's numbers


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", MATRICES + OTHERS)
def test_three_steps_are_the_releases(name: str, dtype: torch.dtype) -> None:
    p = nn.Parameter(GOLDEN[f"{name}.param0"].clone())
    group = {"params": [p], "muon": name in MATRICES}
    optimizer = Muon([group], lr=1e-2, weight_decay=0.1, scale="published", ns_dtype=dtype)
    for k in (1, 2, 3):
        p.grad = GOLDEN[f"{name}.grad{k}"].clone()
        optimizer.step()
        state = optimizer.state[p]
        # The release orthogonalises in bfloat16, which is worth up to 0.06 of a step in a weight.
        room = 2e-5 if name in OTHERS else 1e-2 * update_scale(p.shape, "published") * 0.06 * k
        assert (p - GOLDEN[f"{name}.param{k}"]).abs().max() < room
        kept = {"momentum": "momentum_buffer"} if name in MATRICES else dict.fromkeys(("moment1", "moment2"))
        for ours, theirs in kept.items():
            golden = GOLDEN[f"{name}.{theirs or ours}{k}"]
            assert (state[ours].reshape(golden.shape) - golden).abs().max() < 2e-5


def test_orthogonalisation_is_the_releases() -> None:
    exact = orthogonalise(GOLDEN["ns_input"], dtype=torch.float32)
    assert (exact - GOLDEN["ns_output_fp32"]).abs().max() < 2e-5
    rounded = orthogonalise(GOLDEN["ns_input"], dtype=torch.bfloat16)
    assert rounded.dtype == torch.bfloat16
    assert (rounded.float() - GOLDEN["ns_output_bf16"].float()).abs().max() < 0.06


def test_singular_values_are_near_one() -> None:
    values = torch.linalg.svdvals(orthogonalise(like_training((40, 90))))
    assert values.min() > 0.65 and values.max() < 1.25


def test_a_gradient_of_zeros_moves_nothing_but_decay() -> None:
    p = nn.Parameter(torch.ones(4, 6))
    p.grad = torch.zeros(4, 6)
    Muon([p], lr=0.1, weight_decay=0.5).step()
    assert torch.equal(p, torch.full((4, 6), 0.95))


# Which weights


def test_the_published_rule_selects_what_the_release_does() -> None:
    with torch.device("meta"):
        net = MoebiusUNet()
    groups = split_parameters(net, rule="published", learning_rate=1e-4, weight_decay=0.1)
    sizes = {g["name"]: (len(g["params"]), sum(p.numel() for p in g["params"])) for g in groups}
    assert sizes == {"muon": (288, 225_511_736), "adamw": (543, 529_795)}
    assert {g["weight_decay"] for g in groups} == {0.1}
    wide = {name for name, p in net.named_parameters() if p.ndim >= 2}
    spared = {name for name, part in by_name(groups, net).items() if part == "adamw"} & wide
    borders = {f"{side}.{conv}.weight" for side in ("conv_in", "conv_out") for conv in ("conv_dw", "conv_pw")}
    assert spared == {"category_embedding.weight", *borders}


def test_our_rule_orthogonalises_linear_maps_alone() -> None:
    net = MoebiusUNet(TINY)
    groups = split_parameters(net, learning_rate=1e-4, weight_decay=0.1)
    parts = by_name(groups, net)
    decay = {g["name"]: g["weight_decay"] for g in groups}
    assert decay == {"muon": 0.1, "adamw": 0.1, "adamw, no decay": 0.0}
    assert {g["name"]: g["muon"] for g in groups} == {"muon": True, "adamw": False, "adamw, no decay": False}
    for name, parameter in net.named_parameters():
        if parameter.ndim < 2 or name.endswith("positions") or name == "category_embedding.weight":
            assert parts[name] == "adamw, no decay", name
        elif "conv_dw" in name or "depthwise" in name or name.startswith(("conv_in", "conv_out")):
            assert parts[name] == "adamw", name
        else:
            assert parts[name] == "muon", name


def test_the_published_rule_orthogonalises_tables_and_depthwise_kernels() -> None:
    """What our rule corrects is really there."""
    net = MoebiusUNet(TINY)
    parts = by_name(split_parameters(net, rule="published", learning_rate=1e-4, weight_decay=0.1), net)
    assert parts["down.0.mixers.0.interactive.positions"] == "muon"
    assert parts["down.0.resnets.0.conv1.conv_dw.weight"] == "muon"


def test_frozen_parameters_are_left_out() -> None:
    net = MoebiusUNet(TINY).requires_grad_(False)
    net.category_embedding.requires_grad_(True)
    groups = split_parameters(net, learning_rate=1e-4, weight_decay=0.1)
    assert [g["params"] for g in groups] == [[net.category_embedding.weight]]


# How far

KINDS: dict[str, tuple[int, ...]] = {
    "linear": (192, 96),
    "wide linear": (64, 320),
    "1x1": (160, 160, 1, 1),
    "dense 3x3": (96, 96, 3, 3),
    "position 15x15": (40, 1, 15, 15),
}


def update_rms(shape: tuple[int, ...], scale: str) -> float:
    p = nn.Parameter(torch.zeros(shape))
    p.grad = like_training(shape)
    Muon([p], lr=1.0, weight_decay=0.0, scale=scale).step()  # type: ignore[arg-type]
    return float(p.detach().square().mean().sqrt())


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_weight_moves_by_a_fifth_of_the_learning_rate(kind: str) -> None:
    assert update_rms(KINDS[kind], "flattened") == pytest.approx(0.2, rel=0.15)


def test_published_scaling_lets_wide_kernels_lag() -> None:
    assert update_rms(KINDS["1x1"], "published") == pytest.approx(0.2, rel=0.15)
    for kind in ("dense 3x3", "position 15x15"):
        assert update_rms(KINDS[kind], "published") < 0.5 * 0.2, kind


# Batches, layouts, resuming


def net_and_optimizer(**options: Any) -> tuple[MoebiusUNet, Muon]:
    torch.manual_seed(0)
    net = MoebiusUNet(TINY)
    groups = split_parameters(net, learning_rate=1e-2, weight_decay=0.1)
    return net, Muon(groups, **options)


def put_gradients(net: nn.Module, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for p in net.parameters():
        p.grad = torch.randn(p.shape, generator=generator).to(memory_format=torch.preserve_format)


def test_batched_is_one_by_one() -> None:
    (together, first), (alone, second) = net_and_optimizer(), net_and_optimizer(batched=False)
    for step in range(3):
        for net, optimizer in ((together, first), (alone, second)):
            put_gradients(net, step)
            optimizer.step()
    for a, b in zip(together.parameters(), alone.parameters(), strict=True):
        assert torch.allclose(a, b, atol=1e-6)


def test_channels_last_changes_nothing() -> None:
    (plain, first), (turned, second) = net_and_optimizer(), net_and_optimizer()
    turned.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    for step in range(2):
        put_gradients(plain, step)
        put_gradients(turned, step)
        for p in turned.parameters():
            if p.ndim == 4:
                p.grad = p.grad.contiguous(memory_format=torch.channels_last)  # type: ignore[union-attr]
        first.step()
        second.step()
    for a, b in zip(plain.parameters(), turned.parameters(), strict=True):
        assert torch.allclose(a, b, atol=1e-6)
    kernel = turned.down[0].resample.conv.weight
    assert kernel.is_contiguous(memory_format=torch.channels_last)
    assert second.state[kernel]["momentum"].stride() == kernel.stride()


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_a_flat_file_of_tensors_restores_a_run_to_the_bit(
    tmp_path: Path, layout: torch.memory_format
) -> None:
    def steps(net: nn.Module, optimizer: Muon, numbers: range) -> None:
        for number in numbers:
            put_gradients(net, number)
            optimizer.step()

    whole, through = net_and_optimizer()
    half, before = net_and_optimizer()
    fresh, after = net_and_optimizer()
    for net in (whole, half, fresh):
        net.to(memory_format=layout)  # type: ignore[call-overload]
    steps(whole, through, range(4))
    steps(half, before, range(2))

    flat = {
        f"{index}.{name}": value.contiguous()
        for index, state in before.state_dict()["state"].items()
        for name, value in state.items()
    }
    save_file(flat, tmp_path / "optimizer.safetensors")
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in load_file(tmp_path / "optimizer.safetensors").items():
        index, name = key.split(".")
        state.setdefault(int(index), {})[name] = value
    fresh.load_state_dict(half.state_dict())
    after.load_state_dict({"state": state, "param_groups": after.state_dict()["param_groups"]})
    steps(fresh, after, range(2, 4))
    for a, b in zip(whole.parameters(), fresh.parameters(), strict=True):
        assert torch.equal(a, b)


def test_parameters_without_a_gradient_rest() -> None:
    p, q = nn.Parameter(torch.ones(3, 3)), nn.Parameter(torch.ones(3, 3))
    optimizer = Muon([p, q], lr=0.1)
    p.grad = torch.eye(3)
    optimizer.step()
    assert torch.equal(q, torch.ones(3, 3)) and q not in optimizer.state


def test_a_late_gradient_has_its_own_bias_correction() -> None:
    """AdamW's first step is about lr long for each parameter, whenever its gradients begin."""
    p, q = nn.Parameter(torch.zeros(3)), nn.Parameter(torch.zeros(3))
    optimizer = Muon([p, q], lr=0.1, weight_decay=0.0, muon=False)
    p.grad = torch.ones(3)
    optimizer.step()
    q.grad = torch.ones(3)
    optimizer.step()
    assert torch.allclose(q, torch.full((3,), -0.1), atol=1e-6)


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"lr": -1.0}, "lr"),
        ({"momentum": 1.0}, "momentum"),
        ({"betas": (0.9, 1.0)}, "betas"),
        ({"scale": "wide"}, "scale"),
    ],
)
def test_impossible_options(options: dict[str, Any], field: str) -> None:
    with pytest.raises(SettingsError, match=rf"^{field}: expected .*, got "):
        Muon([nn.Parameter(torch.zeros(2, 2))], **options)


def test_muon_wants_matrices() -> None:
    with pytest.raises(SettingsError, match=r"two axes or more, got shape \(3,\)"):
        Muon([nn.Parameter(torch.zeros(3))])
    with pytest.raises(SettingsError, match="rule: expected one of ours, published, got 'mine'"):
        split_parameters(nn.Linear(2, 2), rule="mine", learning_rate=1.0, weight_decay=0.0)  # type: ignore[arg-type]
