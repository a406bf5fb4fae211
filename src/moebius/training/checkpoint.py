"""Checkpoints: everything a run needs to go on, in one safetensors file, written atomically.

Training draws all its randomness from (seed, step), so there is no generator state to save: weights, averaged
weights, optimiser state and the step are the whole state of a run.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from moebius.errors import CorruptWeightsError


def save_checkpoint(
    path: Path,
    *,
    net: nn.Module,
    ema: nn.Module,
    optimizer: torch.optim.Optimizer,
    step: int,
    recipe: dict[str, Any],
) -> None:
    """Write the run's state at `step` (that many updates are done) to `path`, replacing it in one move."""
    tensors: dict[str, Tensor] = {}
    for prefix, module in (("net", net), ("ema", ema)):
        tensors |= {f"{prefix}.{name}": tensor for name, tensor in module.state_dict().items()}
    for index, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{name}": torch.as_tensor(value) for name, value in state.items()}
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    save_file(tensors, partial, metadata={"step": str(step), "recipe": json.dumps(recipe)})
    partial.replace(path)


def load_checkpoint(path: Path, *, net: nn.Module, ema: nn.Module, optimizer: torch.optim.Optimizer) -> int:
    """Put the run's state back in place; returns the step to go on from.

    Raises:
        CorruptWeightsError: the file is damaged or belongs to a network of another shape.
    """
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
            step = int(file.metadata()["step"])
        for prefix, module in (("net", net), ("ema", ema)):
            head = f"{prefix}."
            module.load_state_dict({k[len(head) :]: v for k, v in tensors.items() if k.startswith(head)})
    except (OSError, SafetensorError, KeyError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise CorruptWeightsError(f"{path}: expected a checkpoint of this run, got: {reason}") from error
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        if key.startswith("optimizer."):
            _, index, name = key.split(".", 2)
            parameter = parameters[int(index)]
            if tensor.shape == parameter.shape:  # fused optimisers need the parameter's own memory layout
                tensor = torch.empty_like(parameter, requires_grad=False).copy_(tensor)
            state.setdefault(int(index), {})[name] = tensor
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": state, "param_groups": groups})
    return step
