"""The networks of a model folder as PyTorch modules, for the torch engine and for training. Needs `[torch]`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import safe_open
from torch import Tensor, nn

from moebius.errors import CorruptWeightsError, DeviceError
from moebius.networks import (
    AutoencoderConfig,
    MoebiusUNet,
    NanoAutoencoder,
    PixelHackerUNet,
    build_denoiser,
)
from moebius.weights import ModelFolder, ModelSpec
from moebius.weights.cache import VAE_CONFIG_FILE, VAE_FILE, WEIGHTS_FILE
from moebius.weights.convert import vae_kind
from moebius.weights.store import read_json, tensor_names

M = TypeVar("M", bound=nn.Module)


class Autoencoder:
    """A model's autoencoder between images and the latents that its denoiser works on.

    Gradients pass through it, and none are kept for its own weights.

    Args:
        network: a `NanoAutoencoder`, or an `AutoencoderKL` or `AutoencoderTiny` of diffusers.
        spec: of its model.
    """

    def __init__(self, network: nn.Module, spec: ModelSpec):
        self.network: Any = network
        self.channels = spec.latent_channels
        """c of the latents."""
        self.factor = spec.latent_factor
        """Image pixels a latent cell, along one side."""
        self._scale = spec.latent_scale

    @property
    def dtype(self) -> torch.dtype:
        """The number format that it computes in."""
        parameter: Tensor = next(self.network.parameters())
        return parameter.dtype

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> Autoencoder:
        """Itself, moved there and computing in that number format."""
        nn.Module.to(
            self.network, device=device, dtype=dtype
        )  # diffusers' own warns of what does not matter here
        return self

    def encode_moments(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of an image's latents, times the model's latent scale.

        Args:
            image: (B, 3, H, W) in [-1, 1]; sides that divide by `factor`.

        Returns:
            Both (B, c, H/factor, W/factor), in float32 (float64 if it computes in that). The deviation of
            autoencoders that are deterministic, our own and tiny ones, is 0.
        """
        image = image.to(self.dtype)
        found = self.network.encode(image)
        if hasattr(found, "latent_dist"):
            mean, deviation = found.latent_dist.mean, found.latent_dist.std
        else:
            mean = found if isinstance(self.network, NanoAutoencoder) else found.latents
            deviation = torch.zeros_like(mean)
        exact = torch.promote_types(mean.dtype, torch.float32)
        return mean.to(exact) * self._scale, deviation.to(exact) * self._scale

    def decode(self, latents: Tensor) -> Tensor:
        """Scaled latents (B, c, h, w) -> image (B, 3, H, W), about [-1, 1], not clamped, in its number format."""
        latents = (latents / self._scale).to(self.dtype)
        own = isinstance(self.network, NanoAutoencoder)
        image: Tensor = self.network.decode(latents) if own else self.network.decode(latents).sample
        return image


def load_denoiser(folder: ModelFolder) -> MoebiusUNet | PixelHackerUNet:
    """The denoiser of a model, on the CPU, in float32, in evaluation mode, without gradients of its weights.

    A run that starts from it has to ask for those: `load_denoiser(folder).requires_grad_(True)`.

    Raises:
        CorruptWeightsError: the weights do not fit the network that model.json describes.
        DeviceError: a PixelHacker model needs diffusers, which is not installed or broken.
    """
    spec = folder.spec
    if spec.architecture == "pixelhacker":
        _diffusers(spec, "is a PixelHacker network", "UNet2DConditionModel")
    tensors = _tensors(folder.path / WEIGHTS_FILE, "denoiser.")
    return _load(lambda: build_denoiser(spec.architecture, spec.denoiser), tensors, folder.path)


def load_autoencoder(folder: ModelFolder) -> Autoencoder:
    """The autoencoder of a model, its own or the published VAE, on the CPU, in float32, in evaluation mode.

    Raises:
        CorruptWeightsError: the weights do not fit the network that its JSON describes.
        DeviceError: a published VAE needs diffusers, which is not installed or broken.
    """
    spec, path = folder.spec, folder.path
    sizes = spec.autoencoder
    if sizes is not None:
        tensors = _tensors(path / WEIGHTS_FILE, "autoencoder.")
        return Autoencoder(_load(lambda: NanoAutoencoder(AutoencoderConfig(**sizes)), tensors, path), spec)
    config = read_json(path / VAE_CONFIG_FILE)
    kind = _diffusers(spec, "has a published VAE", vae_kind(config, path / VAE_CONFIG_FILE))
    return Autoencoder(_load(lambda: kind.from_config(config), _tensors(path / VAE_FILE), path), spec)


def _tensors(path: Path, prefix: str = "") -> dict[str, Tensor]:
    """The tensors of a file whose names begin with `prefix`, without it; numbers in float32."""
    names = [name for name in tensor_names(path) if name.startswith(prefix)]
    with safe_open(path, framework="pt") as file:
        tensors = {name.removeprefix(prefix): file.get_tensor(name) for name in names}
    return {name: t.float() if t.is_floating_point() else t for name, t in tensors.items()}


def _load(build: Callable[[], M], tensors: dict[str, Tensor], folder: Path) -> M:
    """A network with those weights, ready for inference.

    Built on the meta device: no numbers are drawn for weights that are replaced at once, so torch's global
    generator stays as it was, and no memory is taken twice.
    """
    try:
        with torch.device("meta"):
            net = build()
        net.load_state_dict(tensors, assign=True)
    except (RuntimeError, TypeError, ValueError, KeyError) as error:
        reason = " ".join(str(error).split())[:200]
        raise CorruptWeightsError(
            f"{folder}: the weights do not fit what its JSON describes: {reason}"
        ) from error
    return net.eval().requires_grad_(False)


def _diffusers(spec: ModelSpec, why: str, name: str) -> Any:
    """That class of diffusers."""
    try:
        import diffusers

        return getattr(diffusers, name)
    except ImportError as error:
        raise DeviceError(
            f"model {spec.name} {why} and needs diffusers: pip install 'moebius-inpaint[torch]'"
        ) from error
    except RuntimeError as error:  # so diffusers tells of what fails in one of its own imports
        reason = " ".join(str(error).split())[-200:]
        raise DeviceError(f"model {spec.name} {why} and diffusers cannot be imported: {reason}") from error
