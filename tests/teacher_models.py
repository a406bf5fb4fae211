"""The teacher at a size that tests can afford, and the import of diffusers that it needs."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import pytest

from moebius.networks import PixelHackerConfig

DATA = Path(__file__).parent / "data" / "teacher"
TINY = PixelHackerConfig(
    latent_size=16,
    channels=(32, 48, 56, 56),
    heads=4,
    category_channels=40,
    context_channels=24,
    norm_groups=8,
)
"""The size of the golden files."""


def import_diffusers() -> None:
    """diffusers' networks, imported.

    A torchvision for another build of torch breaks transformers, which asks for it but does not need it: there it
    is taken for missing.
    """
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            import torchvision  # noqa: F401
        except (ImportError, RuntimeError):
            patch.setitem(sys.modules, "torchvision", None)
        from diffusers import AutoencoderKL, UNet2DConditionModel

        assert AutoencoderKL and UNet2DConditionModel
