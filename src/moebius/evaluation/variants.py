"""What a model is not by itself, for studies: weights rounded to few bits, and fills in the picture's own shape."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from moebius.evaluation.holes import Hole, Pixels
from moebius.evaluation.metrics import to_picture, to_pixels
from moebius.imaging import push_pull, resize, resize_mask, textured
from moebius.pipeline import Moebius
from moebius.pipeline.frame import Frame
from moebius.pipeline.region import RegionFill, Timer
from moebius.sampling import SamplingPlan
from moebius.settings import Settings
from moebius.weights import ModelFolder, save_folder

CELL = 4
"""Sides of latents divide by it: the network halves them twice."""


def save_rounded(model: ModelFolder, folder: Path, bits: int) -> Path:
    """A copy of a model folder whose denoiser has weights of so many bits, one scale an output channel.

    Rounded to the nearest step and written out in full: the pictures are those of weight-only quantisation, the file
    and the speed are not. Vectors (biases, norms) stay as they are.
    """
    from safetensors.torch import load_file

    tensors = load_file(model.path / "weights.safetensors")
    top = 2 ** (bits - 1) - 1
    for name, tensor in tensors.items():
        if name.startswith("denoiser.") and tensor.ndim >= 2 and tensor.is_floating_point():
            full = tensor.float()
            step = full.abs().amax(dim=tuple(range(1, tensor.ndim)), keepdim=True).clamp_min(1e-12) / top
            tensors[name] = ((full / step).round() * step).to(tensor.dtype)
    return save_folder(folder, model.spec, tensors)


@dataclass(frozen=True)
class OwnShape:
    """Fills a picture as a rectangle of its own shape, position tables resized to it, instead of a padded square."""

    model: Moebius
    settings: Settings
    plan: SamplingPlan

    def fill(self, hole: Hole) -> Pixels:
        """The whole picture (H, W, 3), its longer side brought to the model's size."""
        spec, settings = self.model.spec, self.settings
        assert settings.guidance is not None and settings.start is not None
        outer = hole.mask.shape[0], hole.mask.shape[1]
        smooth = push_pull(to_picture(hole.pixels), hole.mask)
        pixels = None
        for side in spec.sides:
            inner = self._shape(outer, side)
            filled, mask = resize(smooth, inner), resize_mask(hole.mask, inner)
            if pixels is not None:
                filled = np.where(mask[..., None], resize(pixels, inner), filled)
            fill = RegionFill(
                [Frame(filled, mask, inner, outer)], engine=self.model.engine, spec=spec, plan=self.plan,
                start=settings.start, guidance=settings.guidance, seed=settings.seed,
                keys=[f"{hole.case.key}/0/{side}"], timer=Timer({}),
            )  # fmt: skip
            for _ in fill.steps():
                pass
            (pixels,) = fill.pixels()
        assert pixels is not None
        if spec.detail == "photo":
            inner = self._shape(outer, spec.size)
            known, mask = resize(smooth, inner), resize_mask(hole.mask, inner)
            pixels = textured(resize(pixels, inner), known, mask)
        return to_pixels(resize(pixels, outer))

    def _shape(self, outer: tuple[int, int], side: int) -> tuple[int, int]:
        unit = self.model.spec.latent_factor * CELL
        height, width = (max(1, round(each * side / max(outer) / unit)) * unit for each in outer)
        return height, width
