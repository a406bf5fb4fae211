"""Denoisers by the name of their architecture: what a model's description is built from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from moebius.networks.denoiser import MoebiusConfig, MoebiusUNet
from moebius.networks.teacher import PixelHackerConfig, PixelHackerUNet


def denoiser_config(architecture: str, sizes: Mapping[str, Any]) -> MoebiusConfig | PixelHackerConfig:
    """The sizes of a denoiser as its own config.

    Args:
        architecture: "moebius" or "pixelhacker".
        sizes: fields of `MoebiusConfig` or `PixelHackerConfig`.

    Raises:
        ValueError: an unknown architecture, or sizes that do not fit together.
        TypeError: an unknown field.
    """
    if architecture == "moebius":
        return MoebiusConfig(**sizes)
    if architecture == "pixelhacker":
        return PixelHackerConfig(**sizes)
    raise ValueError(f"architecture: expected moebius or pixelhacker, got {architecture!r}")


def build_denoiser(
    architecture: str, config: MoebiusConfig | PixelHackerConfig | Mapping[str, Any]
) -> MoebiusUNet | PixelHackerUNet:
    """A denoiser with random weights; both kinds are called alike.

    Args:
        architecture: "moebius" or "pixelhacker".
        config: its sizes, as its config or as the fields of one.

    Raises:
        ValueError: an unknown architecture, sizes that do not fit together, or the config of another one.
        TypeError: an unknown field.
    """
    sizes = config if isinstance(config, Mapping) else config.to_dict()
    own = denoiser_config(architecture, sizes)
    return MoebiusUNet(own) if isinstance(own, MoebiusConfig) else PixelHackerUNet(own)
