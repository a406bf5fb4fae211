"""All numbers of the fills of one hole; what depends on the hole alone is computed once."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from moebius.evaluation.features import Descriptor, PerceptualDistance
from moebius.evaluation.holes import Hole, Pixels
from moebius.evaluation.metrics import (
    Picture,
    Similarity,
    masked_mae,
    masked_psnr,
    outside_change,
    seam_error,
    sharpness_ratio,
    square_around,
    to_picture,
    whole_ssim,
)
from moebius.evaluation.removal import object_left, returns
from moebius.evaluation.ring import REACH, Ring
from moebius.evaluation.store import Measured
from moebius.imaging import distance_outside, push_pull, resize

DESCRIBED = 256
"""Side of the crop that MobileNetV2 describes, px."""


@dataclass(frozen=True)
class Networks:
    """The feature networks at hand; without one, its metrics are left out."""

    perceptual: Mapping[str, PerceptualDistance] = field(default_factory=dict)
    """By network: "lpips-squeeze", "lpips-alex", "lpips-vgg"."""
    descriptors: Mapping[str, Descriptor] = field(default_factory=dict)
    """By network: "mobilenetv2", "inception"."""


class Judge:
    """Measures fills of one hole.

    Args:
        hole: with what it hides.
        networks: those that are to look.
        paired: whether what the hole hides is the truth, or something that is to go.
        fade: pixels outside the hole that a method may change (it fades out there); what is farther off is taken
            from the photo before anything is measured.
        whole: whether LPIPS-squeeze looks at the whole picture too, as published LPIPS does, and not at the square
            around the hole alone.
    """

    def __init__(
        self, hole: Hole, networks: Networks, *, paired: bool = True, fade: int = 0, whole: bool = True
    ):
        self._hole, self._networks, self._paired = hole, networks, paired
        self._mask = hole.mask
        self._open = hole.mask if fade == 0 else distance_outside(hole.mask, fade + 1) <= fade
        self._truth = to_picture(hole.pixels)
        self._crop = square_around(hole.mask)
        self._ring = Ring(self._truth, hole.mask, _seed(hole.case.key))
        if paired:
            self._similarity = Similarity(self._truth)
            self._near_edge = hole.mask & (distance_outside(~hole.mask, REACH + 1) <= REACH)
        else:
            self._smooth = push_pull(self._truth, hole.mask)
        self._looks = [
            (key, network, crop, network.prepare(self._cropped(self._truth) if crop else self._truth))
            for name, network in networks.perceptual.items()
            for key, crop in _looks(name, whole)
            if paired
        ]

    def truth(self) -> Measured:
        """The descriptors of the truth, for metrics of whole sets."""
        return Measured({"area": self._area}, self._descriptors(self._truth))

    def paste(self, filled: Pixels) -> Pixels:
        """The photo with the fill's pixels in its hole (and where it may fade), as measured."""
        return np.where(self._open[..., None], filled, self._hole.pixels)

    def __call__(self, filled: Pixels, seconds: float = 0.0) -> Measured:
        """The numbers and descriptors of one method's picture (H, W, 3) uint8, as the method gave it."""
        outside, share = outside_change(filled, self._hole.pixels, ~self._open)
        image = to_picture(self.paste(filled))
        numbers = {"area": self._area, "outside": outside, "outside_share": share}
        numbers |= self._against_truth(image) if self._paired else self._without_truth(image)
        numbers |= self._ring(image)
        features = self._descriptors(image) if self._paired else {}
        return Measured(numbers, features, seconds)

    @property
    def _area(self) -> float:
        return round(float(self._mask.mean()), 6)

    def _against_truth(self, image: Picture) -> dict[str, float]:
        three = image, self._truth, self._mask
        everywhere = ...  # numpy's way to say so: every pixel, without a copy
        similarity = self._similarity(image)
        numbers = {
            "psnr": masked_psnr(*three),
            "mae": masked_mae(*three),
            "ssim": float(similarity[self._mask].mean(dtype=np.float64)),
            "psnr_whole": masked_psnr(image, self._truth, everywhere),
            "mae_whole": masked_mae(image, self._truth, everywhere),
            "ssim_whole": whole_ssim(similarity),
            "sharpness": sharpness_ratio(*three),
            "seam": seam_error(*three),
            "ring_error": masked_mae(image, self._truth, self._near_edge),
        }
        for key, network, crop, reference in self._looks:
            numbers[key] = network.distance(self._cropped(image) if crop else image, reference)
        return numbers

    def _without_truth(self, image: Picture) -> dict[str, float]:
        numbers = {"returns": returns(image, self._truth, self._smooth, self._mask)}
        network = self._networks.descriptors.get("mobilenetv2")
        if network is not None:
            seen = [network.classes(self._small_crop(x)) for x in (image, self._truth, self._smooth)]
            left = object_left(*seen)
            numbers |= {} if left is None else {"object_left": left}
        return numbers

    def _descriptors(self, image: Picture) -> dict[str, Any]:
        """MobileNetV2 looks at the crop, which is where fills differ; Inception at the whole, as published."""
        return {
            name: network(self._small_crop(image) if name == "mobilenetv2" else image)
            for name, network in self._networks.descriptors.items()
        }

    def _small_crop(self, image: Picture) -> Picture:
        """The square around the hole at `DESCRIBED` px: about the size that MobileNetV2 was trained at."""
        return resize(self._cropped(image), (DESCRIBED, DESCRIBED))

    def _cropped(self, image: Picture) -> Picture:
        return np.ascontiguousarray(image[self._crop.slices])


def _looks(network: str, whole: bool) -> list[tuple[str, bool]]:
    """The metrics of a perceptual network: their names, and whether they look at the crop."""
    if network != "lpips-squeeze":
        return [(network.replace("-", "_"), False)]
    return [("lpips", False)] * whole + [("lpips_crop", True)]


def _seed(key: str) -> int:
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big")
