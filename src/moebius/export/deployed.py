"""The networks of a model as they are exported: fused, with small weights where a runtime can make the large ones."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from moebius.engines.fuse import REWRITES, fuse
from moebius.engines.fused_blocks import FusedUpsample
from moebius.networks import MoebiusUNet
from moebius.networks.blocks import Upsample

ABOUT_MEMORY = ("channels_last", "pair")
"""Rewrites that say nothing in a graph."""


class PhaseConvolution(nn.Module):
    """The four phases of a convolution after nearest x2, their kernels made from the 3x3 one inside the graph.

    Runtimes do so once, when they open it; the file holds 9 numbers a channel pair instead of 16.
    """

    def __init__(self, plain: nn.Conv2d):
        super().__init__()
        assert plain.bias is not None
        self.weight = nn.Parameter(plain.weight.detach().clone(), requires_grad=False)
        self.bias = nn.Parameter(plain.bias.detach().clone(), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, C, H, W) -> (B, 4 C, H + 1, W + 1)."""
        first, second, third = (self.weight[:, :, row : row + 1] for row in range(3))
        rows = (torch.cat([first, second + third], dim=2), torch.cat([first + second, third], dim=2))
        kernels = []
        for row in rows:
            left, middle, right = (row[..., column : column + 1] for column in range(3))
            kernels.append(torch.cat([left, middle + right], dim=3))
            kernels.append(torch.cat([left + middle, right], dim=3))
        return F.conv2d(x, torch.cat(kernels), self.bias.repeat(4), padding=1)


def deployed(net: nn.Module, *, guided: bool) -> nn.Module:
    """The denoiser to trace: fused where it is a Moebius, itself otherwise. `net` stays as it was.

    Args:
        guided: whether it will be asked for the opposite, too; otherwise that half of its constants is left out.
    """
    if not isinstance(net, MoebiusUNet):
        return net
    rewrites = [name for name in REWRITES if name not in ABOUT_MEMORY]
    fused = fuse(net, rewrites=rewrites, sides="both" if guided else "condition")
    for name, module in list(fused.named_modules()):
        if isinstance(module, FusedUpsample) and module.phases:
            plain = net.get_submodule(name)
            assert isinstance(plain, Upsample)
            module.conv = PhaseConvolution(plain.conv)  # type: ignore[assignment]
    return fused.eval().requires_grad_(False)
