"""Export a model to ONNX graphs whose weights stay in the model's one safetensors file.

An ONNX initializer may live in another file, at an offset and of a length; a safetensors file is raw tensors
behind a header that says at which offset each begins. So every parameter of an exported graph points straight
into `weights.safetensors` (stored as float16, cast to float32 where it enters the graph; ONNX Runtime folds the
cast when it opens the graph), and torch and ONNX Runtime read the same bytes.

Heights and widths are symbolic; a runtime that wants fixed shapes overrides them when it opens the graph.
"""

from __future__ import annotations

import json
import struct
from pathlib import Path

import onnx
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from moebius.export.trace import DecoderGraph, DenoiserGraph, EncoderGraph, Sizes, trace
from moebius.networks.autoencoder import NanoAutoencoder
from moebius.networks.denoiser import MoebiusUNet


def export_graphs(denoiser: MoebiusUNet, autoencoder: NanoAutoencoder, folder: Path) -> list[Path]:
    """Write denoiser.onnx, encoder.onnx and decoder.onnx beside `folder`/weights.safetensors.

    The weights file must exist and hold the networks' tensors as `denoiser.*` and `autoencoder.*`.

    Raises:
        ValueError: a parameter of a graph is not in the weights file.
    """
    _check_names(denoiser, autoencoder, folder)  # the exporter takes its time
    config = denoiser.config
    sizes = Sizes(config.latent_channels, config.tokens, config.multiple, autoencoder.config.factor)
    graphs: dict[str, nn.Module] = {
        "denoiser": DenoiserGraph(denoiser),
        "encoder": EncoderGraph(autoencoder),
        "decoder": DecoderGraph(autoencoder),
    }
    written = []
    for name, module in graphs.items():
        model = trace(name, module, sizes, optimize=False)
        share_weights(model, folder / "weights.safetensors")
        path = folder / f"{name}.onnx"
        onnx.save(model, path)
        written.append(path)
    return written


def _check_names(denoiser: nn.Module, autoencoder: nn.Module, folder: Path) -> None:
    known = safetensors_layout(folder / "weights.safetensors")
    for prefix, net in (("denoiser", denoiser), ("autoencoder", autoencoder)):
        for name, _ in net.named_parameters():
            if f"{prefix}.{name}" not in known:
                raise ValueError(f"{prefix}.{name} is not in weights.safetensors")


def share_weights(model: onnx.ModelProto, weights: Path) -> None:
    """Make every parameter of `model` point into the safetensors file `weights`, in place.

    Parameters stored as float16 get a Cast to the type the graph expects. Small constants stay inside the graph.

    Raises:
        ValueError: a floating-point initializer of more than 64 elements is not in the file, or its shape differs.
    """
    entries = safetensors_layout(weights)
    kept, casts = [], []
    for tensor in model.graph.initializer:
        entry = entries.get(tensor.name)
        if entry is None:
            if tensor.data_type == TensorProto.FLOAT and numpy_helper.to_array(tensor).size > 64:
                raise ValueError(f"{tensor.name} {list(tensor.dims)} is not in {weights.name}")
            kept.append(tensor)
            continue
        data_type, shape, offset, length = entry
        if list(tensor.dims) != shape:
            raise ValueError(f"{tensor.name}: the graph has {list(tensor.dims)}, {weights.name} has {shape}")
        outside = TensorProto(name=tensor.name, data_type=data_type, dims=shape)
        outside.data_location = TensorProto.EXTERNAL
        for key, value in (("location", weights.name), ("offset", str(offset)), ("length", str(length))):
            outside.external_data.add(key=key, value=value)
        if data_type != tensor.data_type:
            outside.name = f"{tensor.name}.stored"
            casts.append(helper.make_node("Cast", [outside.name], [tensor.name], to=tensor.data_type))
        kept.append(outside)
    nodes = list(model.graph.node)
    del model.graph.initializer[:], model.graph.node[:]
    model.graph.initializer.extend(kept)
    model.graph.node.extend(casts + nodes)


def safetensors_layout(path: Path) -> dict[str, tuple[int, list[int], int, int]]:
    """Where each tensor of a safetensors file lies: name -> (ONNX data type, shape, offset, length in bytes)."""
    types = {
        "F16": TensorProto.FLOAT16,
        "F32": TensorProto.FLOAT,
        "BF16": TensorProto.BFLOAT16,
        "I64": TensorProto.INT64,
        "I8": TensorProto.INT8,
    }
    with path.open("rb") as file:
        (size,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(size))
    header.pop("__metadata__", None)
    return {
        name: (
            types[e["dtype"]],
            e["shape"],
            8 + size + e["data_offsets"][0],
            e["data_offsets"][1] - e["data_offsets"][0],
        )
        for name, e in header.items()
    }
