"""A PixelHacker checkpoint as a model: imported by the real command, opened by the engine, loaded for training."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from made_photos import disc, picture
from PIL import Image
from safetensors.torch import load_file
from teacher_models import DATA, TINY, import_diffusers
from test_models_command import run
from tiny_models import TINY_VAE

from moebius.cli import main
from moebius.engines.networks import load_autoencoder, load_denoiser
from moebius.errors import CorruptWeightsError, DeviceError
from moebius.networks import MoebiusUNet, PixelHackerConfig, PixelHackerUNet
from moebius.pipeline import Moebius
from moebius.weights import MODELS, ModelFolder, open_model, spec_from_json, spec_to_json, to_official
from moebius.weights.importing import import_checkpoint
from moebius.weights.registry import PIXELHACKER

EIGHTH = {
    **TINY_VAE,
    "block_out_channels": [8] * 4,
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "up_block_types": ["UpDecoderBlock2D"] * 4,
}
"""A small VAE whose latents are an eighth as wide as the image, as those of the published one."""


@pytest.fixture(scope="module", autouse=True)
def diffusers() -> None:
    import_diffusers()


@pytest.fixture(scope="module")
def theirs() -> dict[str, torch.Tensor]:
    return load_file(DATA / "golden_tiny.weights.safetensors")


@pytest.fixture(scope="module")
def teacher_bin(theirs: dict[str, torch.Tensor], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny PixelHacker checkpoint as a `.bin`, as the release writes them."""
    path = tmp_path_factory.mktemp("release") / "teacher.bin"
    torch.save(theirs, path)
    return path


@pytest.fixture(scope="module")
def vae_bin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from diffusers import AutoencoderKL

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        state = AutoencoderKL.from_config(EIGHTH).state_dict()
    path = tmp_path_factory.mktemp("vae") / "vae.bin"
    torch.save(state, path)
    (path.parent / "config.json").write_text(json.dumps(EIGHTH))
    return path


@pytest.fixture(autouse=True)
def tiny_release(monkeypatch: pytest.MonkeyPatch) -> None:
    """The published PixelHacker is taken to be as small as the checkpoint, and to fill squares of 64 px."""
    spec = replace(PIXELHACKER, denoiser=TINY.to_dict(), size=64)
    monkeypatch.setattr("moebius.weights.importing.PIXELHACKER", spec)


@pytest.fixture()
def imported(teacher_bin: Path, vae_bin: Path) -> ModelFolder:
    import_checkpoint(teacher_bin, name="pixelhacker", vae=vae_bin)
    return open_model("pixelhacker")


def refused(capfd: pytest.CaptureFixture[str], *arguments: str, code: int) -> str:
    capfd.readouterr()
    with pytest.raises(SystemExit) as leaving:
        main(list(arguments))
    assert leaving.value.code == code
    (line,) = capfd.readouterr().err.splitlines()
    return line


def test_the_command_imports_it_and_fills_with_it(
    teacher_bin: Path, vae_bin: Path, home: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run("import", str(teacher_bin), "--name", "pixelhacker", "--vae", str(vae_bin), "--json")
    entry = json.loads(capfd.readouterr().out)
    assert (entry["name"], entry["state"]) == ("pixelhacker", "cached")
    assert entry["defaults"] == {"steps": 20, "guidance": 4.5, "solver": "ddim", "start": "masked"}
    saved = json.loads((home / "models" / "pixelhacker" / "model.json").read_text())
    assert saved["architecture"] == "pixelhacker"

    photo, mask, clean = (str(tmp_path / name) for name in ("photo.png", "mask.png", "clean.png"))
    hole = disc(80, 72, (40, 30), 10)
    Image.fromarray(picture(80, 72)).save(photo)
    Image.fromarray(np.where(hole, np.uint8(255), np.uint8(0))).save(mask)
    order = ["inpaint", photo, mask, "-o", clean, "--model", "pixelhacker", "--device", "cpu"]
    main([*order, "--steps", "2", "--grow", "0", "--feather", "0"])
    changed = (np.asarray(Image.open(clean)) != np.asarray(Image.open(photo))).any(axis=2)
    assert changed[hole].mean() > 0.9
    assert not changed[~hole].any()
    assert "has no encoder.onnx" in refused(capfd, *order, "--engine", "onnx", "--overwrite", code=4)


def test_an_imported_teacher_is_the_same_network(
    imported: ModelFolder, theirs: dict[str, torch.Tensor]
) -> None:
    golden = load_file(DATA / "golden_tiny.io.safetensors")
    net = load_denoiser(imported)
    assert isinstance(net, PixelHackerUNet)
    assert net.config == TINY
    assert not net.training
    assert not any(p.requires_grad for p in net.parameters())
    assert {(p.dtype, p.device.type) for p in net.parameters()} == {(torch.float32, "cpu")}
    back = to_official(net.state_dict(), TINY)
    assert all(torch.equal(back[name], theirs[name]) for name in theirs)
    x, timesteps, ids = (golden[f"case.wide.{part}"] for part in ("x", "timesteps", "input_ids"))
    assert (net(x, timesteps, ids) - golden["case.wide.sample"]).abs().max() < 1e-4


def test_the_engine_runs_it(imported: ModelFolder) -> None:
    engine = Moebius.from_pretrained("pixelhacker", device="cpu").engine
    assert engine.name == "torch"
    net, ids = load_denoiser(imported), torch.arange(20)
    noisy, mask, condition = torch.randn(1, 4, 5, 8), torch.ones(1, 1, 5, 8), torch.randn(1, 4, 5, 8)
    x, time = torch.cat([noisy, mask, condition], dim=1), torch.tensor([400])
    wanted, opposite = (net(x, time, half[None]) for half in ids.chunk(2))
    guided = engine.predict(noisy, 400, mask, condition, 3.0)
    assert (guided - (opposite + 3 * (wanted - opposite))).abs().max() < 1e-3
    assert (engine.predict(noisy, 400, mask, condition, 1.0) - wanted).abs().max() < 1e-4


def test_a_published_vae_for_training(imported: ModelFolder) -> None:
    from diffusers import AutoencoderKL

    vae = AutoencoderKL.from_config(EIGHTH).eval().requires_grad_(False)
    vae.load_state_dict(load_file(imported.path / "vae.safetensors"))
    coder = load_autoencoder(imported)
    assert (coder.factor, coder.channels, coder.dtype) == (8, 4, torch.float32)
    image = (torch.rand(2, 3, 32, 24) * 2 - 1).requires_grad_()
    mean, deviation = coder.encode_moments(image)
    posterior = vae.encode(image).latent_dist
    assert torch.equal(mean, posterior.mean * 0.13025)
    assert torch.equal(deviation, posterior.std * 0.13025)
    assert torch.equal(coder.decode(mean), vae.decode(mean / 0.13025).sample)
    (gradient,) = torch.autograd.grad(coder.decode(mean).square().mean(), image)
    assert gradient.any()
    assert coder.to("cpu", torch.bfloat16) is coder
    assert coder.dtype is coder.decode(mean).dtype is torch.bfloat16
    assert coder.encode_moments(image)[0].dtype is torch.float32


def test_our_own_autoencoder_for_training(tiny_masked: Path) -> None:
    folder = open_model(tiny_masked)
    assert isinstance(load_denoiser(folder), MoebiusUNet)
    coder = load_autoencoder(folder)
    image = torch.rand(1, 3, 16, 24) * 2 - 1
    mean, deviation = coder.encode_moments(image)
    assert mean.shape == deviation.shape == (1, 4, 2, 3)
    assert not deviation.any()
    assert torch.equal(mean, coder.network.encode(image) * folder.spec.latent_scale)
    assert torch.equal(coder.decode(mean), coder.network.decode(mean / folder.spec.latent_scale))


def test_the_published_description() -> None:
    student = MODELS["pretrained"]
    assert PixelHackerConfig(**PIXELHACKER.denoiser) == PixelHackerConfig()
    same = ("latent_channels", "latent_factor", "latent_scale", "feed", "target", "prediction", "spacing")
    for name in (*same, "first_timestep", "mask_mode", "size", "guidance_trained"):
        assert getattr(PIXELHACKER, name) == getattr(student, name), name
    assert (PIXELHACKER.feed, PIXELHACKER.latent_scale, PIXELHACKER.prediction) == (
        "masked",
        0.13025,
        "epsilon",
    )
    assert PIXELHACKER.files == {"vae": student.files["vae"]}, "a VAE that is here is borrowed"
    assert "pixelhacker" not in MODELS


def test_a_description_without_the_field_is_a_students() -> None:
    values = json.loads(json.dumps(spec_to_json(PIXELHACKER)))
    assert spec_from_json(values) == replace(PIXELHACKER, denoiser=values["denoiser"])
    del values["architecture"]
    assert spec_from_json(values).architecture == "moebius"
    with pytest.raises(
        CorruptWeightsError, match="architecture: expected one of moebius, pixelhacker, got 'sdxl'"
    ):
        spec_from_json({**values, "architecture": "sdxl"})


def test_a_teacher_is_not_a_student_nor_the_other_way(
    teacher_bin: Path, checkpoint: Path, home: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    line = refused(capfd, "models", "import", str(teacher_bin), "--like", "places2", code=3)
    assert line.endswith("expected a moebius checkpoint, as model teacher is, got a pixelhacker one")
    like = tmp_path / "like"
    like.mkdir()
    (like / "model.json").write_text(json.dumps(spec_to_json(PIXELHACKER)))
    line = refused(capfd, "models", "import", str(checkpoint), "--name", "mine", "--like", str(like), code=3)
    assert line.endswith("expected a pixelhacker checkpoint, as model mine is, got a moebius one")
    assert not (home / "models").exists()


def test_another_size_is_told(teacher_bin: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("moebius.weights.importing.PIXELHACKER", PIXELHACKER)
    with pytest.raises(
        CorruptWeightsError, match=r"of 753 tensors: .*should be \(20, 3072\), got \(20, 40\)"
    ):
        import_checkpoint(teacher_bin)
    assert not (home / "models").exists()


def test_weights_of_another_network_are_refused(imported: ModelFolder) -> None:
    other = ModelFolder(imported.path, replace(imported.spec, architecture="moebius"))
    with pytest.raises(CorruptWeightsError, match="the weights do not fit what its JSON describes"):
        load_denoiser(other)


def test_without_diffusers_one_line_says_so(imported: ModelFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "diffusers", None)
    with pytest.raises(DeviceError, match="is a PixelHacker network and needs diffusers: pip install"):
        load_denoiser(imported)
    with pytest.raises(DeviceError, match="has a published VAE and needs diffusers: pip install"):
        load_autoencoder(imported)
