"""Putting a run together: the objective of a recipe, and the layers whose gradients its weights are read from."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError
from torch import nn

from moebius.errors import CorruptWeightsError, DeviceError, SettingsError
from moebius.networks import MoebiusUNet
from moebius.networks.perceptual import LPIPSSqueeze, load_lpips
from moebius.training.few_steps import Consistency
from moebius.training.inputs import Feeder
from moebius.training.models import Models
from moebius.training.objectives import Denoising, Distillation, Guidance, Objective
from moebius.training.perceptual import DecodedFeatures, Perceptual, TeacherFeatures, elatentlpips_plugin
from moebius.training.recipe import Recipe


def make_objective(
    recipe: Recipe,
    models: Models,
    feeder: Feeder,
    lpips: LPIPSSqueeze | None,
    average: Callable[[], nn.Module],
) -> Objective:
    """The recipe's objective over the run's networks."""
    if recipe.objective == "diffusion":
        return Denoising(recipe, feeder.coder, lpips)
    assert models.teacher is not None
    if recipe.objective == "guidance":
        return Guidance(recipe, models.teacher)
    if recipe.objective == "consistency":
        return Consistency(recipe, models.teacher, average)
    return Distillation(recipe, models.teacher, _perceptual(recipe, models.teacher, feeder, lpips))


def _perceptual(
    recipe: Recipe, teacher: nn.Module, feeder: Feeder, lpips: LPIPSSqueeze | None
) -> Perceptual | None:
    if not recipe.loss.perceptual:
        return None
    half = torch.bfloat16 if recipe.run.precision == "bfloat16" else None
    if recipe.loss.perceptual_features == "teacher":
        return TeacherFeatures(teacher, autocast=half)
    if recipe.loss.perceptual_features == "elatentlpips":
        return elatentlpips_plugin(feeder.device)
    if lpips is None:
        raise SettingsError("loss.perceptual_features decoded: expected --features LPIPS_WEIGHTS, got none")
    return DecodedFeatures(feeder.coder, lpips, autocast=half)


def probes(net: nn.Module, recipe: Recipe) -> tuple[nn.Parameter | None, nn.Parameter | None]:
    """The weights at which gradient norms are compared: the last layer of the output, and of the coarse feature.

    Moebius paper, section 3.3: theta_F and theta_C; which layers exactly is the release's choice.
    """
    if recipe.objective != "distillation":
        return None, None
    assert isinstance(net, MoebiusUNet)
    stages = [*net.down, *net.up]
    tap = recipe.loss.student_tap
    if not 0 <= tap < len(stages):
        raise SettingsError(f"loss.student_tap: expected 0 to {len(stages) - 1}, got {tap}")
    stage = cast(Any, stages[tap])
    output: nn.Parameter = cast(Any, net.conv_out.conv_pw.weight)
    return output, stage.mixers[-1].proj_out.weight


def check_device(device: str) -> None:
    """Raises SettingsError for a device of another name, DeviceError for a GPU that is not here."""
    if device not in ("auto", "cpu", "cuda"):
        raise SettingsError(f"device: expected auto, cpu or cuda, got {device!r}")
    if device == "cuda" and not torch.cuda.is_available():
        raise DeviceError("device 'cuda' is not available here: expected a GPU that torch can use, got none")


def open_lpips(path: Path | None, device: torch.device) -> LPIPSSqueeze | None:
    """LPIPS-squeeze from its weights; None without a path.

    Raises:
        CorruptWeightsError: the file is missing, damaged or another network's.
    """
    if path is None:
        return None
    try:
        return load_lpips(path).to(device)
    except (OSError, SafetensorError, KeyError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise CorruptWeightsError(f"{path}: expected LPIPS-squeeze as safetensors, got: {reason}") from error
