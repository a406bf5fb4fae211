"""The small autoencoder and the perceptual metric."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from moebius.networks import AutoencoderConfig, NanoAutoencoder
from moebius.networks.perceptual import load_lpips

FEATURES = (
    Path(os.environ.get("MOEBIUS_FEATURES", Path(__file__).parents[3] / "shared/data/features"))
    / "squeezenet11_lpips.safetensors"
)


def test_shapes_and_factor() -> None:
    net = NanoAutoencoder(AutoencoderConfig(latent_channels=6, widths=(8, 16, 24))).eval()
    with torch.no_grad():
        latents = net.encode(torch.rand(2, 3, 32, 48) * 2 - 1)
        assert latents.shape == (2, 6, 4, 6)
        assert net.decode(latents).shape == (2, 3, 32, 48)


def test_latents_are_standardised_in_training() -> None:
    torch.manual_seed(0)
    net = NanoAutoencoder(AutoencoderConfig(widths=(8, 16, 24))).train()
    latents = net.encode(20 * torch.randn(4, 3, 64, 64))  # loud, so that the norm's eps does not count
    assert latents.mean((0, 2, 3)).abs().max() < 1e-4
    assert (latents.var((0, 2, 3)) - 1).abs().max() < 1e-2


def test_decoder_forgives_wild_latents() -> None:
    net = NanoAutoencoder(AutoencoderConfig(widths=(8, 16, 24))).eval()
    with torch.no_grad():
        far = net.decode(torch.full((1, 8, 2, 2), 1e4))
        clamped = net.decode(torch.full((1, 8, 2, 2), 60.0))
    assert torch.allclose(far, clamped)


def test_errors_have_both_values() -> None:
    with pytest.raises(ValueError, match=r"divide by 8, got \(20, 32\)"):
        NanoAutoencoder().encode(torch.zeros(1, 3, 20, 32))
    with pytest.raises(ValueError, match="got 3, 2 and 3"):
        AutoencoderConfig(encoder_blocks=(1, 1))


@pytest.mark.skipif(not FEATURES.exists(), reason="LPIPS-squeeze weights not here: set MOEBIUS_FEATURES")
def test_lpips_against_a_published_number() -> None:
    """torchmetrics documents 0.1008 for this draw."""
    torch.manual_seed(123)
    a, b = torch.rand(10, 3, 100, 100) * 2 - 1, torch.rand(10, 3, 100, 100) * 2 - 1
    lpips = load_lpips(FEATURES)
    assert abs(float(lpips(a, b).mean()) - 0.1008) < 1e-4
    assert float(lpips(a, a).abs().max()) == 0.0
