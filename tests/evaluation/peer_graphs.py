"""Tiny ONNX graphs that talk like the inpainters people have.

All of them fill a hole with the mean colour of the known pixels, of which anybody can tell whether it is right: a
mask or a range that is understood the other way round gives another picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper, save_model

FLOAT, HALF, BYTES = TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.UINT8
Side = int | str


def save_graph(
    path: Path,
    nodes: Sequence[Any],
    inputs: Sequence[tuple[str, int, Sequence[Side]]],
    output: tuple[str, int, Sequence[Side]],
    constants: dict[str, Any],
    **external: Any,
) -> Path:
    """Nodes between inputs (name, type, shape) and one output, with constants by name."""
    graph = helper.make_graph(
        list(nodes), "peer", [helper.make_tensor_value_info(*port) for port in inputs],
        [helper.make_tensor_value_info(*output)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    save_model(model, path, **external)
    return path


def lama(
    path: Path,
    size: int | None = 64,
    *,
    scale: float = 255,
    shift: float = 0,
    names: tuple[str, str] = ("image", "mask"),
    channels: tuple[Side, Side] = (3, 1),
    swapped: bool = False,
    kind: int = FLOAT,
    **external: Any,
) -> Path:
    """Picture in [0, 1] and mask, 1 = hole; the answer times `scale` plus `shift`; sides as they come for None."""
    sides: tuple[Side, Side] = (size, size) if size else ("height", "width")
    image, mask = names
    number = np.float16 if kind == HALF else np.float32
    nodes = [
        helper.make_node("Sub", ["one", mask], ["known"]),
        *_mean(image, "known", "mean"),
        helper.make_node("Mul", [image, "known"], ["kept"]),
        helper.make_node("Mul", ["mean", mask], ["filled"]),
        helper.make_node("Add", ["kept", "filled"], ["sum"]),
        helper.make_node("Mul", ["sum", "scale"], ["scaled"]),
        helper.make_node("Add", ["scaled", "shift"], ["output"]),
    ]
    inputs = [(image, kind, (1, channels[0], *sides)), (mask, kind, (1, channels[1], *sides))]
    constants = {"one": number(1), "scale": number(scale), "shift": number(shift)}
    output = ("output", kind, (1, 3, *sides))
    return save_graph(path, nodes, inputs[::-1] if swapped else inputs, output, constants, **external)


def lama_in_one(path: Path, size: int = 64) -> Path:
    """The same with one input: picture in [0, 1], then mask, 1 = hole; the answer in [0, 1]."""
    nodes = [
        helper.make_node("Split", ["input", "parts"], ["image", "mask"], axis=1),
        helper.make_node("Sub", ["one", "mask"], ["known"]),
        *_mean("image", "known", "mean"),
        helper.make_node("Mul", ["mean", "mask"], ["filled"]),
        helper.make_node("Add", ["image", "filled"], ["output"]),  # the hole comes as 0
    ]
    constants = {"one": np.float32(1), "parts": np.array([3, 1])}
    ports = ("input", FLOAT, (1, 4, size, size)), ("output", FLOAT, (1, 3, size, size))
    return save_graph(path, nodes, ports[:1], ports[1], constants)


def migan_pipeline(path: Path) -> Path:
    """Bytes of any size, mask 255 = known."""
    sides = ("height", "width")
    nodes = [
        helper.make_node("Cast", ["image"], ["float"], to=FLOAT),
        helper.make_node("Cast", ["mask"], ["white"], to=FLOAT),
        helper.make_node("Div", ["white", "full"], ["known"]),
        *_mean("float", "known", "mean"),
        helper.make_node("Sub", ["one", "known"], ["hole"]),
        helper.make_node("Mul", ["float", "known"], ["kept"]),
        helper.make_node("Mul", ["mean", "hole"], ["filled"]),
        helper.make_node("Add", ["kept", "filled"], ["sum"]),
        helper.make_node("Add", ["sum", "half"], ["rounded"]),
        helper.make_node("Cast", ["rounded"], ["result"], to=BYTES),
    ]
    constants = {"full": np.float32(255), "one": np.float32(1), "half": np.float32(0.5)}
    inputs = [("image", BYTES, ("batch", 3, *sides)), ("mask", BYTES, ("batch", 1, *sides))]
    return save_graph(path, nodes, inputs, ("result", BYTES, ("batch", 3, *sides)), constants)


def migan_generator(path: Path, size: int = 64) -> Path:
    """Mask 0.5 = known and -0.5 = hole, then the picture in [-1, 1] with 0 in the hole; the answer in [-1, 1]."""
    nodes = [
        helper.make_node("Split", ["input", "parts"], ["mask", "image"], axis=1),
        helper.make_node("Add", ["mask", "half"], ["known"]),
        *_mean("image", "known", "mean"),
        helper.make_node("Sub", ["half", "mask"], ["hole"]),
        helper.make_node("Mul", ["mean", "hole"], ["filled"]),
        helper.make_node("Add", ["image", "filled"], ["output"]),
    ]
    constants = {"half": np.float32(0.5), "parts": np.array([1, 3])}
    ports = ("input", FLOAT, (1, 4, size, size)), ("output", FLOAT, (1, 3, size, size))
    return save_graph(path, nodes, ports[:1], ports[1], constants)


def echo(path: Path, **settings: Any) -> Path:
    """The picture as it was handed over, times 255."""
    sides = ("height", "width")
    kind = settings.get("kind", FLOAT)
    nodes = [helper.make_node("Identity", ["image"], ["output"])]
    inputs = [("image", kind, (1, 3, *sides)), ("mask", kind, (1, 1, *sides))]
    return save_graph(path, nodes, inputs, ("output", kind, (1, 3, *sides)), {})


def tiles(path: Path, side: int = 32) -> Path:
    """Means of the picture over squares; only pictures that they fill come back at their size."""
    sides = ("height", "width")
    square = [side, side]
    nodes = [
        helper.make_node("AveragePool", ["image"], ["means"], kernel_shape=square, strides=square),
        helper.make_node("Resize", ["means", "", "scales"], ["output"], mode="nearest"),
    ]
    inputs = [("image", FLOAT, (1, 3, *sides)), ("mask", FLOAT, (1, 1, *sides))]
    constants = {"scales": np.array([1, 1, side, side], np.float32)}
    return save_graph(path, nodes, inputs, ("output", FLOAT, (1, 3, "h", "w")), constants)


def _mean(image: str, known: str, name: str) -> list[Any]:
    """Nodes: the mean of the known pixels, by channel, (1, 3, 1, 1)."""
    return [
        helper.make_node("Constant", [], ["sides"], value_ints=[2, 3]),
        helper.make_node("Mul", [image, known], [f"{name}_of"]),
        helper.make_node("ReduceSum", [f"{name}_of", "sides"], [f"{name}_total"], keepdims=1),
        helper.make_node("ReduceSum", [known, "sides"], [f"{name}_count"], keepdims=1),
        helper.make_node("Div", [f"{name}_total", f"{name}_count"], [name]),
    ]
