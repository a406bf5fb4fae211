"""The blocks of the fused network, smallest first. Shapes are (B, C, H, W) unless said otherwise."""

from __future__ import annotations

import copy
from collections.abc import Collection

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from moebius.engines.fused_convolution import (
    Convolution,
    batch_norm_affine,
    convolution,
    halved_input,
    with_input_affine,
    with_output_affine,
)
from moebius.engines.fused_lambdas import FusedInteractive, FusedLocal, Sides, plain_norm
from moebius.networks.blocks import (
    DepthwiseResBlock,
    DepthwiseSeparableConv,
    LambdaMixBlock,
    MixFFN,
)


class FusedSeparable(nn.Module):
    """`DepthwiseSeparableConv`, its batch norms folded or kept."""

    def __init__(self, plain: DepthwiseSeparableConv, rewrites: Collection[str]):
        super().__init__()
        self.residual = plain.residual
        self.depthwise, self.pointwise = convolution(plain.conv_dw), convolution(plain.conv_pw)
        self.norms: nn.ModuleList | None = None
        if "batch_norm" in rewrites:
            self.depthwise = with_output_affine(self.depthwise, *batch_norm_affine(plain.bn1))
            self.pointwise = with_output_affine(self.pointwise, *batch_norm_affine(plain.bn2))
        else:
            self.norms = nn.ModuleList(copy.deepcopy(norm).eval() for norm in (plain.bn1, plain.bn2))

    def forward(self, x: Tensor, shift: Tensor | None = None, add: Tensor | None = None) -> Tensor:
        """x (B, C, H, W); shift (B or 1, C') and add (B, C', H, W) are added to the output (B, C', H, W)."""
        if self.residual:
            add = x if add is None else add + x
        if self.norms is None:
            out: Tensor = self.pointwise(self.depthwise(x, "relu"), shift=shift, add=add)
            return out
        out = self.norms[1](self.pointwise(F.relu(self.norms[0](self.depthwise(x)))))
        if shift is not None:
            out = out + shift[:, :, None, None]
        return out if add is None else out + add


class FusedResBlock(nn.Module):
    """`DepthwiseResBlock`, given the shift that its time projection would make.

    Args:
        plain: the block.
        rewrites: names of `moebius.engines.fuse.REWRITES`.
        doubled: its input is one map twice, along the channels.
    """

    def __init__(self, plain: DepthwiseResBlock, rewrites: Collection[str], doubled: bool = False):
        super().__init__()
        self.norm1, self.norm2 = copy.deepcopy(plain.norm1), copy.deepcopy(plain.norm2)
        self.conv1, self.conv2 = FusedSeparable(plain.conv1, rewrites), FusedSeparable(plain.conv2, rewrites)
        self.shortcut: Convolution | None = None
        self.doubled = doubled and "doubled" in rewrites
        if isinstance(plain.shortcut, nn.Conv2d):
            shortcut = convolution(plain.shortcut)
            self.shortcut = halved_input(shortcut) if self.doubled else shortcut

    def forward(self, x: Tensor, shift: Tensor) -> Tensor:
        """x (B, C, H, W), shift (B or 1, C') -> (B, C', H, W)."""
        past = _first_half(x) if self.doubled else x
        past = past if self.shortcut is None else self.shortcut(past)
        h = self.conv1(F.silu(self.norm1(x)), shift)
        out: Tensor = self.conv2(F.silu(self.norm2(h)), add=past)
        return out


class FusedFFN(nn.Module):
    """`MixFFN` and the layer norm before it. z -> z + ffn(norm(z))."""

    def __init__(self, plain: MixFFN, norm: nn.Module, rewrites: Collection[str]):
        super().__init__()
        self.norm = plain_norm(norm, rewrites)  # type: ignore[arg-type]
        self.expand, self.depthwise = convolution(plain.expand), convolution(plain.depthwise)
        if "affines" in rewrites:
            self.expand = with_input_affine(self.expand, norm.weight, norm.bias)  # type: ignore[arg-type]
        self.project = convolution(plain.project)

    def forward(self, z: Tensor) -> Tensor:
        value, gate = self.depthwise(self.expand(self.norm(z), "silu")).chunk(2, dim=1)
        out: Tensor = self.project(value * F.silu(gate), add=z)
        return out


class FusedMixer(nn.Module):
    """`LambdaMixBlock`: local lambda, interactive lambda, feed-forward."""

    def __init__(self, plain: LambdaMixBlock, context: Tensor | None, rewrites: Collection[str]):
        super().__init__()
        self.proj_in, self.proj_out = convolution(plain.proj_in), convolution(plain.proj_out)
        if "affines" in rewrites:
            self.norm = nn.GroupNorm(
                plain.norm.num_groups, plain.norm.num_channels, plain.norm.eps, affine=False
            )
            self.proj_in = with_input_affine(self.proj_in, plain.norm.weight, plain.norm.bias)
        else:
            self.norm = copy.deepcopy(plain.norm)
        self.local = FusedLocal(plain.local, plain.norm1, rewrites)
        self.interactive = FusedInteractive(plain.interactive, plain.norm2, context, rewrites)
        self.ffn = FusedFFN(plain.ffn, plain.norm3, rewrites)

    def forward(self, x: Tensor, sides: Sides, context: Tensor | None, copies: int = 1) -> Tensor:
        """x (B, C, H, W) -> (copies B, C, H, W).

        With more than one copy, `sides` and `context` have rows for all of them, and what does not depend on those
        is done once.
        """
        z = self.proj_in(self.norm(x))
        z = z + self.local(z)
        q = self.interactive.query_of(z)
        if copies > 1:
            x, z, q = _repeated(x, copies), _repeated(z, copies), _repeated(q, copies)
        z = z + self.interactive.answer(q, sides, context)
        out: Tensor = self.proj_out(self.ffn(z), add=x)
        return out


def _first_half(x: Tensor) -> Tensor:
    """The first half of the channels as a map of its own, which a convolution can read without another copy."""
    half = x.chunk(2, dim=1)[0]
    last = x.is_contiguous(memory_format=torch.channels_last)
    return half.contiguous(memory_format=torch.channels_last if last else torch.contiguous_format)


def _repeated(x: Tensor, copies: int) -> Tensor:
    """x, `copies` times along the batch, in the memory order that it has."""
    return torch.cat([x] * copies)
