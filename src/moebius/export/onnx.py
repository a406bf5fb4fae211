"""Export a model to ONNX graphs whose weights stay in the model's one safetensors file.

An ONNX initializer may live in another file, at an offset and of a length; a safetensors file is raw tensors
behind a header that says at which offset each begins. So every parameter of an exported graph points straight
into `weights.safetensors` (stored as float16, cast to float32 where it enters the graph; ONNX Runtime folds the
cast when it opens the graph), and torch and ONNX Runtime read the same bytes.

The networks are wrapped from outside, never changed for export. Heights and widths are symbolic; a runtime that
wants fixed shapes overrides them when it opens the graph.
"""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from moebius.networks.autoencoder import NanoAutoencoder
from moebius.networks.denoiser import MoebiusUNet

OPSET = 18


class DenoiserGraph(nn.Module):
    """noisy, mask, condition, timestep, category_ids -> prediction; joins the inputs in the network's order."""

    def __init__(self, denoiser: MoebiusUNet):
        super().__init__()
        self.denoiser = denoiser

    def forward(
        self, noisy: Tensor, mask: Tensor, condition: Tensor, timestep: Tensor, ids: Tensor
    ) -> Tensor:
        out: Tensor = self.denoiser(torch.cat([noisy, mask, condition], dim=1), timestep, ids)
        return out


class EncoderGraph(nn.Module):
    """image (B, 3, H, W) in [-1, 1] -> latents."""

    def __init__(self, autoencoder: NanoAutoencoder):
        super().__init__()
        self.autoencoder = autoencoder

    def forward(self, image: Tensor) -> Tensor:
        return self.autoencoder.encode(image)


class DecoderGraph(nn.Module):
    """latents -> image (B, 3, H, W), about [-1, 1]."""

    def __init__(self, autoencoder: NanoAutoencoder):
        super().__init__()
        self.autoencoder = autoencoder

    def forward(self, latents: Tensor) -> Tensor:
        return self.autoencoder.decode(latents)


def export_graphs(denoiser: MoebiusUNet, autoencoder: NanoAutoencoder, folder: Path) -> list[Path]:
    """Write denoiser.onnx, encoder.onnx and decoder.onnx beside `folder`/weights.safetensors.

    The weights file must exist and hold the networks' tensors as `denoiser.*` and `autoencoder.*`.

    Raises:
        ValueError: a parameter of a graph is not in the weights file.
    """
    _check_names(denoiser, autoencoder, folder)  # the exporter takes its time
    # Example sides differ from each other and from the native size, so that nothing is specialised to them.
    c, m = denoiser.config.latent_channels, denoiser.config.tokens
    h, w = 6 * denoiser.config.multiple, 8 * denoiser.config.multiple
    factor = autoencoder.config.factor
    batch = torch.export.Dim("batch", min=1, max=64)
    rows = torch.export.Dim("rows", min=1, max=1024)
    columns = torch.export.Dim("columns", min=1, max=1024)
    multiple = denoiser.config.multiple
    latent = {0: batch, 2: multiple * rows, 3: multiple * columns}
    pixels = {0: batch, 2: factor * rows, 3: factor * columns}
    cells = {0: batch, 2: rows, 3: columns}

    latents = torch.randn(2, c, h, w)
    graphs: dict[str, tuple[nn.Module, tuple[Tensor, ...], dict[str, Any], list[str], str]] = {
        "denoiser": (
            DenoiserGraph(denoiser),
            (
                latents,
                torch.ones(2, 1, h, w),
                torch.randn(2, c, h, w),  # its own tensor: the exporter would merge an example passed twice
                torch.tensor([1, 500]),
                torch.arange(m).expand(2, -1).contiguous(),
            ),
            {"noisy": latent, "mask": latent, "condition": latent, "timestep": {0: batch}, "ids": {0: batch}},
            ["noisy", "mask", "condition", "timestep", "ids"],
            "prediction",
        ),
        "encoder": (
            EncoderGraph(autoencoder),
            (torch.randn(2, 3, 48, 64),),
            {"image": pixels},
            ["image"],
            "latents",
        ),
        "decoder": (DecoderGraph(autoencoder), (latents,), {"latents": cells}, ["latents"], "image"),
    }
    written = []
    for name, (module, example, shapes, inputs, output) in graphs.items():
        program = torch.onnx.export(
            module.eval(),
            example,
            dynamo=True,
            opset_version=OPSET,
            dynamic_shapes=shapes,
            input_names=inputs,
            output_names=[output],
            optimize=False,
            verbose=False,
        )
        if program is None:
            raise RuntimeError(f"torch.onnx.export returned nothing for {name}")
        model = program.model_proto
        strip_traces(model)
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


def strip_traces(model: onnx.ModelProto) -> None:
    """Drop what the exporter noted of source lines: most of a graph file's bytes."""
    del model.graph.metadata_props[:], model.metadata_props[:]
    for node in model.graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
    for function in model.functions:
        del function.metadata_props[:]
        for node in function.node:
            del node.metadata_props[:]
            node.doc_string = ""


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
