"""Held-out photos filled by a network in training, through the very code that users run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from moebius.engines.networks import Autoencoder
from moebius.engines.torch import TorchEngine
from moebius.pipeline.region import LatentFill
from moebius.sampling import make_plan, scaled_linear, trailing_timesteps
from moebius.training.inputs import Inputs
from moebius.weights import ModelSpec


@dataclass(frozen=True)
class Fill:
    """One held-out photo and its fill, (S, S, 3) uint8."""

    photo: NDArray[np.uint8]
    shown: NDArray[np.bool_]
    """(S, S), True = hole."""
    filled: NDArray[np.uint8]
    """The fill pasted into the photo."""

    @property
    def error(self) -> float:
        """Mean |error| in the hole, 0 to 1."""
        difference = np.abs(self.filled.astype(np.float64) - self.photo) / 255
        return float(difference[self.shown].mean()) if self.shown.any() else 0.0


def fill_rows(
    net: nn.Module, coder: Autoencoder, spec: ModelSpec, inputs: Inputs, *, steps: int, guidance: float
) -> Sequence[Fill]:
    """Fill each row of `inputs` with the deployed sampler: the noise is from (0, the row's key)."""
    engine = TorchEngine.over(spec, net, coder, inputs.clean.device)
    plan = make_plan(scaled_linear(), trailing_timesteps(steps, spec.first_timestep), "ddim", spec.prediction)
    fills = []
    for row, key in enumerate(inputs.keys):
        one = slice(row, row + 1)
        condition = inputs.condition[one]
        start = spec.defaults.start
        fill = LatentFill(
            engine=engine, spec=spec, plan=plan, start=start, guidance=guidance, seed=0, keys=[key],
            condition=condition, mask=inputs.mask[one], known=None if start == "noise" else condition,
        )  # fmt: skip
        with torch.inference_mode():
            for _ in fill.steps():
                pass
            picture = coder.decode(fill.latents())[0]
        photo, hole = _pixels(inputs.image[row]), inputs.pixel_mask[row, 0].cpu().numpy() > 0.5
        fills.append(Fill(photo, hole, np.where(hole[..., None], _pixels(picture), photo)))
    return fills


def _pixels(image: Tensor) -> NDArray[np.uint8]:
    """(3, S, S) in [-1, 1] -> (S, S, 3) uint8."""
    values = ((image.float().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
    pixels: NDArray[np.uint8] = values.permute(1, 2, 0).cpu().numpy()
    return pixels
