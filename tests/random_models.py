"""Tiny models with random weights, as networks' configurations."""

from __future__ import annotations

from moebius.networks import AutoencoderConfig, MoebiusConfig
from moebius.testing import LIKE_NANO, LIKE_PUBLISHED, save_tiny_model

__all__ = ["AUTOENCODER", "DENOISER", "LIKE_NANO", "LIKE_PUBLISHED", "save_tiny_model"]

assert LIKE_PUBLISHED.autoencoder is not None
DENOISER = MoebiusConfig(**LIKE_PUBLISHED.denoiser)
AUTOENCODER = AutoencoderConfig(**LIKE_PUBLISHED.autoencoder)
