"""The networks of a model as they are exported: fused."""

from __future__ import annotations

from torch import nn

from moebius.engines.fuse import REWRITES, fuse
from moebius.networks import MoebiusUNet

ABOUT_MEMORY = ("channels_last", "pair")
"""Rewrites that say nothing in a graph."""


def deployed(net: nn.Module, *, guided: bool) -> nn.Module:
    """The denoiser to trace: fused where it is a Moebius, itself otherwise. `net` stays as it was.

    Args:
        guided: whether it will be asked for the opposite, too; otherwise that half of its constants is left out.
    """
    if not isinstance(net, MoebiusUNet):
        return net
    rewrites = [name for name in REWRITES if name not in ABOUT_MEMORY]
    return fuse(net, rewrites=rewrites, sides="both" if guided else "condition")
