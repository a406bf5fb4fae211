"""An engine without networks: it counts, and its answers are simple enough to follow."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


class FakeEngine:
    """Latents are the means of 8 x 8 pixels (and their mean as fourth channel); the answer is 0.1 x."""

    name, device, dtype, rows, calls = "fake", "cpu", "float32", 8, 1

    def __init__(self) -> None:
        self.timesteps: list[int] = []
        self.encoded = self.decoded = 0

    def array(self, values: Floats) -> Floats:
        return values

    def numpy(self, values: Floats) -> Floats:
        return values

    def join(self, parts: Sequence[Floats]) -> Floats:
        return np.concatenate(parts)

    def encode(self, image: Floats) -> Floats:
        self.encoded += 1
        batch, _, height, width = image.shape
        cells = image.reshape(batch, 3, height // 8, 8, width // 8, 8).mean((3, 5), dtype=np.float32)
        return np.concatenate([cells, cells.mean(1, keepdims=True)], axis=1)

    def predict(
        self, noisy: Floats, timestep: int, mask: Floats, condition: Floats, guidance: float
    ) -> Floats:
        assert noisy.shape == condition.shape and mask.shape == (len(noisy), 1, *noisy.shape[2:])
        self.timesteps.append(timestep)
        return np.float32(0.1) * noisy

    def decode(self, latents: Floats) -> Floats:
        self.decoded += 1
        return latents[:, :3].repeat(8, axis=2).repeat(8, axis=3)
