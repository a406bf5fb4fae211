"""What an engine is: three networks behind one small protocol.

An engine knows tensors, devices and number formats; it knows nothing of photos, masks on disk, solvers or
progress. Its arrays are its own (numpy or torch); the pipeline moves them across with `array` and `numpy` and
otherwise only multiplies and adds them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Array = Any
"""A numpy array or a torch tensor, whichever the engine works with."""

FloatArray = NDArray[np.float32]


class Engine(Protocol):
    """One loaded model, ready to fill.

    Latents are already scaled: (B, c, h, w) with h, w an eighth of the image's sides.
    """

    name: str
    """"onnx", "openvino" or "torch"."""
    device: str
    """Where it runs, for people: "cpu", "cuda:0", "mps"."""
    dtype: str
    """Number format of the denoiser: "float32", "bfloat16", "float16"."""
    rows: int
    """Rows that a call may have and still give each the bits that it would get alone; 1 where nobody is sure."""

    calls: int
    """Calls from different threads at a time that it takes, and that are worth having."""

    def array(self, values: FloatArray) -> Array:
        """A numpy array as one of the engine's own, on its device, float32."""

    def numpy(self, values: Array) -> FloatArray:
        """One of the engine's arrays as numpy float32."""

    def join(self, parts: Sequence[Array]) -> Array:
        """The engine's arrays (B1, ...), (B2, ...), ... as one (B1 + B2 + ..., ...)."""

    def encode(self, image: FloatArray) -> Array:
        """image (B, 3, H, W) in [-1, 1] -> latents (B, c, h, w); the mean, of a stochastic encoder."""

    def predict(self, noisy: Array, timestep: int, mask: Array, condition: Array, guidance: float) -> Array:
        """The denoiser's answer (B, c, h, w) for latents of one timestep.

        Args:
            noisy: (B, c, h, w) latents at `timestep`.
            timestep: 0 to 999.
            mask: (B, 1, h, w), 1 = fill.
            condition: (B, c, h, w) latents of the emptied or smoothly filled photo.
            guidance: w of u + w (c - u); at exactly 1.0 only the condition's half is computed.
        """

    def decode(self, latents: Array) -> FloatArray:
        """latents (B, c, h, w) -> image (B, 3, 8h, 8w), about [-1, 1], not clamped."""
