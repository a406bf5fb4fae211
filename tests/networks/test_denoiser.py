"""What the denoiser promises beyond parity: sizes, features, checkpointing, clear errors."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from moebius.networks import MoebiusConfig, MoebiusUNet

CONFIG = MoebiusConfig(
    latent_size=8, channels=(16, 32, 48), category_channels=12, context_channels=20, heads=4, norm_groups=4
)


def inputs(height: int, width: int, batch: int = 2, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(batch, 9, height, width, generator=generator)
    return x, torch.arange(batch) * 300, torch.arange(10).expand(batch, -1)


@pytest.fixture()
def net() -> MoebiusUNet:
    torch.manual_seed(0)
    return MoebiusUNet(CONFIG)


@pytest.mark.parametrize(("height", "width"), [(8, 8), (4, 4), (16, 8), (4, 12), (12, 20)])
def test_any_side_divisible_by_four(net: MoebiusUNet, height: int, width: int) -> None:
    with torch.no_grad():
        out = net.eval()(*inputs(height, width))
    assert out.shape == (2, 4, height, width)
    assert out.isfinite().all()


def test_native_size_leaves_the_table_alone(net: MoebiusUNet) -> None:
    layer = net.down[0].mixers[0].interactive
    assert layer.table(8, 8) is layer.positions


def test_resized_table_is_cached_and_follows_the_weights(net: MoebiusUNet) -> None:
    layer = net.down[0].mixers[0].interactive
    with torch.no_grad():
        first = layer.table(12, 4)
        assert layer.table(12, 4) is first
        layer.positions.mul_(2)
        assert torch.allclose(layer.table(12, 4), 2 * first)
        assert len(layer._resized) == 1  # the stale one is gone


def test_resized_table_is_a_picture_of_the_native_one(net: MoebiusUNet) -> None:
    """A table linear in the row index stays linear when it is resized; rows and columns are not mixed up."""
    layer = net.down[0].mixers[0].interactive
    rows = torch.arange(8.0).repeat_interleave(8).view(64, 1, 1)
    with torch.no_grad():
        layer.positions.copy_(rows.expand_as(layer.positions))
        table = layer.table(16, 8).reshape(16, 8, *layer.positions.shape[1:])
    expected = ((torch.arange(16.0) + 0.5) / 2 - 0.5).clamp(0, 7)
    assert torch.allclose(table[:, 3, 0, 0], expected)


def test_a_resized_table_is_part_of_a_compiled_graph(net: MoebiusUNet) -> None:
    """One graph, whatever the size: none that is broken off at the cache, and compiled anew for every layer."""
    given = inputs(12, 8)
    whole = torch.compile(net.eval(), backend="eager", fullgraph=True)
    with torch.no_grad():
        torch.testing.assert_close(whole(*given), net(*given))
    torch.compiler.reset()


def test_gradient_reaches_a_resized_table(net: MoebiusUNet) -> None:
    net(*inputs(4, 12)).sum().backward()
    grad = net.down[0].mixers[0].interactive.positions.grad
    assert grad is not None and grad.abs().sum() > 0


def test_features_are_the_stages_outputs(net: MoebiusUNet) -> None:
    with torch.no_grad():
        out, features = net.eval()(*inputs(8, 8), return_features=True)
        plain = net(*inputs(8, 8))
    assert [tuple(f.shape[1:]) for f in features] == [
        (16, 4, 4), (32, 2, 2), (48, 2, 2), (48, 4, 4), (32, 8, 8), (16, 8, 8),
    ]  # fmt: skip
    assert torch.equal(out, plain)


def test_checkpointing_changes_nothing_but_memory(net: MoebiusUNet) -> None:
    """Same gradients, and batch-norm statistics move once a step, not once more in the recomputation."""
    other = copy.deepcopy(net)
    other.gradient_checkpointing = True
    for model in (net, other):
        model.train()
        model(*inputs(8, 8)).square().mean().backward()
    for (name, a), b in zip(net.named_parameters(), other.parameters(), strict=True):
        assert a.grad is not None and b.grad is not None
        assert torch.allclose(a.grad, b.grad, atol=1e-6), name
    for (name, a), b in zip(net.named_buffers(), other.buffers(), strict=True):
        assert torch.allclose(a, b), name
    norms = [m for m in other.modules() if isinstance(m, (nn.BatchNorm1d, nn.BatchNorm2d))]
    assert all(int(norm.num_batches_tracked) == 1 and norm.momentum == 0.1 for norm in norms)


def test_every_parameter_matters(net: MoebiusUNet) -> None:
    net.train()(*inputs(8, 8)).square().mean().backward()
    silent = [name for name, p in net.named_parameters() if p.grad is None or p.grad.abs().max() == 0]
    # Only one half of the category table is looked up; its gradient rows are checked by name.
    assert silent == []


def test_errors_have_both_values(net: MoebiusUNet) -> None:
    with pytest.raises(ValueError, match=r"expected 9 input channels .*, got 8"):
        net(torch.zeros(1, 8, 8, 8), torch.tensor([1]), torch.arange(10)[None])
    with pytest.raises(ValueError, match="divide by 4, got 8 x 6"):
        net(torch.zeros(1, 9, 8, 6), torch.tensor([1]), torch.arange(10)[None])
    with pytest.raises(ValueError, match="got 30"):
        MoebiusConfig(channels=(30, 60, 120))
    with pytest.raises(ValueError, match="even"):
        MoebiusConfig(categories=7)
    with pytest.raises(ValueError, match="latent_size"):
        MoebiusConfig(latent_size=10)
