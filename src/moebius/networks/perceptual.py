"""LPIPS with a SqueezeNet 1.1 trunk: a training loss for the autoencoder, and a reported metric.

The weights are not ours and are not in this package: `load_lpips(path)` reads a safetensors file that holds
torchvision's SqueezeNet 1.1 under its usual names and the seven LPIPS v0.1 heads as `lpips.lin0..6`.
Values are "LPIPS-squeeze"; published tables mostly use alex or vgg, whose numbers differ.
Source: Zhang et al., The Unreasonable Effectiveness of Deep Features as a Perceptual Metric, eq. 1.
"""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

TAPS = (1, 4, 7, 9, 10, 11, 12)
"""Indices in `features` after which LPIPS reads a feature map."""


class Fire(nn.Module):
    """Squeeze with 1x1, expand with 1x1 and 3x3 side by side (Iandola et al., SqueezeNet, figure 1)."""

    def __init__(self, channels: int, squeezed: int, expanded: int):
        super().__init__()
        self.squeeze = nn.Conv2d(channels, squeezed, 1)
        self.expand1x1 = nn.Conv2d(squeezed, expanded, 1)
        self.expand3x3 = nn.Conv2d(squeezed, expanded, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.squeeze(x))
        return F.relu(torch.cat([self.expand1x1(x), self.expand3x3(x)], dim=1))


class LPIPSSqueeze(nn.Module):
    """Perceptual distance between images (B, 3, H, W) in [-1, 1], sides of at least 32; returns (B,), 0 = equal."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 64, 3, stride=2),
            nn.ReLU(),
            nn.MaxPool2d(3, 2, ceil_mode=True),
            Fire(64, 16, 64),
            Fire(128, 16, 64),
            nn.MaxPool2d(3, 2, ceil_mode=True),
            Fire(128, 32, 128),
            Fire(256, 32, 128),
            nn.MaxPool2d(3, 2, ceil_mode=True),
            Fire(256, 48, 192),
            Fire(384, 48, 192),
            Fire(384, 64, 256),
            Fire(512, 64, 256),
        )
        self.heads = nn.ParameterList(
            nn.Parameter(torch.zeros(1, channels, 1, 1)) for channels in (64, 128, 256, 384, 384, 512, 512)
        )
        self.register_buffer("mean", torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1), persistent=False)

    def taps(self, image: Tensor) -> list[Tensor]:
        """Seven feature maps (B, c, h, w), each pixel's vector of length 1."""
        x = ((image + 1) / 2 - self.mean) / self.std  # type: ignore[operator]
        maps = []
        for index, layer in enumerate(self.features):
            x = layer(x)
            if index in TAPS:
                maps.append(x / (x.square().sum(1, keepdim=True).sqrt() + 1e-10))
        return maps

    def forward(self, image: Tensor, reference: Tensor) -> Tensor:
        return self.compare(self.taps(image), self.taps(reference))

    def compare(self, maps: list[Tensor], reference: list[Tensor]) -> Tensor:
        """The distance (B,) from two images' `taps`, for comparing many with one."""
        pairs = zip(maps, reference, self.heads, strict=True)
        return torch.stack([((a - b).square() * w).sum(1).mean((1, 2)) for a, b, w in pairs]).sum(0)


def load_lpips(path: str | Path) -> LPIPSSqueeze:
    """The frozen metric from a safetensors file, on the CPU in float32.

    Raises:
        FileNotFoundError, safetensors.SafetensorError: the file is missing or damaged.
        RuntimeError: a tensor is missing or has another shape.
    """
    tensors = {name: tensor.float() for name, tensor in load_file(path).items()}
    state = {name: tensor for name, tensor in tensors.items() if name.startswith("features.")}
    state |= {f"heads.{i}": tensors[f"lpips.lin{i}"].reshape(1, -1, 1, 1) for i in range(len(TAPS))}
    net = LPIPSSqueeze()
    net.load_state_dict(state, strict=True)
    return net.eval().requires_grad_(False)
