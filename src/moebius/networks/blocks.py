"""The building blocks of Moebius, smallest first. Shapes are (B, C, H, W) unless said otherwise."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from moebius.networks.lambdas import InteractiveLambda, LocalLambda


class DepthwiseSeparableConv(nn.Module):
    """3x3 depthwise and 1x1 pointwise convolution, a batch norm after each, ReLU between.

    Adds its input to its output wherever both have the same number of channels.
    """

    def __init__(self, channels: int, out_channels: int):
        super().__init__()
        self.residual = channels == out_channels
        self.conv_dw = nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv_pw = nn.Conv2d(channels, out_channels, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.bn2(self.conv_pw(F.relu(self.bn1(self.conv_dw(x)))))
        return out + x if self.residual else out


class DepthwiseResBlock(nn.Module):
    """Residual block of two depthwise-separable convolutions; the time enters between them as a shift."""

    def __init__(self, channels: int, out_channels: int, time_channels: int, groups: int):
        super().__init__()
        self.norm1 = nn.GroupNorm(groups, channels, eps=1e-5)
        self.conv1 = DepthwiseSeparableConv(channels, out_channels)
        self.time_proj = nn.Linear(time_channels, out_channels)
        self.norm2 = nn.GroupNorm(groups, out_channels, eps=1e-5)
        self.conv2 = DepthwiseSeparableConv(out_channels, out_channels)
        same = channels == out_channels
        self.shortcut: nn.Module = nn.Identity() if same else nn.Conv2d(channels, out_channels, 1)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        """x (B, C, H, W), time (B, T) -> (B, C', H, W)."""
        h = self.conv1(F.silu(self.norm1(x)))
        h = h + self.time_proj(F.silu(time))[:, :, None, None]
        h = self.conv2(F.silu(self.norm2(h)))
        out: Tensor = self.shortcut(x) + h
        return out


class MixFFN(nn.Module):
    """Gated feed-forward with a 3x3 depthwise convolution inside: expand, mix, gate, project."""

    def __init__(self, channels: int, ratio: float):
        super().__init__()
        hidden = int(ratio * channels)
        self.expand = nn.Conv2d(channels, 2 * hidden, 1)
        self.depthwise = nn.Conv2d(2 * hidden, 2 * hidden, 3, padding=1, groups=2 * hidden)
        self.project = nn.Conv2d(hidden, channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        value, gate = self.depthwise(F.silu(self.expand(x))).chunk(2, dim=1)
        out: Tensor = self.project(value * F.silu(gate))
        return out


class ChannelLayerNorm(nn.LayerNorm):
    """Layer norm over the channels of a map (B, C, H, W)."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class LambdaMixBlock(nn.Module):
    """L-lambda-M-I block: local lambda, interactive lambda and MixFFN, each pre-normed and residual."""

    def __init__(
        self,
        channels: int,
        heads: int,
        context_channels: int,
        size: int,
        tokens: int,
        ratio: float,
        groups: int,
    ):
        super().__init__()
        self.norm = nn.GroupNorm(groups, channels, eps=1e-6)
        self.proj_in = nn.Conv2d(channels, channels, 1)
        self.norm1 = ChannelLayerNorm(channels)
        self.local = LocalLambda(channels, heads)
        self.norm2 = ChannelLayerNorm(channels)
        self.interactive = InteractiveLambda(channels, heads, context_channels, size, tokens)
        self.norm3 = ChannelLayerNorm(channels)
        self.ffn = MixFFN(channels, ratio)
        self.proj_out = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        """x (B, C, H, W), context (B, m, context channels) -> (B, C, H, W)."""
        z = self.proj_in(self.norm(x))
        z = z + self.local(self.norm1(z))
        z = z + self.interactive(self.norm2(z), context)
        z = z + self.ffn(self.norm3(z))
        out: Tensor = x + self.proj_out(z)
        return out


class Downsample(nn.Module):
    """Dense 3x3 convolution with stride 2."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv(x)
        return out


class Upsample(nn.Module):
    """Nearest x2, then a dense 3x3 convolution."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))
        return out


def initialise_linears(net: nn.Module) -> None:
    """Xavier-uniform weights and zero biases for every linear layer, as both published denoisers begin."""
    for module in net.modules():
        if isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def check_channels(x: Tensor, latent_channels: int) -> None:
    """Raises ValueError unless x (B, 2c+1, h, w) holds noisy latents, mask and latents of the masked image."""
    expected = 2 * latent_channels + 1
    if x.shape[1] != expected:
        raise ValueError(f"expected {expected} input channels (noisy, mask, masked image), got {x.shape[1]}")
