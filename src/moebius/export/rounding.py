"""Weights as int8: symmetric, one scale a channel, and only where it costs the network's output little.

Activations stay float32. Each tensor is rounded alone and the change of the output measured; errors of different
tensors are taken for independent, so their squares add up. Those that cost most error for the bytes they save stay
float16 until what is left fits a budget, or `KEPT` of all elements have stayed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

BUDGET = 0.02
"""Relative error (RMS of the change over RMS of the output) that rounding may cost a network, as predicted."""
KEPT = 0.12
"""Most of the elements that stay float16 for the budget's sake, whatever that leaves: a file is to be small."""
SMALLEST = 4096
"""Tensors of fewer elements are not worth rounding."""
ISLANDS = ("embedding", "time_embedding", "conv_in", "conv_out")
"""Parts of names: what every pixel or step passes through, for few bytes."""


@dataclass(frozen=True)
class Rounded:
    """values * scale is the tensor."""

    values: NDArray[np.int8]
    scale: NDArray[np.float32]
    """1 along every axis but one."""

    @property
    def whole(self) -> NDArray[np.float32]:
        return self.values * self.scale


def round_int8(tensor: NDArray[np.float32]) -> Rounded:
    """The nearest int8 tensor, with scales along the axis that loses least (the first, of convolutions).

    Scales take at most an eighth of the values' bytes or lie along the first axis.
    """
    axes = [0]
    if tensor.ndim < 4:
        axes += [axis for axis in range(1, tensor.ndim) if tensor.shape[axis] * 32 <= tensor.size]
    tries = [_round(tensor, axis) for axis in axes]
    return min(tries, key=lambda tried: float(np.square(tried.whole - tensor).sum()))


def _round(tensor: NDArray[np.float32], axis: int) -> Rounded:
    others = tuple(other for other in range(tensor.ndim) if other != axis)
    scale = np.abs(tensor).max(axis=others, keepdims=True).astype(np.float32) / np.float32(127)
    scale[scale == 0] = 1
    return Rounded(np.rint(tensor / scale).astype(np.int8), scale)


@dataclass(frozen=True)
class Choice:
    """Which tensors of a network are stored as int8."""

    rounded: frozenset[str]
    kept: dict[str, float]
    """Those that could be and are not -> relative error of the output when they alone are rounded."""
    predicted: float
    """Relative error of the output with all of `rounded` rounded."""


@torch.no_grad()
def choose_int8(net: nn.Module, inputs: Sequence[tuple[Tensor, ...]], *, budget: float = BUDGET) -> Choice:
    """Measure what rounding each tensor of `net` costs, and choose. `net` is left as it was.

    Args:
        net: a network in evaluation mode, in float32.
        inputs: arguments of some calls, small ones: there are as many calls as tensors.
        budget: predicted relative error of the output to stay below, as long as few enough tensors stay float16.
    """
    expected = [net(*arguments) for arguments in inputs]
    size = sum(float(out.square().sum()) for out in expected)
    squares, saved = {}, {}
    islands, seen = {}, set()
    for name, tensor in [*net.named_parameters(), *net.named_buffers()]:
        if not tensor.is_floating_point() or tensor.numel() < SMALLEST or tensor.ndim < 2:
            continue
        if tensor.data_ptr() in seen:
            continue
        seen.add(tensor.data_ptr())
        before = tensor.detach().clone()
        tensor.copy_(torch.from_numpy(round_int8(before.numpy()).whole))
        change = sum(
            float((net(*arguments) - out).square().sum())
            for arguments, out in zip(inputs, expected, strict=True)
        )
        tensor.copy_(before)
        part = change / size
        if any(word in name.split(".") for word in ISLANDS):
            islands[name] = part**0.5
            continue
        squares[name], saved[name] = part, tensor.numel()
    total, room = sum(squares.values()), KEPT * sum(saved.values())
    kept = dict(islands)
    for name in sorted(squares, key=lambda name: squares[name] / saved[name], reverse=True):
        if total <= budget**2:
            break
        if saved[name] > room:
            continue
        room -= saved[name]
        total -= squares[name]
        kept[name] = squares[name] ** 0.5
    return Choice(frozenset(squares) - frozenset(kept), kept, max(0.0, total) ** 0.5)
