"""Learning rate and averaging schedules, as functions of the step alone."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def warmup_stable_decay(step: int, *, peak: float, warmup: int, total: int, decay: int) -> float:
    """Learning rate at `step`: linear up over `warmup`, flat, linear to 2 % of `peak` over the last `decay` steps.

    The flat part makes a run extendable: only `total` decides when it ends.
    """
    if step < warmup:
        return peak * (step + 1) / warmup
    left = (total - step) / max(1, decay)
    return peak * max(0.02, min(1.0, left))


@torch.no_grad()
def update_average(ema: nn.Module, net: nn.Module, *, decay: float, step: int) -> None:
    """ema <- d ema + (1 - d) net with d = min(decay, (1 + step) / (10 + step)); buffers are copied."""
    rate = min(decay, (1 + step) / (10 + step))
    averages: list[Tensor] = list(ema.parameters())
    values: list[Tensor] = list(net.parameters())
    torch._foreach_lerp_(averages, values, 1 - rate)
    for average, value in zip(ema.buffers(), net.buffers(), strict=True):
        average.copy_(value)
