"""The small autoencoder of the bundled model: images to latents eight times smaller, and back.

Plain convolutions, no attention and no normalisation inside, so it is exact under tiling up to its receptive
field and cheap on a CPU: pixels are unshuffled by two first, because convolutions at full resolution are
where published tiny autoencoders spend most of their time.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True, kw_only=True)
class AutoencoderConfig:
    """Sizes of a `NanoAutoencoder`."""

    latent_channels: int = 8
    widths: tuple[int, ...] = (32, 64, 128)
    """Channels at 1/2, 1/4, 1/8 of the image's side."""
    encoder_blocks: tuple[int, ...] = (0, 1, 2)
    """Residual blocks a level, finest first."""
    decoder_blocks: tuple[int, ...] = (0, 1, 3)
    """Residual blocks a level, finest first."""

    def __post_init__(self) -> None:
        for name in ("widths", "encoder_blocks", "decoder_blocks"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        if not len(self.widths) == len(self.encoder_blocks) == len(self.decoder_blocks):
            raise ValueError(
                f"widths, encoder_blocks and decoder_blocks need one entry a level, got {len(self.widths)}, "
                f"{len(self.encoder_blocks)} and {len(self.decoder_blocks)}"
            )

    @property
    def factor(self) -> int:
        """Image pixels a latent cell, along one side."""
        return int(2 ** len(self.widths))


class ResidualBlock(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.conv2(F.relu(self.conv1(x))))


class Encoder(nn.Module):
    def __init__(self, config: AutoencoderConfig):
        super().__init__()
        layers: list[nn.Module] = [
            nn.PixelUnshuffle(2),
            nn.Conv2d(12, config.widths[0], 3, padding=1),
            nn.ReLU(),
        ]
        previous = config.widths[0]
        for level, (width, count) in enumerate(zip(config.widths, config.encoder_blocks, strict=True)):
            if level:
                layers += [nn.Conv2d(previous, width, 3, stride=2, padding=1), nn.ReLU()]
            layers += [ResidualBlock(width) for _ in range(count)]
            previous = width
        self.layers = nn.Sequential(*layers, nn.Conv2d(previous, config.latent_channels, 3, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.layers(x)
        return out


class Decoder(nn.Module):
    def __init__(self, config: AutoencoderConfig):
        super().__init__()
        width = config.widths[-1]
        layers: list[nn.Module] = [nn.Conv2d(config.latent_channels, width, 3, padding=1), nn.ReLU()]
        for level in reversed(range(len(config.widths))):
            layers += [ResidualBlock(width) for _ in range(config.decoder_blocks[level])]
            if level:
                finer = config.widths[level - 1]
                layers += [
                    nn.Upsample(scale_factor=2.0, mode="nearest"),
                    nn.Conv2d(width, finer, 3, padding=1),
                ]
                layers += [nn.ReLU()]
                width = finer
        self.layers = nn.Sequential(*layers, nn.Conv2d(width, 12, 3, padding=1), nn.PixelShuffle(2))

    def forward(self, z: Tensor) -> Tensor:
        out: Tensor = self.layers(3.0 * torch.tanh(z / 3.0))
        return out


class NanoAutoencoder(nn.Module):
    """Images (B, 3, H, W) in [-1, 1] to standardised latents (B, C, H/8, W/8), and back.

    Latents come out with mean 0 and variance 1 in each channel (over the training photos): `latent_norm` is a
    batch norm without affine, whose running statistics are re-estimated after training.
    The decoder soft-clamps its input at +-3.

    Raises:
        ValueError: an image side does not divide by the factor (8).
    """

    def __init__(self, config: AutoencoderConfig | None = None):
        super().__init__()
        self.config = config or AutoencoderConfig()
        self.encoder = Encoder(self.config)
        self.latent_norm = nn.BatchNorm2d(self.config.latent_channels, affine=False)
        self.decoder = Decoder(self.config)

    def encode(self, image: Tensor) -> Tensor:
        """image (B, 3, H, W) in [-1, 1] -> latents (B, C, H/8, W/8)."""
        factor = self.config.factor
        if image.shape[-1] % factor or image.shape[-2] % factor:
            raise ValueError(f"image sides must divide by {factor}, got {tuple(image.shape[-2:])}")
        latents: Tensor = self.latent_norm(self.encoder(image))
        return latents

    def decode(self, latents: Tensor) -> Tensor:
        """latents (B, C, h, w) -> image (B, 3, 8h, 8w), about [-1, 1], not clamped."""
        image: Tensor = self.decoder(latents)
        return image

    def forward(self, image: Tensor) -> Tensor:
        return self.decode(self.encode(image))
