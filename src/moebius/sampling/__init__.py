"""Sampling: noise, schedules, solvers and the loop. numpy only; the loop runs on torch tensors as it stands.

    noise.py      Gaussian noise from (seed, key), the same on every machine
    schedule.py   how much noise each timestep holds, and which timesteps are visited
    solvers.py    DDIM and DPM-Solver++(2M) as tables of scalars
    start.py      what the loop begins with, and what it may therefore know
    loop.py       the loop, a generator

A whole fill:

    plan = make_plan(scaled_linear(), trailing_timesteps(20, first=900))
    x = start_latents("masked", normal((1, 4, 64, 64), seed=0), latents, plan)
    for state in sample(predict, x, plan):
        ...
"""

from moebius.sampling.loop import StepState, sample, solve
from moebius.sampling.noise import normal, philox
from moebius.sampling.schedule import NoiseSchedule, leading_timesteps, scaled_linear, trailing_timesteps
from moebius.sampling.solvers import Prediction, SamplingPlan, SolverStep, make_plan
from moebius.sampling.start import start_latents

__all__ = [
    "NoiseSchedule",
    "Prediction",
    "SamplingPlan",
    "SolverStep",
    "StepState",
    "leading_timesteps",
    "make_plan",
    "normal",
    "philox",
    "sample",
    "scaled_linear",
    "solve",
    "start_latents",
    "trailing_timesteps",
]
