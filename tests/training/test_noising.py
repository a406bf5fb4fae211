"""Noise: the release's distributions, one draw a position, float32 tables, exact inverses; losses; learning rates."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from moebius.errors import SettingsError
from moebius.sampling import make_plan, scaled_linear
from moebius.training.inputs import Inputs
from moebius.training.losses import coarse_loss, output_loss, task_loss
from moebius.training.noising import Diffusion, NoiseRecipe, draw, draw_timesteps, lognormal_timesteps
from moebius.training.objectives import Distillation, Guidance
from moebius.training.recipe import Feeding, Recipe
from moebius.training.schedule import rate, warmup_stable_decay
from moebius.training.weighting import LossRecipe

DATA = Path(__file__).parents[1] / "data" / "training"
LOGNORMAL = json.loads((DATA / "lognorm_t.json").read_text())
TABLES = load_file(DATA / "schedule.safetensors")
SHAPE = (4, 8, 8)


# Timesteps


def test_lognormal_timesteps_are_the_releases() -> None:
    example = LOGNORMAL["seeded_example"]
    normals = torch.randn(16, generator=torch.Generator().manual_seed(example["seed"]))
    assert lognormal_timesteps(normals).tolist() == example["timesteps"]
    assert lognormal_timesteps(torch.tensor([-1e3, 1e3])).tolist() == [0, 999]


def test_lognormal_timesteps_follow_the_exact_distribution() -> None:
    """Every quantile of the normal distribution in turn: the share of each timestep is its probability."""
    count = 1_000_000
    levels = (torch.arange(count, dtype=torch.float64) + 0.5) / count
    found = torch.bincount(lognormal_timesteps(torch.special.ndtri(levels)), minlength=1000) / count
    assert (found - torch.tensor(LOGNORMAL["pmf_exact"])).abs().max() < 2e-6


def test_drawn_lognormal_timesteps() -> None:
    count = 30_000
    found = draw_timesteps(NoiseRecipe(timesteps="lognormal"), range(count), seed=3).numpy()
    bins = np.bincount(found // 50, minlength=20) / count
    expected = np.array(LOGNORMAL["bins50_exact"])
    assert (np.abs(bins - expected) < 4.5 * np.sqrt(expected * (1 - expected) / count)).all()
    assert found.mean() == pytest.approx(LOGNORMAL["mean"], abs=6)
    for level, value in LOGNORMAL["quantiles"].items():
        assert np.quantile(found, float(level)) == pytest.approx(value, abs=12), level


def test_the_mixture_covers_both_ends_of_the_timesteps() -> None:
    """Where inference starts and ends, the released distribution hardly goes: t >= 950 in 0.16 % of the rows."""
    count = 20_000
    mixture, released = (
        draw_timesteps(NoiseRecipe(timesteps=kind), range(count), seed=0)  # type: ignore[arg-type]
        for kind in ("mixture", "lognormal")
    )
    for end in (lambda t: t >= 950, lambda t: t < 50):
        assert end(mixture).double().mean() > 0.004
        assert end(released).double().mean() < 0.0025
    assert mixture.min() < 3 and mixture.max() > 996
    uniform = draw_timesteps(NoiseRecipe(timesteps="uniform"), range(count), seed=0)
    assert torch.histc(uniform.float(), 10, 0, 1000).min() > 0.9 * count / 10


def test_the_last_timestep_alone() -> None:
    assert set(draw_timesteps(NoiseRecipe(timesteps="last"), range(50), seed=3).tolist()) == {999}


# Draws


def test_a_row_is_a_function_of_seed_and_position() -> None:
    recipe = NoiseRecipe()
    whole = draw(recipe, range(10, 16), SHAPE, seed=5)
    first, second = (draw(recipe, torch.tensor([10 + r, 12 + r, 14 + r]), SHAPE, seed=5) for r in (0, 1))
    for name in ("noise", "timesteps", "posterior"):
        rows, evens, odds = (getattr(part, name) for part in (whole, first, second))
        assert torch.equal(rows[0::2], evens) and torch.equal(rows[1::2], odds)  # two processes
        assert not torch.equal(evens, odds)  # the release's processes draw alike
    alone = draw(recipe, [13], SHAPE, seed=5)
    assert torch.equal(alone.noise[0], whole.noise[3])
    assert not torch.equal(draw(recipe, [13], SHAPE, seed=6).noise, alone.noise)


def test_the_release_draws_alike_on_every_process() -> None:
    """What the keyed draw corrects: global generators with one seed."""
    ranks = []
    for _ in range(2):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(42)
            ranks.append(torch.randn(2, *SHAPE))
    assert torch.equal(*ranks)


def test_a_draw_is_the_same_for_ever() -> None:
    """Known numbers: a change here changes every run that is resumed."""
    drawn = draw(NoiseRecipe(), [0, 1], SHAPE, seed=42)
    again = draw(NoiseRecipe(), [0, 1], SHAPE, seed=42 + 2**64)
    assert torch.equal(drawn.noise, again.noise)
    assert drawn.timesteps.tolist() == KNOWN_TIMESTEPS
    assert drawn.noise[0, 0, 0, :3].tolist() == pytest.approx(KNOWN_NOISE, abs=1e-6)


KNOWN_TIMESTEPS = [355, 730]
KNOWN_NOISE = [0.1992276, -1.2251165, -0.5340302]


def test_global_generators_are_left_alone() -> None:
    before = torch.get_rng_state(), np.random.get_state()[1].tobytes()  # type: ignore[index, union-attr]  # noqa: NPY002
    draw(NoiseRecipe(), range(3), SHAPE, seed=0)
    after = np.random.get_state()[1].tobytes()  # type: ignore[index, union-attr]  # noqa: NPY002
    assert torch.equal(before[0], torch.get_rng_state()) and before[1] == after


def test_the_offset_is_shared_by_a_channel() -> None:
    with_offset = draw(NoiseRecipe(offset=0.5), range(400), SHAPE, seed=1).noise
    without = draw(NoiseRecipe(offset=0.0), range(400), SHAPE, seed=1).noise
    added = with_offset - without
    assert torch.allclose(added, added[:, :, :1, :1].expand_as(added), atol=1e-6)
    assert float(added[:, :, 0, 0].std()) == pytest.approx(0.5, rel=0.05)
    assert float(without.std()) == pytest.approx(1.0, rel=0.01) and abs(float(without.mean())) < 0.02


def test_posterior_noise() -> None:
    drawn = draw(NoiseRecipe(), range(200), SHAPE, seed=1)
    assert drawn.posterior.shape == (200, 2, *SHAPE) and drawn.posterior.dtype == torch.float32
    assert float(drawn.posterior.std()) == pytest.approx(1.0, rel=0.01)
    parts = torch.stack([drawn.noise, drawn.posterior[:, 0], drawn.posterior[:, 1]]).flatten(1)
    assert (torch.corrcoef(parts) - torch.eye(3)).abs().max() < 0.02  # three independent draws
    mean = draw(NoiseRecipe(latents="mean"), range(2), SHAPE, seed=1)
    assert mean.posterior.shape == (2, 2, *SHAPE) and not mean.posterior.any()


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"timesteps": "cosine"}, "timesteps"),
        ({"offset": -0.1}, "offset"),
        ({"offset": float("nan")}, "offset"),
        ({"latents": "mode"}, "latents"),
    ],
)
def test_impossible_recipes(change: dict[str, Any], field: str) -> None:
    with pytest.raises(SettingsError, match=rf"^{field}: expected .*, got "):
        NoiseRecipe(**(asdict(NoiseRecipe()) | change))


def test_positions_count_from_zero() -> None:
    with pytest.raises(SettingsError, match="positions"):
        draw(NoiseRecipe(), [-1], SHAPE, seed=0)


# Diffusion

ALL = torch.arange(1000)


def test_sigma_is_exact_at_every_timestep() -> None:
    exact = np.sqrt(1 - scaled_linear().alphas_cumprod)
    ours = Diffusion().sigma(ALL).flatten().double().numpy()
    assert np.abs(ours / exact - 1).max() < 1e-7
    published = TABLES["sqrt_one_minus_alpha_bf16"].double().numpy()
    off = np.abs(published / exact - 1)
    assert (published[:2] == 0).all()  # no noise at all at t = 0 and 1
    assert off[2:6].max() > 0.2 and off[:50].max() > 0.05


def test_the_table_is_the_releases() -> None:
    assert torch.allclose(Diffusion().alpha_bar, TABLES["alphas_cumprod"], rtol=2e-6, atol=0)
    assert Diffusion().alpha_bar.dtype == torch.float32


def test_noising_in_float32_whatever_comes_in() -> None:
    diffusion, t = Diffusion(), torch.tensor([0, 2])
    clean, noise = torch.zeros(2, *SHAPE), torch.ones(2, *SHAPE)
    half = diffusion.noisy(clean.bfloat16(), noise.bfloat16(), t)
    assert half.dtype == torch.float32
    assert torch.allclose(half, diffusion.sigma(t).expand_as(half))


def made() -> tuple[Diffusion, Tensor, Tensor, Tensor]:
    drawn = draw(NoiseRecipe(), range(4), SHAPE, seed=0)
    t = torch.tensor([0, 50, 500, 999])
    return Diffusion().to("cpu"), drawn.posterior[:, 0], drawn.noise, t


@pytest.mark.parametrize("kind", ["epsilon", "v", "sample"])
def test_the_target_gives_back_what_was_mixed(kind: Any) -> None:
    diffusion, clean, noise, t = made()
    noisy = diffusion.noisy(clean, noise, t)
    target = diffusion.target(kind, clean, noise, t)
    assert torch.allclose(diffusion.clean_from(kind, target, noisy, t), clean, atol=2e-5)
    assert torch.allclose(diffusion.noise_from(kind, target, noisy, t), noise, atol=2e-5)


@pytest.mark.parametrize("kind", ["epsilon", "v", "sample"])
def test_ddim_lands_on_the_same_noise(kind: Any) -> None:
    diffusion, clean, noise, t = made()
    to = torch.tensor([-1, 0, 480, 749])
    noisy = diffusion.noisy(clean, noise, t)
    landed = diffusion.ddim(kind, diffusion.target(kind, clean, noise, t), noisy, t, to)
    assert torch.allclose(landed, diffusion.noisy(clean, noise, to), atol=2e-5)
    assert torch.allclose(landed[0], clean[0], atol=2e-5)


def test_ddim_is_the_solvers_step() -> None:
    diffusion, clean, noise, _ = made()
    t, to = torch.full((4,), 900), torch.full((4,), 850)
    noisy = diffusion.noisy(clean, noise, t)
    step = make_plan(scaled_linear(), [900, 850]).steps[0]
    x0 = step.x0_x * noisy + step.x0_out * noise
    ours = diffusion.ddim("epsilon", noise, noisy, t, to)
    assert torch.allclose(ours, step.next_x * noisy + step.next_x0 * x0, atol=1e-5)


def test_the_jump_backward_is_the_inverse_of_ddim() -> None:
    diffusion, clean, noise, t = made()
    to = torch.tensor([-1, 0, 480, 749])
    noisy = diffusion.noisy(clean, noise, t)
    other = draw(NoiseRecipe(), range(9, 13), SHAPE, seed=0).noise  # not where ddim would land
    wanted = diffusion.clean_for_jump(noisy, t, other, to)
    landed = diffusion.ddim("sample", wanted, noisy, t, to)
    assert torch.allclose(landed, other, atol=1e-4)


def test_an_unknown_prediction() -> None:
    diffusion, clean, noise, t = made()
    for call in (diffusion.target, diffusion.clean_from, diffusion.noise_from):
        with pytest.raises(SettingsError, match="prediction: expected one of epsilon, v, sample, got 'x0'"):
            call("x0", clean, noise, t)  # type: ignore[arg-type]


# Losses


def test_losses_are_means_over_elements() -> None:
    a, b = torch.zeros(2, 3, 4, 4), torch.full((2, 3, 4, 4), 2.0)
    for loss in (coarse_loss, output_loss, task_loss):
        assert loss(a, b).item() == pytest.approx(4.0)


@pytest.mark.parametrize("loss", [output_loss, task_loss])
def test_a_weight_map_counts_cells(loss: Callable[..., Tensor]) -> None:
    predicted, target = torch.zeros(1, 3, 2, 2), torch.zeros(1, 3, 2, 2)
    target[:, :, 0, 0] = 2.0
    weight = torch.zeros(1, 1, 2, 2)
    weight[..., 0, 0] = 1.0
    assert loss(predicted, target, weight).item() == pytest.approx(4.0)
    assert loss(predicted, target, torch.ones(1, 1, 2, 2)).item() == pytest.approx(1.0)
    assert loss(predicted, target, torch.zeros(1, 1, 2, 2)).item() == 0.0


@pytest.mark.parametrize(
    ("loss", "says"),
    [
        (lambda a, b: coarse_loss(a, b), "student_tap and teacher_tap"),
        (lambda a, b: output_loss(a, b), "predictions of one shape"),
        (lambda a, b: task_loss(a, b), "target"),
        (lambda a, b: output_loss(a, a, b), "weight: expected shape"),
        (lambda a, b: task_loss(a, a, b), "weight: expected shape"),
    ],
)
def test_shapes_that_cannot_be_compared(loss: Callable[[Tensor, Tensor], Tensor], says: str) -> None:
    with pytest.raises(SettingsError, match=rf"{says}.*got.*\(2, 3, 2, 2\)"):
        loss(torch.zeros(2, 3, 4, 4), torch.zeros(2, 3, 2, 2))


class Zeros(torch.nn.Module):
    """A teacher that always predicts nothing."""

    def forward(self, x: Tensor, *_: Tensor, return_features: bool = False) -> Any:
        predicted = torch.zeros(len(x), 4, 8, 8)
        return (predicted, []) if return_features else predicted


@pytest.mark.parametrize(
    "objective", [lambda r: Distillation(r, Zeros(), None), lambda r: Guidance(r, Zeros())]
)
@pytest.mark.parametrize(("outside", "wanted"), [(0.0, 0.0), (0.5, 4 / 3), (1.0, 2.0)])
def test_what_is_taught_counts_less_outside_the_hole(
    objective: Callable[[Recipe], Any], outside: float, wanted: float
) -> None:
    """The student is off by 2 on the known half alone."""
    diffusion, clean, noise, t = made()
    mask, pixels = torch.zeros(4, 1, 8, 8), torch.zeros(4, 3, 64, 64)
    mask[..., :4] = 1
    ids = torch.zeros(4, 2, dtype=torch.long)
    inputs = Inputs(
        list("abcd"),
        pixels,
        pixels[:, :1],
        clean,
        mask,
        clean,
        noise,
        t,
        ids[:, 0],
        ids,
        diffusion,
        Feeding(),
    )
    loss = LossRecipe(outside=outside, coarse=0.0, perceptual=0.0)
    off_by = 2 * (1 - mask).expand(clean.shape)
    found = objective(Recipe(loss=loss)).goal(inputs).output["output"](off_by)
    assert found.item() == pytest.approx(wanted)


# Learning rates


def test_rates() -> None:
    given: dict[str, Any] = {"peak": 2e-4, "warmup": 10, "total": 138_000}
    assert [rate(s, **given) for s in (0, 4, 9, 10, 137_999)] == pytest.approx([2e-5, 1e-4, 2e-4, 2e-4, 2e-4])
    steps = [rate(s, **given, kind="steps") for s in (5_000, 110_999, 111_000, 128_999, 129_000)]
    assert steps == pytest.approx([2e-4, 2e-4, 2e-5, 2e-5, 2e-6])
    cosine = [rate(s, **given, kind="cosine") for s in (10, 69_005, 138_000, 200_000)]
    assert cosine == pytest.approx([2e-4, 1.02e-4, 4e-6, 4e-6])
    for step in (0, 9, 100, 137_500, 137_999):
        wsd = rate(step, **given, kind="wsd", decay=1000)
        assert wsd == warmup_stable_decay(step, **given, decay=1000)
    assert rate(137_999, **given, kind="wsd", decay=0) == pytest.approx(2e-4)
    assert rate(0, peak=1.0, warmup=0, total=1) == 1.0
    with pytest.raises(
        SettingsError, match="schedule: expected one of constant, wsd, cosine, steps, got 'x'"
    ):
        rate(0, **given, kind="x")  # type: ignore[arg-type]
