"""scripts/picture_psnr on a tiny model: a row for each engine and format that runs here, and one for each part."""

from __future__ import annotations

import importlib.util
import math
import shutil
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from moebius.testing import LIKE_PUBLISHED, save_tiny_model

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def script() -> ModuleType:
    loader = SourceFileLoader("picture_psnr", str(ROOT / "scripts" / "picture_psnr"))
    loader_spec = importlib.util.spec_from_loader(loader.name, loader)
    assert loader_spec is not None
    module = importlib.util.module_from_spec(loader_spec)
    loader.exec_module(module)
    return module


def test_pictures_and_parts(
    script: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = save_tiny_model(LIKE_PUBLISHED, tmp_path / "tiny")
    photos = tmp_path / "photos"
    photos.mkdir()
    for name in ("rocket.jpg", "rocket_mask.png"):
        shutil.copy(ROOT / "examples" / name, photos)
    words = [str(folder), "--photos", str(photos), "--steps", "2", "--device", "cpu", "--components"]
    monkeypatch.setattr("sys.argv", ["picture_psnr", *words])
    script.main()
    pictures, parts = capsys.readouterr().out.split("\n\n")
    rows = {row.split("|")[1].strip(): row.split("|")[2:-1] for row in pictures.splitlines()[2:]}
    assert list(rows) == [
        "tiny, torch float32",
        "tiny, torch bfloat16",
    ]  # float16 is for GPUs; no graphs here
    wide, narrow = (float(row[0]) for row in rows.values())
    assert wide > 80 > narrow > 15
    by_format = {row.split("|")[1].strip(): row.split("|")[2:-1] for row in parts.splitlines()[2:]}
    assert list(by_format) == ["float32", "bfloat16"]
    assert all(float(value) > 100 for value in by_format["float32"])
    assert all(25 < float(value) < 100 for value in by_format["bfloat16"])


def test_the_peak_is_the_range(script: ModuleType) -> None:
    wanted = np.array([-3.0, 5.0, 1.0, 1.0], np.float32)
    assert script.signal_psnr(wanted + np.float32(0.08), wanted) == pytest.approx(40, abs=1e-4)
    assert script.signal_psnr(wanted, wanted) == math.inf
