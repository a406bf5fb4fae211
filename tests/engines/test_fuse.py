"""Each rewrite of the denoiser changes nothing; and proof that the comparison can fail."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from fused_networks import SHAPES, TINY, inputs, random_network, relative
from torch import Tensor

from moebius.engines import fused_blocks, fused_lambdas
from moebius.engines.fuse import REWRITES, FusedUNet, fuse
from moebius.engines.fused_convolution import Convolution, convolution, with_input_affine
from moebius.engines.fused_lambdas import FusedLocal, local_form
from moebius.networks import LocalLambda, MoebiusConfig, MoebiusUNet
from moebius.networks.blocks import ChannelLayerNorm

EXACT = 1e-10
SETS = {"none": (), "all": REWRITES, **{name: (name,) for name in REWRITES}}


@pytest.fixture(scope="module")
def net() -> MoebiusUNet:
    return random_network()


@pytest.fixture(scope="module")
def expected(net: MoebiusUNet) -> dict[tuple[int, int], tuple[Tensor, Tensor]]:
    """What the plain network says: of mixed rows, and of a guidance pair at timestep 500."""
    answers = {}
    for shape in SHAPES:
        x, times, ids = inputs(*shape)
        pair = net(torch.cat([x, x]), times[1:2], torch.cat([ids[1].expand(3, -1), ids[0].expand(3, -1)]))
        answers[shape] = (net(x, times, ids), pair)
    return answers


def errors(fused: FusedUNet, expected: dict[tuple[int, int], tuple[Tensor, Tensor]]) -> list[float]:
    found = []
    for shape, (mixed, pair) in expected.items():
        x, times, ids = inputs(*shape)
        found.append(relative(fused(x, times, ids), mixed))
        found.append(relative(torch.cat(fused.guided(x, times[1:2])), pair))
    return found


@pytest.mark.parametrize("name", SETS)
def test_a_rewrite_changes_nothing(
    name: str, net: MoebiusUNet, expected: dict[tuple[int, int], tuple[Tensor, Tensor]]
) -> None:
    before = {key: value.clone() for key, value in net.state_dict().items()}
    fused = fuse(net, rewrites=SETS[name])
    assert not any(module.training for module in fused.modules())
    assert not any(parameter.requires_grad for parameter in fused.parameters())
    assert max(errors(fused, expected)) < EXACT
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())


@pytest.mark.parametrize("left_out", REWRITES)
def test_all_but_one_change_nothing(
    left_out: str, net: MoebiusUNet, expected: dict[tuple[int, int], tuple[Tensor, Tensor]]
) -> None:
    rewrites = [name for name in REWRITES if name != left_out]
    fused = fuse(net, rewrites=rewrites, timesteps=[999, 3, 500])
    assert max(errors(fused, expected)) < EXACT


def nudge(name: str) -> Callable[[FusedUNet], None]:
    """Makes one number of that parameter a little larger: the middle one, which no padding hides."""

    def apply(fused: FusedUNet) -> None:
        owner, _, attribute = name.rpartition(".")
        tensor: Tensor = getattr(fused.get_submodule(owner), attribute)
        tensor.view(-1)[tensor.numel() // 2] += 1e-3

    return apply


MIXER, RESNET = "down.2.mixers.0", "down.0.resnets.1"
BREAKS: dict[str, Callable[[FusedUNet], None]] = {
    "batch_norm": nudge(f"{RESNET}.conv1.depthwise.bias"),
    "affines": nudge(f"{MIXER}.ffn.expand.bias"),
    "qkv": nudge(f"{MIXER}.local.parts.0.weight"),
    "local": nudge(f"{MIXER}.local.position_bias"),
    "interactive": nudge(f"{MIXER}.interactive.keys"),
    "time": nudge("time.biases.0"),
    "doubled": nudge("up.0.resnets.0.shortcut.weight"),
    "phases": nudge("up.0.resample.both.weight"),
}


@pytest.mark.parametrize("name", BREAKS)
def test_the_comparison_fails_when_a_constant_is_broken(
    name: str, net: MoebiusUNet, expected: dict[tuple[int, int], tuple[Tensor, Tensor]]
) -> None:
    fused = fuse(net, rewrites=(name,))
    with torch.no_grad():
        BREAKS[name](fused)
    assert max(errors(fused, expected)) > EXACT


def test_the_comparison_fails_when_the_pair_shares_too_much(
    net: MoebiusUNet,
    expected: dict[tuple[int, int], tuple[Tensor, Tensor]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(fused_blocks, "_repeated", lambda x, copies: torch.cat([x, x.flip(0)]))
    assert max(errors(fuse(net, rewrites=("pair",)), expected)) > EXACT


def test_channels_last_reaches_every_convolution(net: MoebiusUNet) -> None:
    """Where it is not asked for, it does not; else every map arrives as the convolution wants it, uncopied."""

    def all_arrive(rewrites: tuple[str, ...]) -> bool:
        arrived = []
        fused = fuse(net, rewrites=rewrites)
        for module in fused.modules():
            if isinstance(module, Convolution):
                module.register_forward_pre_hook(
                    lambda _, args: arrived.append(args[0].is_contiguous(memory_format=torch.channels_last))
                )
        x, times, ids = inputs(8, 8)
        fused(x, times, ids)
        return all(arrived)

    assert all_arrive(REWRITES)
    assert not all_arrive(tuple(name for name in REWRITES if name != "channels_last"))


@pytest.mark.parametrize(("height", "width"), [(4, 4), (9, 8), (5, 17), (16, 33)])
def test_tiles_of_any_width_and_in_any_portions(
    height: int, width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(1)
    plain, norm = LocalLambda(48, 4).double().eval(), ChannelLayerNorm(48).double()
    z = torch.randn(2, 48, height, width, dtype=torch.float64)
    with torch.no_grad():
        expected = plain(norm(z))
        fused = FusedLocal(plain, norm, REWRITES)
        assert fused.form == "tiles"
        whole = fused(z)
        monkeypatch.setattr(fused_lambdas, "CPU_CHUNK", 3 * 2 * 8 * 4 * 330 * (-(-width // 8)))  # three rows
        in_portions = fused(z)
    assert relative(whole, expected) < EXACT
    assert relative(in_portions, expected) < EXACT


def test_the_form_of_the_local_lambda_is_the_one_with_fewer_products() -> None:
    assert [local_form(depth, 8) for depth in (8, 16, 32, 40, 80, 160)] == ["conv"] * 2 + ["tiles"] * 4


def test_widths_of_the_published_network_and_of_nano_on_a_small_map() -> None:
    config = MoebiusConfig(
        latent_size=8, channels=(64, 320), layers=1, category_channels=12, context_channels=20, norm_groups=16
    )
    net = random_network(config)
    x, times, ids = inputs(4, 8, rows=2)
    assert relative(fuse(net)(x, times, ids), net(x, times, ids)) < EXACT


def test_the_condition_alone_needs_half_of_the_constants(net: MoebiusUNet) -> None:
    fused = fuse(net, sides="condition")
    x, times, ids = inputs(8, 8)
    wanted = ids[:1].expand(3, -1)
    assert relative(fused(x, times, wanted), net(x, times, wanted)) < EXACT
    assert fused.get_parameter("down.0.mixers.0.interactive.keys").shape[0] == 1
    with pytest.raises(ValueError, match="expected rows of 0 to 9, got"):
        fused(x, times, ids)
    with pytest.raises(ValueError, match="both sides"):
        fused.guided(x, times[:1])


def test_known_timesteps_are_a_table(net: MoebiusUNet) -> None:
    fused = fuse(net, timesteps=[500, 3])
    assert fused.time.embedding is None
    x, times, ids = inputs(8, 8, rows=2)
    assert relative(fused(x, times, ids), net(x, times, ids)) < EXACT
    with pytest.raises(ValueError, match="fused for, got 4"):
        fused(x, torch.tensor([4]), ids)
    fused.time.table[1, 0] += 1e-3  # type: ignore[index]
    assert relative(fused(x, times, ids), net(x, times, ids)) > EXACT
    with pytest.raises(ValueError, match="none below 0"):
        fuse(net, timesteps=[])


@pytest.mark.parametrize("timesteps", [None, [500]])
def test_time_stays_in_float32(net: MoebiusUNet, timesteps: list[int] | None) -> None:
    exact = fuse(net, timesteps=timesteps).time(torch.tensor([500]), torch.float64)
    narrow = fuse(net, timesteps=timesteps).float().bfloat16()
    kept = narrow.time(torch.tensor([500]), torch.float32)
    assert relative(kept, exact) < 1e-6
    x, times, ids = inputs(8, 8)
    assert narrow(x, times[1:2], ids).dtype is torch.bfloat16


def test_each_row_must_be_a_side(net: MoebiusUNet) -> None:
    fused = fuse(net)
    x, times, ids = inputs(8, 8)
    for wrong in (ids + 1, ids.flip(1), ids + 10):
        with pytest.raises(ValueError, match="expected rows of 0 to 9 or 10 to 19, got"):
            fused(x, times, wrong)
    with pytest.raises(ValueError, match="expected 3 rows like the latents, got 2"):
        fused(x, times, ids[:2])
    with pytest.raises(ValueError, match="expected 9 input channels"):
        fused(x[:, :8], times, ids)
    with pytest.raises(ValueError, match="divide by 4"):
        fused(x[:, :, :7], times, ids)


def test_unknown_names(net: MoebiusUNet) -> None:
    with pytest.raises(ValueError, match=r"expected some of batch_norm, .* got magic"):
        fuse(net, rewrites=("magic",))
    with pytest.raises(ValueError, match="expected both or condition, got 'left'"):
        fuse(net, sides="left")  # type: ignore[arg-type]


def test_a_norm_cannot_enter_a_padded_convolution() -> None:
    with pytest.raises(ValueError, match="expected a 1x1 convolution"):
        with_input_affine(convolution(torch.nn.Conv2d(4, 4, 3, padding=1)), torch.ones(4), torch.ones(4))


def test_tables_of_other_sizes_are_kept(net: MoebiusUNet) -> None:
    fused = fuse(net)
    layer = fused.down[0].mixers[0].interactive  # type: ignore[union-attr]
    x, times, ids = inputs(12, 12)
    fused(x, times, ids)
    table = layer.table(1, 12, 12)
    assert layer.table(1, 12, 12) is table
    plain = net.down[0].mixers[0].interactive  # type: ignore[union-attr]
    assert relative(table, plain.table(12, 12) + layer.keys[1]) < EXACT
    assert fused.config == TINY
    fused.to(torch.float64)  # moves nothing, so a graph may go on reading the table
    assert layer.table(1, 12, 12) is table
    assert fused.float().down[0].mixers[0].interactive.table(1, 12, 12).dtype is torch.float32  # type: ignore[union-attr]
