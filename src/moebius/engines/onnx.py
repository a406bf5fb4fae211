"""The engine of the base installation: ONNX Runtime on the CPU, no torch.

Weights are float16 in the model's safetensors file, mapped by ONNX Runtime through the graphs' external data
and computed with in float32.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from moebius.engines.base import FloatArray
from moebius.engines.runtime import load_onnxruntime
from moebius.errors import CorruptWeightsError, DeviceError

if TYPE_CHECKING:
    from moebius.weights import ModelSpec

GRAPHS = ("encoder", "denoiser", "decoder")


class OnnxEngine:
    """encoder.onnx, denoiser.onnx and decoder.onnx of a model folder.

    Args:
        spec: the model's registry entry.
        folder: where the graphs and their weights lie.
        threads: threads of each graph; all the processor's by default.

    Raises:
        DeviceError: the folder has no ONNX graphs.
        CorruptWeightsError: a graph or the weights it points to cannot be read.
    """

    name = "onnx"
    device = "cpu"
    dtype = "float32"
    rows = 1
    """Some matrix products of a single row take another path than those of several: the last bits differ."""

    calls = 2
    """While one call is between two operators, or in one that does not divide, another can use the threads."""

    def __init__(self, spec: ModelSpec, folder: Path, *, threads: int | None = None):
        ort = load_onnxruntime()

        missing = [f"{graph}.onnx" for graph in GRAPHS if not (folder / f"{graph}.onnx").is_file()]
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
        self._sessions: dict[str, Any] = {}
        for graph in GRAPHS:
            try:
                self._sessions[graph] = ort.InferenceSession(
                    str(folder / f"{graph}.onnx"), options, providers=["CPUExecutionProvider"]
                )
            except Exception as error:  # onnxruntime's own exceptions share no public base but Exception
                reason = str(error).splitlines()[0]
                raise CorruptWeightsError(f"{folder / graph}.onnx cannot be opened: {reason}") from error
        self._ids = np.arange(spec.tokens, dtype=np.int64)
        self._opposite_ids = self._ids + spec.tokens
        self._scale = np.float32(spec.latent_scale)

    def array(self, values: FloatArray) -> FloatArray:
        return np.ascontiguousarray(values, dtype=np.float32)

    def numpy(self, values: FloatArray) -> FloatArray:
        return values

    def join(self, parts: Sequence[FloatArray]) -> FloatArray:
        return np.concatenate(parts)

    def encode(self, image: FloatArray) -> FloatArray:
        return self._run("encoder", image=image) * self._scale

    def predict(
        self, noisy: FloatArray, timestep: int, mask: FloatArray, condition: FloatArray, guidance: float
    ) -> FloatArray:
        def half(ids: Any) -> FloatArray:
            rows = len(noisy)
            return self._run(
                "denoiser",
                noisy=noisy,
                mask=mask,
                condition=condition,
                timestep=np.full(rows, timestep, np.int64),
                ids=np.broadcast_to(ids, (rows, len(ids))),
            )

        wanted = half(self._ids)
        if guidance == 1.0:
            return wanted
        opposite = half(self._opposite_ids)
        return opposite + np.float32(guidance) * (wanted - opposite)

    def decode(self, latents: FloatArray) -> FloatArray:
        return self._run("decoder", latents=latents / self._scale)

    def _run(self, graph: str, **inputs: Any) -> FloatArray:
        values = {name: np.ascontiguousarray(value) for name, value in inputs.items()}
        (output,) = self._sessions[graph].run(None, values)
        return np.asarray(output, dtype=np.float32)


def _processors() -> int:
    """Processors that this process may use; 0, which lets ONNX Runtime choose, where that cannot be told."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 0
