"""Nearest x2 and a 3x3 convolution, as the fused networks run them. Maps are (B, C, H, W) unless said otherwise."""

from __future__ import annotations

from collections.abc import Collection

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from moebius.engines.fused_convolution import convolution, products_of_upsampled

CHUNK = 1 << 22
"""Elements of the nine products that are held at a time on a CPU: 16 MB in float32."""


class FusedUpsample(nn.Module):
    """`Upsample`: nearest x2, then 3x3; or nine products at the low resolution (`products_of_upsampled`).

    Args:
        conv: the 3x3 convolution.
        rewrites: names of `moebius.engines.fuse.REWRITES`.
    """

    def __init__(self, conv: nn.Conv2d, rewrites: Collection[str]):
        super().__init__()
        self.phases = "phases" in rewrites
        if self.phases:
            self.centre, self.across, self.down, self.both = products_of_upsampled(convolution(conv))
        else:
            self.conv = convolution(conv)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, C, H, W) -> (B, C', 2H, 2W)."""
        if not self.phases:
            out: Tensor = self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))
            return out
        batch, _, height, width = x.shape
        middle = x.permute(0, 2, 3, 1)
        cells = F.pad(middle, (0, 0, 0, 0, 1, 1))  # (B, H + 2, W, C)
        step = height
        if x.device.type == "cpu" and not torch.compiler.is_compiling():
            step = max(1, min(height, CHUNK // (9 * batch * width * self.both.weight.shape[0] // 4)))
        if step >= height:
            return self._rows(cells, middle).permute(0, 3, 1, 2)
        strips = [
            self._rows(cells[:, start : start + step + 2], middle[:, start : start + step])
            for start in range(0, height, step)
        ]
        return torch.cat(strips, dim=1).permute(0, 3, 1, 2)

    def _rows(self, cells: Tensor, middle: Tensor) -> Tensor:
        """Some rows `middle` (B, h, W, C), and `cells` with one more on either side -> (B, 2h, 2W, C')."""
        batch, height, width, _ = middle.shape
        down = cells[:, 1:] - cells[:, :-1]
        centre = _at_cells(self.centre, middle)
        of_across = _at_cells(self.across, _steps_across(middle)).chunk(2, dim=3)
        of_down = _at_cells(self.down, down).chunk(2, dim=3)
        of_both = _at_cells(self.both, _steps_across(down)).chunk(4, dim=3)
        channels = centre.shape[3]
        rows = []
        for a in (0, 1):
            row = centre + of_down[a][:, a : a + height]
            pixels = [
                row
                + (of_across[b][:, :, b : b + width] + of_both[2 * a + b][:, a : a + height, b : b + width])
                for b in (0, 1)
            ]
            rows.append(torch.stack(pixels, dim=3).reshape(batch, height, 2 * width * channels))
        return torch.stack(rows, dim=2).reshape(batch, 2 * height, 2 * width, channels)


def _steps_across(cells: Tensor) -> Tensor:
    """Each cell minus the one to its left, zeros beyond both ends: (B, h, W, C) -> (B, h, W + 1, C)."""
    padded = F.pad(cells, (0, 0, 1, 1))
    return padded[:, :, 1:] - padded[:, :, :-1]


def _at_cells(conv: nn.Module, cells: Tensor) -> Tensor:
    """A 1x1 convolution of cells (B, h, W, C) -> (B, h, W, C')."""
    out: Tensor = conv(cells.permute(0, 3, 1, 2))
    return out.permute(0, 2, 3, 1)


class FusedUpsampler(nn.Module):
    """The upsampler of a published autoencoder (diffusers' Upsample2D), called as that is."""

    def __init__(self, conv: nn.Conv2d):
        super().__init__()
        self.upsample = FusedUpsample(conv, ("phases",))

    def forward(self, hidden_states: Tensor) -> Tensor:
        out: Tensor = self.upsample(hidden_states)
        return out


def fuse_upsamplers(decoder: nn.Module) -> nn.Module:
    """A published decoder with its upsamplers rewritten, in place; nothing else changes."""
    for module in list(decoder.modules()):
        for name, child in list(module.named_children()):
            conv = getattr(child, "conv", None)
            if (
                type(child).__name__ == "Upsample2D"
                and isinstance(conv, nn.Conv2d)
                and conv.kernel_size == (3, 3)
            ):
                setattr(module, name, FusedUpsampler(conv))
    return decoder
