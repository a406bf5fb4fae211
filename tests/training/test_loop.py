"""The loop: killed, stopped and continued runs, loader processes, caches, averaged weights, models that fit."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from child_processes import PATIENCE, child, wait_until
from tiny_runs import (
    TEACHER_CHANGES,
    Tiny,
    command,
    differences,
    environment,
    lines,
    options,
    state,
    step_of,
)

from moebius.engines.networks import load_denoiser
from moebius.errors import SettingsError, TrainingError
from moebius.training.loop import RunOptions, train
from moebius.training.models import open_models
from moebius.training.recipe import Recipe
from moebius.weights import open_model

EVERYTHING = ("loss.smoothing=0.5", "run.accumulate=2", "run.batch=2", "data.views=2", "run.validate_every=4")
"""All that has a state of its own between steps."""


def start(
    tiny: Tiny, out: Path, *changes: str, more: tuple[object, ...] = ()
) -> AbstractContextManager[subprocess.Popen[str]]:
    """The distillation in a process of its own."""
    arguments = [*options(tiny, out, changes), "--teacher", tiny.teacher, "--save-every", 0, *more]
    return child(
        command("distill", tiny.recipe, *arguments),
        env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def wait_for(process: subprocess.Popen[str], out: Path, step: int) -> None:
    """Until that many steps are logged."""
    log = out / "log.jsonl"
    logged = f'"step": {step}, "kind": "train"'
    wait_until(lambda: log.exists() and logged in log.read_text(), f"step {step} is logged", process)


@pytest.mark.slow
def test_a_killed_run_ends_with_the_same_bits(tiny: Tiny, tmp_path: Path) -> None:
    """By Muon, which leaves some weights to AdamW; AdamW alone goes on in the same way below."""
    changes = (*EVERYTHING, "optimizer.name=muon", "run.steps=8")
    tiny.train(tmp_path / "straight", *changes)

    out = tmp_path / "killed"
    with start(tiny, out, *changes) as process:
        wait_for(process, out, 3)
        process.kill()
        assert process.wait() == -signal.SIGKILL
    at = step_of(out / "checkpoint.safetensors")
    assert 2 <= at < 8
    (out / ".checkpoint.safetensors.1.partial").write_bytes(
        b"torn"
    )  # as a kill in the middle of writing leaves

    assert tiny.train(out, *changes).finished
    for file in ("checkpoint.safetensors", "best.safetensors", "model/weights.safetensors"):
        assert differences(state(tmp_path / "straight", file), state(out, file)) == []
    kinds = {key.split(".")[0] for key in state(out)}
    assert kinds == {"net", "ema", "optimizer", "extra"}
    assert [line["step"] for line in lines(out)] == list(range(1, 9)), "each step is logged once"
    for ours, theirs in zip(lines(out, "held-out"), lines(tmp_path / "straight", "held-out"), strict=True):
        assert ours == theirs


@pytest.mark.slow
@pytest.mark.parametrize("loaders", [2])
def test_loader_processes_change_nothing(tiny: Tiny, tmp_path: Path, loaders: int) -> None:
    tiny.train(tmp_path / "thread", "run.accumulate=2", "run.batch=2")
    changes = ("run.accumulate=2", "run.batch=2")
    with start(tiny, tmp_path / "processes", *changes, more=("--loaders", loaders)) as process:
        _, told = process.communicate()
    assert process.returncode == 0, told
    assert differences(state(tmp_path / "thread"), state(tmp_path / "processes")) == []


@pytest.mark.slow
def test_a_signal_stops_after_the_step_and_the_command_goes_on(tiny: Tiny, tmp_path: Path) -> None:
    out = tmp_path / "run"
    with start(tiny, out, "run.steps=100000") as process:
        wait_for(process, out, 2)
        process.send_signal(signal.SIGTERM)
        said, told = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0 and told == ""
    at = step_of(out / "checkpoint.safetensors")
    assert said == f"stopped after step {at}; the same command goes on from there\n"
    assert lines(out)[-1]["step"] == at
    assert not (out / "model").exists()

    outcome = tiny.train(out, f"run.steps={at + 2}")
    assert outcome.finished and outcome.step == at + 2 and outcome.model == out / "model"


def test_a_time_limit_stops_in_the_same_way(tiny: Tiny, tmp_path: Path) -> None:
    changes = (*EVERYTHING, "optimizer.name=adamw")
    tiny.train(tmp_path / "straight", *changes)
    for step in (1, 2):
        outcome = tiny.train(tmp_path / "run", *changes, minutes=0.0)
        assert (outcome.finished, outcome.step, outcome.model) == (False, step, None)
    assert tiny.train(tmp_path / "run", *changes).finished
    for file in ("checkpoint.safetensors", "model/weights.safetensors"):
        assert differences(state(tmp_path / "straight", file), state(tmp_path / "run", file)) == []


def test_a_finished_run_is_not_trained_again(tiny: Tiny, tmp_path: Path) -> None:
    first = tiny.train(tmp_path)
    before, model = state(tmp_path), state(tmp_path, "model/weights.safetensors")
    again = tiny.train(tmp_path)
    assert again == first
    assert differences(before, state(tmp_path)) == []
    assert differences(model, state(tmp_path, "model/weights.safetensors")) == []


@pytest.mark.parametrize("objective", ["distillation", "diffusion"])
def test_bfloat16_is_for_the_networks_arithmetic_alone(tiny: Tiny, tmp_path: Path, objective: str) -> None:
    """Weights, moments, averages and losses stay float32; recomputing blocks changes no loss."""
    changes = (f"objective={objective}", "run.precision=bfloat16", "run.accumulate=2")
    tiny.train(tmp_path / "a", *changes)
    tiny.train(tmp_path / "b", *changes, "run.gradient_checkpointing=true")
    tiny.train(tmp_path / "full", f"objective={objective}", "run.accumulate=2")
    numbers = [tensor for tensor in state(tmp_path / "a").values() if tensor.is_floating_point()]
    assert numbers and all(tensor.dtype == torch.float32 and tensor.isfinite().all() for tensor in numbers)
    losses = {run: [line["task"] for line in lines(tmp_path / run)] for run in ("a", "b", "full")}
    assert losses["a"] == pytest.approx(losses["b"], rel=1e-2)
    assert losses["a"] == pytest.approx(losses["full"], rel=5e-2) and losses["a"] != losses["full"]


def test_what_is_released(tiny: Tiny, tmp_path: Path) -> None:
    changes = ("run.ema=0.9", "run.steps=6", "run.validate_every=1", "optimizer.learning_rate=0.02")
    tiny.train(tmp_path, *changes)
    values = [line["held_out"] for line in lines(tmp_path, "held-out")]
    best = step_of(tmp_path / "best.safetensors")
    assert values[best - 1] == min(values)

    def released() -> dict[str, torch.Tensor]:
        return {
            name.replace("denoiser.", "ema."): tensor
            for name, tensor in state(tmp_path, "model/weights.safetensors").items()
            if name.startswith("denoiser.")
        }

    def average(name: str) -> dict[str, torch.Tensor]:
        return {key: tensor for key, tensor in state(tmp_path, name).items() if key.startswith("ema.")}

    assert differences(released(), average("best.safetensors")) == []
    tiny.train(tmp_path, *changes, release="last")
    assert differences(released(), average("checkpoint.safetensors")) == []


def test_statistics_are_estimated_anew_and_kept_if_better(tiny: Tiny, tmp_path: Path) -> None:
    tiny.train(tmp_path, "run.settle=4", "run.steps=6", "run.ema=0.9")
    (settled,) = lines(tmp_path, "settled")
    assert settled["kept"] == (settled["held_out_after"] <= settled["held_out_before"])
    average, model = state(tmp_path), state(tmp_path, "model/weights.safetensors")
    changed = {
        name
        for name in average
        if name.startswith("ema.")
        and not torch.equal(average[name], model[name.replace("ema.", "denoiser.")])
    }
    moved = ("running_mean", "running_var", "num_batches_tracked")
    assert all(name.endswith(moved) for name in changed)
    assert bool(changed) == settled["kept"]


def test_a_network_without_batch_norm_is_not_settled(tiny: Tiny, tmp_path: Path) -> None:
    tiny.train(tmp_path, *TEACHER_CHANGES, "run.settle=4")
    assert lines(tmp_path, "settled") == []


@pytest.mark.parametrize("cached", [False, True])
def test_the_latent_cache_is_filled_and_read(tiny: Tiny, tmp_path: Path, cached: bool) -> None:
    changes = ("data.views=1", "run.steps=6")
    tiny.train(tmp_path / "first", *changes, cache=tmp_path / "latents")
    assert (tmp_path / "latents" / "latents.f16").stat().st_size > 0
    if not cached:
        shutil.rmtree(tmp_path / "latents")
    tiny.train(tmp_path / "second", *changes, cache=tmp_path / "latents")
    assert differences(state(tmp_path / "first"), state(tmp_path / "second")) == []


def test_the_model_says_how_it_was_trained(tiny: Tiny, tmp_path: Path) -> None:
    outcome = tiny.train(tmp_path, "data.opposite=none", name="mine")
    assert outcome.model is not None
    model, teacher = open_model(str(outcome.model)), open_model(str(tiny.teacher))
    assert model.spec.name == "mine" and model.spec.size == 64 and not model.spec.guidance_trained
    for field in ("feed", "target", "prediction", "first_timestep", "latent_scale", "autoencoder"):
        assert getattr(model.spec, field) == getattr(teacher.spec, field)
    recipe = json.loads((outcome.model / "recipe.json").read_text())
    assert recipe["data"]["opposite"] == "none" and recipe["feeding"]["prediction"] == "v"


# What a run takes from its models


def test_the_category_table_is_the_teachers(tiny: Tiny) -> None:
    recipe = tiny.load()
    _, models = open_models(recipe)
    teacher = load_denoiser(open_model(str(tiny.teacher)))
    assert torch.equal(models.net.category_embedding.weight, teacher.category_embedding.weight)
    _, models = open_models(replace(recipe, category_table="random"))
    assert not torch.equal(models.net.category_embedding.weight, teacher.category_embedding.weight)


def test_a_table_of_another_width_stays_random(tiny: Tiny) -> None:
    recipe = tiny.load("network.category_channels=12")
    resolved, models = open_models(recipe)
    assert tuple(models.net.category_embedding.weight.shape) == (20, 12)
    assert resolved.feeding is not None and resolved.feeding.prediction == "v"


def test_everything_is_inherited_from_the_starting_model(tiny: Tiny) -> None:
    resolved, models = open_models(replace(Recipe(), start=str(tiny.student)))
    student = load_denoiser(open_model(str(tiny.student)))
    assert models.config == student.config and models.teacher is None
    assert differences(models.net.state_dict(), student.state_dict()) == []
    assert all(parameter.requires_grad for parameter in models.net.parameters())
    assert resolved.feeding is not None and resolved.feeding.first_timestep == 999
    assert resolved.data.feed == resolved.feeding.feed
    assert models.lender.spec.name == "tiny-student"


def test_a_starting_model_teaches_itself_fewer_steps(tiny: Tiny) -> None:
    _, models = open_models(replace(Recipe(objective="consistency"), start=str(tiny.student)))
    assert models.teacher is not None and not models.teacher.training
    assert models.spec.defaults.steps == 4 and not models.spec.guidance_trained


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (["network.latent_channels=8"], "latent_channels: expected 4, as the autoencoder of tiny-teacher makes, got 8"),
        (["network.categories=24"], "expected tokens 10 as teacher tiny-teacher has, got 12"),
        (["data.sizes=[40]"], "data.sizes: expected multiples of 32 px for this network, got 40"),
        (["feeding.prediction=epsilon"], "prediction 'epsilon' instead of 'v'"),
        (["network.channels=[8, 16, 18]"], "channels must divide by heads (2) and norm_groups (4), got 18"),
        (["network.chanels=[8]"], "network: no field named 'chanels': did you mean channels?"),
        (["network.channels=wide"], "network: channels: expected a list, got 'wide'"),
        (["autoencoder=nano"], "latent_channels: expected 8, as the autoencoder of nano makes, got 4"),
    ],
)  # fmt: skip
def test_models_that_do_not_fit_are_named(tiny: Tiny, changes: list[str], told: str) -> None:
    with pytest.raises(SettingsError) as error:
        open_models(tiny.load(*changes))
    assert told in str(error.value)


def test_a_starting_model_of_other_sizes(tiny: Tiny) -> None:
    recipe = tiny.load(f'start="{tiny.student}"', "network.channels=[8, 16, 24]")
    with pytest.raises(
        SettingsError, match=r"of model tiny-student.* got other sizes: channels \(8, 16, 24\)"
    ):
        open_models(recipe)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (["loss.teacher_tap=99"], "loss.teacher_tap: expected 0 to 6 for this network, got 99"),
        (["loss.student_tap=99"], "loss.student_tap: expected 0 to 5, got 99"),
        (["loss.student_tap=1", "loss.teacher_tap=0"], "student_tap and teacher_tap: expected features of one shape"),
    ],
)  # fmt: skip
def test_taps_that_cannot_be_compared(tiny: Tiny, tmp_path: Path, changes: list[str], told: str) -> None:
    with pytest.raises(SettingsError, match=told):
        tiny.train(tmp_path / "run", *changes)
    assert not (tmp_path / "run" / "checkpoint.safetensors").exists()


@pytest.mark.parametrize("role", ["teacher", "autoencoder"])
def test_a_run_goes_on_with_its_own_models_only(tiny: Tiny, tmp_path: Path, role: str) -> None:
    tiny.train(tmp_path / "run")
    other = tmp_path / "other"
    shutil.copytree(tiny.teacher, other)
    change_weights(other, "denoiser." if role == "teacher" else "autoencoder.")
    changed = replace(tiny.load("run.steps=5"), **{role: str(other)})  # type: ignore[arg-type]
    with pytest.raises(TrainingError, match=f"holds a run with another {role}: take another folder"):
        train(changed, [tiny.photos], tmp_path / "run", RunOptions(device="cpu"))
    assert step_of(tmp_path / "run" / "checkpoint.safetensors") == 3


def change_weights(folder: Path, prefix: str) -> None:
    """Other weights in that part of a model folder."""
    from moebius.weights import save_folder

    spec = open_model(str(folder)).spec
    tensors = {
        name: tensor + 1 if name.startswith(prefix) and tensor.is_floating_point() else tensor
        for name, tensor in state(folder, "weights.safetensors").items()
    }
    save_folder(folder, spec, tensors, overwrite=True)
