"""Tiny models with random weights, in the layout of the real ones."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import torch

from moebius.networks import AutoencoderConfig, MoebiusConfig, MoebiusUNet, NanoAutoencoder
from moebius.weights import Defaults, ModelSpec, save_folder

DENOISER = MoebiusConfig(
    latent_size=8, channels=(16, 32, 48), category_channels=12, context_channels=20, heads=4, norm_groups=4
)
AUTOENCODER = AutoencoderConfig(
    latent_channels=4, widths=(8, 12, 16), encoder_blocks=(0, 0, 0), decoder_blocks=(0, 0, 0)
)
LIKE_PUBLISHED = ModelSpec(
    name="tiny-masked",
    title="random weights, fed and sampled like the published models",
    licence="none",
    parameters=sum(p.numel() for p in MoebiusUNet(DENOISER).parameters()),
    denoiser=DENOISER.to_dict(),
    autoencoder=asdict(AUTOENCODER),
    latent_scale=0.5,
    size=64,
    defaults=Defaults(steps=3, guidance=2.0),
)
LIKE_NANO = replace(
    LIKE_PUBLISHED,
    name="tiny-prefill",
    title="random weights, fed and sampled like nano",
    latent_scale=1.0,
    feed="prefill",
    target="residual",
    residual_scale=2.0,
    prediction="v",
    first_timestep=999,
    guidance_trained=False,
    defaults=Defaults(steps=3, guidance=1.0, solver="dpm++", start="noise"),
)


def save_tiny(spec: ModelSpec, folder: Path) -> Path:
    """A model folder with random weights; the same ones every time."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        parts = {
            "denoiser": MoebiusUNet(MoebiusConfig(**spec.denoiser)),
            "autoencoder": NanoAutoencoder(AUTOENCODER),
        }
    tensors = {f"{part}.{name}": t for part, net in parts.items() for name, t in net.state_dict().items()}
    return save_folder(folder, spec, tensors)
