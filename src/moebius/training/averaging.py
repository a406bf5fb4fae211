"""Averaged weights, which are what is validated and released.

The release averages parameters only: the batch norms of a network that is loaded from its averages keep the
statistics of a fresh one (mean 0, variance 1), and the network is broken. Here every buffer comes along.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from moebius.errors import SettingsError


class Average:
    """An exponential moving average of a network's parameters, with its buffers as they last were.

    After update number k (from 1), average <- d average + (1 - d) parameter with d = min(decay, (1 + k) / (10 + k)),
    so that the start is forgotten quickly; the release's schedule. Buffers (batch-norm statistics) are copied: they
    move by averaging already.

    Args:
        net: the network; it is copied, device and memory layout included.
        decay: 0 to below 1.

    Raises:
        SettingsError: decay is out of its range.
    """

    def __init__(self, net: nn.Module, decay: float = 0.9999):
        if not 0 <= decay < 1:
            raise SettingsError(f"ema: expected a number from 0 to below 1, got {decay!r}")
        self.decay = decay
        self.step = 0
        """Updates so far; set it, and load `module`'s state, to go on with a run."""
        self.module = copy.deepcopy(net).requires_grad_(False).eval()
        """The averaged network, in eval mode."""

    def rate(self, step: int) -> float:
        """d of update number `step`, from 1."""
        return min(self.decay, (1 + step) / (10 + step))

    @torch.no_grad()
    def update(self, net: nn.Module) -> None:
        """Take in the network's present state. Parameters that are frozen in `net` are copied."""
        self.step += 1
        values = list(net.parameters())
        averages = list(self.module.parameters())
        moving = [(a, v) for a, v in zip(averages, values, strict=True) if v.requires_grad]
        if moving:
            means: list[Tensor] = [a for a, _ in moving]
            torch._foreach_lerp_(means, [v for _, v in moving], 1 - self.rate(self.step))
        copied = [(a, v) for a, v in zip(averages, values, strict=True) if not v.requires_grad]
        for average, value in (*copied, *zip(self.module.buffers(), net.buffers(), strict=True)):
            average.copy_(value)
