"""Stand-ins that the golden data of the published inference was measured with, and its synthetic images."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from moebius.sampling import scaled_linear

Floats = NDArray[np.float32]
LATENT_SCALE = np.float32(0.13025)
SCHEDULE = scaled_linear()

# width, height, and centre and radius of the disk in the mask
IMAGES = [
    (512, 512, (300, 260, 90)),
    (600, 900, (200, 500, 120)),
    (333, 300, (170, 150, 60)),
    (512, 512, (100, 400, 70)),
]


def synthetic(number: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Photo (H, W, 3): two ramps and a chequerboard; mask (H, W): a disk and a rectangle, 255 = fill."""
    width, height, (cx, cy, radius) = IMAGES[number]
    y, x = np.mgrid[:height, :width]
    chequers = (x // 16 + y // 16) % 2 * 128 + 64
    photo = np.stack([255 * x // (width - 1), 255 * y // (height - 1), chequers], axis=-1)
    disk = (x - cx) ** 2 + (y - cy) ** 2 <= radius**2
    rectangle = (x >= 40) & (x < 120) & (y >= 60) & (y < 90)
    return photo.astype(np.uint8), np.where(disk | rectangle, 255, 0).astype(np.uint8)


def encode(image: Floats) -> Floats:
    """Six times the mean of every 8 x 8 pixels, and the mean of the three channels as the fourth."""
    batch, _, height, width = image.shape
    cells = image.reshape(batch, 3, height // 8, 8, width // 8, 8).mean((3, 5), dtype=np.float32) * 6
    return np.concatenate([cells, cells.mean(1, keepdims=True)], axis=1) * LATENT_SCALE


def decode(latents: Floats) -> Floats:
    """The first three channels, every cell as 8 x 8 pixels."""
    return (latents[:, :3] / LATENT_SCALE / 6).repeat(8, axis=2).repeat(8, axis=3)


@dataclass
class Denoiser:
    """Pulls x towards the masked latents, shifted inside the mask by the category; remembers its calls."""

    calls: list[tuple[Floats, int, Any, Floats]] = field(default_factory=list)

    def __call__(self, inputs: Floats, timestep: int, ids: NDArray[np.int64]) -> Floats:
        x, mask, masked = inputs[:, :4], inputs[:, 4:5], inputs[:, 5:]
        background = ids.mean(axis=1) < 9.5
        shift = np.where(background, 0.3, -0.2).astype(np.float32)[:, None, None, None]
        signal, noise = np.float32(SCHEDULE.signal(timestep)), np.float32(SCHEDULE.noise(timestep))
        straight = (x - signal * (masked + mask * shift)) / noise
        out = np.float32(0.9) * straight + np.float32(0.1) * np.tanh(x)
        self.calls.append((x, timestep, ids, out))
        return out
