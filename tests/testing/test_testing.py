"""What other programs' tests are given: quick, without torch, and real in all but the fill."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from moebius import MaskError, Moebius, WeightsError
from moebius.testing import LIKE_NANO, LIKE_PUBLISHED, FakeEngine, fake_model, save_tiny_model
from moebius.weights import ModelSpec


@pytest.fixture()
def photo() -> Image.Image:
    return Image.fromarray(np.random.default_rng(1).integers(0, 256, (90, 120, 3), np.uint8))


@pytest.fixture()
def mask() -> Image.Image:
    hole = np.zeros((90, 120), np.uint8)
    hole[30:60, 40:80] = 255
    return Image.fromarray(hole)


def test_only_the_fill_is_fake(photo: Image.Image, mask: Image.Image) -> None:
    engine = FakeEngine()
    result = fake_model(engine=engine)(photo, mask, grow=0, feather=0)
    before, after, hole = np.asarray(photo), np.asarray(result.image), np.asarray(mask) > 0
    assert np.array_equal(before[~hole], after[~hole])
    assert (before[hole] != after[hole]).any(axis=-1).mean() > 0.9
    assert result.steps == len(engine.timesteps) == 3
    assert (engine.encoded, engine.decoded) == (1, 1)


def test_the_same_seed_the_same_picture(photo: Image.Image, mask: Image.Image) -> None:
    one, again, other = (np.asarray(fake_model()(photo, mask, seed=seed).image) for seed in (1, 1, 2))
    assert np.array_equal(one, again)
    assert not np.array_equal(one, other)


def test_errors_are_the_real_ones(photo: Image.Image) -> None:
    with pytest.raises(MaskError, match="expected"):
        fake_model()(photo, Image.new("L", (7, 7)))


def test_an_engine_that_fails(photo: Image.Image, mask: Image.Image) -> None:
    engine = FakeEngine(error=WeightsError("the disk is gone"))
    with pytest.raises(WeightsError, match="the disk is gone"):
        fake_model(engine=engine)(photo, mask)
    assert len(engine.timesteps) == 1


def test_needs_no_torch() -> None:
    code = "import sys, moebius.testing as t; t.fake_model(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("spec", [LIKE_NANO, LIKE_PUBLISHED], ids=lambda spec: spec.feed)
def test_tiny_models_are_real_folders(
    spec: ModelSpec, tmp_path: Path, photo: Image.Image, mask: Image.Image
) -> None:
    networks = pytest.importorskip("moebius.networks", reason="needs PyTorch", exc_type=ImportError)
    folder = save_tiny_model(spec, tmp_path / "tiny")
    model = Moebius.from_pretrained(folder, device="cpu")
    assert model.spec == spec
    assert model(photo, mask).steps == 3
    network = networks.MoebiusUNet(networks.MoebiusConfig(**spec.denoiser))
    assert sum(p.numel() for p in network.parameters()) == spec.parameters
    state = networks.denoiser.torch.get_rng_state()
    again = save_tiny_model(spec, tmp_path / "again")
    assert (folder / "weights.safetensors").read_bytes() == (again / "weights.safetensors").read_bytes()
    assert state.equal(networks.denoiser.torch.get_rng_state())
