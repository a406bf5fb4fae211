"""Checkpoints: everything a run needs to go on, in one safetensors file, written atomically.

Training draws all its randomness from (seed, position), so there is no generator state to save: weights, averaged
weights, optimiser state, a few further tensors and the step are the whole state of a run.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from moebius.errors import CorruptWeightsError, OutputError, TrainingError, WeightsError
from moebius.weights.store import write_tensors

FREE = {
    "title", "run.steps", "run.log_every", "run.validate_every", "run.held_out", "run.pictures",
    "run.sample_steps", "run.settle", "run.compile", "autoencoder", "teacher", "start",
}  # fmt: skip
"""Recipe fields that a run may go on with changed: they decide nothing about the steps already made, or (the models'
names) are compared by contents instead."""


@dataclass(frozen=True)
class Restored:
    """What a checkpoint holds beside the networks and the optimiser."""

    step: int
    """Updates that were made; the step to go on with."""
    extra: dict[str, Tensor] = field(default_factory=dict)
    notes: dict[str, Any] = field(default_factory=dict)


def save_checkpoint(
    path: Path,
    *,
    net: nn.Module,
    ema: nn.Module,
    optimizer: torch.optim.Optimizer,
    step: int,
    recipe: dict[str, Any],
    extra: Mapping[str, Tensor] | None = None,
    notes: Mapping[str, Any] | None = None,
) -> None:
    """Write the run's state at `step` (that many updates are done) to `path`, replacing it in one move.

    Args:
        extra: further tensors, given back by `load_checkpoint`.
        notes: further JSON values: the best held-out loss so far, the digests of the models that took part.

    Raises:
        OutputError: it cannot be written (a full disk); what was there before is still there.
    """
    tensors: dict[str, Tensor] = {}
    for prefix, module in (("net", net), ("ema", ema)):
        tensors |= {f"{prefix}.{name}": tensor for name, tensor in module.state_dict().items()}
    for index, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{name}": torch.as_tensor(value) for name, value in state.items()}
    tensors |= {f"extra.{name}": tensor for name, tensor in (extra or {}).items()}
    metadata = {"step": str(step), "recipe": json.dumps(recipe), "notes": json.dumps(dict(notes or {}))}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_tensors(path, {name: tensor.detach().cpu() for name, tensor in tensors.items()}, metadata)
    except (WeightsError, OSError) as error:
        kept = "the checkpoint before it is still there" if path.exists() else "there is no earlier one"
        raise OutputError(f"checkpoint of step {step}: {error}; {kept}") from error


def load_checkpoint(
    path: Path, *, net: nn.Module, ema: nn.Module, optimizer: torch.optim.Optimizer
) -> Restored:
    """Put the run's state back in place.

    Raises:
        CorruptWeightsError: the file is damaged or belongs to a network of another shape.
    """
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
            metadata = file.metadata()
        restored = Restored(
            int(metadata["step"]), _under(tensors, "extra."), json.loads(metadata.get("notes", "{}"))
        )
        for prefix, module in (("net.", net), ("ema.", ema)):
            module.load_state_dict(_under(tensors, prefix))
        _restore_optimizer(optimizer, _under(tensors, "optimizer."))
    except (OSError, SafetensorError, LookupError, TypeError, ValueError, RuntimeError) as error:
        lines = str(error).splitlines()
        reason = " ".join(lines[1 if len(lines) > 1 else 0].split())[:200]
        raise CorruptWeightsError(f"{path}: expected a checkpoint of this network, got: {reason}") from error
    return restored


def check_same_run(path: Path, recipe: dict[str, Any], notes: Mapping[str, Any]) -> None:
    """That the checkpoint was made with this recipe and these models.

    Raises:
        TrainingError: it was not; names the first difference and both values.
        CorruptWeightsError: it cannot be read.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata()
        was = _flat(json.loads(metadata["recipe"]))
        models = json.loads(metadata.get("notes", "{}")).get("models", {})
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise CorruptWeightsError(f"{path}: expected a checkpoint of a training run, got: {error}") from error
    now = _flat(json.loads(json.dumps(recipe)))
    for name in sorted(now.keys() | was.keys()):
        if name not in FREE and now.get(name) != was.get(name):
            raise TrainingError(
                f"{path.parent} holds a run with {name} = {was.get(name)!r}, this one has {now.get(name)!r}: "
                "take another folder, or go on with the recipe it was begun with"
            )
    for role, digest in models.items():
        if notes.get("models", {}).get(role) != digest:
            raise TrainingError(f"{path.parent} holds a run with another {role}: take another folder")


def read_average(path: Path) -> dict[str, Tensor]:
    """The averaged weights in a checkpoint."""
    with safe_open(path, framework="pt") as file:
        return {name[4:]: file.get_tensor(name) for name in file.keys() if name.startswith("ema.")}  # noqa: SIM118


def _under(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}


def _restore_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        index, name = key.split(".", 1)
        parameter = parameters[int(index)]
        if tensor.shape == parameter.shape:  # fused optimisers need the parameter's own memory layout
            tensor = torch.empty_like(parameter, requires_grad=False).copy_(tensor)
        state.setdefault(int(index), {})[name] = tensor
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = value
    return flat
