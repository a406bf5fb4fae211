"""What a network is trained to do: each objective says what is compared, as functions of the network's outputs.

    diffusion      predict the noise (or v) that was added                                  training, fine-tuning
    distillation   that, and what a teacher predicts, its 16 x 16 features, and a perceptual distance of the
                   clean latents (Moebius paper, section 3.3)
    guidance       predict what a teacher predicts under guidance: no doubled batch afterwards
    consistency    predict where a teacher's many small steps end, from wherever on the way: few steps afterwards

A `Goal` holds functions of a leaf: they are evaluated on the detached output, so that the perceptual network is
passed backward once and the student once, whatever the number of terms (`training.weighting`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor, nn

from moebius.engines.networks import Autoencoder
from moebius.errors import SettingsError
from moebius.networks.perceptual import LPIPSSqueeze
from moebius.training.inputs import Inputs
from moebius.training.losses import coarse_loss, output_loss, task_loss
from moebius.training.perceptual import Perceptual
from moebius.training.recipe import Recipe

Loss = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Goal:
    """What one batch is compared with."""

    output: Mapping[str, Loss]
    """Losses of the prediction (B, c, h, w), by term."""
    feature: Loss | None = None
    """Loss of the student's coarse feature."""
    inputs: Inputs | None = None
    """What the network reads, where it is not the batch as it came."""


class Objective(Protocol):
    """Makes the goal of a batch; runs teachers, without gradients."""

    wants_feature: bool
    """Whether the goal has a loss of the coarse feature."""

    def goal(self, inputs: Inputs) -> Goal: ...


@dataclass
class Denoising:
    """Predict what was added. A share of the rows may be filled in one step instead and compared as pictures."""

    recipe: Recipe
    coder: Autoencoder | None = None
    lpips: LPIPSSqueeze | None = None
    wants_feature: bool = False

    def goal(self, inputs: Inputs) -> Goal:
        weight = _weight(self.recipe, inputs)
        whole = round(self.recipe.picture.share * len(inputs.keys))
        if not whole:
            target = inputs.target
            return Goal({"task": lambda predicted: task_loss(predicted, target, weight)})
        timesteps = inputs.timesteps.clone()
        timesteps[:whole] = inputs.feeding.first_timestep
        moved = inputs.at(timesteps)
        target = moved.target
        return Goal(
            {
                "task": lambda predicted: task_loss(predicted, target, weight),
                "picture": lambda predicted: self._picture(moved, predicted, whole),
            },
            inputs=moved,
        )

    def _picture(self, inputs: Inputs, predicted: Tensor, rows: int) -> Tensor:
        """Mean |error| in the hole of the first rows' decoded fills, and LPIPS over the hole's share of the crop."""
        assert self.coder is not None
        kind = inputs.feeding.prediction
        clean = inputs.diffusion.clean_from(kind, predicted, inputs.noisy, inputs.timesteps)
        latents = inputs.latents(clean)[:rows]
        image, mask = inputs.image[:rows], inputs.pixel_mask[:rows]
        with torch.autocast(latents.device.type, torch.bfloat16):
            picture = self.coder.decode(latents).float()
        error = (mask * (picture - image)).abs().sum() / (3 * mask.sum()).clamp_min(1)
        if self.lpips is None or not self.recipe.picture.lpips:
            return error
        with torch.autocast(latents.device.type, torch.bfloat16):
            distance: Tensor = self.lpips(torch.lerp(image, picture, mask), image).float()
        share = mask.mean((1, 2, 3)).clamp_min(1e-3)
        return error + self.recipe.picture.lpips * (distance / share).mean()


@dataclass
class Distillation:
    """The paper's four terms, those with a static weight of 0 left out (section 3.3, equations 4 and 5)."""

    recipe: Recipe
    teacher: nn.Module
    perceptual: Perceptual | None
    wants_feature: bool = field(init=False)

    def __post_init__(self) -> None:
        self.wants_feature = bool(self.recipe.loss.coarse)

    def goal(self, inputs: Inputs) -> Goal:
        loss, weight, target = self.recipe.loss, _weight(self.recipe, inputs), inputs.target
        terms: dict[str, Loss] = {}
        feature: Loss | None = None
        if loss.coarse or loss.output:
            predicted, features = _predict(self.teacher, self.recipe, inputs, return_features=True)
            if loss.output:
                terms["output"] = lambda ours: output_loss(ours, predicted, weight)
            if loss.coarse:
                taught = _tap(features, loss.teacher_tap, "teacher_tap")
                feature = lambda ours: coarse_loss(ours, taught)  # noqa: E731
        if loss.task:
            terms["task"] = lambda ours: task_loss(ours, target, weight)
        if loss.perceptual and self.perceptual is not None:
            distance, noisy = self.perceptual, inputs.noisy

            def perceptual(ours: Tensor) -> Tensor:
                kind = inputs.feeding.prediction
                clean = inputs.diffusion.clean_from(kind, ours, noisy, inputs.timesteps)
                return distance(clean, inputs.clean, inputs)

            terms["perceptual"] = perceptual
        return Goal(terms, feature)


@dataclass
class Guidance:
    """Predict u + w (c - u) of a teacher from the condition's ids alone: one network call a step instead of two."""

    recipe: Recipe
    teacher: nn.Module
    wants_feature: bool = False

    def goal(self, inputs: Inputs) -> Goal:
        taught = guided(self.teacher, self.recipe, inputs, inputs.noisy, inputs.timesteps)
        weight = _weight(self.recipe, inputs)
        return Goal({"output": lambda ours: output_loss(ours, taught, weight)})


def guided(teacher: nn.Module, recipe: Recipe, inputs: Inputs, noisy: Tensor, timesteps: Tensor) -> Tensor:
    """The teacher's prediction (B, c, h, w) under `few.guidance`; at exactly 1 it is called once."""
    scale, x = recipe.few.guidance, inputs.with_noisy(noisy)
    tokens = inputs.ids.shape[1]
    wanted = torch.arange(tokens, device=x.device).expand(len(x), -1)
    with torch.no_grad(), autocast(recipe, x.device):
        if scale == 1.0:
            alone: Tensor = teacher(x, timesteps, wanted)
            return alone.float()
        both = teacher(torch.cat([x, x]), torch.cat([timesteps] * 2), torch.cat([wanted + tokens, wanted]))
    opposite, condition = both.float().chunk(2)
    return torch.lerp(opposite, condition, scale)


def autocast(recipe: Recipe, device: torch.device) -> torch.autocast:
    """The networks' arithmetic as the recipe wants it."""
    return torch.autocast(device.type, torch.bfloat16, enabled=recipe.run.precision == "bfloat16")


def _predict(
    teacher: nn.Module, recipe: Recipe, inputs: Inputs, *, return_features: bool
) -> tuple[Tensor, list[Tensor]]:
    with torch.no_grad(), autocast(recipe, inputs.clean.device):
        predicted, features = teacher(inputs.x, inputs.timesteps, inputs.ids, return_features=return_features)
    return predicted.float(), features


def _tap(features: list[Tensor], index: int, name: str) -> Tensor:
    if not 0 <= index < len(features):
        raise SettingsError(f"loss.{name}: expected 0 to {len(features) - 1} for this network, got {index}")
    return features[index].float()


def _weight(recipe: Recipe, inputs: Inputs) -> Tensor | None:
    outside = recipe.loss.outside
    return None if outside == 1.0 else inputs.mask + outside * (1 - inputs.mask)


def coarse_feature(features: list[Tensor], recipe: Recipe) -> Tensor:
    """The student's feature that the coarse term compares."""
    return _tap(features, recipe.loss.student_tap, "student_tap")
