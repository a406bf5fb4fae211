"""The networks as diffusers' own kind of model: configured, saved, loaded, moved and offloaded as any of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from diffusers.models.autoencoders.autoencoder_tiny import AutoencoderTinyOutput
from diffusers.models.autoencoders.vae import DecoderOutput
from diffusers.models.unets.unet_2d import UNet2DOutput
from diffusers.utils.accelerate_utils import apply_forward_hook
from torch import Tensor, nn

from moebius.networks import (
    AutoencoderConfig,
    MoebiusUNet,
    NanoAutoencoder,
    PixelHackerUNet,
    build_denoiser,
    denoiser_config,
)


class MoebiusDenoiser(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """The denoiser: latents (B, 2c+1, h, w), a timestep and category ids -> prediction (B, c, h, w).

    Args:
        architecture: "moebius" or "pixelhacker".
        denoiser: fields of `moebius.networks.MoebiusConfig` or `PixelHackerConfig`; the published network's by default.

    `config` also has `sample_size`, `in_channels` and `out_channels`, by which diffusers asks after latents.

    Raises:
        ValueError: an unknown architecture, or sizes that do not fit together.
    """

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(
        self,
        architecture: str = "moebius",
        denoiser: Mapping[str, Any] | None = None,
        sample_size: int | None = None,
        in_channels: int | None = None,
        out_channels: int | None = None,
    ):
        super().__init__()
        sizes = denoiser_config(architecture, denoiser or {})
        self.network: nn.Module = build_denoiser(architecture, sizes)
        c = sizes.latent_channels
        self.register_to_config(
            denoiser={k: list(v) if isinstance(v, tuple) else v for k, v in sizes.to_dict().items()},
            sample_size=sizes.latent_size,
            in_channels=2 * c + 1,
            out_channels=c,
        )

    @classmethod
    def over(
        cls, network: MoebiusUNet | PixelHackerUNet, architecture: str, sizes: Mapping[str, Any]
    ) -> Self:
        """The model around a network that is in memory already; nothing is copied."""
        with torch.device("meta"):
            model: Self = cls(architecture, dict(sizes))
        model.network = network
        model.eval()
        return model

    @property
    def tokens(self) -> int:
        """Category ids a condition: rows 0 to m - 1 of the table, then as many of the opposite's."""
        return int(self.config.denoiser.get("categories", 20)) // 2

    def forward(
        self,
        sample: Tensor,
        timestep: Tensor | float,
        class_labels: Tensor | None = None,
        return_dict: bool = True,
    ) -> Any:
        """Predict the noise, or what the weights were trained for.

        Args:
            sample: (B, 2c+1, h, w): noisy latents (c), mask (1, 1 = fill), latents of what is shown of the photo (c).
            timestep: a number or (B,), 0 to 999.
            class_labels: (B, m) int64, rows of the category table; those of the condition by default.
            return_dict: a `UNet2DOutput` instead of a tuple.

        Raises:
            ValueError: wrong channel count, or sides that the network cannot halve.
        """
        times = torch.as_tensor(timestep, device=sample.device).reshape(-1).expand(len(sample))
        if class_labels is None:
            class_labels = torch.arange(self.tokens, device=sample.device).expand(len(sample), -1)
        out = self.network(sample, times, class_labels)
        return UNet2DOutput(sample=out) if return_dict else (out,)


class MoebiusAutoencoder(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """The small autoencoder of the bundled model, called as diffusers' `AutoencoderTiny` is.

    Args:
        latent_channels, widths, encoder_blocks, decoder_blocks: see `moebius.networks.AutoencoderConfig`.
        scaling_factor: the denoiser works on encoder output times this.

    Raises:
        ValueError: not one entry a level.
    """

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(
        self,
        latent_channels: int = 8,
        widths: tuple[int, ...] = (32, 64, 128),
        encoder_blocks: tuple[int, ...] = (0, 1, 2),
        decoder_blocks: tuple[int, ...] = (0, 1, 3),
        scaling_factor: float = 1.0,
    ):
        super().__init__()
        self.network = NanoAutoencoder(
            AutoencoderConfig(
                latent_channels=latent_channels,
                widths=tuple(widths),
                encoder_blocks=tuple(encoder_blocks),
                decoder_blocks=tuple(decoder_blocks),
            )
        )
        self.use_slicing = False

    @classmethod
    def over(cls, network: NanoAutoencoder, scaling_factor: float) -> Self:
        """The model around a network that is in memory already; nothing is copied."""
        sizes = network.config
        with torch.device("meta"):
            model: Self = cls(
                sizes.latent_channels,
                sizes.widths,
                sizes.encoder_blocks,
                sizes.decoder_blocks,
                scaling_factor,
            )
        model.network = network
        model.eval()
        return model

    def enable_slicing(self) -> None:
        """Encode and decode one picture of a batch at a time."""
        self.use_slicing = True

    def disable_slicing(self) -> None:
        """Encode and decode a batch at once."""
        self.use_slicing = False

    @apply_forward_hook  # type: ignore[untyped-decorator]
    def encode(self, x: Tensor, return_dict: bool = True) -> Any:
        """x (B, 3, H, W) in [-1, 1] -> latents (B, c, H/8, W/8), not scaled.

        Raises:
            ValueError: a side does not divide by 8.
        """
        parts = torch.split(x, 1) if self.use_slicing else (x,)
        latents = torch.cat([self.network.encode(part) for part in parts])
        return AutoencoderTinyOutput(latents=latents) if return_dict else (latents,)

    @apply_forward_hook  # type: ignore[untyped-decorator]
    def decode(self, z: Tensor, generator: torch.Generator | None = None, return_dict: bool = True) -> Any:
        """z (B, c, h, w), not scaled -> pictures (B, 3, 8h, 8w), about [-1, 1], not clamped."""
        parts = torch.split(z, 1) if self.use_slicing else (z,)
        sample = torch.cat([self.network.decode(part) for part in parts])
        return DecoderOutput(sample=sample) if return_dict else (sample,)

    def forward(self, sample: Tensor, return_dict: bool = True) -> Any:
        """Encode and decode: (B, 3, H, W) in [-1, 1] -> the same, about [-1, 1]."""
        return self.decode(self.encode(sample).latents, return_dict=return_dict)
