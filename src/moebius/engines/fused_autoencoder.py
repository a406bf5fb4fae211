"""Autoencoders as an engine runs them: number formats by half, memory order, and large batches in slices."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from moebius.engines.fused_upsample import fuse_upsamplers
from moebius.engines.networks import Autoencoder
from moebius.networks import NanoAutoencoder

ACTIVATIONS = 2 << 30
"""Bytes of activations that a call of either half may hold at a time."""
HELD = {"kl": (5, 13), "tiny": (4, 4), "nano": (1, 1)}
"""Numbers that encoder and decoder hold at once for each pixel of the image, by channels of their widest resolution.
Counted on the published sizes, upsamplers rewritten; rounded up."""


class _Mixed(Autoencoder):
    """An autoencoder whose decoder computes in bfloat16, and whose encoder does not."""

    def __init__(self, plain: Autoencoder):
        self.network, self.channels, self.factor = plain.network, plain.channels, plain.factor
        self._scale = plain._scale

    def decode(self, latents: Tensor) -> Tensor:
        scaled = (latents / self._scale).to(torch.bfloat16)
        image: Tensor = self.network.decode(scaled).sample
        return image


def ready(autoencoder: Autoencoder, device: torch.device, dtype: torch.dtype) -> Autoencoder:
    """The autoencoder, changed in place, as it runs beside a denoiser of that number format.

        denoiser    on                     published encoder    decoder      own and tiny autoencoders
        float32     anything               float32              float32      float32
        bfloat16    a CPU                  float32              bfloat16     bfloat16
        bfloat16    anything else          bfloat16             bfloat16     bfloat16
        float16     CUDA                   float32              bfloat16     float32
        float16     anything else          float32              float32      float32

    float16 overflows in published encoders; bfloat16 does not.
    """
    number = torch.float32 if dtype is torch.float16 else dtype
    if isinstance(autoencoder.network, NanoAutoencoder):
        return autoencoder.to(device, number)
    fuse_upsamplers(autoencoder.network.decoder)
    network = autoencoder.network.to(memory_format=torch.channels_last)
    tiny = not hasattr(
        network, "post_quant_conv"
    )  # AutoencoderTiny: off by more than bfloat16 rounds, and in a hurry
    mixed = (
        dtype is torch.bfloat16 if device.type == "cpu" else dtype is torch.float16 and device.type == "cuda"
    )
    if tiny or not mixed:
        return autoencoder.to(device, number)
    autoencoder.to(device, torch.float32)
    for part in (network.decoder, network.post_quant_conv):
        if part is not None:
            part.to(torch.bfloat16)
    return _Mixed(autoencoder)


def rows_at_once(autoencoder: Autoencoder, pixels: int) -> tuple[int, int]:
    """Images of that many pixels that the encoder and the decoder take in one call, a power of two each.

    So that what a call holds stays within `ACTIVATIONS`; one, where that alone is more.
    """
    network: Any = autoencoder.network
    width, factors = _width(network), HELD[_kind(network)]
    found = []
    for half, factor in zip((network.encoder, network.decoder), factors, strict=True):
        number: Tensor = next(half.parameters())
        row = factor * width * pixels * number.element_size()
        found.append(1 << max(0, (ACTIVATIONS // row).bit_length() - 1))
    return found[0], found[1]


def in_slices(run: Callable[[Tensor], Tensor], rows: Tensor, most: int) -> Tensor:
    """`run(rows)`, for so many rows (B, ...) at a time, where there are more.

    Slices are filled up to one size: libraries choose algorithms by that, and a graph is captured for each.
    """
    if len(rows) <= most:
        return run(rows)
    parts = []
    for part in torch.split(rows, most):
        missing = most - len(part)
        whole = torch.cat([part, *[part[:1]] * missing]) if missing else part
        parts.append(run(whole)[: len(part)])
    return torch.cat(parts)


def _kind(network: Any) -> str:
    if isinstance(network, NanoAutoencoder):
        return "nano"
    return "tiny" if hasattr(network.config, "decoder_block_out_channels") else "kl"


def _width(network: Any) -> int:
    """Channels at the image's own resolution."""
    config = network.config
    kind = _kind(network)
    widths = {"nano": "widths", "tiny": "decoder_block_out_channels", "kl": "block_out_channels"}[kind]
    return int(getattr(config, widths)[0])
