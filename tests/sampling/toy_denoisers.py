"""A toy denoiser and a toy problem with a known answer, for numpy and torch alike."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from moebius.sampling import NoiseSchedule


def rational_denoiser(schedule: NoiseSchedule, prediction: str) -> Callable[[Any, int], Any]:
    """A smooth, nonlinear guess of the clean latents, put out the way `prediction` wants it.

    Only sums, products and quotients: the same to the last bit in numpy and in torch.
    """

    def predict(x: Any, timestep: int) -> Any:
        a, s = schedule.signal(timestep), schedule.noise(timestep)
        clean = x * (1.5 - s) / (x * x * 0.5 + 1.0) + (0.3 * a - 0.1)
        return _as_output(prediction, x, clean, a, s)

    return predict


def gaussian_denoiser(
    schedule: NoiseSchedule, mean: float, std: float
) -> tuple[Callable[[Any, int], Any], Callable[[Any, int], Any]]:
    """The exact denoiser of z ~ N(mean, std^2), and where its probability flow carries x from timestep t.

    E[z | x] = mean + std^2 a (x - a mean) / (a^2 std^2 + s^2), and the flow keeps the number of standard
    deviations: z = mean + std (x - a mean) / sqrt(a^2 std^2 + s^2).
    """

    def predict(x: Any, timestep: int) -> Any:
        a, s = schedule.signal(timestep), schedule.noise(timestep)
        return mean + std**2 * a * (x - a * mean) / (a * a * std**2 + s * s)

    def flow(x: Any, timestep: int) -> Any:
        a, s = schedule.signal(timestep), schedule.noise(timestep)
        return mean + std * (x - a * mean) / (a * a * std**2 + s * s) ** 0.5

    return predict, flow


def _as_output(prediction: str, x: Any, clean: Any, a: float, s: float) -> Any:
    if prediction == "epsilon":
        return (x - clean * a) / s
    if prediction == "v":
        return (x * a - clean) / s
    return clean
