"""Tiny models with random weights, built once a session."""

from __future__ import annotations

import contextlib
import warnings
from pathlib import Path

import pytest
from random_models import LIKE_NANO, LIKE_PUBLISHED, save_tiny

from moebius import Moebius

# diffusers and transformers ask for it, whichever test imports them first.
with contextlib.suppress(ImportError):
    from any_torchvision import torchvision_anyhow

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torchvision_anyhow()


@pytest.fixture(scope="session")
def tiny_prefill(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder fed and sampled like nano. No ONNX graphs."""
    return save_tiny(LIKE_NANO, tmp_path_factory.mktemp("models") / LIKE_NANO.name)


@pytest.fixture(scope="session")
def tiny_masked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder fed and sampled like the published models. No ONNX graphs."""
    return save_tiny(LIKE_PUBLISHED, tmp_path_factory.mktemp("models") / LIKE_PUBLISHED.name)


@pytest.fixture(scope="session")
def nano_like(tiny_prefill: Path) -> Moebius:
    return Moebius.from_pretrained(tiny_prefill, device="cpu")


@pytest.fixture(scope="session")
def published_like(tiny_masked: Path) -> Moebius:
    return Moebius.from_pretrained(tiny_masked, device="cpu")


@pytest.fixture(params=["prefill", "masked"])
def model(request: pytest.FixtureRequest) -> Moebius:
    """Both kinds of model, one after the other."""
    name = {"prefill": "nano_like", "masked": "published_like"}[request.param]
    opened: Moebius = request.getfixturevalue(name)
    return opened
