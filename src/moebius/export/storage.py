"""The weights of a folder's graphs in one safetensors file, each stored in a format of its own.

A graph gets what it needs to make float32 of a stored tensor: a Cast, and for int8 a Mul by the scales. Runtimes fold
those when they open the graph. Tensors that several graphs have are stored once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from moebius.export.onnx import safetensors_layout
from moebius.export.rounding import round_int8
from moebius.weights.spec import Storage
from moebius.weights.store import write_tensors

SMALL = 64
"""Elements of what stays inside a graph."""
EXACT = 4096
"""Elements of a vector (bias, norm) that is stored in float32 in any case."""
FORMATS: dict[str, int] = {
    "float32": TensorProto.FLOAT,
    "float16": TensorProto.FLOAT16,
    "int8": TensorProto.INT8,
}


class Store:
    """Tensors on their way into a weights file, and how graphs reach them.

    Args:
        path: of the weights file.
        form: how to store the tensor of that name; asked for those of more than `EXACT` elements.
    """

    def __init__(self, path: Path, form: Callable[[str], Storage]):
        self._path, self._form = path, form
        self._tensors: dict[str, Tensor] = {}
        self._known: dict[str, str] = {}
        self.bytes: dict[str, int] = {}
        """Stored bytes by part: "denoiser", "autoencoder"."""

    def take(self, model: onnx.ModelProto, names: Mapping[str, str], part: str) -> None:
        """Move the large initializers of `model` into the file, in place; `write` must follow.

        Args:
            names: digest of a parameter's values, as `digests` has it -> its name, for parameters that the exporter
                renamed.
            part: begins the names of all others.
        """
        kept, made = [], []
        aliases: dict[str, str] = {}
        for tensor in model.graph.initializer:
            if tensor.data_type != TensorProto.FLOAT or np.prod(tensor.dims) <= SMALL:
                kept.append(tensor)
                continue
            values = numpy_helper.to_array(tensor)
            digest = _digest(values)
            if digest not in self._known:
                wanted = names.get(digest) or (
                    tensor.name if tensor.name.startswith(part) else f"{part}.{tensor.name}"
                )
                self._add(wanted, digest, values, part)
            key = self._known[digest]
            if key in aliases:  # the graph has it twice
                made.append(helper.make_node("Identity", [aliases[key]], [tensor.name]))
                continue
            aliases[key] = tensor.name
            kept += self._placeholders(key)
            made += self._nodes(key, tensor.name)
        nodes = list(model.graph.node)
        del model.graph.initializer[:], model.graph.node[:]
        model.graph.initializer.extend(kept)
        model.graph.node.extend([*made, *nodes])

    def write(self, models: Mapping[str, onnx.ModelProto]) -> None:
        """Write the weights file, point the graphs into it, and write them beside it as `name`.onnx."""
        write_tensors(self._path, self._tensors, {"format": "pt"})
        layout = safetensors_layout(self._path)
        for name, model in models.items():
            for tensor in model.graph.initializer:
                if tensor.data_location == TensorProto.EXTERNAL:
                    _, _, offset, length = layout[tensor.name.removesuffix(".stored")]
                    place = {"location": self._path.name, "offset": str(offset), "length": str(length)}
                    for key, value in place.items():
                        tensor.external_data.add(key=key, value=value)
            onnx.save(model, self._path.with_name(f"{name}.onnx"))

    def _add(self, key: str, digest: str, values: NDArray[np.float32], part: str) -> None:
        while key in self._tensors:
            key += "_"
        vector = values.size == max(values.shape)
        form = "float32" if values.size <= EXACT and vector else self._form(key)
        if form == "float16" and not np.isfinite(values.astype(np.float16)).all():
            form = "float32"
        stored = [(key, values.astype(np.float16) if form == "float16" else values)]
        if form == "int8":
            rounded = round_int8(values)
            stored = [(key, rounded.values), (f"{key}.scale", rounded.scale)]  # type: ignore[list-item]
        for name, array in stored:
            # A copy of what lies in the graph's bytes, which nobody may write to.
            own = np.ascontiguousarray(array) if array.flags.writeable else array.copy()
            self._tensors[name] = torch.from_numpy(own)
            self.bytes[part] = self.bytes.get(part, 0) + array.nbytes
        self._known[digest] = key

    def _placeholders(self, key: str) -> list[TensorProto]:
        found = []
        for name in (key, f"{key}.scale"):
            if name in self._tensors:
                tensor = self._tensors[name]
                form = FORMATS[str(tensor.dtype).removeprefix("torch.")]
                outside = TensorProto(name=f"{name}.stored", data_type=form, dims=tensor.shape)
                outside.data_location = TensorProto.EXTERNAL
                found.append(outside)
        return found

    def _nodes(self, key: str, name: str) -> list[onnx.NodeProto]:
        stored = f"{key}.stored"
        if self._tensors[key].dtype is torch.float32:
            return [helper.make_node("Identity", [stored], [name])]
        if f"{key}.scale" not in self._tensors:
            return [helper.make_node("Cast", [stored], [name], to=TensorProto.FLOAT)]
        whole = f"{key}.whole"
        return [
            helper.make_node("Cast", [stored], [whole], to=TensorProto.FLOAT),
            helper.make_node("Mul", [whole, f"{key}.scale.stored"], [name]),
        ]


def digests(module: nn.Module) -> dict[str, str]:
    """Digest -> name of each parameter and buffer, as it is and transposed, which exporters do."""
    found: dict[str, str] = {}
    for name, tensor in [*module.named_parameters(), *module.named_buffers()]:
        if tensor.is_floating_point():
            values = tensor.detach().numpy()
            found.setdefault(_digest(values), name)
            if values.ndim == 2:
                found.setdefault(_digest(values.T), name)
    return found


def _digest(values: NDArray[np.float32]) -> str:
    head = f"{values.shape}".encode()
    return hashlib.sha256(head + np.ascontiguousarray(values).tobytes()).hexdigest()
