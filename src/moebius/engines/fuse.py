"""Exact, weight-preserving rewrites of the denoiser for inference.

    fused = fuse(net)            # the same function of the same inputs, about twice as fast
    fused(x, timesteps, category_ids)

`fuse` reads a plain network and builds another one; the plain one stays as it was, and is what is trained. Each
rewrite can be used alone; REWRITES says what they do. In exact arithmetic none of them changes the output.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Sequence
from typing import Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from moebius.engines.fused_blocks import FusedMixer, FusedSeparable
from moebius.engines.fused_lambdas import Sides
from moebius.engines.fused_stage import FusedStage, Parts
from moebius.engines.fused_time import FusedTime
from moebius.networks import MoebiusUNet
from moebius.networks.blocks import DepthwiseSeparableConv, check_channels
from moebius.networks.denoiser import MoebiusConfig, Stage, TimeEmbedding

REWRITES: tuple[str, ...] = (
    "batch_norm",
    "affines",
    "qkv",
    "local",
    "interactive",
    "time",
    "doubled",
    "pair",
    "phases",
    "channels_last",
)
"""In the order in which they are applied.

batch_norm: folded into the convolutions before them, in float64.
affines: of layer norms, and of the group norm before a 1x1 convolution, folded into the convolutions after them.
qkv: the three projections of the local lambda are one.
local: the local lambda's positions, taps first (`fused_lambdas.FusedLocal`), where that is the cheaper form.
interactive: keys and values of the categories are constants; keys and positions are one table a side.
time: all time projections are one product, or a table if the timesteps are known.
doubled: the shortcut of the way up's first block sees one map twice, and reads it once.
pair: `FusedUNet.guided` does once what both sides of a guidance pair share.
phases: nearest x2 and a 3x3 convolution are nine 1x1 products at the low resolution.
channels_last: maps and weights lie in memory pixel by pixel, as the tokens that the lambdas read.
"""


class FusedUNet(nn.Module):
    """A `MoebiusUNet` rewritten for inference; made by `fuse`. In evaluation mode, without gradients."""

    def __init__(
        self,
        net: MoebiusUNet,
        rewrites: frozenset[str],
        sides: Literal["both", "condition"],
        timesteps: Sequence[int] | None,
        fetch: Callable[[str], nn.Module],
        dtype: torch.dtype | None,
    ):
        super().__init__()
        config = self.config = net.config
        self.rewrites, self.sides = rewrites, sides
        parts = Parts(fetch, dtype, rewrites)
        context = _context(config, parts, 2 if sides == "both" else 1)
        self.context: nn.Parameter | None = None
        if "interactive" not in rewrites:
            kind = dtype or net.context_proj.weight.dtype
            self.context = nn.Parameter(context.to(kind), requires_grad=False)

        names = [f"{side}.{at}" for side in ("down", "up") for at in range(len(config.channels))]
        stages = [cast("Stage", net.get_submodule(name)) for name in names]
        self.time = FusedTime(
            cast("TimeEmbedding", fetch("time_embedding")),
            [
                cast("nn.Linear", fetch(f"{name}.resnets.{at}.time_proj"))
                for name, stage in zip(names, stages, strict=True)
                for at in range(len(stage.resnets))
            ],
            merge="time" in rewrites,
            timesteps=timesteps if "time" in rewrites else None,
        )
        first = cast("DepthwiseSeparableConv", fetch("conv_in"))
        self.conv_in = parts.ready(FusedSeparable(first, rewrites))
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        collapsed = context if "interactive" in rewrites else None
        for name, stage in zip(names, stages, strict=True):
            side = self.down if name.startswith("down") else self.up
            side.append(FusedStage(name, stage, parts, rewrites, collapsed))
        self.norm_out = parts.ready(copy.deepcopy(cast("nn.GroupNorm", fetch("norm_out"))))
        last = cast("DepthwiseSeparableConv", fetch("conv_out"))
        self.conv_out = parts.ready(FusedSeparable(last, rewrites))
        self.eval().requires_grad_(False)

    def forward(self, x: Tensor, timesteps: Tensor, category_ids: Tensor) -> Tensor:
        """The plain network's prediction.

        Args:
            x: (B, 2c+1, h, w): noisy latents (c), mask (1, 1 = fill), latents of the masked image (c).
            timesteps: (B,) or (1,), 0 to 999; of those that it was fused for, if any were named.
            category_ids: (B, m) int64. Each row is the condition's ids 0 .. m-1, or, unless it was fused for the
                condition alone, the opposite's m .. 2m-1. Checked, but not while the network is being exported.

        Returns:
            (B, c, h, w).

        Raises:
            ValueError: wrong channels, sides that do not divide by `config.multiple`, other ids or timesteps.
        """
        self._check_map(x)
        m = self.config.tokens
        if torch.compiler.is_compiling():
            return self._run(x, self._shifts(timesteps), category_ids[:, 0] // m, 1)
        self.time.check(timesteps.reshape(-1))
        return self._run(x, self._shifts(timesteps), self._sides_of(category_ids, x.shape[0]), 1)

    def guided(self, x: Tensor, timesteps: Tensor) -> tuple[Tensor, Tensor]:
        """The opposite's and the condition's prediction for the same latents.

        Args:
            x: (B, 2c+1, h, w).
            timesteps: (B,) or (1,).

        Returns:
            Opposite and condition, (B, c, h, w) each. What both share is computed once ("pair").

        Raises:
            ValueError: as `forward`; or it was fused for the condition alone.
        """
        self.time.check(timesteps.reshape(-1))
        opposite, condition = self.step(x, self._shifts(timesteps), guided=True).chunk(2)
        return opposite, condition

    def at(self, timestep: int) -> Tensor:
        """What `step` is told of a timestep: (1, all channels) on the network's device, without waiting for that.

        Raises:
            ValueError: a timestep that it was not fused for.
        """
        with torch.no_grad():
            return self.time.row(timestep, self.norm_out.weight.dtype)

    def step(self, x: Tensor, shifts: Tensor, *, guided: bool) -> Tensor:
        """One step as a function of tensors on the network's device, which a CUDA graph can hold.

        Nothing in it waits for the device or makes a tensor elsewhere, once the tables of the map's size are there:
        after `prepare`, or after a first call.

        Args:
            x: (B, 2c+1, h, w).
            shifts: of `at`, (1, all channels); or (B, all channels).
            guided: the opposite's answers too.

        Returns:
            The condition's answers (B, c, h, w); guided, the opposite's and then those (2B, c, h, w).

        Raises:
            ValueError: as `guided`.
        """
        if guided and self.sides != "both":
            raise ValueError("expected a network fused for both sides, got one for the condition alone")
        self._check_map(x)
        rows = x.shape[0]
        if not guided:
            return self._run(x, shifts, (0,) * rows, 1)
        sides = (1,) * rows + (0,) * rows
        if "pair" in self.rewrites:
            return self._run(x, shifts, sides, 2)
        shifts = shifts if shifts.shape[0] == 1 else torch.cat([shifts, shifts])
        return self._run(torch.cat([x, x]), shifts, sides, 1)

    @torch.no_grad()
    def prepare(self, height: int, width: int) -> None:
        """Make the tables that maps of h x w latents need, and that `step` otherwise makes when they first come."""
        many, count = len(self.config.channels), 2 if self.sides == "both" else 1
        levels = [*zip(range(many), self.down, strict=True), *zip(range(many)[::-1], self.up, strict=True)]
        for level, stage in levels:
            for mixer in cast("FusedStage", stage).mixers:
                interactive = cast("FusedMixer", mixer).interactive
                if interactive.collapsed:
                    for side in range(count):
                        interactive.table(side, height >> level, width >> level)

    def _shifts(self, timesteps: Tensor) -> Tensor:
        shifts: Tensor = self.time(timesteps.reshape(-1), self.norm_out.weight.dtype)
        return shifts

    @torch.no_grad()
    def _run(self, x: Tensor, told: Tensor, sides: Sides, copies: int) -> Tensor:
        """x (B, 2c+1, h, w), told (B or 1, all channels) and sides (copies B,) -> (copies B, c, h, w)."""
        context = None
        if self.context is not None:  # (copies B, m, context channels)
            context = (
                self.context[sides]
                if isinstance(sides, Tensor)
                else torch.stack([self.context[side] for side in sides])
            )
        shifts = self.time.split(told)
        x = x.to(self.norm_out.weight.dtype)
        if "channels_last" in self.rewrites:
            x = x.contiguous(memory_format=torch.channels_last)
        x = self.conv_in(x)
        skips, at = [x], 0
        for stage in cast("list[FusedStage]", list(self.down)):
            for resnet, mixer in zip(stage.resnets, stage.mixers, strict=True):
                x = mixer(resnet(x, shifts[at]), sides, context, copies)
                if copies > 1:  # from here on, each copy has rows of its own
                    skips = [torch.cat([skip] * copies) for skip in skips]
                    shifts = [s if s.shape[0] == 1 else torch.cat([s] * copies) for s in shifts]
                    copies = 1
                skips.append(x)
                at += 1
            if stage.resample is not None:
                x = stage.resample(x)
                skips.append(x)
        for stage in cast("list[FusedStage]", list(self.up)):
            for resnet, mixer in zip(stage.resnets, stage.mixers, strict=True):
                x = mixer(resnet(torch.cat([x, skips.pop()], dim=1), shifts[at]), sides, context)
                at += 1
            if stage.resample is not None:
                x = stage.resample(x)
        out: Tensor = self.conv_out(F.silu(self.norm_out(x)))
        return out.contiguous()

    def _check_map(self, x: Tensor) -> None:
        check_channels(x, self.config.latent_channels)
        multiple = self.config.multiple
        if x.shape[2] % multiple or x.shape[3] % multiple:
            raise ValueError(f"latent sides must divide by {multiple}, got {x.shape[2]} x {x.shape[3]}")

    def _sides_of(self, ids: Tensor, rows: int) -> tuple[int, ...]:
        """The side of each row, of ids (B, m)."""
        m, known = self.config.tokens, 2 if self.sides == "both" else 1
        lists = ids.tolist()
        sides = tuple(row[0] // m for row in lists)
        for row, side in zip(lists, sides, strict=True):
            if not 0 <= side < known or row != list(range(side * m, side * m + m)):
                allowed = f"0 to {m - 1}" + (f" or {m} to {2 * m - 1}" if known == 2 else "")
                raise ValueError(f"category_ids: expected rows of {allowed}, got {row}")
        if len(sides) != rows:
            raise ValueError(f"category_ids: expected {rows} rows like the latents, got {len(sides)}")
        return sides


def _context(config: MoebiusConfig, parts: Parts, sides: int) -> Tensor:
    """The projected categories of each side: (sides, m, context channels), in float64."""
    rows = cast("nn.Embedding", parts.fetch("category_embedding")).weight.detach()[: sides * config.tokens]
    layer = cast("nn.Linear", parts.fetch("context_proj"))
    return F.linear(rows.double(), layer.weight.double(), layer.bias.double()).reshape(
        sides, config.tokens, -1
    )


def fuse(
    net: MoebiusUNet,
    *,
    rewrites: Collection[str] = REWRITES,
    sides: Literal["both", "condition"] = "both",
    timesteps: Sequence[int] | None = None,
    dtype: torch.dtype | None = None,
    fetch: Callable[[str], nn.Module] | None = None,
) -> FusedUNet:
    """A network with the same outputs as `net`, for inference; `net` stays as it was.

    Args:
        net: in evaluation mode or not: its batch norms are taken with their running statistics.
        rewrites: some of REWRITES.
        sides: "condition" leaves out what only guidance needs: half of the categories' constants.
        timesteps: all that will ever be asked for, if they are known: their embeddings become a table ("time").
        dtype: of the result; each part is converted when it is finished. As `net`'s own by default.
        fetch: where parts of the network are taken from, by name, if not from `net` itself. So a network can be
            read from its file part by part, with `net` on the meta device.

    Raises:
        ValueError: an unknown rewrite or side.
    """
    unknown = sorted(set(rewrites) - set(REWRITES))
    if unknown:
        raise ValueError(f"rewrites: expected some of {', '.join(REWRITES)}, got {', '.join(unknown)}")
    if sides not in ("both", "condition"):
        raise ValueError(f"sides: expected both or condition, got {sides!r}")
    with torch.no_grad():
        return FusedUNet(net, frozenset(rewrites), sides, timesteps, fetch or net.get_submodule, dtype)
