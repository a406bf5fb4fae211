"""Tiny models with random weights, built once a session."""

from __future__ import annotations

import ast
import contextlib
import importlib.util
import os
import warnings
from pathlib import Path

# One thread for torch and numpy, here and in the processes that tests start, set before anything imports them. Threads
# of two test processes would wait for one another by turning in circles: the suite is quicker with one each, and on a
# machine that is busy many times quicker. It also makes the last bits the same in all these processes.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest

from moebius import Moebius
from moebius.testing import LIKE_NANO, LIKE_PUBLISHED, save_tiny_model

# diffusers and transformers ask for it, whichever test imports them first.
with contextlib.suppress(ImportError):
    from any_torchvision import torchvision_anyhow

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torchvision_anyhow()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--installed-only", action="store_true",
        help="leave out what imports packages that are not here (scripts/test_bounds runs the base installation so)",
    )  # fmt: skip


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """With --installed-only, files are left out whose imports could not be had; None is no opinion."""
    if not config.getoption("--installed-only") or collection_path.suffix != ".py":
        return None
    wanted = set()
    for node in ast.parse(collection_path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Import):
            wanted.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            wanted.add(node.module or "")
            names = {alias.name for alias in node.names}
            if node.module == "moebius" and names & {"MoebiusConfig", "MoebiusUNet"}:
                wanted.add("torch")
    tops = {name.partition(".")[0] for name in wanted}
    if {"moebius.networks", "random_models"} & wanted:
        tops.add("torch")
    return True if any(importlib.util.find_spec(name) is None for name in tops) else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests first: with a process a file, none that takes long is left to one process at the end."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(scope="session")
def torch_where_asked(request: pytest.FixtureRequest) -> None:
    """With --installed-only, what needs PyTorch is skipped where it is not."""
    if request.config.getoption("--installed-only"):
        pytest.importorskip("torch", reason="only what is installed was asked for")


@pytest.fixture(scope="session")
def tiny_prefill(tmp_path_factory: pytest.TempPathFactory, torch_where_asked: None) -> Path:
    """A model folder fed and sampled like nano. No ONNX graphs."""
    return save_tiny_model(LIKE_NANO, tmp_path_factory.mktemp("models") / LIKE_NANO.name)


@pytest.fixture(scope="session")
def tiny_masked(tmp_path_factory: pytest.TempPathFactory, torch_where_asked: None) -> Path:
    """A model folder fed and sampled like the published models. No ONNX graphs."""
    return save_tiny_model(LIKE_PUBLISHED, tmp_path_factory.mktemp("models") / LIKE_PUBLISHED.name)


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
