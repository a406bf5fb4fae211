"""A fused denoiser straight from a model's file: one part of the plain network in memory at a time."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import torch
from torch import Tensor, nn

from moebius.engines.fuse import FusedUNet, fuse
from moebius.errors import CorruptWeightsError
from moebius.networks import MoebiusUNet, build_denoiser
from moebius.weights import ModelFolder
from moebius.weights.cache import WEIGHTS_FILE
from moebius.weights.store import tensor_names

TIMESTEPS = range(1000)
"""All that a denoiser is ever asked for: their table is smaller than the weights it is made from."""
PREFIX = "denoiser."
KINDS = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
}
"""Number formats of safetensors, by its names."""


def load_fused(folder: ModelFolder, dtype: torch.dtype) -> FusedUNet:
    """The denoiser of a model that is a `MoebiusUNet`, fused, on the CPU, in `dtype`.

    The file is read part by part and each is converted when it is fused, so the weights are never there twice.

    Raises:
        CorruptWeightsError: the weights do not fit the network that model.json describes.
    """
    path = folder.path / WEIGHTS_FILE
    names = {name.removeprefix(PREFIX) for name in tensor_names(path) if name.startswith(PREFIX)}
    try:
        with torch.device(
            "meta"
        ):  # no numbers are drawn, and no memory taken, for weights that come from the file
            net = build_denoiser("moebius", folder.spec.denoiser)
        assert isinstance(net, MoebiusUNet)
        wrong = sorted(names ^ set(net.state_dict()))
        if wrong:
            raise ValueError(f"{len(wrong)} names differ, the first is {wrong[0]}")
        return fuse(net, timesteps=TIMESTEPS, dtype=dtype, fetch=lambda name: _part(net, name, path))
    except (RuntimeError, TypeError, ValueError, KeyError) as error:
        reason = " ".join(str(error).split())[:200]
        raise CorruptWeightsError(
            f"{folder.path}: the weights do not fit what its JSON describes: {reason}"
        ) from error


def _part(net: MoebiusUNet, name: str, path: Path) -> nn.Module:
    """A part of the network on the meta device, with its weights, in float32."""
    part = copy.deepcopy(net.get_submodule(name))
    tensors = _read(path, {f"{PREFIX}{name}.{key}": key for key in part.state_dict()})
    part.load_state_dict(tensors, assign=True)
    return part.eval().requires_grad_(False)


def _read(path: Path, names: dict[str, str]) -> dict[str, Tensor]:
    """Those tensors of a safetensors file, under other names, numbers in float32.

    Read and not mapped: pages of a mapped file would count as this process's memory until it is closed.
    """
    tensors = {}
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(size))
        for name, own in names.items():
            entry = header[name]
            start, stop = entry["data_offsets"]
            file.seek(8 + size + start)
            data = bytearray(file.read(stop - start))
            tensor = torch.frombuffer(data, dtype=KINDS[entry["dtype"]]).reshape(entry["shape"])
            tensors[own] = tensor.float() if tensor.is_floating_point() else tensor
    return tensors
