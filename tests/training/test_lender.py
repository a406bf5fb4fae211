"""Where a run's autoencoder comes from: a model folder, or the file of the autoencoder's own training."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from random_models import AUTOENCODER

from moebius.errors import CorruptWeightsError, UnknownModelError
from moebius.networks import NanoAutoencoder
from moebius.testing import LIKE_NANO, save_tiny_model
from moebius.training.autoencoder import save_autoencoder
from moebius.training.lender import open_lender

IMAGE = torch.linspace(-1, 1, 3 * 64 * 64).reshape(1, 3, 64, 64)


def test_a_file_of_the_autoencoders_training(tmp_path: Path) -> None:
    torch.manual_seed(3)
    net = NanoAutoencoder(AUTOENCODER).eval()
    path = save_autoencoder(net, tmp_path / "autoencoder.safetensors")
    lender = open_lender(str(path))
    mean, deviation = lender.coder.encode_moments(IMAGE)
    assert torch.equal(mean, net.encode(IMAGE)) and not deviation.any()
    assert lender.spec.latent_channels == AUTOENCODER.latent_channels and lender.coder.factor == 8
    state = net.state_dict()
    lent = lender.tensors()
    assert lent.keys() == {f"autoencoder.{name}" for name in state}
    assert all(torch.equal(lent[f"autoencoder.{name}"], tensor) for name, tensor in state.items())


def test_a_model_lends_the_same_numbers(tmp_path: Path) -> None:
    folder = save_tiny_model(LIKE_NANO, tmp_path / "model")
    lender = open_lender(str(folder))
    assert lender.spec.name == LIKE_NANO.name and lender.file == folder / "weights.safetensors"
    assert lender.tensors() and all(name.startswith("autoencoder.") for name in lender.tensors())
    other = open_lender("nano")
    assert other.digest != lender.digest and other.spec.latent_channels == 8


def test_what_is_no_autoencoder(tmp_path: Path) -> None:
    path = tmp_path / "torn.safetensors"
    path.write_bytes(b"torn")
    with pytest.raises(CorruptWeightsError, match="expected what moebius train autoencoder wrote"):
        open_lender(str(path))
    with pytest.raises(CorruptWeightsError, match="expected what moebius train autoencoder wrote"):
        open_lender(str(tmp_path / "none.safetensors"))
    with pytest.raises(UnknownModelError):
        open_lender("nanno")
