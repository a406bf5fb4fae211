"""What the engines of exported graphs share: which graph a call takes, its inputs, and the guided prediction. numpy."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from moebius.engines.base import FloatArray
from moebius.errors import DeviceError

if TYPE_CHECKING:
    from moebius.weights import ModelSpec

PARTS = ("encoder", "denoiser", "decoder")
"""Graphs of a model that takes any size."""


class GraphEngine(ABC):
    """An `Engine` in numpy arrays over graphs with these inputs and one output:

        encoder    image (B, 3, H, W)                                  latents (B, c, h, w), unscaled
        denoiser   noisy, mask, condition, timestep (B,), ids (B, m)   prediction (B, c, h, w)
        decoder    latents (B, c, h, w), unscaled                      image (B, 3, H, W)

    A model with graphs for fixed sizes has one denoiser for each latent size.

    Args:
        spec: the model's registry entry.
    """

    name: str
    device = "cpu"
    dtype = "float32"
    rows = 1
    """Some matrix products of a single row take another path than those of several: the last bits differ."""

    calls = 2
    """While one call is between two operators, or in one that does not divide, another can use the threads."""

    def __init__(self, spec: ModelSpec):
        self._spec = spec
        self._shapes = spec.exported.shapes if spec.exported is not None else ()
        self._denoisers = spec.exported.denoisers if spec.exported is not None else ("denoiser",)
        self._ids = np.arange(spec.tokens, dtype=np.int64)
        self._opposite_ids = self._ids + spec.tokens
        self._scale = np.float32(spec.latent_scale)

    @abstractmethod
    def _run(self, graph: str, **inputs: Any) -> FloatArray:
        """The output of a graph; inputs that it does not have are left out."""

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
        graph = self._denoiser(noisy)

        def half(ids: Any) -> FloatArray:
            rows = len(noisy)
            return self._run(
                graph,
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

    def _denoiser(self, noisy: FloatArray) -> str:
        height, width = noisy.shape[2:]
        if not self._shapes:
            return "denoiser"
        if (height, width) not in self._shapes:
            factor = self._spec.latent_factor
            there = ", ".join(f"{h * factor} x {w * factor}" for h, w in self._shapes)
            got = f"{height * factor} x {width * factor}"
            raise DeviceError(f"model {self._spec.name} was exported for pictures of {there}, got {got}")
        return f"denoiser-{height}x{width}"
