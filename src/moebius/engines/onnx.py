"""The engine of the base installation: ONNX Runtime on the CPU, no torch.

Weights lie in the model's safetensors file, mapped by ONNX Runtime through the graphs' external data, and are computed
with in float32. What is stored in another format is converted when a graph is opened.
"""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from moebius.engines.base import FloatArray
from moebius.engines.graphs import GraphEngine
from moebius.engines.runtime import load_onnxruntime
from moebius.errors import CorruptWeightsError, DeviceError

if TYPE_CHECKING:
    from moebius.weights import ModelSpec


class OnnxEngine(GraphEngine):
    """The .onnx files of a model folder.

    Args:
        spec: the model's registry entry.
        folder: where the graphs and their weights lie.
        threads: threads of each graph; all the processor's by default.
        shared: leave weights that are stored in float32 where the file is mapped, so that processes share one copy in
            memory, instead of packing them anew for speed.

    Raises:
        DeviceError: the folder has no ONNX graphs.
        CorruptWeightsError: a graph or the weights it points to cannot be read.
    """

    name = "onnx"

    def __init__(self, spec: ModelSpec, folder: Path, *, threads: int | None = None, shared: bool = False):
        super().__init__(spec)
        ort = load_onnxruntime()
        self._folder = folder
        graphs = ("encoder", *self._denoisers, "decoder")
        missing = [f"{graph}.onnx" for graph in graphs if not (folder / f"{graph}.onnx").is_file()]
        if missing:
            raise DeviceError(
                f"model {spec.name} has no {missing[0]} in {folder}: use the torch engine, or export it first"
            )
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads or _processors()
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        # Threads that wait by spinning steal the cores that other processes could use.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        if shared:
            options.add_session_config_entry("session.disable_prepacking", "1")
            # The last level of optimisation reorders the weights of convolutions, in memory of its own.
            options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
        self._options = options
        self._sessions: dict[str, tuple[Any, frozenset[str]]] = {}
        self._opening = threading.Lock()
        # A model for many sizes opens the other sizes' graphs when they are needed: each takes memory.
        for graph in ("encoder", self._denoisers[0], "decoder"):
            self._open(graph)

    def _open(self, graph: str) -> tuple[Any, frozenset[str]]:
        with self._opening:
            if graph not in self._sessions:
                path = self._folder / f"{graph}.onnx"
                ort = load_onnxruntime()
                try:
                    session = ort.InferenceSession(
                        str(path), self._options, providers=["CPUExecutionProvider"]
                    )
                except Exception as error:  # onnxruntime's own exceptions share no public base but Exception
                    reason = str(error).splitlines()[0]
                    raise CorruptWeightsError(f"{path} cannot be opened: {reason}") from error
                self._sessions[graph] = session, frozenset(value.name for value in session.get_inputs())
            return self._sessions[graph]

    def _run(self, graph: str, **inputs: Any) -> FloatArray:
        session, names = self._open(graph)
        values = {name: np.ascontiguousarray(value) for name, value in inputs.items() if name in names}
        (output,) = session.run(None, values)
        return np.asarray(output, dtype=np.float32)


def _processors() -> int:
    """Processors that this process may use; 0, which lets ONNX Runtime choose, where that cannot be told."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 0
