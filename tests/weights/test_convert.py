"""Checkpoints of others: converted exactly, or refused in one line without being run."""

from __future__ import annotations

import os
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hub_server import Hub
from safetensors.torch import load_file, save_file
from tiny_models import TINY_DENOISER, TINY_VAE

from moebius.errors import WeightsError
from moebius.networks import MoebiusConfig, MoebiusUNet
from moebius.weights import MODELS, ModelSpec, open_folder, to_official
from moebius.weights.cache import state
from moebius.weights.convert import read_checkpoint
from moebius.weights.importing import import_checkpoint

LIKE = replace(MODELS["places2"], name="like", denoiser=TINY_DENOISER)


@pytest.fixture()
def small_vae(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("moebius.weights.convert.VAE_CONFIG", TINY_VAE)


def refused(path: Path, like: ModelSpec | None = LIKE, **options: Any) -> str:
    with pytest.raises(WeightsError) as caught:
        import_checkpoint(path, like=like, **options)
    assert "\n" not in str(caught.value)
    assert not list((Path(os.environ["MOEBIUS_HOME"]) / "models").glob("*")), "nothing may be left"
    return str(caught.value)


def test_an_imported_checkpoint_is_the_same_network(
    checkpoint: Path, official: dict[str, torch.Tensor], vae_checkpoint: Path, small_vae: None, home: Path
) -> None:
    folder = import_checkpoint(checkpoint, name="mine", like=LIKE, vae=vae_checkpoint)
    assert folder.path == home / "models" / "mine"
    assert state(folder.spec) == "cached"
    assert open_folder(folder.path).spec == folder.spec
    weights = load_file(folder.path / "weights.safetensors")
    ours = {name.removeprefix("denoiser."): tensor for name, tensor in weights.items()}
    config = MoebiusConfig(**TINY_DENOISER)
    MoebiusUNet(config).load_state_dict(ours)
    back = to_official(ours, config)
    assert back.keys() == official.keys()
    assert all(torch.equal(back[name], official[name]) for name in official)


def test_an_imported_vae_has_todays_names(
    checkpoint: Path, vae_checkpoint: Path, small_vae: None, home: Path
) -> None:
    from diffusers import AutoencoderKL

    folder = import_checkpoint(checkpoint, name="mine", like=LIKE, vae=vae_checkpoint).path
    AutoencoderKL.from_config(TINY_VAE).load_state_dict(load_file(folder / "vae.safetensors"))


def test_safetensors_are_taken_too(official: dict[str, torch.Tensor], tmp_path: Path) -> None:
    save_file(official, tmp_path / "mine.safetensors")
    folder = import_checkpoint(tmp_path / "mine.safetensors", like=LIKE)
    assert folder.spec.name == "mine"
    assert state(folder.spec) == "incomplete"


def test_the_old_file_format_is_taken_too(official: dict[str, torch.Tensor], tmp_path: Path) -> None:
    torch.save(official, tmp_path / "old.bin", _use_new_zipfile_serialization=False)
    assert import_checkpoint(tmp_path / "old.bin", like=LIKE).spec.name == "old"


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("kind", ["plain", "zip"])
def test_a_hostile_pickle_is_refused_and_not_run(tmp_path: Path, kind: str, protocol: int) -> None:
    trace = tmp_path / "it ran"

    class Hostile:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.system, (f"touch '{trace}'",)

    path = tmp_path / "hostile.bin"
    if kind == "plain":
        path.write_bytes(pickle.dumps({"weight": Hostile()}, protocol=protocol))
    else:
        torch.save({"weight": Hostile()}, path, pickle_protocol=protocol)
    message = refused(path)
    assert f"{path} refused: expected nothing but tensors, got " in message
    assert not trace.exists()


def test_the_name_of_the_code_is_told(tmp_path: Path) -> None:
    class Hostile:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.system, ("true",)

    torch.save({"weight": Hostile()}, tmp_path / "hostile.bin")
    assert f"got {os.system.__module__}.system, which could run code" in refused(tmp_path / "hostile.bin")


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99])
def test_a_truncated_zip(checkpoint: Path, tmp_path: Path, share: float) -> None:
    body = checkpoint.read_bytes()
    path = tmp_path / "short.bin"
    path.write_bytes(body[: int(share * len(body))])
    assert f"{path}: expected a whole PyTorch checkpoint" in refused(path)


@pytest.mark.parametrize("body", [b"not a checkpoint at all", b"\x80\x02]q\x00.", b"PK\x03\x04garbage"])
def test_something_else(tmp_path: Path, body: bytes) -> None:
    path = tmp_path / "else.bin"
    path.write_bytes(body)
    assert str(path) in refused(path)


def test_a_truncated_safetensors_file(official: dict[str, torch.Tensor], tmp_path: Path) -> None:
    path = tmp_path / "short.safetensors"
    save_file(official, path)
    path.write_bytes(path.read_bytes()[:-10])
    assert "expected a whole safetensors file" in refused(path)


@pytest.mark.parametrize("contents", [{"step": 3}, [1, 2], {"a": {"b": torch.zeros(1)}}, {}])
def test_a_checkpoint_of_something_else(tmp_path: Path, contents: Any) -> None:
    torch.save(contents, tmp_path / "other.bin")
    assert "expected tensors by name" in refused(tmp_path / "other.bin")


def test_an_average_is_detected(official: dict[str, torch.Tensor], tmp_path: Path) -> None:
    names = {name: name.replace(".", "") for name in official if "running" not in name}
    buffers = {short: official[name] for name, short in names.items()}
    buffers["decay"], buffers["num_updates"] = torch.tensor(0.999), torch.tensor(10)
    path = tmp_path / "model.EMA.bin"
    torch.save({"ema_buffers": buffers, "ema_name_map": names}, path)
    assert "is an EMA checkpoint" in refused(path)
    assert "batch-norm statistics" in refused(path)


def test_another_network_is_told_by_its_first_misfits(checkpoint: Path) -> None:
    message = refused(checkpoint, like=None)
    assert "expected a published checkpoint of 1203 tensors" in message
    assert "diff_model.conv_in.conv_pw.weight should be (320, 9, 1, 1), got (32, 9, 1, 1)" in message
    assert "and " in message
    assert message.endswith("more")


def test_a_renamed_tensor_is_told(official: dict[str, torch.Tensor], tmp_path: Path) -> None:
    state = dict(official)
    state["diff_model.surprise"] = state.pop("embedding_layer.weight")
    torch.save(state, tmp_path / "renamed.bin")
    message = refused(tmp_path / "renamed.bin")
    assert "embedding_layer.weight is missing; diff_model.surprise is unknown" in message


def test_a_wrong_vae_leaves_nothing(checkpoint: Path, small_vae: None) -> None:
    message = refused(checkpoint, name="mine", vae=checkpoint)
    assert "expected a VAE of" in message
    assert "encoder.conv_in.weight is missing" in message


def test_a_missing_file(tmp_path: Path) -> None:
    assert "expected a checkpoint file, found nothing" in refused(tmp_path / "none.bin")
    assert "expected a checkpoint file, found a folder" in refused(tmp_path)


def test_names(checkpoint: Path) -> None:
    assert import_checkpoint(checkpoint, like=LIKE).spec.name == checkpoint.parent.name.replace("_", "-")
    with pytest.raises(WeightsError, match="exists already"):
        import_checkpoint(checkpoint, like=LIKE)
    import_checkpoint(checkpoint, like=LIKE, overwrite=True)
    with pytest.raises(WeightsError, match="is not the model places2 as published"):
        import_checkpoint(checkpoint, like=LIKE, name="places2")
    with pytest.raises(WeightsError, match="name: expected letters"):
        import_checkpoint(checkpoint, like=LIKE, name="../../evil")
    own = replace(LIKE, autoencoder={"latent_channels": 4})
    with pytest.raises(WeightsError, match="which has its own"):
        import_checkpoint(checkpoint, like=own, name="other")


def test_a_published_file_becomes_the_published_model(
    checkpoint: Path, tiny: ModelSpec, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("moebius.weights.importing.PUBLISHED", (tiny,))
    imported = import_checkpoint(checkpoint)
    assert imported.spec is tiny
    assert hub.requests == []


def test_old_pytorch_is_not_trusted_with_a_pickle(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "__version__", "2.5.1+cpu")
    with pytest.raises(WeightsError, match=r"needs PyTorch 2.6 or newer, got 2.5.1"):
        read_checkpoint(checkpoint)


def test_without_torch_one_line_says_what_to_install(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "torch", None)
    assert "importing a checkpoint needs torch: pip install 'moebius-inpaint[torch]'" in refused(checkpoint)
