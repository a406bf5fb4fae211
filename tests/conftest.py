"""Tiny models with random weights, built once a session."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from random_models import LIKE_NANO, LIKE_PUBLISHED, save_tiny

from moebius import Moebius


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


def pytest_configure(config: pytest.Config) -> None:
    """Workers of pytest-xdist get a core each: torch and ONNX Runtime would each take all of them, and wait in turn."""
    worker = os.environ.get("PYTEST_XDIST_WORKER", "")
    if worker.startswith("gw") and hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {cores[int(worker.removeprefix("gw")) % len(cores)]})
