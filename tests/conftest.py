"""Tiny models with random weights, built once a session."""

from __future__ import annotations

import contextlib
import os
import warnings
from pathlib import Path

# One thread for torch and numpy, here and in the processes that tests start, set before anything imports them. Threads
# of two test processes would wait for one another by turning in circles: the suite is quicker with one each, and on a
# machine that is busy many times quicker. It also makes the last bits the same in all these processes.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
from random_models import LIKE_NANO, LIKE_PUBLISHED, save_tiny

from moebius import Moebius

# diffusers and transformers ask for it, whichever test imports them first.
with contextlib.suppress(ImportError):
    from any_torchvision import torchvision_anyhow

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torchvision_anyhow()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests first: with a process a file, none that takes long is left to one process at the end."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


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
