"""Noise, schedules, solvers and the loop: JavaScript's numbers are Python's."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import pytest
from core_client import Call, Core

from moebius.sampling import leading_timesteps, make_plan, normal, sample, scaled_linear, trailing_timesteps
from moebius.settings import SOLVERS

SEEDS = [0, 1, 42, 2**32 - 1, 2**32, 2**53 + 1, 2**64 - 1]
KEYS = ["", "/0/256", "a/0", "ünïcode – 写真/3", "x" * 127, "x" * 128, "x" * 129, "x" * 300]
LARGEST = 6.66


def test_vectors_of_the_specification(core: Core) -> None:
    for seed, key, expected in (
        (0, "", [1.2521868, -0.20009905, 1.8983288, -0.94671237]),
        (2**64 - 1, "a/0", [0.60031587, 0.54514343, -1.7528868, -0.41865787]),
    ):
        drawn = core("core/noise.js", "normal", 4, {"$": "big", "data": str(seed)}, key)
        np.testing.assert_allclose(drawn, expected, rtol=1e-7)


def test_blake2b(core: Core) -> None:
    texts = [key.encode() for key in KEYS] + [bytes(range(256)) * 3]
    calls: list[Call] = [("core/blake2b.js", "blake2b64", [np.frombuffer(text, np.uint8)]) for text in texts]
    expected = [int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little") for text in texts]
    assert core.all(calls) == expected


def test_noise_is_the_same_to_one_unit_in_the_last_place(core: Core) -> None:
    draws = [
        (seed, key, size)
        for seed in SEEDS
        for key, size in zip(KEYS, [1, 2, 3, 7, 4096, 64, 5, 8192], strict=True)
    ]
    calls: list[Call] = [
        ("core/noise.js", "normal", [size, {"$": "big", "data": str(seed)}, key]) for seed, key, size in draws
    ]
    different = total = 0
    for (seed, key, size), drawn in zip(draws, core.all(calls), strict=True):
        expected = normal((size,), seed=seed, key=key)
        assert drawn.dtype == np.float32 and drawn.shape == (size,)
        assert np.abs(drawn - expected).max() <= np.spacing(np.float32(LARGEST))
        units = np.abs(drawn.view(np.int32).astype(np.int64) - expected.view(np.int32))
        assert units.max() <= 1
        different, total = different + int((units > 0).sum()), total + size
    assert different <= 1e-4 * total


def test_schedule_and_timesteps(core: Core) -> None:
    np.testing.assert_allclose(
        core("core/schedule.js", "scaledLinear"), scaled_linear().alphas_cumprod, rtol=1e-12
    )
    asked = [(steps, first) for steps in (1, 2, 3, 4, 7, 16, 20, 50, 333, 900) for first in (999, 900, 899)]
    calls: list[Call] = [("core/schedule.js", "trailingTimesteps", each) for each in asked]
    assert core.all(calls) == [list(trailing_timesteps(*each)) for each in asked]
    calls = [("core/schedule.js", "leadingTimesteps", [steps]) for steps in (1, 3, 20, 1000)]
    assert core.all(calls) == [list(leading_timesteps(steps)) for steps in (1, 3, 20, 1000)]
    for steps in (0, 1001):
        with pytest.raises(RuntimeError, match="steps: expected 1 to 1000"):
            core("core/schedule.js", "trailingTimesteps", steps, 999)


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("prediction", ["epsilon", "v", "sample"])
def test_tables_and_the_loop(core: Core, solver: Any, prediction: Any) -> None:
    schedule = scaled_linear()
    names = [("timestep", "timestep"), ("x0X", "x0_x"), ("x0Out", "x0_out"), ("nextX", "next_x")]
    names += [("nextX0", "next_x0"), ("nextPrev", "next_prev")]
    start = normal((4, 8, 8), seed=3)
    for steps in (1, 2, 4, 20):
        timesteps = trailing_timesteps(steps, 999)
        plan = make_plan(schedule, timesteps, solver, prediction)
        arguments = [schedule.alphas_cumprod, list(timesteps), solver, prediction]
        table = core("core/solver.js", "makePlan", *arguments)
        assert (table["alpha0"], table["sigma0"]) == pytest.approx((plan.alpha0, plan.sigma0), rel=1e-9)
        for row, expected in zip(table["steps"], plan.steps, strict=True):
            for ours, theirs in names:
                assert row[ours] == pytest.approx(getattr(expected, theirs), rel=1e-6, abs=1e-12)

        def predict(x: Any, timestep: int) -> Any:
            a, s = schedule.signal(timestep), schedule.noise(timestep)
            clean = x * (1.5 - s) / (x * x * 0.5 + 1.0) + (0.3 * a - 0.1)
            if prediction == "epsilon":
                return (x - clean * a) / s
            return (x * a - clean) / s if prediction == "v" else clean

        states = core("", "runSampler", list(timesteps), solver, prediction, start)
        expected_states = [state.x for state in sample(predict, start, plan)]
        assert len(states) == steps
        for found, known in zip(states, expected_states, strict=True):
            assert np.abs(found.reshape(known.shape) - known).max() <= 1e-5
