"""From a recipe to an optimiser and its learning rate."""

from __future__ import annotations

import torch
from torch import nn

from moebius.training.muon import Muon, split_parameters
from moebius.training.recipe import OptimizerRecipe, Recipe
from moebius.training.schedule import rate


def make_optimizer(net: nn.Module, recipe: OptimizerRecipe) -> torch.optim.Optimizer:
    """Muon with AdamW for what is no matrix, or AdamW alone (biases, norms and tables are not decayed)."""
    if recipe.name == "muon":
        groups = split_parameters(
            net, rule=recipe.rule, learning_rate=recipe.learning_rate, weight_decay=recipe.weight_decay
        )
        return Muon(
            groups,
            lr=recipe.learning_rate,
            weight_decay=recipe.weight_decay,
            betas=recipe.betas,
            scale="published" if recipe.rule == "published" else "flattened",
        )
    wide = [p for p in net.parameters() if p.ndim >= 2]
    narrow = [p for p in net.parameters() if p.ndim < 2]
    groups = [{"params": wide}, {"params": narrow, "weight_decay": 0.0}]
    return torch.optim.AdamW(
        groups, lr=recipe.learning_rate, betas=recipe.betas, weight_decay=recipe.weight_decay, fused=True
    )


def rate_at(recipe: Recipe, step: int) -> float:
    """The learning rate of update number `step`, counted from 0."""
    how = recipe.optimizer
    return rate(
        step,
        peak=how.learning_rate,
        warmup=how.warmup,
        total=recipe.run.steps,
        kind=how.schedule,
        decay=how.decay,
        milestones=how.milestones,
    )
