"""Noise for training: what is drawn for a row, and how latents are noised and cleaned. All of it in float32.

The release draws with the global generators, seeded alike on every process, so that all processes see the same
noise and timesteps; and it noises in bfloat16, where abar is exactly 1 up to timestep 1 and the noise is 7 to 23 %
off at timesteps 2 to 5. Here a row's draw is a function of (seed, position), and networks alone may compute in less.

Notation: x_t = a z + s n with z the clean latents, n the noise, a = sqrt(abar_t), s = sqrt(1 - abar_t). A timestep
of -1 means clean: a = 1, s = 0.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

from moebius.errors import SettingsError
from moebius.sampling import NoiseSchedule, Prediction, scaled_linear
from moebius.sampling.schedule import TRAIN_STEPS

Timesteps = Literal["lognormal", "uniform", "mixture", "last"]

_NOISE, _OFFSET, _TIMESTEP, _POSTERIOR = range(4)  # purposes: each has random numbers of its own
_UNIFORM_SHARE = 0.1


@dataclass(frozen=True, kw_only=True)
class NoiseRecipe:
    """How noise and timesteps are drawn.

    Raises:
        SettingsError: a value is out of its range.
    """

    timesteps: Timesteps = "mixture"
    """lognormal: floor(1000 sigmoid(N(0, 1))), as released; 1.6 % of the rows are below 50 or above 899, where
    inference begins and ends. uniform: 0 to 999. mixture: lognormal, with 10 % of the rows uniform.
    last: always 999, for a network that fills in one step."""
    offset: float = 0.0357
    """Noise shared by all cells of a channel, 0 to 1: lets the network change a picture's mean."""
    latents: Literal["sample", "mean"] = "sample"
    """Whether latents are drawn from the autoencoder's posterior, as released, or are its mean."""

    def __post_init__(self) -> None:
        for name, kinds in (("timesteps", get_args(Timesteps)), ("latents", ("sample", "mean"))):
            if getattr(self, name) not in kinds:
                raise SettingsError(
                    f"{name}: expected one of {', '.join(kinds)}, got {getattr(self, name)!r}"
                )
        if not 0 <= self.offset <= 1:
            raise SettingsError(f"offset: expected a number from 0 to 1, got {self.offset!r}")


@dataclass(frozen=True)
class Draw:
    """The random numbers of a batch, on the CPU."""

    noise: Tensor
    """(B, c, h, w) float32: standard normal plus the recipe's offset; the whole of it is what is predicted."""
    timesteps: Tensor
    """(B,) int64, 0 to 999."""
    posterior: Tensor
    """(B, 2, c, h, w) float32: standard normal for the latents of the photo and of the condition; zeros where the
    recipe wants their means, so that mean + deviation * posterior is right in both cases."""


def draw(
    recipe: NoiseRecipe, positions: Iterable[int] | Tensor, shape: tuple[int, int, int], seed: int
) -> Draw:
    """The noise of the rows at `positions` of a run.

    A row is a function of (recipe, shape, seed, position), whatever else is in the batch: processes that share the
    positions among themselves draw together what one process would alone. No global generator is used.

    Args:
        positions: numbers of the rows within the run, 0 to 2**64 - 1.
        shape: (c, h, w) of the latents.
        seed: any whole number; taken modulo 2**64.
    """
    rows = _integers(positions)
    noise = np.stack([_generator(seed, p, _NOISE).standard_normal(shape, np.float32) for p in rows])
    if recipe.offset:
        shared = [_generator(seed, p, _OFFSET).standard_normal((shape[0], 1, 1), np.float32) for p in rows]
        noise += np.float32(recipe.offset) * np.stack(shared)
    if recipe.latents == "sample":
        both = [_generator(seed, p, _POSTERIOR).standard_normal((2, *shape), np.float32) for p in rows]
        posterior = torch.from_numpy(np.stack(both))
    else:
        posterior = torch.zeros(()).expand(len(rows), 2, *shape)
    return Draw(torch.from_numpy(noise), draw_timesteps(recipe, rows, seed), posterior)


def draw_timesteps(recipe: NoiseRecipe, positions: Iterable[int] | Tensor, seed: int) -> Tensor:
    """The timesteps of `draw` alone: (B,) int64, 0 to 999."""
    normals, uniforms, chances = [], [], []
    for position in _integers(positions):
        generator = _generator(seed, position, _TIMESTEP)
        normals.append(generator.standard_normal())
        uniforms.append(int(generator.integers(TRAIN_STEPS)))
        chances.append(generator.random())
    uniform = torch.tensor(uniforms, dtype=torch.int64)
    if recipe.timesteps == "uniform":
        return uniform
    if recipe.timesteps == "last":
        return torch.full_like(uniform, TRAIN_STEPS - 1)
    lognormal = lognormal_timesteps(torch.tensor(normals, dtype=torch.float64))
    if recipe.timesteps == "lognormal":
        return lognormal
    return torch.where(torch.tensor(chances) < _UNIFORM_SHARE, uniform, lognormal)


def lognormal_timesteps(normals: Tensor) -> Tensor:
    """floor(1000 sigmoid(z)) of standard normal z (B,), int64: 0 to 999, mean 499, in practice 6 to 992."""
    return (normals.sigmoid() * TRAIN_STEPS).long().clamp(max=TRAIN_STEPS - 1)


class Diffusion:
    """Arithmetic of noised latents (B, c, h, w) at timesteps (B,), in float32 whatever comes in.

    `kind` is what a network predicts: "epsilon", the noise; "v", a n - s z; "sample", the clean latents.
    Methods raise SettingsError for another kind.

    Args:
        schedule: abar of every timestep; None takes the published one.
    """

    def __init__(self, schedule: NoiseSchedule | None = None):
        alphas = (schedule or scaled_linear()).alphas_cumprod
        ended = torch.from_numpy(np.append(alphas, 1.0))  # the last entry is also number -1
        self.alpha_bar = torch.from_numpy(alphas).float()
        """(T,) float32."""
        self._signal, self._sigma = ended.sqrt().float(), (1 - ended).sqrt().float()

    def to(self, device: torch.device | str) -> Diffusion:
        """Move the tables; returns itself."""
        self.alpha_bar = self.alpha_bar.to(device)
        self._signal, self._sigma = self._signal.to(device), self._sigma.to(device)
        return self

    def signal(self, timesteps: Tensor) -> Tensor:
        """a (B, 1, 1, 1) at timesteps (B,), -1 to T - 1."""
        return self._signal[timesteps].view(-1, 1, 1, 1)

    def sigma(self, timesteps: Tensor) -> Tensor:
        """s (B, 1, 1, 1) at timesteps (B,), -1 to T - 1."""
        return self._sigma[timesteps].view(-1, 1, 1, 1)

    def noisy(self, clean: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """x_t."""
        return self.signal(timesteps) * clean.float() + self.sigma(timesteps) * noise.float()

    def target(self, kind: Prediction, clean: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """What a network that predicts `kind` should put out."""
        if kind == "epsilon":
            return noise.float()
        if kind == "v":
            return self.signal(timesteps) * noise.float() - self.sigma(timesteps) * clean.float()
        _check(kind)
        return clean.float()

    def clean_from(self, kind: Prediction, predicted: Tensor, noisy: Tensor, timesteps: Tensor) -> Tensor:
        """The clean latents that a prediction at x_t = `noisy` means; timesteps 0 and above."""
        a, s = self.signal(timesteps), self.sigma(timesteps)
        if kind == "epsilon":
            return (noisy.float() - s * predicted.float()) / a
        if kind == "v":
            return a * noisy.float() - s * predicted.float()
        _check(kind)
        return predicted.float()

    def noise_from(self, kind: Prediction, predicted: Tensor, noisy: Tensor, timesteps: Tensor) -> Tensor:
        """The noise that a prediction at x_t = `noisy` means; timesteps 0 and above."""
        a, s = self.signal(timesteps), self.sigma(timesteps)
        if kind == "epsilon":
            return predicted.float()
        if kind == "v":
            return s * noisy.float() + a * predicted.float()
        _check(kind)
        return (noisy.float() - a * predicted.float()) / s

    def ddim(
        self, kind: Prediction, predicted: Tensor, noisy: Tensor, timesteps: Tensor, to: Tensor
    ) -> Tensor:
        """Where a deterministic DDIM step from `timesteps` lands at timesteps `to` (B,), -1 = clean.

        x' = (s' / s) x + (a' - a s' / s) z: Song et al., 2021, equation 12 without noise.
        """
        ratio, share = self._jump(timesteps, to)
        return ratio * noisy.float() + share * self.clean_from(kind, predicted, noisy, timesteps)

    def clean_for_jump(self, noisy: Tensor, timesteps: Tensor, landed: Tensor, to: Tensor) -> Tensor:
        """The clean latents with which `ddim` from `noisy` would land at `landed`; needs to < timesteps."""
        ratio, share = self._jump(timesteps, to)
        return (landed.float() - ratio * noisy.float()) / share

    def _jump(self, timesteps: Tensor, to: Tensor) -> tuple[Tensor, Tensor]:
        """Weights of x_t and of the clean latents in x_to."""
        ratio = self.sigma(to) / self.sigma(timesteps)
        return ratio, self.signal(to) - self.signal(timesteps) * ratio


def _check(kind: str) -> None:
    if kind not in get_args(Prediction):
        raise SettingsError(f"prediction: expected one of {', '.join(get_args(Prediction))}, got {kind!r}")


def _generator(seed: int, position: int, purpose: int) -> np.random.Generator:
    """Random numbers of one row for one purpose: Philox with key (seed, position); purposes are 2**192 apart."""
    key = np.array([seed % 2**64, position], np.uint64)
    return np.random.Generator(np.random.Philox(key=key, counter=np.array([0, 0, 0, purpose], np.uint64)))


def _integers(positions: Iterable[int] | Tensor) -> Sequence[int]:
    rows = positions.tolist() if isinstance(positions, Tensor) else [int(p) for p in positions]
    if not rows or min(rows) < 0:
        raise SettingsError(f"positions: expected at least one, none below 0, got {rows[:3]}")
    return rows
