"""A batch in tmp_path, with a model whose engine only counts."""

from __future__ import annotations

from pathlib import Path

import pytest
from quick_model import Folders, make_folders, quick_model

from moebius import Moebius


@pytest.fixture()
def quick() -> Moebius:
    return quick_model()


@pytest.fixture()
def folders(tmp_path: Path) -> Folders:
    """Six photos of several formats, their masks, and no output yet."""
    return make_folders(tmp_path, 6)
