"""For tests of programs that use Moebius: a model without networks, and tiny models with random weights.

    from moebius.testing import fake_model
    result = fake_model()("photo.jpg", "mask.png")      at once, on any machine, the same every time

    from moebius.testing import LIKE_NANO, save_tiny_model
    Moebius.from_pretrained(save_tiny_model(LIKE_NANO, folder))         the real networks in miniature; needs torch

Everything else about these models is real: regions, solver steps, progress, pasting, metadata, errors. Only what a
hole is filled with means nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from moebius.engines.base import FloatArray
from moebius.errors import MoebiusError
from moebius.pipeline import Moebius
from moebius.weights import Defaults, ModelSpec, save_folder

__all__ = ["LIKE_NANO", "LIKE_PUBLISHED", "FakeEngine", "fake_model", "save_tiny_model"]

_DENOISER = {
    "latent_size": 8, "channels": [16, 32, 48], "category_channels": 12, "context_channels": 20, "heads": 4,
    "norm_groups": 4,
}  # fmt: skip
_AUTOENCODER = {
    "latent_channels": 4, "widths": [8, 12, 16], "encoder_blocks": [0, 0, 0], "decoder_blocks": [0, 0, 0],
}  # fmt: skip
_SEED = 7

LIKE_PUBLISHED = ModelSpec(
    name="tiny-masked",
    title="random weights, fed and sampled like the published models",
    licence="none",
    parameters=467_199,
    denoiser=_DENOISER,
    autoencoder=_AUTOENCODER,
    latent_scale=0.5,
    size=64,
    defaults=Defaults(steps=3, guidance=2.0),
)
"""Sees an emptied hole, predicts noise, takes guidance; 64 px, three steps."""
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
"""Sees a smoothly filled hole, predicts v of what that lacks, takes no guidance; 64 px, three steps."""


class FakeEngine:
    """An engine without networks that counts what it is asked for.

    Latents are means of 8 x 8 pixels, and their mean as fourth channel; the denoiser's answer is a tenth of what it is
    given.

    Args:
        error: raised by every call of the denoiser, to see what your program does then.
    """

    name, device, dtype, rows, calls = "fake", "cpu", "float32", 8, 1

    def __init__(self, *, error: MoebiusError | None = None) -> None:
        self.error = error
        self.timesteps: list[int] = []
        """Of the denoiser's calls, in order."""
        self.encoded = self.decoded = 0
        """Calls of the autoencoder's halves."""

    def array(self, values: FloatArray) -> FloatArray:
        return values

    def numpy(self, values: FloatArray) -> FloatArray:
        return values

    def join(self, parts: Sequence[FloatArray]) -> FloatArray:
        return np.concatenate(parts)

    def encode(self, image: FloatArray) -> FloatArray:
        self.encoded += 1
        batch, _, height, width = image.shape
        cells = image.reshape(batch, 3, height // 8, 8, width // 8, 8).mean((3, 5), dtype=np.float32)
        return np.concatenate([cells, cells.mean(1, keepdims=True)], axis=1)

    def predict(
        self, noisy: FloatArray, timestep: int, mask: FloatArray, condition: FloatArray, guidance: float
    ) -> FloatArray:
        assert noisy.shape == condition.shape and mask.shape == (len(noisy), 1, *noisy.shape[2:])
        self.timesteps.append(timestep)
        if self.error is not None:
            raise self.error
        return np.float32(0.1) * noisy

    def decode(self, latents: FloatArray) -> FloatArray:
        self.decoded += 1
        return latents[:, :3].repeat(8, axis=2).repeat(8, axis=3)


def fake_model(spec: ModelSpec = LIKE_NANO, *, engine: FakeEngine | None = None) -> Moebius:
    """A model that fills without networks: no weights, no torch, milliseconds.

    Args:
        spec: how it is fed and sampled; four latent channels.
        engine: to see what was asked of it afterwards.
    """
    return Moebius(spec, engine or FakeEngine(), model_hash="fake")


def save_tiny_model(spec: ModelSpec, folder: Path) -> Path:
    """A model folder with random weights, the same ones every time, in the layout of the real ones (0.3 MB).

    Args:
        spec: `LIKE_PUBLISHED`, `LIKE_NANO`, or one of these with other feeding or sampling.
        folder: is made.

    Raises:
        ImportError: PyTorch is not installed.
    """
    import torch

    from moebius.networks import AutoencoderConfig, MoebiusConfig, MoebiusUNet, NanoAutoencoder

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(_SEED)
        parts = {
            "denoiser": MoebiusUNet(MoebiusConfig(**spec.denoiser)),
            "autoencoder": NanoAutoencoder(AutoencoderConfig(**spec.autoencoder or _AUTOENCODER)),
        }
    tensors = {f"{part}.{name}": t for part, net in parts.items() for name, t in net.state_dict().items()}
    return save_folder(folder, spec, tensors)
