"""Stages of the fused network, built part by part from those of the plain one."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, cast

import torch
from torch import Tensor, nn

from moebius.engines.fused_blocks import FusedMixer, FusedResBlock
from moebius.engines.fused_convolution import convolution
from moebius.engines.fused_upsample import FusedUpsample
from moebius.networks.blocks import DepthwiseResBlock, Downsample, LambdaMixBlock, Upsample
from moebius.networks.denoiser import Stage

N = TypeVar("N", bound=nn.Module)


class Parts:
    """Where the plain network's parts come from, and what is done with a finished one."""

    def __init__(
        self, fetch: Callable[[str], nn.Module], dtype: torch.dtype | None, rewrites: frozenset[str]
    ):
        self.fetch, self._dtype = fetch, dtype
        self._channels_last = "channels_last" in rewrites

    def ready(self, module: N) -> N:
        """In the number format and memory order that it runs in."""
        module.eval().requires_grad_(False)
        if self._dtype is not None:
            module.to(self._dtype)
        if self._channels_last:
            module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return module


class FusedStage(nn.Module):
    """One level of one side, as `moebius.networks.denoiser.Stage`."""

    resample: nn.Module | None

    def __init__(
        self, name: str, stage: Stage, parts: Parts, rewrites: frozenset[str], context: Tensor | None
    ):
        super().__init__()
        self.resnets, self.mixers, self.resample = nn.ModuleList(), nn.ModuleList(), None
        for at in range(len(stage.resnets)):
            resnet = cast("DepthwiseResBlock", parts.fetch(f"{name}.resnets.{at}"))
            doubled = name == "up.0" and at == 0
            self.resnets.append(parts.ready(FusedResBlock(resnet, rewrites, doubled)))
            del resnet
            mixer = cast("LambdaMixBlock", parts.fetch(f"{name}.mixers.{at}"))
            self.mixers.append(parts.ready(FusedMixer(mixer, context, rewrites)))
            del mixer  # of a network that is read block by block, one is in memory at a time
        if stage.resample is not None:
            sampler = parts.fetch(f"{name}.resample")
            if isinstance(sampler, Upsample):
                self.resample = parts.ready(FusedUpsample(sampler.conv, rewrites))
            else:
                self.resample = parts.ready(convolution(cast("Downsample", sampler).conv))
