"""Solvers as tables of scalars: one row of six numbers a step, and no code that differs between them.

Every solver here is, for the network's output `out` at x,

    x0     = x0_x * x + x0_out * out                            the clean latents, as the network sees them
    x_next = next_x * x + next_x0 * x0 + next_prev * x0_before  x0_before is the x0 of the step before

so the same five multiplications run on numpy arrays, on torch tensors, inside an ONNX graph or in a browser,
and the difference between solvers, predictions and spacings is data.

With a = sqrt(abar), s = sqrt(1 - abar) at this timestep, a', s' at the next (1, 0 after the last), and
lambda = ln(a / s) half the log signal-to-noise ratio:

    DDIM              x_next = s'/s x + c x0,  c = a' - a s'/s
    DPM-Solver++(2M)  x_next = s'/s x + c (x0 + (x0 - x0_before) / 2r)
                      r = (lambda - lambda_before) / (lambda' - lambda)

c is the second paper's -a' (exp(-h) - 1) with h = lambda' - lambda: DDIM is the first-order member of the
family. The first and the last step of DPM-Solver++ are first-order too: there is nothing before the one, and
h is infinite in the other.

Sources: Song et al., Denoising Diffusion Implicit Models (2021), equation 12 without noise; Lu et al.,
DPM-Solver++ (2022), algorithm 2.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, get_args

from moebius.errors import SettingsError
from moebius.sampling.schedule import NoiseSchedule
from moebius.settings import SOLVERS, Solver

Prediction = Literal["epsilon", "v", "sample"]
"""What the network puts out: the noise n, v = a n - s z (Salimans and Ho 2022), or the clean latents z."""

PREDICTIONS: tuple[str, ...] = get_args(Prediction)


@dataclass(frozen=True)
class SolverStep:
    """One row of the table; all scalars are plain Python floats, which leave an array's own dtype alone."""

    timestep: int
    """What the network is told, 0 to T - 1."""
    x0_x: float
    x0_out: float
    next_x: float
    next_x0: float
    next_prev: float
    """0 wherever there is no step before."""


@dataclass(frozen=True)
class SamplingPlan:
    """All that a sampling loop needs to know."""

    steps: tuple[SolverStep, ...]
    alpha0: float
    """Scale of the clean latents at the first timestep: start latents are alpha0 z + sigma0 n."""
    sigma0: float
    """Standard deviation of the noise at the first timestep."""
    solver: Solver
    prediction: Prediction

    def __len__(self) -> int:
        return len(self.steps)

    @property
    def timesteps(self) -> tuple[int, ...]:
        return tuple(step.timestep for step in self.steps)


def make_plan(
    schedule: NoiseSchedule,
    timesteps: Sequence[int],
    solver: Solver = "ddim",
    prediction: Prediction = "epsilon",
) -> SamplingPlan:
    """The table of a solver over `timesteps`; after the last of them the latents are clean (abar = 1).

    Args:
        schedule: the noise schedule that the network was trained with.
        timesteps: falling timesteps of that schedule, at least one.
        solver: "ddim" or "dpm++".
        prediction: "epsilon", "v" or "sample".

    Raises:
        SettingsError: no timesteps, timesteps that do not fall or lie outside the schedule, an unknown name.
    """
    _check(schedule, timesteps, solver, prediction)
    signal = [schedule.signal(t) for t in timesteps]
    noise = [schedule.noise(t) for t in timesteps]
    snr = [math.log(a / s) for a, s in zip(signal, noise, strict=True)]  # lambda

    rows = []
    for i, timestep in enumerate(timesteps):
        last = i + 1 == len(timesteps)
        a, s = signal[i], noise[i]
        a_next, s_next = (1.0, 0.0) if last else (signal[i + 1], noise[i + 1])
        c = a_next - a * s_next / s
        lean = 0.0  # how far x0 is extrapolated away from the step before: 1 / 2r
        if solver == "dpm++" and i > 0 and not last:
            lean = 0.5 * (snr[i + 1] - snr[i]) / (snr[i] - snr[i - 1])
        x0_x, x0_out = _clean_latents(prediction, a, s)
        rows.append(SolverStep(int(timestep), x0_x, x0_out, s_next / s, c * (1 + lean), -c * lean))
    return SamplingPlan(tuple(rows), signal[0], noise[0], solver, prediction)


def _clean_latents(prediction: Prediction, a: float, s: float) -> tuple[float, float]:
    """Weights of x and of the network's output in x0, from x = a x0 + s n and the meaning of the output."""
    if prediction == "epsilon":
        return 1.0 / a, -s / a
    if prediction == "v":
        return a, -s
    return 0.0, 1.0


def _check(schedule: NoiseSchedule, timesteps: Sequence[int], solver: str, prediction: str) -> None:
    if solver not in SOLVERS:
        raise SettingsError(f"solver: expected one of {', '.join(SOLVERS)}, got {solver!r}")
    if prediction not in PREDICTIONS:
        raise SettingsError(f"prediction: expected one of {', '.join(PREDICTIONS)}, got {prediction!r}")
    if not timesteps:
        raise SettingsError("steps: expected at least one timestep, got none")
    falling = all(a > b for a, b in pairwise(timesteps))
    if not falling or timesteps[0] >= len(schedule) or timesteps[-1] < 0:
        raise SettingsError(
            f"timesteps: expected falling numbers within 0 to {len(schedule) - 1}, got {list(timesteps)}"
        )
