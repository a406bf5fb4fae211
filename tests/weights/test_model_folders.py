"""Model folders: written whole or not at all, and every kind of damage told in one line."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from safetensors.torch import load_file

from moebius.errors import CorruptWeightsError, UnknownModelError, WeightsError
from moebius.weights import MODELS, ModelSpec, open_folder, open_model, save_folder, seal
from moebius.weights.store import file_sha256

SPEC = replace(MODELS["places2"], name="own", autoencoder={"latent_channels": 4}, files={})


def tensors() -> dict[str, torch.Tensor]:
    return {"denoiser.a.weight": torch.arange(6.0).reshape(2, 3), "autoencoder.b": torch.ones(4).half()}


@pytest.fixture()
def folder(tmp_path: Path) -> Path:
    return save_folder(tmp_path / "own", SPEC, tensors(), extra={"README.md": b"# A card\n"})


def broken(folder: Path) -> str:
    with pytest.raises(CorruptWeightsError) as caught:
        open_folder(folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_what_is_saved_is_read_back(folder: Path) -> None:
    model = open_folder(folder)
    assert model.spec == SPEC
    assert model.hash == file_sha256(folder / "weights.safetensors")
    assert sorted(path.name for path in folder.iterdir()) == [
        "README.md",
        "model.json",
        "weights.safetensors",
    ]
    for name, tensor in load_file(folder / "weights.safetensors").items():
        assert tensor.dtype == tensors()[name].dtype
        assert torch.equal(tensor, tensors()[name])


@pytest.mark.parametrize("kind", [str, Path])
def test_a_folder_opens_like_a_name(folder: Path, kind: Callable[[Path], str | Path]) -> None:
    assert open_model(kind(folder)).spec == SPEC


def test_a_folder_beside_the_program_opens_by_its_bare_name(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder.parent)
    assert open_model("own").spec == SPEC


def test_no_folder_and_no_model(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(UnknownModelError, match="expected a model folder, found nothing"):
        open_model(tmp_path / "nowhere")
    with pytest.raises(UnknownModelError, match="found a file"):
        open_model(folder / "model.json")


def test_others_may_read_what_the_umask_lets_them(folder: Path) -> None:
    modes = {path.stat().st_mode for path in folder.iterdir()}
    assert len(modes) == 1


def test_a_folder_that_exists_is_not_written_over(folder: Path) -> None:
    before = file_sha256(folder / "weights.safetensors")
    with pytest.raises(WeightsError, match="exists already"):
        save_folder(folder, SPEC, {"denoiser.a": torch.zeros(1)})
    assert file_sha256(folder / "weights.safetensors") == before
    save_folder(folder, SPEC, {**tensors(), "denoiser.c": torch.zeros(1)}, overwrite=True)
    assert file_sha256(folder / "weights.safetensors") != before
    assert [path.name for path in folder.parent.glob("*own*")] == ["own"]


def test_a_failed_save_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(TypeError):
        save_folder(tmp_path / "own", replace(SPEC, denoiser={"a": object()}), tensors())
    assert list(tmp_path.glob("*own*")) == []


def test_tensors_that_share_memory_are_saved(tmp_path: Path) -> None:
    one = torch.arange(4.0)
    save_folder(tmp_path / "own", SPEC, {"denoiser.a": one, "denoiser.b": one[:2], "autoencoder.c": one})
    assert torch.equal(load_file(tmp_path / "own" / "weights.safetensors")["denoiser.b"], one[:2])


def test_no_model_json(folder: Path) -> None:
    (folder / "model.json").unlink()
    assert "expected a model folder with model.json, found none" in broken(folder)


@pytest.mark.parametrize("text", ["", "{", "[1]", '{"format": 1, "name": "\xff"'])
def test_damaged_json(folder: Path, text: str) -> None:
    (folder / "model.json").write_bytes(text.encode("latin-1"))
    assert "model.json: expected" in broken(folder)


def test_an_unknown_format(folder: Path) -> None:
    values = json.loads((folder / "model.json").read_text())
    (folder / "model.json").write_text(json.dumps({**values, "format": 7}))
    assert '"format": 1, got 7' in broken(folder)


@pytest.mark.parametrize("keep", [0, 5, 100, -1])
def test_a_truncated_weights_file(folder: Path, keep: int) -> None:
    path = folder / "weights.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    assert f"{path}: expected" in broken(folder)
    seal(folder, SPEC)  # even with a checksum that fits
    assert "expected a whole safetensors file" in broken(folder)


def test_a_changed_byte(folder: Path) -> None:
    path = folder / "weights.safetensors"
    body = bytearray(path.read_bytes())
    body[-1] ^= 1
    path.write_bytes(body)
    assert "expected sha256" in broken(folder)
    assert open_folder(folder, verify=False).spec == SPEC


def test_a_missing_file(folder: Path) -> None:
    (folder / "weights.safetensors").unlink()
    assert "found no weights.safetensors" in broken(folder)


def test_checksums_cover_graphs(folder: Path) -> None:
    (folder / "encoder.onnx").write_bytes(b"graph")
    seal(folder, SPEC)
    open_folder(folder)
    (folder / "encoder.onnx").write_bytes(b"grapf")
    assert "encoder.onnx: expected sha256" in broken(folder)
    (folder / "encoder.onnx").unlink()
    assert "expected encoder.onnx" in broken(folder)


@pytest.mark.parametrize(
    "checksums", [[], {"weights.safetensors": 1}, {"weights.safetensors": {"bytes": "many"}}]
)
def test_damaged_checksums(folder: Path, checksums: object) -> None:
    values = json.loads((folder / "model.json").read_text())
    (folder / "model.json").write_text(json.dumps({**values, "checksums": checksums}))
    assert '"checksums"' in broken(folder)


def test_a_folder_made_by_hand_needs_no_checksums(folder: Path) -> None:
    values = json.loads((folder / "model.json").read_text())
    del values["checksums"]
    (folder / "model.json").write_text(json.dumps(values))
    assert open_folder(folder).spec == SPEC


@pytest.mark.parametrize(
    ("names", "said"),
    [(["x"], "denoiser.*"), (["denoiser.x"], "autoencoder.*"), (["autoencoder.x"], "denoiser.*")],
)
def test_the_weights_of_something_else(folder: Path, names: list[str], said: str) -> None:
    save_file({name: np.zeros(1) for name in names}, folder / "weights.safetensors")
    seal(folder, SPEC)
    assert f"expected tensors named {said}" in broken(folder)


@pytest.mark.parametrize("lost", ["vae.safetensors", "vae.json"])
def test_a_published_model_needs_its_vae(folder: Path, lost: str) -> None:
    published: ModelSpec = replace(SPEC, autoencoder=None)
    save_file({"a": np.zeros(1)}, folder / "vae.safetensors")
    (folder / "vae.json").write_text("{}")
    seal(folder, published)
    open_folder(folder)
    (folder / lost).unlink()
    assert f"found no {lost}" in broken(folder)


def test_the_hash_follows_the_file(folder: Path) -> None:
    before = open_folder(folder).hash
    save_file({"denoiser.a": np.ones(3), "autoencoder.b": np.ones(1)}, folder / "weights.safetensors")
    assert seal(folder, SPEC).hash != before
