"""How good the averaged network is on photos that it was not trained on, always the same ones.

Losses are those of the run's objective, at fixed noise; `t100` to `t900` are the mean squared errors of the clean
latents inside the hole at fixed timesteps (`t999` where no other is trained); `fill_error` compares finished fills with
the photos.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from moebius.networks.perceptual import LPIPSSqueeze
from moebius.sampling.schedule import TRAIN_STEPS
from moebius.training.data.loader import Batch
from moebius.training.inputs import Feeder, Inputs
from moebius.training.live import Fill, fill_rows
from moebius.training.objectives import Objective, coarse_feature
from moebius.training.recipe import Recipe
from moebius.weights import ModelSpec

TIMESTEPS = (100, 300, 500, 700, 900)
LAST = (TRAIN_STEPS - 1,)
"""Where the recipe trains no other."""


class HeldOut:
    """A fixed set of held-out samples, and measurements on it.

    Args:
        batches: the held-out samples; kept in memory as latents.
    """

    def __init__(self, recipe: Recipe, feeder: Feeder, batches: Sequence[Batch], spec: ModelSpec):
        self._recipe, self._spec, self._coder = recipe, spec, feeder.coder
        self._inputs = [feeder(batch) for batch in batches]

    @torch.no_grad()
    def losses(self, net: nn.Module, objective: Objective) -> dict[str, float]:
        """Means over the set; `held_out` is the one that decides which checkpoint is best."""
        was_training = net.training
        net.eval()
        sums: dict[str, float] = {}
        rows = 0
        for inputs in self._inputs:
            goal = objective.goal(inputs)
            seen = goal.inputs or inputs
            predicted, features = net(seen.x, seen.timesteps, seen.ids, return_features=True)
            values = {name: float(loss(predicted.float())) for name, loss in goal.output.items()}
            if goal.feature is not None:
                values["coarse"] = float(goal.feature(coarse_feature(features, self._recipe)))
            values |= self._by_timestep(net, inputs)
            for name, value in values.items():
                sums[name] = sums.get(name, 0.0) + value * len(inputs.keys)
            rows += len(inputs.keys)
        net.train(was_training)
        means = {name: value / rows for name, value in sums.items()}
        first = next(name for name in ("task", "output", *means) if name in means)
        return {"held_out": means[first] + means.get("picture", 0.0), **means}

    def fills(self, net: nn.Module, lpips: LPIPSSqueeze | None) -> tuple[dict[str, float], NDArray[np.uint8]]:
        """Fills of the first samples by the deployed sampler: their errors, and a sheet (H, W, 3) uint8."""
        was_training = net.training
        net.eval()
        wanted = self._recipe.run.pictures
        fills: list[Fill] = []
        for inputs in self._inputs:
            part = _first(inputs, wanted - len(fills))
            steps = self._spec.defaults.steps
            fills += fill_rows(net, self._coder, self._spec, part, steps=steps, guidance=1.0)
            if len(fills) >= wanted:
                break
        net.train(was_training)
        errors = {"fill_error": float(np.mean([fill.error for fill in fills]))}
        if lpips is not None:
            errors["fill_lpips"] = _distance(fills, lpips)
        return errors, _sheet(fills)

    def _by_timestep(self, net: nn.Module, inputs: Inputs) -> dict[str, float]:
        values = {}
        for timestep in LAST if self._recipe.noise.timesteps == "last" else TIMESTEPS:
            at = inputs.at(torch.full_like(inputs.timesteps, timestep))
            noisy = at.noisy
            predicted = net(at.with_noisy(noisy), at.timesteps, at.ids).float()
            clean = at.diffusion.clean_from(at.feeding.prediction, predicted, noisy, at.timesteps)
            error = (at.mask * (clean - at.clean).square()).sum() / (at.mask.sum() * clean.shape[1])
            values[f"t{timestep}"] = float(error)
        return values


def _first(inputs: Inputs, rows: int) -> Inputs:
    return replace(
        inputs,
        keys=inputs.keys[:rows],
        image=inputs.image[:rows],
        pixel_mask=inputs.pixel_mask[:rows],
        condition=inputs.condition[:rows],
        mask=inputs.mask[:rows],
    )


def _distance(fills: Sequence[Fill], lpips: LPIPSSqueeze) -> float:
    device = next(lpips.parameters()).device
    pairs = [
        torch.from_numpy(np.stack([getattr(fill, name) for fill in fills])).permute(0, 3, 1, 2)
        for name in ("filled", "photo")
    ]
    with torch.inference_mode():
        ours, truth = (pair.to(device).float() / 127.5 - 1 for pair in pairs)
        return float(lpips(ours, truth).mean())


def _sheet(fills: Sequence[Fill], gap: int = 4) -> NDArray[np.uint8]:
    """Rows of photo with its hole tinted, fill, photo; two fills a row."""
    strips = []
    for fill in fills:
        tinted = fill.photo.copy()
        tinted[fill.shown] = (0.35 * tinted[fill.shown] + 0.65 * np.array([235, 60, 80])).astype(np.uint8)
        strips.append(np.hstack([_framed(part, gap) for part in (tinted, fill.filled, fill.photo)]))
    if len(strips) % 2:
        strips.append(np.full_like(strips[0], 255))
    rows = [np.hstack(strips[i : i + 2]) for i in range(0, len(strips), 2)]
    return np.vstack(rows)


def _framed(pixels: NDArray[np.uint8], gap: int) -> NDArray[np.uint8]:
    return np.pad(pixels, ((gap, gap), (gap, gap), (0, 0)), constant_values=255)
