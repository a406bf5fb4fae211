"""The fused network on a CPU: activations, products and sums inside oneDNN's convolutions.

A convolution that activates and adds as it stores saves a pass over the map for each. The operators are those that
PyTorch's own compiler calls; where they are missing, the network stays as it is.
"""

from __future__ import annotations

from typing import Any, Literal, TypeVar

import torch
from torch import Tensor, nn

from moebius.engines.fused_blocks import FusedFFN, FusedMixer
from moebius.engines.fused_convolution import Activation, Convolution

N = TypeVar("N", bound=nn.Module)

ACTIVATIONS: dict[Activation, str] = {"none": "none", "relu": "relu", "silu": "swish"}


def prepare_for_cpu(net: N, device: torch.device, dtype: torch.dtype) -> N:
    """`net`, changed in place to run on a CPU with oneDNN's joined operators; unchanged where those are missing.

    It stays the same function, but can no longer be exported.
    """
    if not _available(device, dtype):
        return net
    for module in list(net.modules()):
        if isinstance(module, FusedMixer):
            module.ffn = SplitFFN(module.ffn)  # type: ignore[assignment]
    for module in list(net.modules()):
        for name, child in list(module.named_children()):
            if type(child) is Convolution:
                setattr(module, name, JoinedConvolution(child))
    return net


def _available(device: torch.device, dtype: torch.dtype) -> bool:
    if device.type != "cpu" or not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    if not hasattr(torch.ops.mkldnn, "_convolution_pointwise"):
        return False
    if dtype is torch.bfloat16:
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    return dtype is torch.float32


class JoinedConvolution(Convolution):
    """A `Convolution` that does what follows it before it stores."""

    def __init__(self, plain: Convolution):
        super().__init__(plain.weight.detach(), plain.bias, plain.stride, plain.padding, plain.groups)

    def forward(
        self,
        x: Tensor,
        activation: Activation = "none",
        *,
        shift: Tensor | None = None,
        add: Tensor | None = None,
    ) -> Tensor:
        """As `Convolution.forward`."""
        if (shift is not None and shift.shape[0] > 1) or (add is not None and activation != "none"):
            return super().forward(x, activation, shift=shift, add=add)
        bias: Tensor | None = self.bias if shift is None else self.shifted_bias(shift)
        if add is not None:
            return self.combined(x, add, "add", bias)
        run: Any = torch.ops.mkldnn._convolution_pointwise
        out: Tensor = run(x, self.weight, bias, *self._geometry(), ACTIVATIONS[activation], [], "")
        return out

    def combined(self, x: Tensor, other: Tensor, how: Literal["add", "mul"], bias: Tensor | None) -> Tensor:
        """conv(x) + bias, added to or multiplied by `other`, a map of the output's shape."""
        other = other.contiguous(memory_format=torch.channels_last)
        run: Any = torch.ops.mkldnn._convolution_pointwise.binary
        out: Tensor = run(x, other, self.weight, bias, *self._geometry(), how, 1.0, None, [], None)
        return out

    def _geometry(self) -> tuple[list[int], list[int], list[int], int]:
        return [self.padding] * 2, [self.stride] * 2, [1, 1], self.groups


class SplitFFN(nn.Module):
    """`FusedFFN` with value and gate as maps of their own: the gate is activated, and multiplied in, on its way out."""

    def __init__(self, ffn: FusedFFN):
        super().__init__()
        self.norm, self.project = ffn.norm, JoinedConvolution(ffn.project)
        hidden = ffn.project.weight.shape[1]
        values, gates = slice(0, hidden), slice(hidden, 2 * hidden)
        self.expand, self.expand_gate = _rows(ffn.expand, values), _rows(ffn.expand, gates)
        self.depthwise, self.depthwise_gate = _rows(ffn.depthwise, values), _rows(ffn.depthwise, gates)

    def forward(self, z: Tensor) -> Tensor:
        u = self.norm(z)
        gate = self.depthwise_gate(self.expand_gate(u, "silu"), "silu")
        value = self.depthwise.combined(self.expand(u, "silu"), gate, "mul", self.depthwise.bias)
        out: Tensor = self.project(value, add=z)
        return out


def _rows(conv: Convolution, rows: slice) -> JoinedConvolution:
    """Some output channels of a 1x1 or a depthwise convolution."""
    bias = None if conv.bias is None else conv.bias[rows].clone()
    weight = conv.weight[rows].clone(memory_format=torch.channels_last)
    groups = 1 if conv.groups == 1 else weight.shape[0]
    return JoinedConvolution(Convolution(weight, bias, conv.stride, conv.padding, groups))
