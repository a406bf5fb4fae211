"""The big LaMa generator: what one pass of the best known convolutional inpainter costs. Random weights, timing only.

    photo and mask (B, 4, H, W) -> photo (B, 3, H, W)

Every residual layer splits its channels into a local part (3 x 3 convolutions) and a global part (a 1 x 1 convolution
on the map's spectrum, so that its reach is the whole picture), a quarter and three quarters. Written from the paper's
description: Suvorov et al., Resolution-robust Large Mask Inpainting with Fourier Convolutions (2022), section 2 and
its appendix's sizes (three downsamplings, 18 residual blocks, 51 million parameters).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

GLOBAL = 0.75
"""Share of the channels that are global in the middle of the network."""


class ConvNorm(nn.Sequential):
    """Convolution without bias on reflected borders, batch norm, ReLU."""

    def __init__(self, channels: int, out_channels: int, kernel: int, stride: int = 1):
        conv = nn.Conv2d(
            channels, out_channels, kernel, stride, kernel // 2, bias=False, padding_mode="reflect"
        )
        super().__init__(conv, nn.BatchNorm2d(out_channels), nn.ReLU())


class Spectral(nn.Module):
    """The global path: a 1 x 1 convolution over real and imaginary parts of the map's two-dimensional spectrum."""

    def __init__(self, channels: int, out_channels: int, stride: int = 1):
        super().__init__()
        half = out_channels // 2
        self.pool: nn.Module = nn.AvgPool2d(2) if stride == 2 else nn.Identity()
        self.inward = ConvNorm(channels, half, 1)
        self.spectrum = ConvNorm(2 * half, 2 * half, 1)
        self.outward = nn.Conv2d(half, out_channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = self.inward(self.pool(x))
        height, width = x.shape[2:]
        waves = torch.fft.rfft2(x.float(), norm="ortho")
        parts = torch.cat([waves.real, waves.imag], dim=1).to(x.dtype)
        real, imaginary = self.spectrum(parts).float().chunk(2, dim=1)
        back = torch.fft.irfft2(torch.complex(real, imaginary), s=(height, width), norm="ortho")
        out: Tensor = self.outward(x + back.to(x.dtype))
        return out


class FourierConv(nn.Module):
    """Two groups of channels, local and global, each fed by both; batch norm and ReLU after.

    Args:
        local, wide: channels of the groups on the way in; `wide` may be 0.
        out_local, out_wide: and on the way out.
    """

    def __init__(self, local: int, wide: int, out_local: int, out_wide: int, stride: int = 1):
        super().__init__()

        def conv(channels: int, out_channels: int) -> nn.Conv2d:
            return nn.Conv2d(channels, out_channels, 3, stride, 1, bias=False, padding_mode="reflect")

        self.local_local, self.local_wide = conv(local, out_local), conv(local, out_wide)
        self.wide_local = conv(wide, out_local) if wide else None
        self.wide_wide = Spectral(wide, out_wide, stride) if wide else None
        self.norm_local, self.norm_wide = nn.BatchNorm2d(out_local), nn.BatchNorm2d(out_wide)

    def forward(self, local: Tensor, wide: Tensor | None) -> tuple[Tensor, Tensor]:
        to_local, to_wide = self.local_local(local), self.local_wide(local)
        if wide is not None and self.wide_local is not None and self.wide_wide is not None:
            to_local, to_wide = to_local + self.wide_local(wide), to_wide + self.wide_wide(wide)
        return F.relu(self.norm_local(to_local)), F.relu(self.norm_wide(to_wide))


class FourierBlock(nn.Module):
    """Two Fourier convolutions around which the input is added."""

    def __init__(self, local: int, wide: int):
        super().__init__()
        self.first, self.second = (FourierConv(local, wide, local, wide) for _ in range(2))

    def forward(self, local: Tensor, wide: Tensor) -> tuple[Tensor, Tensor]:
        to_local, to_wide = self.second(*self.first(local, wide))
        return local + to_local, wide + to_wide


class LamaGenerator(nn.Module):
    """The generator.

    Args:
        width: channels after the first convolution; they double three times.
        blocks: residual blocks in the middle.
    """

    def __init__(self, width: int = 64, blocks: int = 18):
        super().__init__()
        deep = 8 * width
        wide = int(GLOBAL * deep)
        self.head = nn.Sequential(
            ConvNorm(4, width, 7), ConvNorm(width, 2 * width, 3, 2), ConvNorm(2 * width, 4 * width, 3, 2)
        )
        self.split = FourierConv(4 * width, 0, deep - wide, wide, 2)
        self.blocks = nn.ModuleList(FourierBlock(deep - wide, wide) for _ in range(blocks))
        ups: list[nn.Module] = []
        for channels in (deep, deep // 2, deep // 4):
            ups += [
                nn.ConvTranspose2d(channels, channels // 2, 3, 2, 1, output_padding=1),
                nn.BatchNorm2d(channels // 2),
                nn.ReLU(),
            ]
        self.tail = nn.Sequential(
            *ups, nn.Conv2d(width, 3, 7, padding=3, padding_mode="reflect"), nn.Sigmoid()
        )

    def forward(self, x: Tensor) -> Tensor:
        """x (B, 4, H, W): emptied photo in [0, 1] and mask; sides that divide by 8 -> photo (B, 3, H, W)."""
        local, wide = self.split(self.head(x), None)
        for block in self.blocks:
            local, wide = block(local, wide)
        out: Tensor = self.tail(torch.cat([local, wide], dim=1))
        return out
