"""The torch engine with its networks as graphs, on the stand-in: the same numbers, to the bit."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from fused_networks import TINY, inputs, random_network, relative
from torch import Tensor

from moebius import Moebius
from moebius.engines import fused_autoencoder, fused_lambdas
from moebius.engines import torch as torch_engine
from moebius.engines.captured import Captured, Rerun
from moebius.engines.fuse import REWRITES, fuse
from moebius.engines.fused_autoencoder import in_slices, rows_at_once
from moebius.engines.torch import TorchEngine, device_title
from moebius.errors import DeviceError
from moebius.pipeline.region import to_network
from moebius.sampling import make_plan, sample, scaled_linear
from moebius.testing import LIKE_PUBLISHED, save_tiny_model

PLAN = make_plan(scaled_linear(), [900, 500, 100], solver="dpm++")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(LIKE_PUBLISHED, tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def engines(folder: Path) -> dict[bool, TorchEngine]:
    """Fused and not."""
    return {on: TorchEngine(LIKE_PUBLISHED, folder, device="cpu", fused=on) for on in (True, False)}


def graphed(plain: TorchEngine) -> TorchEngine:
    """An engine over the same networks, with graphs and none captured yet."""
    made = copy.copy(plain)
    made._captured = Captured(Rerun())
    return made


def latents(engine: TorchEngine, seed: int = 0, rows: int = 2) -> tuple[Tensor, Tensor, Tensor]:
    """Noisy, mask, condition."""
    noise = np.random.default_rng(seed).standard_normal((rows, 9, 8, 12)).astype(np.float32)
    noisy, mask, condition = (engine.array(part) for part in (noise[:, :4], noise[:, 4:5], noise[:, 5:]))
    return noisy, mask, condition


@pytest.mark.parametrize("fused", [True, False])
def test_graphs_change_nothing(engines: dict[bool, TorchEngine], fused: bool) -> None:
    plain = engines[fused]
    graphs = graphed(plain)
    picture = to_network([np.random.default_rng(1).random((64, 96, 3), dtype=np.float32)])
    for seed, timestep, guidance in ((0, 900, 2.0), (1, 37, 3.5), (2, 500, 1.0), (3, 4, 1.0)):
        noisy, mask, condition = latents(plain, seed)
        wanted, found = (each.predict(noisy, timestep, mask, condition, guidance) for each in (plain, graphs))
        assert torch.equal(found, wanted)
    assert torch.equal(graphs.encode(picture), plain.encode(picture))
    assert np.array_equal(graphs.decode(noisy), plain.decode(noisy))
    assert graphs.captured is not None
    assert graphs.captured.made == 4  # neither timesteps nor the strength of guidance make another


@pytest.mark.parametrize("guidance", [1.0, 2.5])
@pytest.mark.parametrize("fused", [True, False])
def test_all_steps_at_once_end_where_the_loop_does(
    engines: dict[bool, TorchEngine], fused: bool, guidance: float
) -> None:
    plain = engines[fused]
    graphs = graphed(plain)
    for seed in (0, 1):
        noisy, mask, condition = latents(plain, seed)

        def predict(x: Tensor, timestep: int) -> Tensor:
            return plain.predict(x, timestep, mask, condition, guidance)  # noqa: B023

        *_, last = sample(predict, noisy, PLAN)
        assert torch.equal(plain.denoise(noisy, mask, condition, PLAN, guidance), last.x)
        assert torch.equal(graphs.denoise(noisy, mask, condition, PLAN, guidance), last.x)
    assert graphs.captured is not None and graphs.captured.made == 1
    other = make_plan(scaled_linear(), [800, 500, 100], solver="dpm++")
    assert not torch.equal(graphs.denoise(noisy, mask, condition, other, guidance), last.x)
    assert graphs.captured.made == 2


def test_a_fill_with_graphs(engines: dict[bool, TorchEngine]) -> None:
    photo = np.random.default_rng(2).integers(0, 256, (70, 90, 3), dtype=np.uint8)
    mask = np.zeros((70, 90), np.uint8)
    mask[20:40, 30:60] = 255
    results = [
        Moebius(LIKE_PUBLISHED, each, model_hash="tiny")(photo, mask, seed=3)
        for each in (engines[True], graphed(engines[True]))
    ]
    assert np.array_equal(np.asarray(results[0].image), np.asarray(results[1].image))


def test_graphs_are_for_gpus(folder: Path, engines: dict[bool, TorchEngine]) -> None:
    assert engines[True].captured is None
    with pytest.raises(DeviceError, match="graphs: expected an NVIDIA GPU, got cpu"):
        TorchEngine(LIKE_PUBLISHED, folder, device="cpu", graphs=True)


def test_devices_have_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Fast")
    monkeypatch.setattr(torch.version, "hip", None)
    assert device_title(torch.device("cuda")) == "cuda:1 (Fast)"
    monkeypatch.setattr(torch.version, "hip", "6.4.0")
    assert device_title(torch.device("cuda", 0)) == "cuda:0 (Fast, ROCm)"
    assert device_title(torch.device("cpu")) == "cpu"


def test_compiled_it_has_no_breaks(engines: dict[bool, TorchEngine], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch_engine, "COMPILER", "eager")
    monkeypatch.setattr(fused_lambdas, "ROW_BY_ROW", ())
    small = replace(TINY, channels=(16, 48), layers=1)
    fused = fuse(random_network(small).float(), timesteps=[500])  # without oneDNN's operators, as on a GPU
    eager, compiled = copy.copy(engines[True]), copy.copy(engines[True])
    eager._hold(LIKE_PUBLISHED, fused, eager._autoencoder, eager._device, torch.float32)
    compiled._hold(LIKE_PUBLISHED, fused, eager._autoencoder, eager._device, torch.float32, compiled=True)
    noisy, mask, condition = latents(eager)
    torch._dynamo.reset()
    wanted, found = (each.predict(noisy, 500, mask, condition, 2.5) for each in (eager, compiled))
    assert relative(found, wanted) < 1e-5
    torch._dynamo.reset()


def test_only_a_fused_denoiser_is_compiled(folder: Path) -> None:
    with pytest.raises(DeviceError, match="compiled: expected a fused denoiser"):
        TorchEngine(LIKE_PUBLISHED, folder, device="cpu", fused=False, compiled=True)


def test_large_batches_of_the_autoencoder_come_in_slices_of_one_size(
    engines: dict[bool, TorchEngine], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, sliced = graphed(engines[True]), graphed(engines[True])
    noisy = torch.cat([latents(whole, seed)[0] for seed in range(3)])[:5]
    pictures = np.random.default_rng(1).random((5, 3, 64, 96), dtype=np.float32)
    wanted = [np.concatenate([whole.decode(noisy[i : i + 2]) for i in (0, 2)]), whole.decode(noisy)[4:]]
    encoded = whole.encode(pictures)
    row = 8 * 64 * 96 * 4  # by HELD, of 8 channels in float32
    monkeypatch.setattr(fused_autoencoder, "ACTIVATIONS", 3 * row)
    assert rows_at_once(sliced._autoencoder, 64 * 96) == (2, 2)
    assert np.array_equal(sliced.decode(noisy)[:4], wanted[0])
    assert np.allclose(sliced.decode(noisy)[4:], wanted[1], atol=1e-5)
    assert torch.allclose(sliced.encode(pictures), encoded, atol=1e-5)
    assert sliced.captured is not None and sliced.captured.made == 2

    seen: list[int] = []
    in_slices(lambda rows: (seen.append(len(rows)), rows)[1], torch.arange(5.0), 2)
    assert seen == [2, 2, 2]
    assert in_slices(lambda rows: rows, torch.arange(5.0), 2).tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("rewrites", ["all", "without the pair"])
@pytest.mark.parametrize("shape", [(8, 8), (8, 20)])
def test_rows_of_one_side_share_a_product(
    shape: tuple[int, int], rewrites: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a GPU; here, in float64, it is held against the form of a CPU, also where sides alternate."""
    chosen = [name for name in REWRITES if rewrites == "all" or name != "pair"]
    fused = fuse(random_network(), rewrites=chosen)
    x, times, ids = inputs(*shape)
    apart = [fused(x, times, ids), *fused.guided(x, times[1:2])]
    monkeypatch.setattr(fused_lambdas, "ROW_BY_ROW", ())
    together = [fused(x, times, ids), *fused.guided(x, times[1:2])]
    for one, other in zip(together, apart, strict=True):
        assert relative(one, other) < 1e-12
    assert list(fused_lambdas._runs((1, 1, 0, 0, 0, 1), 2)) == [(1, 2), (0, 2), (0, 1), (1, 1)]


@pytest.mark.parametrize("timesteps", [None, [3, 500]])
def test_a_step_is_told_of_its_timestep_beforehand(timesteps: list[int] | None) -> None:
    fused = fuse(random_network(), timesteps=timesteps)
    x, _, ids = inputs(8, 8)
    for guided in (False, True):
        found = fused.step(x, fused.at(500), guided=guided)
        time = torch.tensor([500])
        wanted = torch.cat(fused.guided(x, time)) if guided else fused(x, time, ids[:1].expand(3, -1))
        assert torch.equal(found, wanted)
    assert fused.at(500).shape == (1, sum(fused.time.sizes))
    narrow = fused.bfloat16()
    assert narrow.at(500).dtype is torch.bfloat16
    if timesteps is not None:
        with pytest.raises(ValueError, match="some of the 2 that the network was fused for, got 4"):
            fused.at(4)
