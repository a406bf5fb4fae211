"""The backward pass of a distillation step as the release does it: the baseline of a benchmark and of a proof.

Seven partial backward passes take the gradient norms, each from a loss through everything behind it, the perceptual
network included, and two of them only for the log; then the whole loss is passed backward once more.
`weighting.GradientNormWeights` makes the same numbers from two vectors.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from moebius.training.weighting import AT_OUTPUT, LossRecipe, gradient_norm, gradient_ratio


@dataclass(frozen=True)
class PublishedStep:
    """What the step measured, detached; names as in `weighting.Balanced`."""

    total: Tensor
    ratios: dict[str, Tensor]
    norms: dict[str, Tensor]


def published_step(
    losses: Mapping[str, Tensor],
    output_probe: nn.Parameter,
    feature_probe: nn.Parameter,
    recipe: LossRecipe | None = None,
) -> PublishedStep:
    """Weigh the four losses and add the gradient of their sum to every parameter.

    Args:
        losses: "coarse", "task", "output" and "perceptual": scalars with their graphs; like the release, this
            function needs all of them.
        output_probe: P_o, the last layer of the prediction.
        feature_probe: P_f, the last layer before the coarse feature.
        recipe: its weights and form; "paper" takes one pass more, for the bracket. None takes the defaults.

    Raises:
        KeyError: a loss is missing.
    """
    recipe = recipe or LossRecipe()
    norms = {"norm_coarse_at_feature": _norm(losses["coarse"], feature_probe)}
    for name in AT_OUTPUT:
        norms[f"norm_{name}_at_feature"] = _norm(losses[name], feature_probe)
        norms[f"norm_{name}_at_output"] = _norm(losses[name], output_probe)

    squared = recipe.form == "paper"
    ratios = {}
    bracket = recipe.task * losses["task"]
    for name in ("output", "perceptual"):
        above, below = norms["norm_task_at_output"], norms[f"norm_{name}_at_output"]
        ratio = gradient_ratio(above, below, guard=1e-6, squared=squared)
        ratios[f"ratio_{name}"] = torch.ones_like(ratio) if recipe.form == "fixed" else ratio
        bracket = bracket + recipe.weight(name) * ratios[f"ratio_{name}"] * losses[name]
    below = norms["norm_task_at_feature"]
    if squared:
        below = norms["norm_bracket_at_feature"] = _norm(bracket, feature_probe)
    ratio = gradient_ratio(norms["norm_coarse_at_feature"], below, guard=1e-4, squared=squared)
    ratios["ratio_task"] = torch.ones_like(ratio) if recipe.form == "fixed" else ratio
    total = recipe.coarse * losses["coarse"] + ratios["ratio_task"] * bracket
    total.backward()  # type: ignore[no-untyped-call]
    return PublishedStep(total.detach(), ratios, norms)


def _norm(loss: Tensor, probe: nn.Parameter) -> Tensor:
    (gradient,) = torch.autograd.grad(loss, probe, retain_graph=True)
    return gradient_norm(gradient)
