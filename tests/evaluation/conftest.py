"""Where the real data lies, for the tests that want it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from evaluation_stubs import write_features, write_photos

_BESIDE = Path(__file__).parents[3] / "shared" / "data"


@pytest.fixture(scope="session")
def eval_data() -> Path:
    """The real photos set."""
    folder = Path(os.environ.get("MOEBIUS_EVAL_DATA", _BESIDE / "eval"))
    if not (folder / "manifest.jsonl").exists():
        pytest.skip("the photos set is not here: set MOEBIUS_EVAL_DATA")
    return folder


@pytest.fixture(scope="session")
def real_features() -> Path:
    """The real LPIPS-squeeze weights."""
    path = Path(os.environ.get("MOEBIUS_FEATURES", _BESIDE / "features" / "squeezenet11_lpips.safetensors"))
    if not path.exists():
        pytest.skip("LPIPS-squeeze weights are not here: set MOEBIUS_FEATURES")
    return path


@pytest.fixture(scope="session")
def features(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """LPIPS-squeeze weights that nobody trained."""
    return write_features(tmp_path_factory.mktemp("features") / "squeeze.safetensors")


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small photos set."""
    return write_photos(tmp_path_factory.mktemp("photos"))
