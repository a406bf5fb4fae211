"""The published graph computes what the plain network does, in the published operations."""

from __future__ import annotations

from functools import cache

import pytest
import torch
from torch import Tensor, nn

from moebius.benchmarks.cases import Setting
from moebius.benchmarks.counting import Count, count
from moebius.benchmarks.reference import PublishedInteractiveLambda, PublishedLocalLambda, published_graph
from moebius.benchmarks.subjects import made_up_inputs, make_denoiser
from moebius.networks import MoebiusUNet

TINY = Setting(size="tiny")
PUBLISHED = {
    "convolution": 229, "bmm": 105, "batch norm": 124, "group norm": 46, "layer norm": 45, "softmax": 30, "gather": 15,
    "add": 139, "silu": 77, "relu": 32,
}  # fmt: skip
"""Operations of a call, counted in the release (at full size; no size changes them)."""


@pytest.fixture(scope="module")
def plain() -> MoebiusUNet:
    return make_denoiser(TINY).double()


def inputs() -> tuple[Tensor, ...]:
    x, timesteps, ids = made_up_inputs(make_denoiser(TINY).config, 2, TINY, guided=True)
    return x.double(), timesteps, ids


def difference(plain: nn.Module, other: nn.Module) -> float:
    with torch.no_grad():
        wanted, got = plain(*inputs()), other(*inputs())
    assert wanted.std() > 0.1
    return float((got - wanted).abs().max() / wanted.std())


def test_it_equals_the_plain_network(plain: MoebiusUNet) -> None:
    assert difference(plain, published_graph(plain)) < 1e-12


def test_it_has_the_same_weights_and_leaves_the_network_alone(plain: MoebiusUNet) -> None:
    before = dict(plain.named_modules())
    twin = published_graph(plain)
    assert dict(plain.named_modules()) == before
    kept = {id(p) for p in (*plain.parameters(), *plain.buffers())}
    assert {id(p) for p in (*twin.parameters(), *twin.buffers())} == kept


@pytest.mark.parametrize("kind", [PublishedLocalLambda, PublishedInteractiveLambda])
def test_the_equality_can_fail(plain: MoebiusUNet, kind: type[nn.Module]) -> None:
    changed = published_graph(plain)
    for module in changed.modules():
        if isinstance(module, kind):
            module.forward = lambda z, *_, f=module.forward: 1.01 * f(z, *_)  # type: ignore[method-assign, misc]
            break
    assert difference(plain, changed) > 1e-6


@cache
def counted(published: bool, rows: int) -> Count:
    """A call at full size on the meta device: no numbers, the same operations."""
    with torch.device("meta"):
        net = MoebiusUNet().eval().requires_grad_(False)
        x, ids = torch.zeros(rows, 9, 64, 64), torch.zeros(rows, 10, dtype=torch.int64)
        called = published_graph(net) if published else net
        return count(lambda: called(x, torch.zeros(1), ids))


def test_it_counts_what_the_release_counts() -> None:
    found = counted(True, 1)
    assert found.flops / 1e9 == pytest.approx(315.98, abs=0.005)
    assert {kind: found.kinds[kind] for kind in PUBLISHED} == PUBLISHED
    assert counted(True, 2).flops == pytest.approx(2 * found.flops, rel=1e-4)


def test_the_plain_network_counts_less() -> None:
    """It never writes the interactive lambda's matrices out."""
    assert counted(False, 1).flops < counted(True, 1).flops
    assert counted(False, 1).bytes < counted(True, 1).bytes
