"""From networks to ONNX graphs: wrappers that give each graph its inputs, example inputs, and the tracing itself.

The networks are wrapped from outside, never changed for export.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import onnx
import torch
from torch import Tensor, nn

from moebius.networks import NanoAutoencoder

OPSET = 18
INPUTS = {
    "encoder": ("image",),
    "denoiser": ("noisy", "mask", "condition", "timestep", "ids"),
    "decoder": ("latents",),
}
OUTPUTS = {"encoder": "latents", "denoiser": "prediction", "decoder": "image"}
MAX_RANK = 5
"""Runtimes on GPUs and phones take no tensor of more dimensions."""
SPATIAL = ("Conv", "ConvTranspose", "MaxPool", "AveragePool", "InstanceNormalization")
"""Operators over maps, which those runtimes have for two dimensions only: (B, C, H, W)."""


class DenoiserGraph(nn.Module):
    """noisy, mask, condition, timestep, category ids -> prediction; joins the inputs in the network's order."""

    def __init__(self, denoiser: nn.Module):
        super().__init__()
        self.denoiser = denoiser

    def forward(
        self, noisy: Tensor, mask: Tensor, condition: Tensor, timestep: Tensor, ids: Tensor
    ) -> Tensor:
        out: Tensor = self.denoiser(torch.cat([noisy, mask, condition], dim=1), timestep, ids)
        return out


class SlicedUnshuffle(nn.Module):
    """`nn.PixelUnshuffle` without its tensor of six dimensions."""

    def __init__(self, factor: int):
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        """x (B, C, H, W) -> (B, C f f, H/f, W/f)."""
        f = self.factor
        parts = [x[:, :, row::f, column::f] for row in range(f) for column in range(f)]
        return torch.stack(parts, dim=2).flatten(1, 2)


class EncoderGraph(nn.Module):
    """image (B, 3, H, W) in [-1, 1] -> latents; their mean, of a published VAE."""

    def __init__(self, autoencoder: nn.Module):
        super().__init__()
        if isinstance(autoencoder, NanoAutoencoder):
            autoencoder = copy.deepcopy(autoencoder)
            layers = autoencoder.encoder.layers
            for index, layer in enumerate(layers):
                if isinstance(layer, nn.PixelUnshuffle):
                    layers[index] = SlicedUnshuffle(layer.downscale_factor)
        self.autoencoder: Any = autoencoder

    def forward(self, image: Tensor) -> Tensor:
        latents = self.autoencoder.encode(image)
        out: Tensor = latents if isinstance(self.autoencoder, NanoAutoencoder) else latents.latent_dist.mean
        return out


class DecoderGraph(nn.Module):
    """latents -> image (B, 3, H, W), about [-1, 1]."""

    def __init__(self, autoencoder: nn.Module):
        super().__init__()
        self.autoencoder: Any = autoencoder

    def forward(self, latents: Tensor) -> Tensor:
        image = self.autoencoder.decode(latents)
        out: Tensor = image if isinstance(self.autoencoder, NanoAutoencoder) else image.sample
        return out


@dataclass(frozen=True)
class Sizes:
    """What a graph's inputs look like.

    Args:
        channels: c of the latents.
        tokens: m, category ids a row.
        multiple: latent sides divide by this.
        factor: image pixels a latent cell, along one side.
        shape: latent (height, width) of a graph for one size; None leaves both open.
    """

    channels: int
    tokens: int
    multiple: int
    factor: int
    shape: tuple[int, int] | None = None


def examples(kind: str, sizes: Sizes, batch: int = 2) -> tuple[Tensor, ...]:
    """Inputs for a graph of that kind, drawn from torch's generator, in the order of `INPUTS`.

    Where sides are open the example's differ from each other and from the native ones, so that nothing is specialised.
    """
    height, width = sizes.shape or (6 * sizes.multiple, 8 * sizes.multiple)
    latents = torch.randn(batch, sizes.channels, height, width)
    if kind == "encoder":
        return (torch.rand(batch, 3, height * sizes.factor, width * sizes.factor) * 2 - 1,)
    if kind == "decoder":
        return (latents,)
    mask = (torch.rand(batch, 1, height, width) > 0.5).float()
    # The condition is a tensor of its own: the exporter would merge an example that is passed twice.
    condition = torch.randn(batch, sizes.channels, height, width)
    timestep = torch.linspace(1, 500, batch).long()
    ids = torch.arange(sizes.tokens).expand(batch, -1).contiguous()
    return (latents, mask, condition, timestep, ids)


def trace(kind: str, module: nn.Module, sizes: Sizes, *, optimize: bool) -> onnx.ModelProto:
    """The graph of one of the wrappers above, batch open, parameters by the names that they have in `module`.

    Args:
        kind: "encoder", "denoiser" or "decoder".
        optimize: fold constants and drop what only checks shapes; some parameters then have another form in the graph.

    Raises:
        RuntimeError: torch made nothing of it.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter, about itself
        program = torch.onnx.export(
            module.eval(),
            examples(kind, sizes),
            dynamo=True,
            opset_version=OPSET,
            dynamic_shapes=_open_sizes(kind, sizes),
            input_names=list(INPUTS[kind]),
            output_names=[OUTPUTS[kind]],
            optimize=optimize,
            verbose=False,
        )
    if program is None:
        raise RuntimeError(f"torch.onnx.export returned nothing for the {kind}")
    model: onnx.ModelProto = program.model_proto
    strip_traces(model)
    return model


def _open_sizes(kind: str, sizes: Sizes) -> dict[str, Any]:
    batch = torch.export.Dim("batch", min=1, max=64)
    names = INPUTS[kind]
    if sizes.shape is not None:
        return {name: {0: batch} for name in names}
    rows, columns = (torch.export.Dim(name, min=1, max=1024) for name in ("rows", "columns"))
    step = {"encoder": sizes.factor, "denoiser": sizes.multiple, "decoder": 1}[kind]
    maps: dict[int, Any] = {0: batch, 2: step * rows, 3: step * columns}
    return {name: {0: batch} if name in ("timestep", "ids") else maps for name in names}


def strip_traces(model: onnx.ModelProto) -> None:
    """Drop what the exporter noted of source lines: most of a graph file's bytes."""
    del model.graph.metadata_props[:], model.metadata_props[:]
    for value in (*model.graph.input, *model.graph.output, *model.graph.value_info):
        del value.metadata_props[:]
    for node in model.graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
    for function in model.functions:
        del function.metadata_props[:]
        for node in function.node:
            del node.metadata_props[:]
            node.doc_string = ""


def too_many_dimensions(model: onnx.ModelProto) -> list[str]:
    """What runtimes on GPUs and phones would not take: names of tensors above rank 5, of operators over 3-D maps, and
    of tensors whose rank is not known.
    """
    known = onnx.shape_inference.infer_shapes(model, data_prop=True)
    ranks = {tensor.name: len(tensor.dims) for tensor in known.graph.initializer}
    for value in (*known.graph.input, *known.graph.output, *known.graph.value_info):
        if value.type.tensor_type.HasField("shape"):
            ranks[value.name] = len(value.type.tensor_type.shape.dim)
    found = [f"{name}: rank {rank}" for name, rank in ranks.items() if rank > MAX_RANK]
    for node in known.graph.node:
        names: Sequence[str] = [name for name in (*node.input, *node.output) if name]
        found += [f"{name}: rank unknown ({node.op_type})" for name in names if name not in ranks]
        if node.op_type in SPATIAL and ranks.get(node.input[0], 4) > 4:
            found.append(f"{node.name}: {node.op_type} over rank {ranks[node.input[0]]}")
    return found
