"""Where a run's autoencoder comes from: a model, or the file that `moebius train autoencoder` wrote."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor

from moebius.engines.networks import Autoencoder, load_autoencoder
from moebius.errors import CorruptWeightsError
from moebius.networks import AutoencoderConfig, NanoAutoencoder
from moebius.weights import ModelFolder, ModelSpec, find, open_model
from moebius.weights.cache import VAE_CONFIG_FILE, VAE_FILE, WEIGHTS_FILE
from moebius.weights.store import file_sha256, read_json


@dataclass(frozen=True)
class Lender:
    """An autoencoder, and what a model that is trained with it takes over from its owner."""

    coder: Autoencoder
    spec: ModelSpec
    """The owner's; of a file, one like nano's."""
    file: Path
    """What holds its tensors."""

    @property
    def digest(self) -> str:
        """SHA-256 of the file."""
        return file_sha256(self.file)

    def tensors(self) -> dict[str, Tensor]:
        """The tensors of our own autoencoder as "autoencoder.*", as they are in the file; none of a published VAE."""
        if self.spec.autoencoder is None:
            return {}
        lent: dict[str, Tensor] = load_file(self.file)
        if self.file.name == WEIGHTS_FILE:
            return {name: tensor for name, tensor in lent.items() if name.startswith("autoencoder.")}
        return {f"autoencoder.{name}": tensor for name, tensor in lent.items()}

    def vae(self) -> tuple[dict[str, Tensor], Mapping[str, Any]]:
        """Tensors and config of a published VAE."""
        return load_file(self.file), read_json(self.file.with_name(VAE_CONFIG_FILE))


def open_lender(source: str | ModelFolder) -> Lender:
    """The autoencoder of a model (name, folder, or opened), or in a `.safetensors` file of our own.

    Raises:
        UnknownModelError, CorruptWeightsError: it is not to be had, or damaged.
    """
    if isinstance(source, str) and source.endswith(".safetensors"):
        return _from_file(Path(source))
    model = source if isinstance(source, ModelFolder) else open_model(source)
    own = model.spec.autoencoder is not None
    return Lender(load_autoencoder(model), model.spec, model.path / (WEIGHTS_FILE if own else VAE_FILE))


def _from_file(path: Path) -> Lender:
    try:
        with safe_open(path, framework="pt") as file:
            sizes = json.loads(file.metadata()["config"])
        net = NanoAutoencoder(AutoencoderConfig(**sizes))
        net.load_state_dict(load_file(path))
    except (OSError, SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:150]
        raise CorruptWeightsError(
            f"{path}: expected what moebius train autoencoder wrote, got: {reason}"
        ) from error
    spec = replace(
        find("nano"),
        name=path.stem,
        autoencoder=sizes,
        latent_channels=net.config.latent_channels,
        latent_scale=1.0,
    )
    return Lender(Autoencoder(net.eval().requires_grad_(False), spec), spec, path)
