"""OpenVINO on the CPU: for its bfloat16, where the processor has it. Needs the extra `[openvino]`, no torch.

Islands of float32 in a bfloat16 run: the encoder, and all that depends on the timestep alone. The latter is cut out of
the denoiser's graph and computed once a timestep: a sinusoid of t f in bfloat16 is off by a radian at t = 500.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from moebius.engines.base import FloatArray
from moebius.engines.graphs import GraphEngine
from moebius.engines.runtime import load_openvino, openvino_core
from moebius.errors import CorruptWeightsError, DeviceError

if TYPE_CHECKING:
    from moebius.weights import ModelSpec

PRECISIONS = {"auto": "f32", "float32": "f32", "bfloat16": "bf16"}
REMEMBERED = 64
"""Timesteps whose embeddings are kept."""


class OpenVinoEngine(GraphEngine):
    """The graphs of a model folder, .xml with .bin or .onnx.

    Args:
        spec: the model's registry entry.
        folder: where the graphs lie.
        dtype: "float32" (also "auto") or "bfloat16".
        threads: of each graph; all the processor's by default.

    Raises:
        DeviceError: OpenVINO is not installed, the folder has no graphs, or the processor has no bfloat16.
        CorruptWeightsError: a graph or the weights it points to cannot be read.
    """

    name = "openvino"
    calls = 1

    def __init__(self, spec: ModelSpec, folder: Path, *, dtype: str = "auto", threads: int | None = None):
        super().__init__(spec)
        if dtype not in PRECISIONS:
            raise DeviceError(f"dtype: the openvino engine computes in float32 or bfloat16, got {dtype!r}")
        load_openvino("engine openvino")
        self._core = openvino_core()
        self._precision = PRECISIONS[dtype]
        if self._precision == "bf16" and "BF16" not in self._core.get_property(
            "CPU", "OPTIMIZATION_CAPABILITIES"
        ):
            raise DeviceError("dtype bfloat16: expected a processor with bfloat16, this one has none")
        self.dtype = "bfloat16" if self._precision == "bf16" else "float32"
        self._threads, self._folder, self._lock = threads, folder, threading.Lock()
        self._compiled: dict[str, Any] = {}
        self._times: dict[tuple[object, ...], dict[str, FloatArray]] = {}
        for graph in ("encoder", *self._denoisers, "decoder"):
            self._path(graph)
        for graph in ("encoder", self._denoisers[0], "decoder"):
            self._open(graph)

    def _path(self, graph: str) -> Path:
        for suffix in ("xml", "onnx"):
            path = self._folder / f"{graph}.{suffix}"
            if path.is_file():
                return path
        raise DeviceError(
            f"model {self._spec.name} has no {graph}.xml or {graph}.onnx in {self._folder}: "
            "use the torch engine, or export it first"
        )

    def _open(self, graph: str) -> None:
        if graph in self._compiled:
            return
        path = self._path(graph)
        try:
            model = self._core.read_model(path)
            if graph.startswith("denoiser"):
                time, model = cut_time(model)
                self._compiled[f"time of {graph}"] = self._compile(time, "f32") if time else None
            precision = "f32" if graph == "encoder" else self._precision
            self._compiled[graph] = self._compile(model, precision)
        except RuntimeError as error:
            reason = " ".join(str(error).split())[-200:]
            raise CorruptWeightsError(f"{path} cannot be opened: {reason}") from error

    def _compile(self, model: Any, precision: str) -> Any:
        # Without the last, products with int8 weights round what they are multiplied with to int8, too.
        hints = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": precision,
            "DYNAMIC_QUANTIZATION_GROUP_SIZE": "0",
        }
        if self._threads:
            hints["INFERENCE_NUM_THREADS"] = str(self._threads)
        return self._core.compile_model(model, "CPU", hints)

    def _run(self, graph: str, **inputs: Any) -> FloatArray:
        values = {name: np.ascontiguousarray(value) for name, value in inputs.items()}
        with self._lock:  # a compiled graph has one set of buffers
            self._open(graph)
            if self._compiled.get(f"time of {graph}") is not None:
                values |= self._time(graph, values)
            compiled = self._compiled[graph]
            names = {name for port in compiled.inputs for name in port.get_names()}
            outputs = compiled({name: value for name, value in values.items() if name in names})
            return np.array(outputs[0], dtype=np.float32)

    def _time(self, graph: str, values: dict[str, FloatArray]) -> dict[str, FloatArray]:
        """What the denoiser has of the timestep, by the names of its inputs."""
        key = (graph, values["noisy"].shape, values["timestep"].tobytes())
        if key not in self._times:
            compiled = self._compiled[f"time of {graph}"]
            names = {name for port in compiled.inputs for name in port.get_names()}
            outputs = compiled({name: value for name, value in values.items() if name in names})
            if len(self._times) >= REMEMBERED:
                self._times.clear()
            # Outputs stand in the order of the inputs "time0", "time1", ... that were made for them.
            self._times[key] = {f"time{i}": np.array(outputs[i]) for i in range(len(compiled.outputs))}
        return self._times[key]


def cut_time(model: Any) -> tuple[Any, Any]:
    """A denoiser as two models: what depends on its input `timestep` and nothing else but shapes, and the rest.

    Returns:
        The first model, with one output for each input "time0", "time1", ... of the second. None and the model as it
        was where nothing depends on the timestep alone.
    """
    openvino = load_openvino("engine openvino")
    by_name = {next(iter(port.get_names())): port.get_node() for port in model.inputs}
    if "timestep" not in by_name:
        return None, model
    timed, neutral = {by_name["timestep"].get_friendly_name()}, set()
    order = model.get_ordered_ops()
    for op in order:
        kind, name = op.get_type_name(), op.get_friendly_name()
        before = {value.get_source_output().get_node().get_friendly_name() for value in op.inputs()}
        if kind == "Constant" or (kind == "ShapeOf" and not before & timed):
            neutral.add(name)
        elif before and before <= timed | neutral and kind != "Result":
            (timed if before & timed else neutral).add(name)
    border = []
    for op in order:
        if op.get_friendly_name() in timed:
            for output in op.outputs():
                targets = [
                    target
                    for target in output.get_target_inputs()
                    if target.get_node().get_friendly_name() not in timed
                ]
                if targets:
                    border.append((output, targets))
    if not border or any(output.get_node() == by_name["timestep"] for output, _ in border):
        return None, model
    opset = openvino.opset13
    time = openvino.Model(
        [opset.result(output) for output, _ in border],
        [port.get_node() for port in model.inputs if port.get_node() is not None],
        "time",
    )
    extra = []
    for index, (output, targets) in enumerate(border):
        parameter = opset.parameter(
            output.get_partial_shape(), output.get_element_type(), name=f"time{index}"
        )
        parameter.output(0).get_tensor().set_names({f"time{index}"})
        for target in targets:
            target.replace_source_output(parameter.output(0))
        extra.append(parameter)
    kept = [node for name, node in by_name.items() if name != "timestep"]
    return time, openvino.Model(model.get_results(), [*kept, *extra], "denoiser")
