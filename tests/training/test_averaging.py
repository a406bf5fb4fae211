"""What comes after the weights: their average with its buffers, and batch-norm statistics for inference."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from moebius.errors import SettingsError
from moebius.networks import MoebiusConfig, MoebiusUNet
from moebius.sampling import trailing_timesteps
from moebius.training.averaging import Average
from moebius.training.noising import Diffusion, NoiseRecipe, draw
from moebius.training.statistics import inference_inputs, reestimate

GOLDEN = load_file(Path(__file__).parents[1] / "data" / "training" / "ema_5steps.safetensors")
TINY = MoebiusConfig(
    latent_size=8, channels=(16, 32, 48), category_channels=12, context_channels=20, heads=4, norm_groups=4
)
Batch = tuple[Tensor, Tensor, Tensor]


def inputs(rows: int, seed: int) -> Any:
    """A batch with the names of `training.inputs.Inputs`; latents with a mean and a spread of their own."""
    drawn = draw(NoiseRecipe(), range(1000 * seed, 1000 * seed + rows), (4, 8, 8), seed=0)
    mask = torch.zeros(rows, 1, 8, 8)
    mask[..., 2:6, 2:6] = 1
    clean = 0.5 + 1.5 * drawn.posterior[:, 0]
    batch = SimpleNamespace(
        clean=clean,
        condition=clean * (1 - mask),
        mask=mask,
        noise=drawn.noise,
        timesteps=drawn.timesteps,
        ids=torch.arange(10).expand(rows, -1),
        diffusion=Diffusion(),
        feeding=SimpleNamespace(first_timestep=900),
    )
    batch.with_noisy = lambda noisy: torch.cat([noisy, batch.mask, batch.condition], dim=1)
    return batch


def as_trained(rows: int, seed: int) -> Batch:
    """A batch as training shows it: drawn timesteps, the first half of the category table only."""
    batch = inputs(rows, seed)
    noisy = batch.diffusion.noisy(batch.clean, batch.noise, batch.timesteps)
    return batch.with_noisy(noisy), batch.timesteps, batch.ids


def as_inferred(rows: int, seeds: range) -> list[Batch]:
    return [b for i, seed in enumerate(seeds) for b in inference_inputs(inputs(rows, seed), index=i)]


def trained(steps: int = 25) -> MoebiusUNet:
    """A tiny network after some steps with two rows each, in train mode."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = MoebiusUNet(TINY).train()
    optimizer = torch.optim.AdamW(net.parameters(), lr=2e-3)
    for step in range(steps):
        batch = inputs(2, step)
        predicted = net(*as_trained(2, step))
        (predicted - batch.noise).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    return net


@pytest.fixture(scope="module")
def net() -> MoebiusUNet:
    return trained()


@torch.no_grad()
def output(net: nn.Module, batch: Batch, *, training: bool = False) -> Tensor:
    """The prediction in either mode; the network is left as it was."""
    twin = copy.deepcopy(net).train(training)
    out: Tensor = twin(*batch)
    return out


# The average


def test_the_average_is_the_releases() -> None:
    net = nn.Linear(3, 2, bias=False)
    net.weight.data.copy_(GOLDEN["w0"])
    average = Average(net, decay=0.9999)
    for k in range(1, 6):
        net.weight.data += 1
        average.update(net)
        assert average.rate(k) == pytest.approx(float(GOLDEN["decays"][k - 1]), rel=1e-6)
        assert (average.module.weight - GOLDEN[f"ema{k}"]).abs().max() < 1e-6
    assert average.step == 5
    assert average.rate(10**7) == 0.9999


def test_the_average_goes_on_where_it_stopped() -> None:
    net = nn.Linear(3, 2)
    whole, half = Average(net), Average(net)
    for average, numbers in ((whole, range(4)), (half, range(2))):
        for number in numbers:
            net.weight.data.fill_(number)
            average.update(net)
    resumed = Average(net)
    resumed.module.load_state_dict(half.module.state_dict())
    resumed.step = half.step
    for number in (2, 3):
        net.weight.data.fill_(number)
        resumed.update(net)
    assert torch.equal(resumed.module.weight, whole.module.weight)


def test_buffers_come_along_and_the_network_is_untouched(net: MoebiusUNet) -> None:
    net = copy.deepcopy(net)
    average = Average(net)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    net(*as_trained(4, 99))  # moves the statistics
    average.update(net)
    for a, b in zip(average.module.buffers(), net.buffers(), strict=True):
        assert torch.equal(a, b)
    assert not average.module.training and net.training
    assert not any(p.requires_grad for p in average.module.parameters())
    for name, parameter in net.named_parameters():
        assert torch.equal(parameter, before[name])


def test_an_average_without_buffers_is_a_broken_network(net: MoebiusUNet) -> None:
    """The release averages parameters alone; loaded into a fresh network they meet mean 0 and variance 1."""
    average = Average(net)
    average.update(net)
    fresh = MoebiusUNet(TINY)
    with torch.no_grad():
        for mine, theirs in zip(fresh.parameters(), average.module.parameters(), strict=True):
            mine.copy_(theirs)
    batch = as_trained(8, 70)
    wanted = output(net, batch)
    ours = (output(average.module, batch) - wanted).square().mean() / wanted.square().mean()
    old = (output(fresh, batch) - wanted).square().mean() / wanted.square().mean()
    assert ours < 1e-6  # the same weights, the same statistics
    assert old > 0.5


def test_frozen_parameters_and_layouts() -> None:
    net = nn.Sequential(nn.Conv2d(4, 4, 3), nn.Conv2d(4, 4, 3)).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    net[0].requires_grad_(False)
    average = Average(net, decay=0.5)
    net[0].weight.data.fill_(7.0)
    average.update(net)
    assert torch.equal(average.module[0].weight, net[0].weight)
    assert average.module[1].weight.is_contiguous(memory_format=torch.channels_last)


def test_a_decay_that_never_moves() -> None:
    with pytest.raises(SettingsError, match=r"ema: expected a number from 0 to below 1, got 1.0"):
        Average(nn.Linear(1, 1), decay=1.0)


# Statistics


@torch.no_grad()
def stages(net: nn.Module, batch: Batch, *, training: bool) -> list[Tensor]:
    """Outputs of the stages, and the prediction last; the network is left as it was."""
    predicted, features = copy.deepcopy(net).train(training)(*batch, return_features=True)
    return [*features, predicted]


def gaps(net: nn.Module, batches: list[Batch]) -> Tensor:
    """How far eval mode is from train mode at each stage, relative to the stage: means over the batches."""
    found = []
    for batch in batches:
        pairs = [stages(net, batch, training=mode) for mode in (True, False)]
        found.append([(b - a).square().mean() / a.square().mean() for a, b in zip(*pairs, strict=True)])
    return torch.tensor(found).mean(0)


def test_reestimation_closes_the_gap_between_training_and_inference(net: MoebiusUNet) -> None:
    """Tenfold in the first two stages; further on a network as raw as this one follows its batch-mates anyway."""
    settled = copy.deepcopy(net)
    assert reestimate(settled, as_inferred(40, range(100, 104))) == 4
    seen = as_inferred(40, range(200, 202))
    before, after = gaps(net, seen), gaps(settled, seen)
    assert (after[:2] < before[:2] / 10).all()
    assert (after < before).all()

    # At no stage is eval mode further from train mode than train mode is from itself with half of the rows changed.
    mixed = tuple(torch.cat([a[:20], b[:20]]) for a, b in zip(*seen, strict=True))
    one, other = (stages(net, batch, training=True) for batch in (seen[0], mixed))  # type: ignore[arg-type]
    for a, b, left in zip(one, other, after, strict=True):
        assert left < 1.4 * (a[:20] - b[:20]).square().mean() / a[:20].square().mean()
    for (name, was), now in zip(net.named_parameters(), settled.parameters(), strict=True):
        assert torch.equal(was, now), name


def test_the_result_does_not_depend_on_what_was_there(net: MoebiusUNet) -> None:
    """Neither on the running statistics nor on the momentum; and once is enough."""
    batches = as_inferred(8, range(100, 103))
    one, other = copy.deepcopy(net), copy.deepcopy(net)
    for module in other.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.momentum = 0.7
            module.running_mean.fill_(5.0)  # type: ignore[union-attr]
            module.running_var.fill_(0.1)  # type: ignore[union-attr]
            module.num_batches_tracked.fill_(12345)  # type: ignore[union-attr]
    for network in (one, other):
        reestimate(network, batches)
    for a, b in zip(one.buffers(), other.buffers(), strict=True):
        assert torch.equal(a, b)
    again = copy.deepcopy(one)
    reestimate(again, batches)
    for a, b in zip(one.buffers(), again.buffers(), strict=True):
        assert torch.equal(a, b)


def test_modes_and_momenta_are_given_back() -> None:
    net = MoebiusUNet(TINY).train()
    net.up.eval()
    net.conv_in.bn1.momentum = 0.3
    modes = {name: module.training for name, module in net.named_modules()}
    reestimate(net, as_inferred(4, range(1)))
    assert {name: module.training for name, module in net.named_modules()} == modes
    assert net.conv_in.bn1.momentum == 0.3 and net.conv_in.bn2.momentum == 0.1
    assert int(net.conv_in.bn1.num_batches_tracked) == 1
    assert not net.conv_in.bn1._forward_pre_hooks


def test_statistics_are_those_of_all_rows_however_they_are_batched() -> None:
    """Pooled, with the variance between batches: a mean of the batches' variances would miss it."""
    rows = torch.cat(
        [torch.randn(6, 3, 4, 4, generator=torch.Generator().manual_seed(0)) + 5 * i for i in range(3)]
    )
    net = nn.Sequential(nn.BatchNorm2d(3))
    found = []
    for batches in ([(rows,)], [(rows[:6],), (rows[6:12],), (rows[12:],)], [(rows[:2],), (rows[2:],)]):
        reestimate(net, batches)
        found.append((net[0].running_mean.clone(), net[0].running_var.clone()))
    for mean, variance in found:
        assert torch.allclose(mean, rows.mean((0, 2, 3)), rtol=1e-5)
        assert torch.allclose(variance, rows.var((0, 2, 3)), rtol=1e-5)


def test_an_error_leaves_the_statistics_alone(net: MoebiusUNet) -> None:
    net = copy.deepcopy(net)
    before = [buffer.clone() for buffer in net.buffers()]

    def broken() -> Any:
        yield as_trained(2, 0)
        raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        reestimate(net, broken())
    with pytest.raises(SettingsError, match="at least one batch"):
        reestimate(net, [])
    assert all(torch.equal(a, b) for a, b in zip(before, net.buffers(), strict=True))
    assert net.training


# Inputs of inference


def test_inputs_are_the_samplers() -> None:
    batches = as_inferred(8, range(5))  # 40 rows: every timestep of 20 with both halves
    seen = {(int(t), int(ids[0])) for _, at, ids in batches for t, ids in zip(at, ids, strict=True)}
    grid = trailing_timesteps(20, 900)
    assert seen == {(t, first) for t in grid for first in (0, 10)}
    for x, at, ids in batches:
        assert x.shape == (8, 9, 8, 8) and ids.shape == (8, 10)
        assert len(set(at.tolist())) == 8 and {0, 10} == set(ids[:, 0].tolist())


def test_noisy_inputs_are_forward_noised() -> None:
    batch = inputs(4, 3)
    ((x, at, _),) = inference_inputs(batch, steps=4, index=1)
    assert torch.equal(x[:, :4], batch.diffusion.noisy(batch.clean, batch.noise, at))
    assert at.tolist() == list(trailing_timesteps(4, 900))
    assert torch.equal(x[:, 4:], torch.cat([batch.mask, batch.condition], dim=1))
    ((_, _, alone),) = inference_inputs(batch, both_categories=False)
    assert torch.equal(alone, torch.arange(10).expand(4, -1))


def test_another_grid() -> None:
    grid: Callable[[int, int], list[int]] = lambda steps, first: [first, first // 2]  # noqa: E731
    ((_, at, _),) = inference_inputs(inputs(4, 0), timesteps=grid)
    assert at.tolist() == [900, 450, 900, 450]
