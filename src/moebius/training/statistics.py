"""Batch-norm statistics for inference, estimated anew with the weights as they are.

While training, running statistics follow small batches of mixed timesteps and old weights, and mostly one half of
the category table. `reestimate` replaces them by those of a whole set of inputs, and `inference_inputs` makes inputs
as a sampler will: its timesteps only, both halves of the table, pure forward noising.

Source: Wu and Johnson, Rethinking "Batch" in BatchNorm (2021), section 3.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from moebius.errors import SettingsError
from moebius.sampling import trailing_timesteps

if TYPE_CHECKING:
    from moebius.training.inputs import Inputs


class _Tally:
    """Sums of one norm's input over batches, in float64: pooled means and variances, whatever the batches' sizes."""

    def __init__(self) -> None:
        self.count = 0
        self.total: Tensor | float = 0.0
        self.squares: Tensor | float = 0.0

    def __call__(self, norm: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        values = inputs[0].detach()
        channels = values.shape[1]
        flat = values.transpose(0, 1).reshape(channels, -1)  # (C, B * cells)
        variance, mean = torch.var_mean(flat.float(), dim=1, correction=0)
        rows, wide = flat.shape[1], mean.double()
        self.total = self.total + rows * wide
        self.squares = self.squares + rows * (variance.double() + wide.square())
        self.count += rows

    def store(self, norm: _BatchNorm, batches: int) -> None:
        assert norm.running_mean is not None and norm.running_var is not None
        assert isinstance(self.total, Tensor) and isinstance(self.squares, Tensor)
        mean = self.total / self.count
        variance = (self.squares / self.count - mean.square()).clamp_min(0)
        norm.running_mean.copy_(mean)
        norm.running_var.copy_(variance * (self.count / max(1, self.count - 1)))
        if norm.num_batches_tracked is not None:
            norm.num_batches_tracked.fill_(batches)


@torch.no_grad()
def reestimate(net: nn.Module, inputs: Iterable[tuple[Tensor, ...]]) -> int:
    """Set every batch norm's running statistics to those of the given inputs; weights stay.

    Each batch runs through the network with the batch norms normalising by the batch's own statistics (all else in
    eval mode), and every norm's mean and variance are pooled over all batches, variance between batches included.
    The result depends neither on the statistics that were there nor on momentum, and a second call changes nothing.

    Args:
        inputs: (x, timesteps, category ids) or whatever else `net` is called with; give batches of mixed timesteps.

    Returns:
        Batches that were used.

    Raises:
        SettingsError: there were none.
    """
    norms = [m for m in net.modules() if isinstance(m, _BatchNorm) and m.running_mean is not None]
    modes = {module: module.training for module in net.modules()}
    tallies = [_Tally() for _ in norms]
    hooks = [norm.register_forward_pre_hook(tally) for norm, tally in zip(norms, tallies, strict=True)]
    saved = [_statistics(norm) for norm in norms]
    batches = 0
    try:
        net.eval()
        for norm in norms:
            norm.train()
        for batch in inputs:
            net(*batch)
            batches += 1
    finally:
        for hook in hooks:
            hook.remove()
        for module, mode in modes.items():
            module.training = mode
        for norm, before in zip(norms, saved, strict=True):
            for name, value in before.items():
                getattr(norm, name).copy_(value)
    if not batches:
        raise SettingsError("statistics: expected at least one batch of inputs, got none")
    for norm, tally in zip(norms, tallies, strict=True):
        if tally.count:  # the network may have left a norm out
            tally.store(norm, batches)
    return batches


def inference_inputs(
    inputs: Inputs,
    *,
    steps: int = 20,
    index: int = 0,
    both_categories: bool = True,
    timesteps: Callable[[int, int], Iterable[int]] = trailing_timesteps,
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """What a sampler would show the network of a batch: (x (B, 2c+1, h, w), timesteps (B,), ids (B, m)), once.

    Row r of a run of batches is noised to timestep r modulo `steps` of the sampler's grid; rows take both halves of
    the category table in turn, so that 2 * steps rows in a row are every (timestep, half) once.

    Args:
        inputs: clean latents, condition, mask and noise.
        steps: of the sampler.
        index: number of this batch; the rows before it are counted as of its size.
        both_categories: False for networks that are sampled without guidance: the first half of the table only.
        timesteps: the grid, from (steps, first timestep).
    """
    grid = torch.tensor(list(timesteps(steps, inputs.feeding.first_timestep)))
    device, (batch, tokens) = inputs.clean.device, inputs.ids.shape
    rows = torch.arange(index * batch, (index + 1) * batch)
    at = grid[rows % len(grid)].to(device)
    half = (rows + rows // len(grid)) % 2 if both_categories else torch.zeros_like(rows)
    ids = torch.arange(tokens, device=device) + tokens * half.to(device)[:, None]
    noisy = inputs.diffusion.noisy(inputs.clean, inputs.noise, at)
    yield inputs.with_noisy(noisy), at, ids


def _statistics(norm: _BatchNorm) -> dict[str, Any]:
    return {name: value.clone() for name, value in norm.named_buffers(recurse=False)}
