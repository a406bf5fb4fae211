"""Both solvers against diffusers' schedulers, against an exact flow, and numpy against torch."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from toy_denoisers import gaussian_denoiser, rational_denoiser

from moebius.errors import SettingsError
from moebius.sampling import leading_timesteps, make_plan, normal, sample, scaled_linear, trailing_timesteps

SCHEDULE = scaled_linear()
PREDICTIONS = ["epsilon", "v", "sample"]
DIFFUSERS_NAME = {"epsilon": "epsilon", "v": "v_prediction", "sample": "sample"}


def run(predict: Any, x: Any, plan: Any) -> Any:
    *_, last = sample(predict, x, plan)
    return last.x


def diffusers_run(scheduler: Any, steps: int, predict: Any, x: NDArray[np.float64]) -> NDArray[np.float64]:
    import torch

    scheduler.set_timesteps(steps)
    latents = torch.from_numpy(x)
    for timestep in scheduler.timesteps:
        latents = scheduler.step(predict(latents, int(timestep)), timestep, latents).prev_sample
    return latents.numpy()


def published_schedule(**kwargs: Any) -> dict[str, Any]:
    return {"beta_start": 8.5e-4, "beta_end": 1.2e-2, "beta_schedule": "scaled_linear", **kwargs}


def assert_close(got: NDArray[Any], expected: NDArray[Any], tolerance: float = 1e-5) -> None:
    assert np.abs(got - expected).max() <= tolerance * np.abs(expected).max()


@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize("spacing", ["leading", "trailing"])
@pytest.mark.parametrize("steps", [1, 4, 20, 50])
def test_ddim_agrees_with_diffusers(prediction: str, spacing: str, steps: int) -> None:
    """Only steps that divide 1000: with others diffusers' DDIM misses its own next trailing timestep."""
    import torch
    from diffusers import DDIMScheduler

    scheduler = DDIMScheduler(
        **published_schedule(clip_sample=False, set_alpha_to_one=True, steps_offset=0),
        timestep_spacing=spacing,
        prediction_type=DIFFUSERS_NAME[prediction],
    )
    predict = rational_denoiser(SCHEDULE, prediction)
    x = normal((2, 4, 8, 8), seed=0).astype(np.float64)
    timesteps = leading_timesteps(steps) if spacing == "leading" else trailing_timesteps(steps)
    got = run(predict, x, make_plan(SCHEDULE, timesteps, "ddim", prediction))
    if (steps, spacing) != (1, "leading"):  # there its float32 loses 1 - abar_0 = 0.00085
        assert_close(got, diffusers_run(scheduler, steps, predict, x))
        assert list(timesteps) == scheduler.timesteps.tolist()
    scheduler.alphas_cumprod = torch.from_numpy(SCHEDULE.alphas_cumprod)
    assert_close(got, diffusers_run(scheduler, steps, predict, x), 1e-7)


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # diffusers with numpy 2
@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize("spacing", ["leading", "trailing"])
@pytest.mark.parametrize("steps", [1, 2, 3, 7, 20, 50])
def test_dpm_solver_agrees_with_diffusers(prediction: str, spacing: str, steps: int) -> None:
    from diffusers import DPMSolverMultistepScheduler

    scheduler = DPMSolverMultistepScheduler(
        **published_schedule(algorithm_type="dpmsolver++", solver_order=2, solver_type="midpoint"),
        final_sigmas_type="zero",
        timestep_spacing=spacing,
        prediction_type=DIFFUSERS_NAME[prediction],
    )
    predict = rational_denoiser(SCHEDULE, prediction)
    x = normal((2, 4, 8, 8), seed=1).astype(np.float64)
    expected = diffusers_run(scheduler, steps, predict, x)
    timesteps = scheduler.timesteps.tolist()  # its "leading" counts one step more than DDIM's
    if spacing == "trailing":
        assert timesteps == list(trailing_timesteps(steps))
    assert_close(run(predict, x, make_plan(SCHEDULE, timesteps, "dpm++", prediction)), expected)


def test_solvers_are_told_apart() -> None:
    """The two tests above would not pass with the solvers, or the spacings, exchanged."""
    predict = rational_denoiser(SCHEDULE, "epsilon")
    x = normal((2, 4, 8, 8), seed=1).astype(np.float64)
    ways = [
        make_plan(SCHEDULE, timesteps, solver)
        for timesteps in (leading_timesteps(20), trailing_timesteps(20))
        for solver in ("ddim", "dpm++")
    ]
    results = [run(predict, x, plan) for plan in ways]
    for i, one in enumerate(results):
        for other in results[:i]:
            assert np.abs(one - other).max() > 1e-3 * np.abs(one).max()


@pytest.mark.parametrize("solver", ["ddim", "dpm++"])
def test_predictions_describe_the_same_network(solver: Any) -> None:
    x = normal((4, 8, 8), seed=5).astype(np.float64)
    results = [
        run(
            rational_denoiser(SCHEDULE, prediction),
            x,
            make_plan(SCHEDULE, trailing_timesteps(12), solver, prediction),
        )
        for prediction in PREDICTIONS
    ]
    np.testing.assert_allclose(results[1], results[0], rtol=1e-9)
    np.testing.assert_allclose(results[2], results[0], rtol=1e-9)


@pytest.mark.parametrize("solver", ["ddim", "dpm++"])
@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_numpy_and_torch_give_the_same_bits(solver: Any, prediction: Any, dtype: str) -> None:
    torch = pytest.importorskip("torch")
    plan = make_plan(SCHEDULE, trailing_timesteps(20, 900), solver, prediction)
    predict = rational_denoiser(SCHEDULE, prediction)
    x = normal((1, 4, 16, 16), seed=2).astype(dtype)
    for ours, theirs in zip(
        sample(predict, x, plan), sample(predict, torch.from_numpy(x.copy()), plan), strict=True
    ):
        assert ours.x.dtype == ours.x0.dtype == np.dtype(dtype)
        np.testing.assert_array_equal(ours.x, theirs.x.numpy())
        np.testing.assert_array_equal(ours.x0, theirs.x0.numpy())


def convergence(solver: Any, counts: list[int]) -> list[float]:
    """Error against the exact flow of a Gaussian, stopped before the last jump to abar = 1."""
    predict, flow = gaussian_denoiser(SCHEDULE, mean=0.4, std=0.2)
    x = normal((64,), seed=6).astype(np.float64)
    errors = []
    for count in counts:
        timesteps = [round(t) for t in np.linspace(900, 100, count + 1)]
        states = list(sample(predict, x, make_plan(SCHEDULE, timesteps, solver, "sample")))
        there = flow(states[-2].x, timesteps[-1])  # where the exact flow goes from here
        errors.append(float(np.abs(there - flow(x, 900)).max()))
    return errors


@pytest.mark.parametrize(("solver", "order"), [("ddim", 1), ("dpm++", 2)])
def test_order_of_convergence(solver: str, order: int) -> None:
    counts = [25, 50, 100, 200]
    errors = convergence(solver, counts)
    slope = -np.polyfit(np.log(counts), np.log(errors), 1)[0]
    assert slope == pytest.approx(order, abs=0.25)


def test_second_order_is_better_at_few_steps() -> None:
    assert convergence("dpm++", [20])[0] < 0.2 * convergence("ddim", [20])[0]


@pytest.mark.parametrize("solver", ["ddim", "dpm++"])
def test_shape_of_the_table(solver: Any) -> None:
    plan = make_plan(SCHEDULE, trailing_timesteps(8, 900), solver)
    assert len(plan) == len(plan.steps) == 8
    assert plan.timesteps == trailing_timesteps(8, 900)
    assert (plan.alpha0, plan.sigma0) == (SCHEDULE.signal(900), SCHEDULE.noise(900))
    assert plan.steps[0].next_prev == 0
    last = plan.steps[-1]
    assert (last.next_x, last.next_x0, last.next_prev) == (0, 1, 0)
    assert any(step.next_prev for step in plan.steps) == (solver == "dpm++")
    for step in plan.steps:
        for name, value in vars(step).items():
            assert type(value) is (int if name == "timestep" else float)
        # Consistency: if x = a z and every x0 = z, the step lands on a' z.
        a = SCHEDULE.signal(step.timestep)
        after = [s.timestep for s in plan.steps if s.timestep < step.timestep]
        a_next = SCHEDULE.signal(after[0]) if after else 1.0
        assert math.isclose(step.next_x * a + step.next_x0 + step.next_prev, a_next, rel_tol=1e-12)


@pytest.mark.parametrize(
    ("timesteps", "solver", "prediction", "message"),
    [
        ([], "ddim", "epsilon", "at least one"),
        ([10, 10], "ddim", "epsilon", "falling"),
        ([10, 20], "ddim", "epsilon", "falling"),
        ([1000, 0], "ddim", "epsilon", "0 to 999"),
        ([10, -1], "ddim", "epsilon", "0 to 999"),
        ([10], "euler", "epsilon", "ddim, dpm.*'euler'"),
        ([10], "ddim", "v_prediction", "epsilon, v, sample.*'v_prediction'"),
    ],
)
def test_bad_plans_are_refused(timesteps: Any, solver: Any, prediction: Any, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        make_plan(SCHEDULE, timesteps, solver, prediction)
