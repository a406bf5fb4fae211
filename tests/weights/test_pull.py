"""Pulling a whole model: download, check, convert once; and every way in which it can be cut short."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from child_processes import PATIENCE, child, wait_until
from hub_server import Fault, Hub
from safetensors.torch import load_file, save_file

from moebius.engines.torch import TorchEngine
from moebius.errors import CorruptWeightsError, DownloadError, WeightsError
from moebius.weights import MODELS, ModelSpec, from_official, open_folder, open_model, pull, spec_to_json
from moebius.weights.cache import State, model_folder, state
from moebius.weights.convert import TINY_VAE_CONFIG
from moebius.weights.download import downloads
from moebius.weights.importing import import_checkpoint

HOLD = """
import sys
from pathlib import Path
from moebius.weights.lock import exclusive
with exclusive(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.readline()
"""
PULL = """
import json, sys
from moebius.weights import pull, spec_from_json
pull(spec_from_json(json.loads(sys.argv[1])))
"""


def fails(spec: ModelSpec, kind: type[WeightsError] = DownloadError, then: State = "available") -> str:
    with pytest.raises(kind) as caught:
        pull(spec)
    assert "\n" not in str(caught.value)
    assert state(spec) == then
    return str(caught.value)


def test_a_model_is_downloaded_converted_and_opened(
    tiny: ModelSpec, hub: Hub, home: Path, official: dict[str, torch.Tensor]
) -> None:
    from moebius.networks import MoebiusConfig

    assert state(tiny) == "available"
    heard: list[str] = []
    model = pull(tiny, lambda what, done, total: heard.append(what))
    assert state(tiny) == "cached"
    assert model.path == home / "models" / "tiny"
    assert model.spec is tiny
    assert model.hash == open_folder(model.path).hash
    ours = from_official(official, MoebiusConfig(**tiny.denoiser))
    weights = load_file(model.path / "weights.safetensors")
    assert weights.keys() == {f"denoiser.{name}" for name in ours}
    assert all(torch.equal(weights[f"denoiser.{name}"], tensor) for name, tensor in ours.items())
    assert list(dict.fromkeys(heard)) == [
        "ft_tiny/model.bin",
        "checking ft_tiny/model.bin",
        "converting tiny",
        "vae/model.bin",
        "checking vae/model.bin",
        "converting the VAE of tiny",
    ]
    assert [path for path in (home / "downloads").rglob("*") if path.is_file()] == []


def test_a_model_that_is_here_touches_no_network(
    tiny: ModelSpec, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = open_model("tiny")
    asked = len(hub.requests)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert open_model("tiny") == first == pull(tiny)
    assert len(hub.requests) == asked


def test_one_vae_serves_every_model_that_names_it(
    tiny: ModelSpec, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    pull(tiny)
    second = replace(tiny, name="tiny2")
    monkeypatch.setitem(MODELS, "tiny2", second)
    folder = pull(second).path
    assert [name for name, _ in hub.requests].count("tests/vae/vae/model.bin") == 1
    assert (folder / "vae.safetensors").samefile(model_folder("tiny") / "vae.safetensors")
    open_folder(folder)


def test_a_tiny_autoencoder_may_stand_in_for_the_vae(
    tiny: ModelSpec, hub: Hub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """`taesdxl` in place of the VAE: the network is not downloaded again, latents and pictures are diffusers' own."""
    from diffusers import AutoencoderTiny

    torch.manual_seed(0)
    published = AutoencoderTiny.from_config(TINY_VAE_CONFIG).eval()
    assert sum(parameter.numel() for parameter in published.parameters()) == 2_445_063
    save_file(published.state_dict(), tmp_path / "taesdxl.safetensors")
    file = MODELS["places2-taesdxl"].files["vae"]
    hub.files[f"{file.repository}/{file.path}"] = (tmp_path / "taesdxl.safetensors").read_bytes()
    pull(tiny)
    spec = replace(tiny, name="tiny-taesdxl", latent_scale=1.0, files={**tiny.files, "vae": file})
    monkeypatch.setitem(MODELS, spec.name, spec)
    folder = pull(spec)
    assert [name for name, _ in hub.requests].count("tests/tiny/ft_tiny/model.bin") == 1
    assert (folder.path / "weights.safetensors").samefile(model_folder("tiny") / "weights.safetensors")
    assert state(spec) == "cached"
    assert open_folder(folder.path).spec == spec

    image = torch.rand(1, 3, 64, 64) * 2 - 1
    engine = TorchEngine(spec, folder.path, device="cpu")
    with torch.inference_mode():
        latents = published.encode(image).latents
        torch.testing.assert_close(engine.encode(image.numpy()), latents, rtol=1e-4, atol=1e-5)
        picture = torch.from_numpy(engine.decode(latents))
        torch.testing.assert_close(picture, published.decode(latents).sample, rtol=1e-4, atol=1e-4)
    half = TorchEngine(spec, folder.path, device="cpu", dtype="bfloat16")
    assert (torch.from_numpy(half.decode(half.encode(image.numpy()))) - picture).abs().mean() < 0.02


def test_a_borrowed_network_that_was_cut_short_is_borrowed_again(
    tiny: ModelSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    pull(tiny)
    second = replace(tiny, name="tiny2")
    monkeypatch.setitem(MODELS, "tiny2", second)
    (model_folder("tiny2")).mkdir()
    (model_folder("tiny2") / "weights.safetensors").write_bytes(b"half")
    open_folder(pull(second).path)


def test_an_interrupted_pull_goes_on_where_it_stopped(tiny: ModelSpec, hub: Hub) -> None:
    half = len(hub.files["tests/tiny/ft_tiny/model.bin"]) // 2
    hub.faults += [Fault(cut=half), Fault(status=404)]
    fails(tiny)
    pull(tiny)
    assert hub.requests[2] == ("tests/tiny/ft_tiny/model.bin", f"bytes={half}-")
    assert state(tiny) == "cached"


def test_a_missing_vae_keeps_the_converted_network(tiny: ModelSpec, hub: Hub) -> None:
    body = hub.files.pop("tests/vae/vae/model.bin")
    assert "404" in fails(tiny, then="incomplete")
    with pytest.raises(CorruptWeightsError, match=r"found no vae\.safetensors"):
        open_folder(model_folder("tiny"))
    hub.files["tests/vae/vae/model.bin"] = body
    open_model("tiny")
    assert [name for name, _ in hub.requests].count("tests/tiny/ft_tiny/model.bin") == 1
    assert state(tiny) == "cached"


def test_an_imported_model_gets_its_vae_when_it_is_opened(
    tiny: ModelSpec, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    imported = import_checkpoint(checkpoint, name="mine", like=tiny)
    assert state(imported.spec) == "incomplete"
    with monkeypatch.context() as patch:
        patch.setenv("HF_HUB_OFFLINE", "1")
        with pytest.raises(DownloadError, match="HF_HUB_OFFLINE"):
            open_model("mine")
    assert open_model("mine").spec == imported.spec
    assert state(imported.spec) == "cached"


@pytest.mark.parametrize("which", ["tests/tiny/ft_tiny/model.bin", "tests/vae/vae/model.bin"])
def test_a_wrong_byte_never_becomes_a_model(tiny: ModelSpec, hub: Hub, which: str) -> None:
    body = bytearray(hub.files[which])
    body[len(body) // 2] ^= 1
    hub.files[which] = bytes(body)
    assert "expected sha256" in fails(tiny, then="incomplete" if "vae" in which else "available")


def test_a_right_download_of_the_wrong_network_is_told(tiny: ModelSpec) -> None:
    wrong = replace(tiny, name="wrong", denoiser=MODELS["places2"].denoiser)
    assert "1203 tensors" in fails(wrong, CorruptWeightsError)


def test_offline_is_one_line(tiny: ModelSpec, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert "HF_HUB_OFFLINE" in fails(tiny)
    assert hub.requests == []


@pytest.mark.parametrize("module", ["torch", "diffusers"])
def test_without_torch_nothing_is_downloaded(
    tiny: ModelSpec, hub: Hub, module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    message = fails(tiny, WeightsError)
    assert message == (
        f"model tiny is converted on arrival, which needs {module}: pip install 'moebius-inpaint[torch]'"
    )
    assert hub.requests == []


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs kill -9")
def test_a_killed_pull_goes_on_where_it_was_killed(tiny: ModelSpec, hub: Hub) -> None:
    half = len(hub.files["tests/tiny/ft_tiny/model.bin"]) // 2
    hub.faults.append(Fault(stall=half))
    spec = json.dumps(spec_to_json(tiny))
    partial = downloads(tiny.files["denoiser"]).with_name("model.bin.partial")
    with child([sys.executable, "-c", PULL, spec], stderr=subprocess.DEVNULL) as pulling:
        # The server's having sent it is not enough: the child has to have written it, too.
        wait_until(lambda: partial.exists() and partial.stat().st_size >= half, "half of it is here", pulling)
        pulling.kill()
        assert pulling.wait() == -signal.SIGKILL
    assert state(tiny) == "available"
    pull(tiny)
    assert hub.requests[1] == ("tests/tiny/ft_tiny/model.bin", f"bytes={half}-")
    assert state(tiny) == "cached"


def test_a_pull_waits_for_another_one(tiny: ModelSpec, hub: Hub, home: Path) -> None:
    arguments = [sys.executable, "-c", HOLD, str(home / "pull.lock")]
    with child(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdin is not None
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        asked_while_held: list[int] = []

        def report(what: str, done: int, total: int | None) -> None:
            if what == "waiting for another download":
                asked_while_held.append(len(hub.requests))
                other.communicate(b"\n", timeout=PATIENCE)

        pull(tiny, report)
    assert asked_while_held == [0]
    assert state(tiny) == "cached"
