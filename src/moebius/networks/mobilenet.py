"""MobileNetV2 at width 1.0, as a feature network for set distances: its pooled descriptor, and its 1001 classes.

Nothing of Moebius was trained against it, so it may judge. Its weights are not in this package:
`load_mobilenet(path)` reads a safetensors file with int8 weights and one float scale an output channel, batch norm
folded in, of a TensorFlow release (hence the padding).
Source: Sandler et al., MobileNetV2: Inverted Residuals and Linear Bottlenecks, table 2.
"""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
"""Expansion, channels, blocks, stride of the first block: t, c, n, s of the source's table 2."""
DESCRIPTOR = 1280
CLASSES = 1001
"""ImageNet's thousand behind a class 0, "background": ImageNet's class c is number c + 1."""


class Convolution(nn.Module):
    """A convolution as TensorFlow pads it ("SAME"), then ReLU6 unless `linear`."""

    def __init__(
        self,
        channels: int,
        out: int,
        kernel: int = 1,
        *,
        stride: int = 1,
        groups: int = 1,
        linear: bool = False,
    ):
        super().__init__()
        # With stride 1 "SAME" is symmetric, and the convolution can do it itself.
        padding = kernel // 2 if stride == 1 else 0
        self.conv = nn.Conv2d(channels, out, kernel, stride=stride, padding=padding, groups=groups)
        self.linear = linear

    def forward(self, x: Tensor) -> Tensor:
        if self.conv.stride != (1, 1):
            x = F.pad(x, (*self._missing(x.shape[3]), *self._missing(x.shape[2])))
        x = self.conv(x)
        return x if self.linear else F.relu6(x)

    def _missing(self, length: int) -> tuple[int, int]:
        """What a side lacks so that every stride's window fits: an odd remainder goes to the far end."""
        stride, kernel = self.conv.stride[0], self.conv.kernel_size[0]
        windows = (length + stride - 1) // stride
        missing = max((windows - 1) * stride + kernel - length, 0)
        return missing // 2, missing - missing // 2


class InvertedResidual(nn.Module):
    """Expand with 1x1, look around with depthwise 3x3, project with 1x1; added to its input where both fit."""

    def __init__(self, channels: int, out: int, *, stride: int, expansion: int):
        super().__init__()
        wide = channels * expansion
        expand = [Convolution(channels, wide)] if expansion != 1 else []
        self.layers = nn.Sequential(
            *expand,
            Convolution(wide, wide, 3, stride=stride, groups=wide),
            Convolution(wide, out, linear=True),
        )
        self.residual = stride == 1 and channels == out

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.layers(x)
        return x + y if self.residual else y


class MobileNetV2(nn.Module):
    """Descriptors (B, 1280) of images (B, 3, H, W) in [-1, 1], of any size; trained at 224."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = [Convolution(3, 32, 3, stride=2)]
        channels = 32
        for expansion, out, blocks, first in STAGES:
            for stride in (first, *[1] * (blocks - 1)):
                layers.append(InvertedResidual(channels, out, stride=stride, expansion=expansion))
                channels = out
        layers.append(Convolution(channels, DESCRIPTOR))
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Linear(DESCRIPTOR, CLASSES)

    def forward(self, image: Tensor) -> Tensor:
        maps: Tensor = self.features(image)  # (B, 1280, ceil(H/32), ceil(W/32))
        return maps.mean((2, 3))

    def classify(self, descriptor: Tensor) -> Tensor:
        """Logits (B, 1001) of descriptors (B, 1280)."""
        logits: Tensor = self.classifier(descriptor)
        return logits


def load_mobilenet(path: str | Path) -> MobileNetV2:
    """The frozen network from a safetensors file, on the CPU in float32, channels last.

    Raises:
        FileNotFoundError, safetensors.SafetensorError: the file is missing or damaged.
        KeyError: a weight is without its scale.
        RuntimeError: a tensor is missing, too many, or of another shape or type.
    """
    tensors = load_file(path)
    scales = {
        name.removesuffix(".scale"): tensors.pop(name) for name in list(tensors) if name.endswith(".scale")
    }
    state = {}
    for name, tensor in tensors.items():
        if name.endswith(".weight"):
            tensor = _dequantised(name, tensor, scales.pop(name))
        state[name] = tensor
    if scales:
        raise RuntimeError(f"scales without a weight: {', '.join(sorted(scales))}")
    net = MobileNetV2()
    net.load_state_dict(state, strict=True)
    frozen: MobileNetV2 = net.eval().requires_grad_(False)
    return frozen.to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


def _dequantised(name: str, weight: Tensor, scale: Tensor) -> Tensor:
    if weight.dtype != torch.int8 or scale.shape != weight.shape[:1]:
        found = f"{weight.dtype} with scale {tuple(scale.shape)}"
        raise RuntimeError(f"{name}: expected int8 with a scale an output channel, got {found}")
    return weight.float() * scale.float().view(-1, *[1] * (weight.ndim - 1))
