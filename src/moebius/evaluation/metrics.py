"""One filled picture against the truth, number by number.

Pictures are (H, W, 3) float32 in [0, 1], holes (H, W) with True = filled. `judge.py` puts them together with the
distances of feature networks (`features.py`) and the numbers that need no truth (`ring.py`, `removal.py`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from types import EllipsisType
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from moebius.evaluation.holes import Mask, Pixels
from moebius.imaging import Box, bounding_box

Picture = NDArray[np.float32]

MAX_PSNR = 100.0
"""dB, what equal pictures get: it keeps means finite, and 8 bits cannot come near it otherwise."""
MIN_CROP = 64
"""Least side of the square on which feature networks look at a hole, px; SqueezeNet needs 32."""
SSIM_SIGMA, SSIM_RADIUS = 1.5, 5
"""Gaussian window of SSIM: 11 x 11."""

Best = Literal["high", "low", "one", "zero"]
Scope = Literal["hole", "whole", "crop", "ring", "known", "set"]


@dataclass(frozen=True)
class Metric:
    """How a number is shown and read."""

    name: str
    title: str
    best: Best
    digits: int
    scope: Scope
    """Where it looks: inside the hole, at the whole picture, at the smallest square around the hole, at the hole's
    edge, at the known pixels, or at the set of all crops."""
    about: str
    card: bool = False
    """Whether it stands in the Markdown tables of a model card."""


METRICS = (
    Metric("psnr", "PSNR, dB", "high", 2, "hole", "Peak signal-to-noise ratio inside the hole.", True),
    Metric("mae", "MAE", "low", 3, "hole", "Mean absolute error inside the hole, values in [0, 1].", True),
    Metric("ssim", "SSIM", "high", 3, "hole", "Structural similarity, averaged over the hole.", True),
    Metric("psnr_whole", "PSNR, whole", "high", 2, "whole", "PSNR of the whole picture, dB."),
    Metric("mae_whole", "L1, whole", "low", 4, "whole", "Mean absolute error of the whole picture."),
    Metric("ssim_whole", "SSIM, whole", "high", 3, "whole", "Structural similarity of the whole picture."),
    Metric("lpips", "LPIPS-squeeze", "low", 3, "whole", "LPIPS v0.1 on SqueezeNet 1.1; not the published LPIPS."),
    Metric("lpips_crop", "LPIPS-squeeze, crop", "low", 3, "crop", "The same on the square around the hole.", True),
    Metric("lpips_alex", "LPIPS (alex)", "low", 3, "whole", "LPIPS v0.1 on AlexNet."),
    Metric("lpips_vgg", "LPIPS (vgg)", "low", 3, "whole", "LPIPS v0.1 on VGG-16."),
    Metric("sharpness", "sharpness", "one", 2, "hole", "Mean |Laplacian| in the hole, over the truth's.", True),
    Metric("seam", "seam", "zero", 3, "ring", "Mean colour step across the hole's edge, minus the truth's."),
    Metric("ring_error", "ring error", "low", 3, "ring", "MAE inside the hole within 8 px of its edge."),
    Metric("ring_step", "edge step", "one", 2, "ring", "Colour step across the edge, over the photo's own elsewhere."),
    Metric(
        "ring_tone", "edge tone", "one", 2, "ring",
        "Difference of mean colour on the two sides of the edge, over the photo's own elsewhere.", True,
    ),
    Metric("ring_grain", "edge grain", "one", 2, "ring", "Fine texture inside the edge over outside it."),
    Metric("outside", "outside change", "low", 4, "known", "Largest change of a known pixel, 0 to 1."),
    Metric("outside_share", "outside changed", "low", 4, "known", "Share of the known pixels that changed."),
    Metric("returns", "object returns", "zero", 3, "hole", "Correlation of the fill with what was hidden."),
    Metric("object_left", "object recognised", "zero", 2, "crop", "How much a classifier still sees of the object."),
    Metric("diversity", "diversity", "high", 3, "crop", "Mean LPIPS-squeeze between fills of different seeds."),
    Metric(
        "fd_mobilenetv2", "FD-MobileNetV2", "low", 1, "set",
        "Fréchet distance of MobileNetV2 features of crops at 256 px, fills against the same photos; not FID.", True,
    ),
    Metric(
        "kid_mobilenetv2", "KID-MobileNetV2", "low", 3, "set",
        "Kernel distance of the same features, as for sets that share no photo.",
    ),
    Metric("fid", "FID", "low", 2, "set", "Fréchet distance of Inception features of whole pictures."),
    Metric("kid", "KID", "low", 4, "set", "Kernel distance of Inception features, as for sets that share no photo."),
    Metric("uids", "U-IDS", "high", 3, "set", "Share of pictures on the wrong side of a linear classifier."),
    Metric("pids", "P-IDS", "high", 3, "set", "Share of fills that it finds more real than their truth."),
)  # fmt: skip
"""In the order of tables."""

BY_NAME = {metric.name: metric for metric in METRICS}


def to_picture(pixels: Pixels) -> Picture:
    """(H, W, 3) uint8 -> float32 in [0, 1]."""
    return pixels.astype(np.float32) / np.float32(255)


def to_pixels(picture: Any) -> Pixels:
    """Numbers in [0, 1], of any shape, rounded half up to uint8; what lies outside is cut."""
    scaled = np.asarray(picture, np.float32) * np.float32(255) + np.float32(0.5)
    rounded: Pixels = np.clip(scaled, 0, 255).astype(np.uint8)
    return rounded


def masked_mae(image: Picture, truth: Picture, hole: Mask | EllipsisType) -> float:
    """Mean absolute difference inside the hole (... = everywhere), over pixels and channels, 0 to 1; 0 = equal."""
    return float(np.abs(image[hole] - truth[hole]).mean(dtype=np.float64))


def masked_psnr(image: Picture, truth: Picture, hole: Mask | EllipsisType) -> float:
    """Peak signal-to-noise ratio inside the hole (... = everywhere), dB: -10 log10(MSE), at most `MAX_PSNR`."""
    error = float(np.square(image[hole] - truth[hole]).mean(dtype=np.float64))
    return min(-10 * math.log10(error), MAX_PSNR) if error > 0 else MAX_PSNR


class Similarity:
    """SSIM against one truth (Wang, Bovik, Sheikh & Simoncelli, Image Quality Assessment, 2004, section III).

    Gaussian window of sigma 1.5, 11 x 11, K1 = 0.01, K2 = 0.03, population covariances, per channel. The truth's own
    moments are computed once.
    """

    def __init__(self, truth: Picture):
        self._truth = truth
        self._mean = _blur(truth)
        self._variance = _blur(truth * truth) - self._mean * self._mean

    def __call__(self, image: Picture) -> NDArray[np.float32]:
        """The map of similarities (H, W, 3), in [-1, 1]; 1 = equal. Windows at the border mirror the picture."""
        mean = _blur(image)
        variance = _blur(image * image) - mean * mean
        covariance = _blur(image * self._truth) - mean * self._mean
        c1, c2 = np.float32(0.01**2), np.float32(0.03**2)
        above = (2 * mean * self._mean + c1) * (2 * covariance + c2)
        below = (mean * mean + self._mean * self._mean + c1) * (variance + self._variance + c2)
        return np.asarray(above / below, np.float32)


def whole_ssim(similarity: NDArray[np.float32]) -> float:
    """The mean of a map, without the border whose windows are not complete (as in the paper's own program)."""
    inner = similarity[SSIM_RADIUS:-SSIM_RADIUS, SSIM_RADIUS:-SSIM_RADIUS]
    return float(inner.mean(dtype=np.float64))


def _blur(image: Picture) -> Picture:
    import cv2

    side = 2 * SSIM_RADIUS + 1
    blurred: Picture = cv2.GaussianBlur(image, (side, side), SSIM_SIGMA, borderType=cv2.BORDER_REFLECT)
    return blurred


def sharpness_ratio(image: Picture, truth: Picture, hole: Mask) -> float:
    """Mean absolute Laplacian inside the hole, divided by the truth's: below 1 = blurred, above 1 = noisy.

    Pixels at the hole's rim are left out, where it would measure the seam; unless there are no others.
    """
    where = without_rim(hole)
    where = where if where.any() else hole
    return float(laplacian(image)[where].mean(dtype=np.float64)) / max(
        float(laplacian(truth)[where].mean(dtype=np.float64)), 1e-6
    )


def laplacian(image: Picture) -> Picture:
    """|sum of the four neighbours - 4 pixel|, (H, W, C); the border is held."""
    held = np.pad(image, ((1, 1), (1, 1), (0, 0)), mode="edge")
    neighbours = held[:-2, 1:-1] + held[2:, 1:-1] + held[1:-1, :-2] + held[1:-1, 2:]
    steps: Picture = np.abs(neighbours - 4 * image)
    return steps


def without_rim(mask: Mask) -> Mask:
    """The mask without its pixels that have one of the four neighbours outside it; the picture's border is no rim."""
    held = np.pad(mask, 1, mode="edge")
    return mask & held[:-2, 1:-1] & held[2:, 1:-1] & held[1:-1, :-2] & held[1:-1, 2:]


def seam_error(image: Picture, truth: Picture, hole: Mask) -> float:
    """Mean absolute colour step across the hole's edge, minus the truth's: above 0 = a visible outline.

    Steps are taken between neighbours (up, down, left, right) of which one is filled and the other known.
    0 for a hole without an edge.
    """
    excess = edge_steps(image, hole) - edge_steps(truth, hole)
    return float(excess.mean(dtype=np.float64)) if excess.size else 0.0


def edge_steps(image: Picture, hole: Mask) -> NDArray[np.float32]:
    """Absolute colour steps (n, C) across the hole's edge, in a fixed order."""
    steps: list[NDArray[np.float32]] = []
    for axis in (0, 1):
        edge = np.diff(hole, axis=axis)  # of booleans: where the two differ
        steps.append(np.abs(np.diff(image, axis=axis))[edge])
    return np.concatenate(steps)


def outside_change(filled: Pixels, truth: Pixels, known: Mask) -> tuple[float, float]:
    """(largest change of a known pixel in [0, 1], share of the known pixels that changed)."""
    change = np.abs(filled.astype(np.int16) - truth.astype(np.int16)).max(axis=2)[known]
    return (float(change.max() / 255), float((change > 0).mean())) if change.size else (0.0, 0.0)


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
