"""Whole pictures: what is run is whole, what is computed is the sum of its parts, and peers run as published."""

from __future__ import annotations

import inspect
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from teacher_models import import_diffusers
from torch import nn

from moebius.benchmarks import pictures, pipelines, rounds
from moebius.benchmarks.cases import PICTURES, Setting, all_cases
from moebius.benchmarks.denoiser import Shelf
from moebius.benchmarks.pictures import PEERS_OF_THE_CLAIMS, our_work
from moebius.benchmarks.pipelines import (
    PEER_STEPS,
    Kitchen,
    _mask_tokens,
    _packed,
    _unpacked,
    decoded,
    encoded,
)
from moebius.benchmarks.profile import profile_report, profiles
from moebius.benchmarks.run import Plan, run
from moebius.benchmarks.subjects import DTYPES
from moebius.benchmarks.variants import ways

TINY = Setting(size="tiny", reference=True, peers=PEERS_OF_THE_CLAIMS, threads=1)


@pytest.mark.parametrize("rows", PICTURES)
def test_sums_have_their_parts(rows: int) -> None:
    entries = {entry.name: entry for entry in all_cases()[f"pictures:{rows}"].open(TINY)}
    assert len({entry.title for entry in entries.values()}) == len(entries)
    assert all(entry.images == rows for entry in entries.values())
    sums = {name: dict(entry.parts) for name, entry in entries.items() if entry.parts}
    assert set().union(*sums.values()) <= {name for name in entries if ":" in name}
    assert sums["flux-fill-50-computed"] == {"step:flux-fill": 50, "encode:wide": 1, "decode:wide": 1}
    assert sums["reference-19-computed"] == {"step:reference": 19, "encode:fp32": 2, "decode:fp32": 1}
    assert sums["sd15-20-computed"] == {"step:sd15": 20, "encode:bf16": 1, "decode:bf16": 1}
    whole = {"flux-fill-50", "sd35-large-28", "sd15-50", "pixelhacker-20"}
    assert whole <= set(entries) if rows == 1 else not whole & set(entries)
    assert ("reference-19" in entries) == (rows <= 8)
    assert next(iter(entries)).startswith("reference-19")  # what the others are compared with


@pytest.mark.usefixtures("graphs")
def test_a_run_measures_and_adds_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rounds, "SHORTEST", 1e-4)
    monkeypatch.setattr(pictures, "WORKLOADS", ((2, 2.0), (1, 1.0)))
    monkeypatch.setattr(pipelines, "PEER_STEPS", dict.fromkeys(PEER_STEPS, 2))
    monkeypatch.setattr(pipelines, "PUBLISHED_STEPS", 3)
    setting = replace(TINY, peers=("flux-fill",))
    case = run(Plan(out=tmp_path, cases=("pictures:1",), setting=setting, rounds=1))["cases"]["pictures:1"]
    assert case["failed"] == {} and case["base"] == "reference-2"
    laps, found = case["rounds"][0], case["summary"]
    parts = case["entries"]["flux-fill-2-computed"]["parts"]
    assert laps["flux-fill-2-computed"][0] == pytest.approx(
        sum(often * laps[part][0] for part, often in parts)
    )
    assert found["flux-fill-2-computed"]["faster"][1] == pytest.approx(
        laps["reference-2"][0] / laps["flux-fill-2-computed"][0]
    )
    assert {"ours-eager-2-guided", "ours-graphs-2-guided", "ours-loop-1-no-pair", "guided:ours"} <= set(found)
    assert case["entries"]["step:flux-fill"]["flops"] > 0 and "of_peak" in found["guided:ours"]
    text = (tmp_path / "bench.md").read_text()
    assert (
        "| FLUX.1 Fill bf16, 2 steps | computed | " in text
        and "| FLUX.1 Fill bf16, 2 steps | measured | " in text
    )
    assert "| decode, autoencoder of 16 channels, bf16 | " in text
    table = text[text.index("| variant | how |") :].splitlines()
    assert table[2].startswith("| published inference fp32, 2 steps | measured | ") and table[2].endswith(
        "| - |"
    )


@pytest.mark.usefixtures("graphs")
def test_all_ways_make_the_same_pictures() -> None:
    shelf = Shelf(TINY)
    kitchen = Kitchen(TINY, 2, shelf)
    found = {}
    for way in ways(shelf, "float32"):
        with torch.inference_mode(), torch.random.fork_rng():
            work = our_work(kitchen, way, 2, 2.0)
            for _ in range(2):  # the second replays what the first recorded
                torch.manual_seed(0)
                found[way.name] = work()
    assert set(found) == {"eager", "loop", "graphs"}
    for name, made in found.items():
        assert isinstance(made, np.ndarray) and made.shape == (2, 3, 64, 64) and np.isfinite(made).all()
        wanted = found["eager"]
        assert isinstance(wanted, np.ndarray) and np.abs(made - wanted).max() < 1e-3 * np.abs(wanted).max(), (
            name
        )


@pytest.mark.parametrize("peer", ["reference", "lama", *PEERS_OF_THE_CLAIMS])
def test_pictures_of_others_are_pictures(peer: str) -> None:
    kitchen = Kitchen(TINY, 2, Shelf(TINY))
    pipeline = kitchen.published() if peer == "reference" else kitchen.peer(peer)  # type: ignore[arg-type]
    with torch.inference_mode():
        made = kitchen.whole(pipeline, 2)()
    assert made.shape == (2, 3, 64, 64) and np.isfinite(made).all() and made.std() > 0


@pytest.mark.parametrize("peer", ["reference", *PEERS_OF_THE_CLAIMS])
def test_pipelines_of_others_mix_no_devices(peer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the device without numbers, where an operator refuses a tensor of the host's beside its own."""

    def realise(build: Any, device: torch.device, dtype: torch.dtype = torch.float32) -> nn.Module:
        with torch.device(device):
            return nn.Module.to(build(), dtype).eval()

    for module in ("subjects", "others", "denoiser"):
        monkeypatch.setattr(f"moebius.benchmarks.{module}.realise", realise)
    setting = replace(TINY, device="meta")
    kitchen = Kitchen(setting, 2, Shelf(setting))
    pipeline = kitchen.published() if peer == "reference" else kitchen.peer(peer)  # type: ignore[arg-type]
    number = DTYPES[pipeline.dtype]
    assert pipeline.coder is not None
    with torch.no_grad():
        pipeline.step()()
        photos = torch.zeros(2, 3, 64, 64, device="meta", dtype=number)
        condition = encoded(pipeline.coder(), photos).to(number)
        answer = pipeline.answer()(condition, condition, kitchen.mask(8).to(number))
        picture = decoded(pipeline.coder(), answer)
    assert answer.shape == condition.shape and answer.is_meta
    assert picture.shape == photos.shape and picture.is_meta


def test_latents_are_packed_and_unpacked() -> None:
    latents = torch.randn(2, 16, 8, 12)
    tokens = _packed(latents)
    assert tokens.shape == (2, 24, 64) and torch.equal(_unpacked(tokens, latents), latents)
    assert torch.equal(tokens[0, 1].reshape(16, 2, 2), latents[0, :, :2, 2:4])  # the second pair of columns
    assert _mask_tokens(torch.ones(2, 1, 8, 12)).shape == (2, 24, 256)


def test_peers_run_their_default_steps() -> None:
    import_diffusers()
    diffusers = pytest.importorskip("diffusers")
    try:
        kinds = {
            "sd15": diffusers.StableDiffusionInpaintPipeline,
            "sd35-large": diffusers.StableDiffusion3Pipeline,
            "flux-fill": diffusers.FluxFillPipeline,
        }
    except (ImportError, RuntimeError) as error:
        pytest.skip(f"these pipelines need transformers: {error}")
    for peer, kind in kinds.items():
        called = inspect.signature(kind.__call__).parameters
        assert called["num_inference_steps"].default == PEER_STEPS[peer]  # type: ignore[index]
        assert "strength" not in called or called["strength"].default == 1.0
    inpainting = inspect.signature(diffusers.StableDiffusion3InpaintPipeline.__call__).parameters
    calls = inpainting["num_inference_steps"].default * inpainting["strength"].default
    assert calls >= PEER_STEPS["sd35-large"]  # ours is in its favour


def test_profiles_say_where_time_goes() -> None:
    step, decode = profiles(TINY)
    assert any("conv" in share.name for share in step.operators[:3])
    assert {"FusedLocal", "FusedMixer"} <= {share.name for share in step.modules}
    assert next(share.calls for share in step.modules if share.name == "FusedMixer") == 15
    assert step.seconds == pytest.approx(sum(share.seconds for share in step.operators))
    assert decode.operators and "guided step" in step.title and "decode" in decode.title
    text = profile_report([step, decode], TINY)
    assert text.count("| operator | calls | time | share |") == 2 and "| FusedLocal | 15 | " in text
