"""Consistency distillation in segments: a student that ends where its teacher's many steps end, in few of its own.

A plan of K solver steps visits K timesteps. Each step is a segment, and inside a segment the student learns to
jump to the segment's end from any place on the teacher's path: from t it must land where it would itself land from
t', one small teacher step further on (Song et al., Consistency Models, 2023; in segments: Heek et al., Multistep
Consistency Models, 2024). What lands at the end is compared in the clean latents, through the inverse of the DDIM
step, so the student keeps predicting what it predicted, and the ordinary DDIM loop with K steps is its sampler.
With K = 1 this is consistency distillation as first published.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn

from moebius.sampling import trailing_timesteps
from moebius.training.inputs import Inputs
from moebius.training.objectives import Goal, autocast, guided
from moebius.training.recipe import Recipe


def segments(steps: int, teacher_steps: int, first: int) -> list[tuple[int, ...]]:
    """The timesteps of each of `steps` segments: its own solver timestep first, its end last (-1 = clean).

    Every segment has teacher_steps / steps small steps, fewer where timesteps run out.
    """
    ends = [*trailing_timesteps(steps, first), -1]
    inside = teacher_steps // steps
    made = []
    for top, bottom in pairwise(ends):
        grid = np.linspace(top, bottom, inside + 1).round().astype(int)
        made.append(tuple(dict.fromkeys(int(t) for t in grid)))
    return made


@dataclass
class Consistency:
    """The objective. `average` gives the averaged student, which is what the targets are made with."""

    recipe: Recipe
    teacher: nn.Module
    average: Callable[[], nn.Module]
    wants_feature: bool = False

    def __post_init__(self) -> None:
        assert self.recipe.feeding is not None
        few, first = self.recipe.few, self.recipe.feeding.first_timestep
        triples = [
            (segment[i], segment[i + 1], segment[-1])
            for segment in segments(few.steps, few.teacher_steps, first)
            for i in range(len(segment) - 1)
        ]
        self._triples = torch.tensor(triples)  # (from, one teacher step on, end of the segment)

    def goal(self, inputs: Inputs) -> Goal:
        chosen = self._triples[self._choose(inputs.timesteps)].to(inputs.clean.device)
        start, halfway, end = chosen.unbind(1)
        moved, diffusion, kind = inputs.at(start), inputs.diffusion, inputs.feeding.prediction
        noisy = moved.noisy
        with torch.no_grad():
            taught = guided(self.teacher, self.recipe, inputs, noisy, start)
            stepped = diffusion.ddim(kind, taught, noisy, start, halfway)
            landed = self._land(inputs, stepped, halfway, end)
            wanted = diffusion.clean_for_jump(noisy, start, landed, end)
        scale = diffusion.sigma(start)

        def output(predicted: Tensor) -> Tensor:
            clean = diffusion.clean_from(kind, predicted, noisy, start)
            return ((clean - wanted) / scale).square().mean()

        return Goal({"output": output}, inputs=moved)

    def _choose(self, timesteps: Tensor) -> Tensor:
        """Which small step each row is about: the drawn timestep, uniform or not, as a place in the list."""
        places = (timesteps.cpu().double() + 0.5) / 1000 * len(self._triples)
        return len(self._triples) - 1 - places.long().clamp(max=len(self._triples) - 1)

    def _land(self, inputs: Inputs, noisy: Tensor, timesteps: Tensor, end: Tensor) -> Tensor:
        """Where the averaged student lands from `noisy`; rows that are at their end already stay there."""
        arrived = timesteps == end
        if arrived.all():
            return noisy
        at = torch.where(arrived, torch.zeros_like(timesteps), timesteps)
        ids = torch.arange(inputs.ids.shape[1], device=noisy.device).expand(len(noisy), -1)
        with autocast(self.recipe, noisy.device):
            predicted = self.average()(inputs.with_noisy(noisy), at, ids).float()
        landed = inputs.diffusion.ddim(inputs.feeding.prediction, predicted, noisy, at, end)
        return torch.where(arrived[:, None, None, None], noisy, landed)
