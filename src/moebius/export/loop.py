"""A whole fill as one graph: encode, all solver steps, decode.

    image (B, 3, H, W) in [-1, 1]   the photo as the model is fed it: its hole emptied to mid-grey, or filled smoothly
    mask (B, 1, h, w)               1 = fill
    noise (B, c, h, w)              standard normal
    -> filled (B, 3, H, W), about [-1, 1]

Built from the graphs of the parts: the denoiser's nodes stand in it once a step (twice with guidance), its weights
once; the solver's constants are numbers in it.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from moebius.errors import SettingsError
from moebius.export.trace import OPSET
from moebius.sampling import SamplingPlan
from moebius.weights import ModelSpec


def whole_fill(
    spec: ModelSpec, graphs: dict[str, onnx.ModelProto], plan: SamplingPlan, guidance: float
) -> onnx.ModelProto:
    """The graph.

    Args:
        spec: the model's registry entry.
        graphs: "encoder", "denoiser", "decoder", for one size or for any; left as they are.
        plan: the solver's table; its start is the model's own.
        guidance: w of u + w (c - u); at 1 the opposite is left out.

    Raises:
        SettingsError: the model starts from what it is not fed, which takes a second encoder run.
    """
    start = spec.defaults.start
    if start not in ("noise", spec.feed):
        raise SettingsError(
            f"a graph of the whole fill starts from noise or {spec.feed!r}; model {spec.name} starts from {start!r}"
        )
    build = _Builder()
    encoder, denoiser, decoder = (_Part(build, kind, graphs[kind]) for kind in graphs)
    latents = encoder.add("encoder", {"image": "image"})
    condition = build.weighted([(spec.latent_scale, latents)])
    x, before = "noise", ""
    if start != "noise":
        if spec.target == "residual":
            raise SettingsError(f"model {spec.name}: expected a start from noise, got {start!r}")
        x = build.weighted([(plan.alpha0, condition), (plan.sigma0, "noise")])
    batch = build.node("Slice", [build.node("Shape", ["noise"]), build.ints([0]), build.ints([1])])
    ids = [
        build.node(
            "Expand", [build.ints([list(rows)]), build.node("Concat", [batch, build.ints([1])], axis=0)]
        )
        for rows in (range(spec.tokens), range(spec.tokens, 2 * spec.tokens))
    ]
    for index, step in enumerate(plan.steps):
        time = build.node("Expand", [build.ints([step.timestep]), batch])
        given = {"noisy": x, "mask": "mask", "condition": condition, "timestep": time}
        out = denoiser.add(f"step{index}", given | {"ids": ids[0]})
        if guidance != 1.0:
            other = denoiser.add(f"step{index}.opposite", given | {"ids": ids[1]})
            out = build.weighted([(guidance, out), (1.0 - guidance, other)])
        x0 = build.weighted([(step.x0_x, x), (step.x0_out, out)])
        x = build.weighted([(step.next_x, x), (step.next_x0, x0), (step.next_prev, before)])
        before = x0
    if spec.target == "residual":
        drawn = build.node("Mul", ["mask", build.weighted([(1.0 / spec.residual_scale, x)])])
        x = build.node("Add", [condition, drawn])
    clean = build.weighted([(1.0 / spec.latent_scale, x)])
    build.node("Identity", [decoder.add("decoder", {"latents": clean})], name="filled")

    inputs = [
        encoder.value("image", "image"),
        denoiser.value("mask", "mask"),
        denoiser.value("noisy", "noise"),
    ]
    graph = helper.make_graph(
        build.nodes, "fill", inputs, [decoder.value("image", "filled", output=True)], build.initializers
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)])
    model.ir_version = graphs["denoiser"].ir_version
    return model


class _Builder:
    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[TensorProto] = []
        self.names: set[str] = set()
        self._count = 0

    def node(self, kind: str, inputs: list[str], *, name: str = "", **attributes: object) -> str:
        self._count += 1
        name = name or f"fill.{self._count}"
        self.nodes.append(helper.make_node(kind, inputs, [name], name=f"node_{name}", **attributes))
        return name

    def constant(self, tensor: TensorProto) -> str:
        self.initializers.append(tensor)
        return str(tensor.name)

    def ints(self, values: list[int] | list[list[int]]) -> str:
        self._count += 1
        return self.constant(numpy_helper.from_array(np.asarray(values, np.int64), f"fill.{self._count}"))

    def weighted(self, terms: list[tuple[float, str]]) -> str:
        """Sum of weight * value, from left to right as the loop in numpy has it; terms of weight 0 are left out."""
        total = ""
        for weight, value in terms:
            if weight != 0.0:
                self._count += 1
                factor = self.constant(
                    helper.make_tensor(f"fill.{self._count}", TensorProto.FLOAT, [], [weight])
                )
                product = value if weight == 1.0 else self.node("Mul", [value, factor])
                total = product if not total else self.node("Add", [total, product])
        return total


class _Part:
    """One graph, to be put in any number of times. What depends on its weights alone is put in once."""

    def __init__(self, build: _Builder, kind: str, model: onnx.ModelProto):
        self._build, self._kind, self._graph = build, kind, model.graph
        self._shared: dict[str, str] = {"": ""}
        for tensor in self._graph.initializer:
            own = TensorProto()
            own.CopyFrom(tensor)
            if tensor.data_location != TensorProto.EXTERNAL:
                own.name = f"{kind}/{tensor.name}"
            self._shared[tensor.name] = own.name
            if own.name not in build.names:
                build.names.add(own.name)
                build.initializers.append(own)
        self._own = []
        for node in self._graph.node:
            if all(name in self._shared for name in node.input):
                self._put(node, self._shared, kind)
            else:
                self._own.append(node)

    def add(self, prefix: str, inputs: dict[str, str]) -> str:
        """Put the graph in; the name of its output."""
        names = {**self._shared, **inputs}
        for node in self._own:
            self._put(node, names, prefix)
        return names[self._graph.output[0].name]

    def _put(self, node: onnx.NodeProto, names: dict[str, str], prefix: str) -> None:
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        copy.name = f"{prefix}/{node.name or node.output[0]}"
        del copy.input[:], copy.output[:]
        copy.input.extend(names[name] for name in node.input)
        for name in node.output:
            if name:
                names[name] = f"{prefix}/{name}"
            copy.output.append(names[name] if name else "")
        self._build.nodes.append(copy)

    def value(self, name: str, new: str, *, output: bool = False) -> onnx.ValueInfoProto:
        """The description of an input or output under another name."""
        values = self._graph.output if output else self._graph.input
        found = onnx.ValueInfoProto()
        found.CopyFrom(next(value for value in values if value.name == name))
        found.name = new
        return found
