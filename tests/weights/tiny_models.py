"""Sizes of the networks that the tests of this folder convert."""

from __future__ import annotations

TINY_DENOISER = {
    "latent_channels": 4,
    "latent_size": 16,
    "channels": [32, 64, 96],
    "category_channels": 48,
    "context_channels": 40,
    "norm_groups": 16,
}
TINY_VAE = {
    "_class_name": "AutoencoderKL",
    "block_out_channels": [8, 8],
    "down_block_types": ["DownEncoderBlock2D"] * 2,
    "up_block_types": ["UpDecoderBlock2D"] * 2,
    "layers_per_block": 1,
    "norm_num_groups": 4,
    "latent_channels": 4,
}
