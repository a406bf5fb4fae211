"""How much signal and noise the latents hold at each timestep, and which timesteps a sampler visits.

Notation: x_t = sqrt(abar_t) z + sqrt(1 - abar_t) n, with z the clean latents, n standard normal, and t from
0, nearly clean, to T - 1, nearly pure noise (Ho et al., DDPM, 2020, equation 4).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from moebius.errors import SettingsError

TRAIN_STEPS = 1000


@dataclass(frozen=True, eq=False)
class NoiseSchedule:
    """The signal fraction abar_t of every training timestep.

    Raises:
        SettingsError: `alphas_cumprod` is not a row of strictly falling numbers within 1 and 0.
    """

    alphas_cumprod: NDArray[np.float64]
    """(T,) float64: abar_t, strictly falling."""

    def __post_init__(self) -> None:
        abar = self.alphas_cumprod
        if abar.ndim != 1 or abar.size == 0:
            raise SettingsError(f"noise schedule: expected one row of numbers, got shape {abar.shape}")
        if not (abar[0] < 1 and abar[-1] > 0 and (np.diff(abar) < 0).all()):
            raise SettingsError(
                f"noise schedule: expected it to fall within 1 to 0, got {abar[0]} to {abar[-1]}"
            )

    def __len__(self) -> int:
        return len(self.alphas_cumprod)

    def signal(self, timestep: int) -> float:
        """sqrt(abar_t), the scale of the clean latents in x_t."""
        return math.sqrt(self.alphas_cumprod[timestep])

    def noise(self, timestep: int) -> float:
        """sqrt(1 - abar_t), the standard deviation of the noise in x_t."""
        return math.sqrt(1.0 - self.alphas_cumprod[timestep])


def scaled_linear(
    first: float = 8.5e-4, last: float = 1.2e-2, train_steps: int = TRAIN_STEPS
) -> NoiseSchedule:
    """The schedule of Moebius and of Stable Diffusion: sqrt(beta) runs linearly, abar_t = prod (1 - beta_s).

    Everything in float64; the release's own float32 values differ by at most 1e-6 of themselves.
    """
    betas = np.linspace(math.sqrt(first), math.sqrt(last), train_steps) ** 2
    return NoiseSchedule(np.cumprod(1.0 - betas, dtype=np.float64))


def leading_timesteps(
    steps: int, strength: float = 1.0, *, train_steps: int = TRAIN_STEPS
) -> tuple[int, ...]:
    """The published spacing ("leading", offset 0): multiples of train_steps // steps, down to 0.

    A strength below 1 drops the first steps - int(steps * strength) of them. The published 0.99 therefore
    runs one step fewer than asked for: 20 steps give 900, 850, ..., 0, and a single step gives none at all.

    Args:
        steps: 1 to train_steps.
        strength: above 0; 1 and more keep all steps.

    Returns:
        Falling timesteps; may be empty.

    Raises:
        SettingsError: a value is out of range.
    """
    _check_steps(steps, train_steps)
    if not strength > 0:
        raise SettingsError(f"strength: expected a number above 0, got {strength!r}")
    kept = min(int(steps * strength), steps)
    spacing = train_steps // steps
    return tuple(spacing * i for i in reversed(range(kept)))


def trailing_timesteps(steps: int, first: int = TRAIN_STEPS - 1) -> tuple[int, ...]:
    """Exactly `steps` timesteps, evenly from `first` down: round((first + 1) (1 - i / steps)) - 1.

    The "trailing" spacing of Lin et al., Common Diffusion Noise Schedules and Sample Steps Are Flawed (2024),
    section 3.3. A single step starts at `first` too, which is where the start latents are noised to. Computed
    in exact fractions (halves round to even), so that no platform rounds differently.

    Args:
        steps: 1 to first + 1.
        first: timestep to start from, 0 to T - 1.

    Raises:
        SettingsError: a value is out of range.
    """
    if first < 0:
        raise SettingsError(f"first timestep: expected 0 or more, got {first}")
    _check_steps(steps, first + 1)
    return tuple(round(Fraction((first + 1) * (steps - i), steps)) - 1 for i in range(steps))


def _check_steps(steps: int, most: int) -> None:
    if not 1 <= steps <= most:
        raise SettingsError(f"steps: expected 1 to {most} for this model and spacing, got {steps}")
