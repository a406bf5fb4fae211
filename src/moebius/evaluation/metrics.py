"""One filled picture against the truth.

Pictures are (H, W, 3) float32 in [0, 1], holes (H, W) with True = filled. A fill is compared after the known
pixels were pasted back, so everything outside the hole is equal in both.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from moebius.errors import InputError
from moebius.imaging import Box, bounding_box

if TYPE_CHECKING:
    from torch import Tensor

    from moebius.networks.perceptual import LPIPSSqueeze

Picture = NDArray[np.float32]
Mask = NDArray[np.bool_]

MAX_PSNR = 100.0
"""dB, what equal pictures get: it keeps means finite, and 8 bits cannot come near it otherwise."""
MIN_CROP = 64
"""Least side of the square on which LPIPS looks at a hole, px; its network needs 32."""


@dataclass(frozen=True)
class Metric:
    """How a number is shown and read."""

    name: str
    title: str
    best: Literal["high", "low", "one", "zero"]
    digits: int


METRICS = (
    Metric("psnr", "PSNR, dB", "high", 2),
    Metric("mae", "MAE", "low", 3),
    Metric("ssim", "SSIM", "high", 3),
    Metric("lpips", "LPIPS-squeeze", "low", 3),
    Metric("lpips_crop", "LPIPS-squeeze, crop", "low", 3),
    Metric("sharpness", "sharpness", "one", 2),
    Metric("seam", "seam", "zero", 3),
)


def masked_mae(image: Picture, truth: Picture, hole: Mask) -> float:
    """Mean absolute difference inside the hole, over pixels and channels; 0 = equal, 1 = black for white."""
    return float(np.abs(image[hole] - truth[hole]).mean(dtype=np.float64))


def masked_psnr(image: Picture, truth: Picture, hole: Mask) -> float:
    """Peak signal-to-noise ratio inside the hole, dB: -10 log10(mean squared error), at most `MAX_PSNR`."""
    error = float(np.square(image[hole] - truth[hole]).mean(dtype=np.float64))
    return min(-10 * math.log10(error), MAX_PSNR) if error > 0 else MAX_PSNR


def masked_ssim(image: Picture, truth: Picture, hole: Mask) -> float:
    """Structural similarity, its map averaged over the hole's pixels and the channels; 1 = equal.

    scikit-image's, with the settings of its source: Gaussian window of sigma 1.5, K1 = 0.01, K2 = 0.03
    (Wang, Bovik, Sheikh & Simoncelli, Image Quality Assessment, 2004, section III). Windows at the hole's rim
    see known pixels too.
    """
    from skimage.metrics import structural_similarity

    _, similarity = structural_similarity(
        image, truth, data_range=1.0, channel_axis=2, full=True,
        gaussian_weights=True, sigma=1.5, use_sample_covariance=False,
    )  # fmt: skip
    return float(similarity[hole].mean(dtype=np.float64))


def sharpness_ratio(image: Picture, truth: Picture, hole: Mask) -> float:
    """Mean absolute Laplacian inside the hole, divided by the truth's: below 1 = blurred, above 1 = noisy.

    The Laplacian is the four neighbours' sum minus four times the pixel, borders held. Pixels at the hole's rim
    are left out, where it would measure the seam; unless there are no others.
    """
    held = np.pad(hole, 1, mode="edge")
    inner = hole & held[:-2, 1:-1] & held[2:, 1:-1] & held[1:-1, :-2] & held[1:-1, 2:]
    where = inner if inner.any() else hole
    return _roughness(image, where) / max(_roughness(truth, where), 1e-6)


def _roughness(image: Picture, where: Mask) -> float:
    held = np.pad(image, ((1, 1), (1, 1), (0, 0)), mode="edge")
    neighbours = held[:-2, 1:-1] + held[2:, 1:-1] + held[1:-1, :-2] + held[1:-1, 2:]
    return float(np.abs(neighbours - 4 * image)[where].mean(dtype=np.float64))


def seam_error(image: Picture, truth: Picture, hole: Mask) -> float:
    """Mean absolute colour step across the hole's edge, minus the truth's: above 0 = a visible outline.

    Steps are taken between neighbours (up, down, left, right) of which one is filled and the other known.
    0 for a hole without an edge.
    """
    excess: list[NDArray[np.float32]] = []
    for axis in (0, 1):
        edge = np.diff(hole, axis=axis)  # of booleans: where the two differ
        excess.append((np.abs(np.diff(image, axis=axis)) - np.abs(np.diff(truth, axis=axis)))[edge])
    steps = np.concatenate(excess)
    return float(steps.mean(dtype=np.float64)) if steps.size else 0.0


def square_around(hole: Mask) -> Box:
    """The smallest square around the hole, of at least `MIN_CROP` px, moved into the picture and cut to it.

    Raises:
        ValueError: the hole is empty.
    """
    box = bounding_box(hole)
    if box is None:
        raise ValueError("expected a hole, got an empty mask")
    height, width = hole.shape
    side = max(box.width, box.height, MIN_CROP)
    left = min(max((box.left + box.right - side) // 2, 0), max(width - side, 0))
    top = min(max((box.top + box.bottom - side) // 2, 0), max(height - side, 0))
    return Box(left, top, left + side, top + side).clip(width, height)


class Perceptual:
    """LPIPS-squeeze with weights from a file (see `networks/perceptual.py`); safe to share between threads.

    Raises:
        InputError: the file is missing, damaged or holds other tensors.
    """

    def __init__(self, features: Path):
        import torch
        from safetensors import SafetensorError

        from moebius.networks.perceptual import load_lpips

        try:
            net = load_lpips(features)
        except (OSError, SafetensorError, KeyError, RuntimeError) as error:
            reason = str(error).splitlines()[0]
            raise InputError(
                f"{features}: expected SqueezeNet 1.1 with LPIPS heads, got: {reason}"
            ) from error
        # Channels last halves the time of the convolutions on a CPU.
        self.net: LPIPSSqueeze = net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def taps(self, image: Picture) -> list[Tensor]:
        """Feature maps of a picture, sides of at least 32; kept, to compare many with it."""
        import torch

        with torch.inference_mode():
            tensor = torch.from_numpy(image * np.float32(2) - np.float32(1))
            return self.net.taps(tensor.permute(2, 0, 1)[None])

    def distance(self, image: Picture, reference: list[Tensor]) -> float:
        """LPIPS-squeeze between a picture and the one whose `taps` are given; 0 = equal."""
        import torch

        with torch.inference_mode():
            return float(self.net.compare(self.taps(image), reference))


class Judge:
    """All metrics of fills of one hole; what depends on the truth alone is computed once."""

    def __init__(self, truth: Picture, hole: Mask, perceptual: Perceptual):
        self._truth, self._hole, self._perceptual = truth, hole, perceptual
        self._crop = square_around(hole)
        self._taps = perceptual.taps(truth)
        self._whole = self._crop == Box(0, 0, hole.shape[1], hole.shape[0])
        self._crop_taps = self._taps if self._whole else perceptual.taps(truth[self._crop.slices])

    def __call__(self, image: Picture) -> dict[str, float]:
        """The numbers of one filled picture (H, W, 3) in [0, 1], in the order of `METRICS`."""
        pair = image, self._truth, self._hole
        lpips = self._perceptual.distance(image, self._taps)
        crop = image[self._crop.slices]
        return {
            "psnr": masked_psnr(*pair),
            "mae": masked_mae(*pair),
            "ssim": masked_ssim(*pair),
            "lpips": lpips,
            "lpips_crop": lpips if self._whole else self._perceptual.distance(crop, self._crop_taps),
            "sharpness": sharpness_ratio(*pair),
            "seam": seam_error(*pair),
        }
