"""Take things out of photos, and fill holes in them.

    from moebius import Moebius
    Moebius.from_pretrained("nano")("photo.jpg", "mask.png").save("clean.jpg")

Names are loaded when first used: importing the package costs nothing, and only what needs torch imports it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from moebius._version import __version__

if TYPE_CHECKING:
    from moebius.errors import (
        CorruptWeightsError,
        DeviceError,
        DownloadError,
        InputError,
        MaskError,
        MoebiusError,
        OutputError,
        PhotoError,
        SettingsError,
        TrainingError,
        UnknownModelError,
        WeightsError,
    )
    from moebius.networks import MoebiusConfig, MoebiusUNet
    from moebius.pipeline import Moebius, Progress, Result
    from moebius.pipeline.compat import load_latent_diffusion_pipeline, preprocess_image_and_mask
    from moebius.settings import Settings

_HOMES = {
    "CorruptWeightsError": "errors",
    "DeviceError": "errors",
    "DownloadError": "errors",
    "InputError": "errors",
    "MaskError": "errors",
    "Moebius": "pipeline",
    "MoebiusConfig": "networks",
    "MoebiusError": "errors",
    "MoebiusUNet": "networks",
    "OutputError": "errors",
    "PhotoError": "errors",
    "Progress": "pipeline",
    "Result": "pipeline",
    "Settings": "settings",
    "SettingsError": "errors",
    "TrainingError": "errors",
    "UnknownModelError": "errors",
    "WeightsError": "errors",
    "load_latent_diffusion_pipeline": "pipeline.compat",
    "preprocess_image_and_mask": "pipeline.compat",
}

__all__ = [
    "CorruptWeightsError",
    "DeviceError",
    "DownloadError",
    "InputError",
    "MaskError",
    "Moebius",
    "MoebiusConfig",
    "MoebiusError",
    "MoebiusUNet",
    "OutputError",
    "PhotoError",
    "Progress",
    "Result",
    "Settings",
    "SettingsError",
    "TrainingError",
    "UnknownModelError",
    "WeightsError",
    "__version__",
    "load_latent_diffusion_pipeline",
    "preprocess_image_and_mask",
]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        return getattr(import_module(f"{__name__}.{home}"), name)
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise ImportError(f"{name} needs PyTorch: pip install 'moebius-inpaint[torch]'") from error


def __dir__() -> list[str]:
    return __all__
