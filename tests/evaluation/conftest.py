"""Where the real data lies, for the tests that want it; and small data that is made up for the rest."""

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
    given = Path(os.environ.get("MOEBIUS_FEATURES", _BESIDE / "features"))
    path = given if given.suffix == ".safetensors" else given / "squeezenet11_lpips.safetensors"
    if not path.exists():
        pytest.skip("LPIPS-squeeze weights are not here: set MOEBIUS_FEATURES")
    return path


@pytest.fixture(scope="session")
def networks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of feature networks that nobody trained."""
    return write_features(tmp_path_factory.mktemp("features"))


@pytest.fixture(scope="session")
def features(networks: Path) -> Path:
    """LPIPS-squeeze weights that nobody trained."""
    return networks / "squeezenet11_lpips.safetensors"


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small photos set."""
    return write_photos(tmp_path_factory.mktemp("photos"))
