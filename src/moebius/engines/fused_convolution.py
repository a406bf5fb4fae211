"""Convolutions of the fused network, and the algebra that folds what stands beside them into their weights.

All folding is done in float64 and rounded once, to the weight's own number format.
"""

from __future__ import annotations

from collections.abc import Sequence
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
        if shift is not None and shift.shape[0] == 1:
            bias, shift = self.shifted_bias(shift), None
        out = F.conv2d(x, self.weight, bias, self.stride, self.padding, 1, self.groups)
        if shift is not None:
            out = out + shift[:, :, None, None]
        if activation == "relu":
            out = F.relu(out)
        elif activation == "silu":
            out = F.silu(out)
        return out if add is None else out + add

    def shifted_bias(self, shift: Tensor) -> Tensor:
        """One shift (1, C') for all rows is another bias (C',), and no pass over the map."""
        return shift[0] if self.bias is None else self.bias + shift[0]


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


def products_of_upsampled(conv: Convolution) -> tuple[Convolution, Convolution, Convolution, Convolution]:
    """A 3x3 convolution after nearest x2 as nine 1x1 products at the low resolution; outputs: C', 2 C', 2 C', 4 C'.

    Along one side, with kernel (p, q, r), the even output of cell y is p x[y-1] + (q + r) x[y], the odd one
    (p + q) x[y] + r x[y+1]. With differences d[y] = x[y] - x[y-1] and the sum s = p + q + r these are

        even: s x[y] - p d[y]          odd: s x[y] + r d[y+1]

    three products where two 2x2 kernels have four; along both sides nine for sixteen, and for the thirty-six of the
    plain form. The products are of the map (s s), of its differences across (s -p, s r), down (-p s, r s), and of both
    (p p, -p r, -r p, r r).
    """
    weight = conv.weight.double()
    first, last, whole = (
        (rows[..., 0], rows[..., 2], rows.sum(dim=-1))
        for rows in (weight[:, :, 0], weight[:, :, 2], weight.sum(dim=2))
    )  # each: of the kernel's rows p, r, s: columns p, r, s

    def product(*parts: Tensor, bias: Tensor | None = None) -> Convolution:
        kernels = torch.cat(parts)[..., None, None].to(conv.weight.dtype)
        return Convolution(kernels, bias, 1, 0, 1)

    return (
        product(whole[2], bias=conv.bias),
        product(-whole[0], whole[1]),
        product(-first[2], last[2]),
        product(first[0], -first[1], -last[0], last[1]),
    )


def _like(conv: Convolution, weight: Tensor, bias: Tensor | None) -> Convolution:
    kind = conv.weight.dtype
    bias = None if bias is None else bias.to(kind)
    return Convolution(weight.to(kind), bias, conv.stride, conv.padding, conv.groups)
