"""Convolutions of the fused network, and the algebra that folds what stands beside them into their weights.

All folding is done in float64 and rounded once, to the weight's own number format.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Activation = Literal["none", "relu", "silu"]


class Convolution(nn.Module):
    """A convolution with what follows it: `activation(conv(x) + bias + shift) + add`.

    Args:
        weight: (C', C / groups, a, b).
        bias: (C',), or None.
    """

    weight: nn.Parameter
    bias: nn.Parameter | None

    def __init__(self, weight: Tensor, bias: Tensor | None, stride: int, padding: int, groups: int):
        super().__init__()
        self.weight = nn.Parameter(weight, requires_grad=False)
        self.bias = None if bias is None else nn.Parameter(bias, requires_grad=False)
        self.stride, self.padding, self.groups = stride, padding, groups

    def forward(
        self,
        x: Tensor,
        activation: Activation = "none",
        *,
        shift: Tensor | None = None,
        add: Tensor | None = None,
    ) -> Tensor:
        """x (B, C, H, W), shift (B or 1, C'), add like the output -> (B, C', H', W')."""
        bias: Tensor | None = self.bias
        # One shift for all rows is another bias, and no pass over the map.
        if shift is not None and shift.shape[0] == 1:
            bias = shift[0] if bias is None else bias + shift[0]
            shift = None
        out = F.conv2d(x, self.weight, bias, self.stride, self.padding, 1, self.groups)
        if shift is not None:
            out = out + shift[:, :, None, None]
        if activation == "relu":
            out = F.relu(out)
        elif activation == "silu":
            out = F.silu(out)
        return out if add is None else out + add


def convolution(conv: nn.Conv2d) -> Convolution:
    """A plain convolution as one of these, with weights of its own."""
    bias = None if conv.bias is None else conv.bias.detach().clone()
    padding = conv.padding if isinstance(conv.padding, str) else conv.padding[0]
    if isinstance(padding, str) or conv.padding_mode != "zeros" or conv.dilation != (1, 1):
        raise ValueError(f"expected a plain convolution with zero padding, got {conv}")
    return Convolution(conv.weight.detach().clone(), bias, conv.stride[0], padding, conv.groups)


def batch_norm_affine(norm: Any) -> tuple[Tensor, Tensor]:
    """A batch norm in evaluation as x * scale + shift; both (C,) in float64."""
    scale = norm.weight.double() / torch.sqrt(norm.running_var.double() + norm.eps)
    return scale, norm.bias.double() - norm.running_mean.double() * scale


def with_output_affine(conv: Convolution, scale: Tensor, shift: Tensor) -> Convolution:
    """conv(x) * scale + shift as one convolution; scale and shift (C',)."""
    weight = conv.weight.double() * scale.reshape(-1, 1, 1, 1)
    bias = shift if conv.bias is None else conv.bias.double() * scale + shift
    return _like(conv, weight, bias)


def with_input_affine(conv: Convolution, scale: Tensor, shift: Tensor) -> Convolution:
    """conv(x * scale + shift) as one convolution; scale and shift (C,). Only without padding: 1x1.

    Raises:
        ValueError: a larger kernel, whose border would see the shift where it must see zeros.
    """
    if conv.weight.shape[2:] != (1, 1) or conv.groups != 1:
        raise ValueError(f"expected a 1x1 convolution, got weights {tuple(conv.weight.shape)}")
    weight = conv.weight.double()
    bias = weight[:, :, 0, 0] @ shift.double()
    if conv.bias is not None:
        bias = bias + conv.bias.double()
    return _like(conv, weight * scale.double().reshape(1, -1, 1, 1), bias)


def merged(convs: Sequence[Convolution]) -> Convolution:
    """Convolutions of one map as one; their outputs follow each other along the channels."""
    weight = torch.cat([conv.weight for conv in convs])
    if all(conv.bias is None for conv in convs):
        return _like(convs[0], weight, None)
    zero = [conv.weight.new_zeros(conv.weight.shape[0]) for conv in convs]
    biases = [z if conv.bias is None else conv.bias for conv, z in zip(convs, zero, strict=True)]
    return _like(convs[0], weight, torch.cat(biases))


def halved_input(conv: Convolution) -> Convolution:
    """conv(cat([x, x])) as a convolution of x."""
    first, second = conv.weight.double().chunk(2, dim=1)
    return _like(conv, first + second, conv.bias)


def phases_of_upsampled(conv: Convolution) -> Convolution:
    """A 3x3 convolution after nearest x2 as four 2x2 ones at the low resolution, their outputs one after another.

    Output pixel (2y + a, 2x + b) sees low-resolution rows y + a - 1 and y + a only: with nearest neighbours, two of
    the kernel's three rows fall on the same one, and are added. Padded by one cell, phase (a, b) of (y, x) is what
    the 2x2 convolution gives at (y + a, x + b).
    """
    falls = (
        ((0,), (1, 2)),
        ((0, 1), (2,)),
    )  # for each phase, the kernel's rows that fall on its first and second cell
    out, channels = conv.weight.shape[:2]
    kernels = conv.weight.new_empty(2, 2, out, channels, 2, 2)
    for a, b, i, j in product(
        (0, 1), repeat=4
    ):  # tap by tap: in float64 all at once would take 16 times the memory
        taps = [conv.weight[:, :, y, x].double() for y in falls[a][i] for x in falls[b][j]]
        kernels[a, b, :, :, i, j] = torch.stack(taps).sum(dim=0)
    bias = None if conv.bias is None else conv.bias.repeat(4)
    return Convolution(kernels.reshape(4 * out, channels, 2, 2), bias, conv.stride, conv.padding, conv.groups)


def _like(conv: Convolution, weight: Tensor, bias: Tensor | None) -> Convolution:
    kind = conv.weight.dtype
    bias = None if bias is None else bias.to(kind)
    return Convolution(weight.to(kind), bias, conv.stride, conv.padding, conv.groups)
