"""A cache of its own for every test, a local Hub, and a tiny published checkpoint."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hub_server import Hub, start
from safetensors.torch import load_file
from tiny_models import TINY_DENOISER, TINY_VAE

from moebius.weights.registry import MODELS
from moebius.weights.spec import ModelFile, ModelSpec

STUDENT = Path(__file__).parent.parent / "data" / "student"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache; no test may see another's, or the user's own."""
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "http_proxy", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1")  # nobody listens there
    monkeypatch.setenv("MOEBIUS_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture()
def hub(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    hub = Hub()
    server = start(hub)
    monkeypatch.setenv("HF_ENDPOINT", hub.url)
    yield hub
    hub.released.set()
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="session")
def official() -> dict[str, torch.Tensor]:
    """The state dict of a tiny published network, under the published names."""
    return load_file(STUDENT / "golden_public_tiny.weights.safetensors")


@pytest.fixture(scope="session")
def checkpoint(official: dict[str, torch.Tensor], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """It as a `.bin`, as the release writes them (7 MB)."""
    path = tmp_path_factory.mktemp("release") / "diffusion_pytorch_model.bin"
    torch.save(official, path)
    return path


@pytest.fixture(scope="session")
def vae_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny VAE as a `.bin`, under the names of old diffusers versions, without its config."""
    from diffusers import AutoencoderKL

    torch.manual_seed(0)
    state = AutoencoderKL.from_config(TINY_VAE).state_dict()
    old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    for new_name, old_name in old.items():
        state = {name.replace(f".{new_name}.", f".{old_name}."): tensor for name, tensor in state.items()}
    assert any(".query." in name for name in state)
    path = tmp_path_factory.mktemp("vae") / "diffusion_pytorch_model.bin"
    torch.save(state, path)
    return path


@pytest.fixture()
def tiny(checkpoint: Path, vae_checkpoint: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> ModelSpec:
    """A published model of a tiny network, known by the name "tiny" and served by the local Hub."""
    monkeypatch.setattr("moebius.weights.convert.VAE_CONFIG", TINY_VAE)
    denoiser, vae = checkpoint.read_bytes(), vae_checkpoint.read_bytes()
    hub.files = {"tests/tiny/ft_tiny/model.bin": denoiser, "tests/vae/vae/model.bin": vae}
    spec = replace(
        MODELS["places2"],
        name="tiny",
        denoiser=TINY_DENOISER,
        files={
            "denoiser": describe(denoiser, "tests/tiny", "ft_tiny/model.bin"),
            "vae": describe(vae, "tests/vae", "vae/model.bin"),
        },
    )
    monkeypatch.setitem(MODELS, "tiny", spec)
    return spec


def describe(body: bytes, repository: str, path: str) -> ModelFile:
    import hashlib

    digest = hashlib.sha256(body).hexdigest()
    return ModelFile(repository=repository, path=path, bytes=len(body), sha256=digest)
