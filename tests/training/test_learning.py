"""Every objective learns: two steps of each kind of loss, and what sixty of them do to held-out losses."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations, pairwise
from pathlib import Path

import pytest
import torch
from tiny_runs import TEACHER_CHANGES, Tiny, lines, state
from torch import Tensor

from moebius.engines.networks import load_denoiser
from moebius.sampling import trailing_timesteps
from moebius.training.data.loader import batches
from moebius.training.data.sources import open_sources
from moebius.training.inputs import Feeder, Inputs
from moebius.training.models import open_models
from moebius.training.objectives import guided
from moebius.training.recipe import Recipe, with_feeding
from moebius.weights import open_model

TERMS = ("coarse", "output", "task", "perceptual")
SUBSETS = [subset for count in (1, 3, 4) for subset in combinations(TERMS, count)]
"""Each term alone, each left out, and all: what two of them do shows where one of them stands and another does not."""
FORMS = ("paper", "released", "fixed")
FEW = ("loss.form=fixed", "loss.output=1.0", "loss.task=0.0", "loss.coarse=0.0", "loss.perceptual=0.0",
       "data.opposite=none")  # fmt: skip
"""As in the shipped recipes for fewer network calls."""


def fall(
    tiny: Tiny, out: Path, *changes: str, steps: int = 60, teacher: Path | None = None
) -> dict[str, float]:
    """By what the held-out losses were divided between step 1 and the last, by name."""
    measured = ("run.log_every=20", "run.held_out=8", *changes)
    first = tiny.train(out, *measured, "run.steps=1", teacher=teacher).held_out
    last = tiny.train(out, *measured, f"run.steps={steps}", teacher=teacher).held_out
    return {name: first[name] / last[name] for name in first}


@pytest.mark.parametrize(("subset", "form"), [(s, FORMS[i % 3]) for i, s in enumerate(SUBSETS)])
def test_every_subset_of_terms(tiny: Tiny, tmp_path: Path, subset: tuple[str, ...], form: str) -> None:
    off = [f"loss.{term}=0.0" for term in TERMS if term not in subset]
    tiny.train(tmp_path, f"loss.form={form}", "run.steps=2", "run.batch=2", "run.held_out=2", *off)
    for line in lines(tmp_path):
        assert {term for term in TERMS if term in line} == set(subset)
        assert any(name.startswith("ratio_") for name in line) == (form != "fixed" and len(subset) > 1)
        assert line["loss"] > 0


@pytest.mark.slow
@pytest.mark.parametrize("form", ["released"])
def test_distillation_learns(tiny: Tiny, taught: Path, tmp_path: Path, form: str) -> None:
    changes = (f"loss.form={form}", "optimizer.name=muon", "optimizer.learning_rate=0.01")
    fell = fall(tiny, tmp_path, *changes, teacher=taught)
    assert fell["task"] > 1.2 and fell["output"] > 1.3


@pytest.mark.slow
def test_diffusion_learns(tiny: Tiny, tmp_path: Path) -> None:
    fell = fall(tiny, tmp_path, *TEACHER_CHANGES)
    assert fell["task"] > 1.8


@pytest.mark.slow
def test_pictures_are_learned_through_the_decoder(tiny: Tiny, tmp_path: Path) -> None:
    changes = ("objective=diffusion", "feeding.prediction=v", "feeding.first_timestep=999", "picture.share=0.5",
               "autoencoder=nano", "network.latent_channels=8")  # fmt: skip
    fell = fall(tiny, tmp_path, *changes)
    assert fell["picture"] > 1.08


@pytest.mark.slow
def test_guidance_is_folded_in(tiny: Tiny, taught: Path, tmp_path: Path) -> None:
    """The student comes to predict, from one call, what the teacher predicts from two."""
    changes = ("objective=guidance", f'start="{taught}"', "few.guidance=8.0", "network={}", *FEW,
               "optimizer.learning_rate=1e-3", "run.ema=0.9")  # fmt: skip
    recipe = tiny.load(*changes, teacher=taught)
    outcome = tiny.train(tmp_path, *changes, "run.steps=60", "run.batch=8", teacher=taught)
    assert outcome.model is not None and not open_model(str(outcome.model)).spec.guidance_trained
    resolved, teacher, inputs = seen(tiny, recipe)
    wanted = guided(teacher, resolved, inputs, inputs.noisy, inputs.timesteps)
    before, after = (distance(predict(net, inputs), wanted) for net in (teacher, net_of(outcome.model)))
    assert before / after > 1.5


def test_guidance_contrasts_with_the_opposite_ids(tiny: Tiny, taught: Path) -> None:
    recipe, teacher, inputs = seen(
        tiny, tiny.load("objective=guidance", "few.guidance=3.0", *FEW, teacher=taught)
    )
    ids = torch.arange(10).expand(len(inputs.ids), -1)
    with torch.no_grad():
        condition = teacher(inputs.x, inputs.timesteps, ids)
        opposite = teacher(inputs.x, inputs.timesteps, ids + 10)
    assert distance(condition, opposite) > 0
    wanted = opposite + 3.0 * (condition - opposite)
    assert torch.allclose(guided(teacher, recipe, inputs, inputs.noisy, inputs.timesteps), wanted, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("steps", [4, 1])
def test_few_steps_end_where_many_do(tiny: Tiny, taught: Path, tmp_path: Path, steps: int) -> None:
    """The student's fill in K steps is nearer to the teacher's in 48 than the teacher's own fill in K steps is."""
    changes = ("objective=consistency", f'start="{taught}"', f"few.steps={steps}", "network={}", *FEW,
               "run.ema=0.9", "optimizer.learning_rate=2e-3", "optimizer.weight_decay=0.0")  # fmt: skip
    outcome = tiny.train(tmp_path, *changes, "run.steps=60", "run.batch=8", teacher=taught)
    assert outcome.model is not None
    assert open_model(str(outcome.model)).spec.defaults.steps == steps
    _, teacher, inputs = seen(tiny, tiny.load(*changes, teacher=taught))
    wanted = sample(teacher, inputs, 48)
    before = distance(sample(teacher, inputs, steps), wanted)
    after = distance(sample(net_of(outcome.model), inputs, steps), wanted)
    assert after < before


# The second half of the category table


@pytest.mark.parametrize(("opposite", "trained"), [("null", True), ("none", False)])
def test_the_guidance_branch_is_trained_where_asked(
    tiny: Tiny, tmp_path: Path, opposite: str, trained: bool
) -> None:
    """Rows that no gradient reaches shrink by weight decay, alike, and do nothing else."""
    changes = ("objective=diffusion", f"data.opposite={opposite}", "data.id_dropout=0.5", "run.steps=6")
    recipe = tiny.load(*changes)
    _, models = open_models(recipe)
    first = models.net.category_embedding.weight.detach().clone()
    tiny.train(tmp_path, *changes)
    last = state(tmp_path)["net.category_embedding.weight"]
    decayed = first * (1 - recipe.optimizer.learning_rate * recipe.optimizer.weight_decay) ** 6
    moved = (last - decayed).abs().amax(1)
    assert moved[:10].min() > 1e-3
    assert (moved[10:].min() > 1e-3) == trained
    assert trained or moved[10:].max() < 1e-6


# Helpers


def seen(tiny: Tiny, recipe: Recipe) -> tuple[Recipe, torch.nn.Module, Inputs]:
    """The recipe with nothing left open, its teacher, and eight rows with the condition's ids."""
    resolved, models = open_models(recipe)
    assert models.teacher is not None and resolved.feeding is not None
    resolved = with_feeding(resolved, resolved.feeding)
    feeder = Feeder(resolved, models.coder, models.config.tokens, torch.device("cpu"), cache=None)
    (batch,) = batches(
        open_sources([tiny.photos]),
        replace(resolved.data, id_dropout=0.0),
        seed=99,
        batch=8,
        first_step=0,
        steps=1,
    )
    return resolved, models.teacher.eval(), feeder(batch)


def net_of(model: Path) -> torch.nn.Module:
    return load_denoiser(open_model(str(model)))


@torch.no_grad()
def predict(net: torch.nn.Module, inputs: Inputs) -> Tensor:
    predicted: Tensor = net(inputs.x, inputs.timesteps, inputs.ids)
    return predicted


@torch.no_grad()
def sample(net: torch.nn.Module, inputs: Inputs, steps: int) -> Tensor:
    """The deterministic fill from the rows' noise."""
    kind, noisy = inputs.feeding.prediction, inputs.noise
    ends = [*trailing_timesteps(steps, inputs.feeding.first_timestep), -1]
    for now, then in pairwise(ends):
        at, to = torch.full((len(noisy),), now), torch.full((len(noisy),), then)
        predicted = net(inputs.with_noisy(noisy), at, inputs.ids)
        noisy = inputs.diffusion.ddim(kind, predicted, noisy, at, to)
    return noisy


def distance(a: Tensor, b: Tensor) -> float:
    return float((a - b).square().mean().sqrt())
