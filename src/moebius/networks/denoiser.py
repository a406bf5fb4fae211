"""MoebiusUNet: the denoiser of Moebius, top to bottom.

    latents (B, 2c+1, h, w) + timestep + category ids -> prediction (B, c, h, w)

Three levels (h, h/2, h/4), two blocks a level on the way down, three on the way up, no middle block: the first
block of the way up therefore sees the deepest map twice. Source: the Moebius paper, section 3 and figure 3.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from typing import Any, Literal, cast, overload

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from moebius.networks.blocks import (
    DepthwiseResBlock,
    DepthwiseSeparableConv,
    Downsample,
    LambdaMixBlock,
    Upsample,
    check_channels,
    initialise_linears,
)


@dataclass(frozen=True, kw_only=True)
class MoebiusConfig:
    """Sizes of a `MoebiusUNet`; the defaults are the published network with 226,041,531 parameters.

    Raises:
        ValueError: sizes that do not fit together; the message has both values.
    """

    latent_channels: int = 4
    """c: channels of the latents; the network reads 2c+1 (noisy, mask, masked image) and predicts c."""
    latent_size: int = 64
    """Native side of the latents, in cells: the size of the position tables."""
    channels: tuple[int, ...] = (320, 640, 1280)
    """Width of each level, finest first."""
    layers: int = 2
    """Blocks a level on the way down; one more on the way up."""
    heads: int = 8
    categories: int = 20
    """Rows of the category table: the first half are the condition's tokens, the second half the opposite's."""
    category_channels: int = 3072
    context_channels: int = 768
    ffn_ratio: float = 2.5
    norm_groups: int = 32

    def __post_init__(self) -> None:
        object.__setattr__(self, "channels", tuple(self.channels))
        for width in self.channels:
            if width % self.heads or width % self.norm_groups:
                raise ValueError(
                    f"channels must divide by heads ({self.heads}) and norm_groups ({self.norm_groups}), got {width}"
                )
        if self.categories % 2:
            raise ValueError(
                f"categories must be even (one half each side of guidance), got {self.categories}"
            )
        if self.latent_size % self.multiple:
            raise ValueError(f"latent_size must divide by {self.multiple}, got {self.latent_size}")

    @property
    def tokens(self) -> int:
        """m: context tokens a condition."""
        return self.categories // 2

    @property
    def multiple(self) -> int:
        """Latent sides must divide by this (4 with three levels)."""
        return int(2 ** (len(self.channels) - 1))

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


class TimeEmbedding(nn.Module):
    """Sinusoids of the timestep (cosines first, computed in float32), then two linear layers."""

    def __init__(self, channels: int):
        super().__init__()
        self.channels = channels
        self.linear_1 = nn.Linear(channels, 4 * channels)
        self.linear_2 = nn.Linear(4 * channels, 4 * channels)

    def forward(self, timesteps: Tensor) -> Tensor:
        """timesteps (B,) -> (B, 4 channels)."""
        half = self.channels // 2
        steps = torch.arange(half, dtype=torch.float32, device=timesteps.device)
        angles = timesteps.float()[:, None] * torch.exp(-math.log(10000) * steps / half)[None]
        waves = torch.cat([angles.cos(), angles.sin()], dim=1).to(self.linear_1.weight.dtype)
        out: Tensor = self.linear_2(F.silu(self.linear_1(waves)))
        return out


class Stage(nn.Module):
    """One level of one side: residual blocks, each followed by a lambda mix block, then a resampler or none."""

    mixers: nn.ModuleList
    resnets: nn.ModuleList
    resample: nn.Module | None

    def __init__(
        self,
        config: MoebiusConfig,
        widths: list[int],
        out_channels: int,
        size: int,
        resample: nn.Module | None,
    ):
        super().__init__()
        time_channels = 4 * config.channels[0]
        self.mixers = nn.ModuleList(
            LambdaMixBlock(
                out_channels,
                config.heads,
                config.context_channels,
                size,
                config.tokens,
                config.ffn_ratio,
                config.norm_groups,
            )
            for _ in widths
        )
        self.resnets = nn.ModuleList(
            DepthwiseResBlock(width, out_channels, time_channels, config.norm_groups) for width in widths
        )
        self.resample = resample


class MoebiusUNet(nn.Module):
    """The denoiser.

    Args:
        config: sizes; the published network by default.

    Set `gradient_checkpointing = True` to trade time for memory in training: blocks are recomputed in the
    backward pass, with their batch-norm statistics frozen while that happens.
    """

    def __init__(self, config: MoebiusConfig | None = None):
        super().__init__()
        self.config = config = config or MoebiusConfig()
        self.gradient_checkpointing = False
        widths, layers, last = config.channels, config.layers, len(config.channels) - 1
        sizes = [config.latent_size >> level for level in range(len(widths))]

        self.category_embedding = nn.Embedding(config.categories, config.category_channels)
        self.conv_in = DepthwiseSeparableConv(2 * config.latent_channels + 1, widths[0])
        self.time_embedding = TimeEmbedding(widths[0])
        self.context_proj = nn.Linear(config.category_channels, config.context_channels)

        skips = [widths[0]]  # widths of the maps kept for the way up, in the order they are made
        self.down = nn.ModuleList()
        for level, width in enumerate(widths):
            previous = widths[max(0, level - 1)]
            inputs = [previous] + [width] * (layers - 1)
            sampler = Downsample(width) if level < last else None
            self.down.append(Stage(config, inputs, width, sizes[level], sampler))
            skips += [width] * (layers + (sampler is not None))

        self.up = nn.ModuleList()
        running = widths[-1]
        for level in reversed(range(len(widths))):
            width = widths[level]
            inputs = []
            for _ in range(layers + 1):
                inputs.append(running + skips.pop())
                running = width
            sampler_up = Upsample(width) if level else None
            self.up.append(Stage(config, inputs, width, sizes[level], sampler_up))

        self.norm_out = nn.GroupNorm(config.norm_groups, widths[0], eps=1e-5)
        self.conv_out = DepthwiseSeparableConv(widths[0], config.latent_channels)
        initialise_linears(self)

    @overload
    def forward(
        self, x: Tensor, timesteps: Tensor, category_ids: Tensor, *, return_features: Literal[False] = False
    ) -> Tensor: ...
    @overload
    def forward(
        self, x: Tensor, timesteps: Tensor, category_ids: Tensor, *, return_features: Literal[True]
    ) -> tuple[Tensor, list[Tensor]]: ...
    def forward(
        self, x: Tensor, timesteps: Tensor, category_ids: Tensor, *, return_features: bool = False
    ) -> Tensor | tuple[Tensor, list[Tensor]]:
        """Predict the noise (or what the weights were trained for) in the latents.

        Args:
            x: (B, 2c+1, h, w): noisy latents (c), mask (1, 1 = fill), latents of the masked image (c).
            timesteps: (B,) or (1,), 0 to 999.
            category_ids: (B, m) int64, rows of the category table.
            return_features: also return the output of each stage (down first), for distillation.

        Returns:
            (B, c, h, w), and with `return_features` the list of stage outputs.

        Raises:
            ValueError: wrong channel count, or a side that does not divide by `config.multiple`.
        """
        self._check(x)
        context = self.context_proj(self.category_embedding(category_ids))  # (B, m, context channels)
        time = self.time_embedding(timesteps.reshape(-1).expand(x.shape[0]))  # (B, 4 C0)
        features: list[Tensor] = []

        x = self.conv_in(x)  # (B, C0, h, w)
        skips = [x]
        for stage in cast("Iterable[Stage]", self.down):
            for resnet, mixer in zip(stage.resnets, stage.mixers, strict=True):
                x = self._run(resnet, x, time)
                x = self._run(mixer, x, context)
                skips.append(x)
            if stage.resample is not None:
                x = stage.resample(x)
                skips.append(x)
            features.append(x)

        for stage in cast("Iterable[Stage]", self.up):
            for resnet, mixer in zip(stage.resnets, stage.mixers, strict=True):
                x = self._run(resnet, torch.cat([x, skips.pop()], dim=1), time)
                x = self._run(mixer, x, context)
            if stage.resample is not None:
                x = stage.resample(x)
            features.append(x)

        out = self.conv_out(F.silu(self.norm_out(x)))  # (B, c, h, w)
        return (out, features) if return_features else out

    def _check(self, x: Tensor) -> None:
        check_channels(x, self.config.latent_channels)
        multiple = self.config.multiple
        if x.shape[2] % multiple or x.shape[3] % multiple:
            raise ValueError(f"latent sides must divide by {multiple}, got {x.shape[2]} x {x.shape[3]}")

    def _run(self, block: nn.Module, x: Tensor, condition: Tensor) -> Tensor:
        if self.gradient_checkpointing and self.training and torch.is_grad_enabled():
            contexts: Callable[[], tuple[AbstractContextManager[None], AbstractContextManager[None]]]
            contexts = lambda: (nullcontext(), frozen_statistics(block))  # noqa: E731
            out: Tensor = checkpoint(block, x, condition, use_reentrant=False, context_fn=contexts)
            return out
        plain: Tensor = block(x, condition)
        return plain


class frozen_statistics(AbstractContextManager[None]):
    """Batch norms inside `module` leave their running statistics alone meanwhile (they still use the batch's).

    May be entered again: several backward passes over a checkpoint recompute it with one and the same context.
    """

    def __init__(self, module: nn.Module):
        self._norms = [m for m in module.modules() if isinstance(m, (nn.BatchNorm1d, nn.BatchNorm2d))]
        self._saved: list[tuple[float | None, Tensor | None]] = []

    def __enter__(self) -> None:
        self._saved = [(norm.momentum, norm.num_batches_tracked) for norm in self._norms]
        for norm in self._norms:
            norm.momentum = 0.0
            norm.num_batches_tracked = norm.num_batches_tracked.clone()  # type: ignore[union-attr]

    def __exit__(self, *exception: object) -> None:
        for norm, (momentum, count) in zip(self._norms, self._saved, strict=True):
            norm.momentum, norm.num_batches_tracked = momentum, count
