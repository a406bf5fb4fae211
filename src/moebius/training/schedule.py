"""Learning rate and averaging schedules, as functions of the step alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from moebius.errors import SettingsError

RateKind = Literal["constant", "wsd", "cosine", "steps"]

PAPER_MILESTONES = ((111_000, 0.1), (129_000, 0.1))
"""Moebius paper, section 4.1: a tenth from step 111,000 and another tenth from 129,000, of 138,000."""
_FLOOR = 0.02


def rate(
    step: int,
    *,
    peak: float,
    warmup: int,
    total: int,
    kind: RateKind = "constant",
    decay: int = 0,
    milestones: Sequence[tuple[int, float]] = PAPER_MILESTONES,
) -> float:
    """Learning rate of update number `step`, from 0.

    All kinds rise linearly over the first `warmup` updates, reaching `peak` with the last of them. Then

        constant    stays at `peak`
        wsd         stays there, and falls linearly to 2 % of it over the last `decay` updates of `total`
        cosine      falls to 2 % of it along half a cosine until `total`
        steps       is multiplied by each factor of `milestones` (step, factor) from that step on

    Raises:
        SettingsError: no such kind.
    """
    if kind not in get_args(RateKind):
        raise SettingsError(f"schedule: expected one of {', '.join(get_args(RateKind))}, got {kind!r}")
    if step < warmup:
        return peak * (step + 1) / warmup
    if kind == "wsd":
        return warmup_stable_decay(step, peak=peak, warmup=warmup, total=total, decay=decay)
    if kind == "cosine":
        done = min(1.0, (step - warmup) / max(1, total - warmup))
        return peak * (_FLOOR + (1 - _FLOOR) * (1 + math.cos(math.pi * done)) / 2)
    if kind == "steps":
        return peak * math.prod(factor for start, factor in milestones if step >= start)
    return peak


def warmup_stable_decay(step: int, *, peak: float, warmup: int, total: int, decay: int) -> float:
    """Learning rate at `step`: linear up over `warmup`, flat, linear to 2 % of `peak` over the last `decay` steps.

    The flat part makes a run extendable: only `total` decides when it ends.
    """
    if step < warmup:
        return peak * (step + 1) / warmup
    left = (total - step) / max(1, decay)
    return peak * max(_FLOOR, min(1.0, left))


@torch.no_grad()
def update_average(ema: nn.Module, net: nn.Module, *, decay: float, step: int) -> None:
    """ema <- d ema + (1 - d) net with d = min(decay, (1 + step) / (10 + step)); buffers are copied."""
    share = min(decay, (1 + step) / (10 + step))
    averages: list[Tensor] = list(ema.parameters())
    values: list[Tensor] = list(net.parameters())
    torch._foreach_lerp_(averages, values, 1 - share)
    for average, value in zip(ema.buffers(), net.buffers(), strict=True):
        average.copy_(value)
