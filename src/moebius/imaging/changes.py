"""Reports: what has changed between two photos, and how a photo was stored."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np

from moebius.imaging.arrays import Mask, Samples
from moebius.imaging.box import Box, bounding_box
from moebius.imaging.photo import Photo

Stored = Literal["lossless", "lossy", "blocks kept"]
"""Every sample as it was; encoded anew with a loss; or, in JPEG, only the blocks that had changed encoded anew."""

_ROWS = 512


@dataclass(frozen=True)
class Written:
    """What `write_photo` has done."""

    format: str
    """By Pillow's name: "JPEG", "PNG", "WEBP", "TIFF", "BMP", "AVIF" or "HEIF"."""
    nbytes: int
    """Bytes of the file."""
    stored: Stored
    blocks_total: int | None = None
    """8 x 8 blocks of all components; set only where blocks were kept, like the next."""
    blocks_rewritten: int | None = None
    warnings: tuple[str, ...] = ()
    """What could not be done as it should have been, a line each."""

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "warnings": list(self.warnings)}


@dataclass(frozen=True)
class Changes:
    """How one photo differs from another of the same size, mode and depth. Differences are in units of a sample."""

    pixels: int
    """Pixels of the photo."""
    changed: int
    """Pixels of which any sample, alpha included, differs."""
    box: Box | None
    """Around all that have changed; None if there are none."""
    largest: int
    """Largest difference of a sample anywhere."""
    outside: int | None = None
    """Changed pixels outside the mask; None if there was no mask."""
    largest_outside: int | None = None
    alpha_changed: int = 0
    """Pixels whose alpha differs."""

    @property
    def share(self) -> float:
        """Part of the photo's pixels that has changed, 0 to 1."""
        return self.changed / self.pixels

    def to_dict(self) -> dict[str, Any]:
        box = None if self.box is None else [self.box.left, self.box.top, self.box.right, self.box.bottom]
        return {**asdict(self), "box": box, "share": self.share}


def describe_changes(before: Photo, after: Photo, mask: Mask | None = None) -> Changes:
    """Compare two photos, some rows at a time.

    Args:
        mask: (H, W), True = expected to change: the grown mask and the feather around it.

    Raises:
        ValueError: the photos, or the mask, are not alike in size, mode, depth or transparency.
    """
    kinds = [(each.size, each.mode, each.bits, each.alpha is not None) for each in (before, after)]
    if kinds[0] != kinds[1]:
        raise ValueError(f"expected photos of one size and kind, got {before!r} and {after!r}")
    shape = (before.height, before.width)
    if mask is not None and (mask.shape != shape or mask.dtype != np.bool_):
        raise ValueError(f"expected a bool mask {shape}, got {mask.dtype} {mask.shape}")
    report = Changes(before.width * before.height, 0, None, 0, *((None, None) if mask is None else (0, 0)))
    for top in range(0, before.height, _ROWS):
        box = _differing(before, after, slice(top, top + _ROWS))
        if box is not None:
            box = box.shift(0, top)
            report = _together(report, _part(before, after, mask, box), box)
    return report


def add_changes(one: Changes, other: Changes) -> Changes:
    """The reports on two frames of one size as one: counts are added up, boxes and largest differences cover both."""
    return replace(_together(one, other, Box(0, 0, 0, 0)), pixels=one.pixels + other.pixels)


def _differing(before: Photo, after: Photo, rows: slice) -> Box | None:
    """Around the pixels that differ in some rows, counted from the first of them."""
    differs = before.pixels[rows] != after.pixels[rows]  # (h, W, C)
    height, width, channels = differs.shape
    box = bounding_box(differs.reshape(height, width * channels))  # reducing so few channels takes far longer
    if box is not None:
        box = Box(box.left // channels, box.top, (box.right - 1) // channels + 1, box.bottom)
    if before.alpha is None or after.alpha is None:
        return box
    of_alpha = bounding_box(before.alpha[rows] != after.alpha[rows])
    return of_alpha if box is None else box if of_alpha is None else box.union(of_alpha)


def _part(before: Photo, after: Photo, mask: Mask | None, box: Box) -> Changes:
    """The report on what lies in a box, whose own box counts from its corner."""
    difference = _difference(_in_order(before, box), _in_order(after, box)).max(axis=-1)
    alpha_changed = 0
    if before.alpha is not None and after.alpha is not None:
        of_alpha = _difference(before.alpha[box.slices], after.alpha[box.slices])
        alpha_changed = int(np.count_nonzero(of_alpha))
        difference = np.maximum(difference, of_alpha)
    changed = difference > 0
    report = Changes(
        changed.size,
        int(np.count_nonzero(changed)),
        bounding_box(changed),
        int(difference.max()),
        alpha_changed=alpha_changed,
    )
    if mask is None:
        return report
    beyond = np.where(mask[box.slices], 0, difference)
    return replace(report, outside=int(np.count_nonzero(beyond)), largest_outside=int(beyond.max()))


def _in_order(photo: Photo, box: Box) -> Samples:
    """A box's samples, of Lab as distances from the darkest and from the bluest and greenest, not two's complement."""
    samples = photo.pixels[box.slices]
    if photo.mode != "LAB":
        return samples
    half = 1 << (photo.bits - 1)
    ordered: Samples = samples ^ np.array([0, half, half], dtype=samples.dtype)
    return ordered


def _difference(one: Any, other: Any) -> Any:
    return np.where(one > other, one - other, other - one)


def _together(report: Changes, part: Changes, place: Box) -> Changes:
    """The report with that on a part of the photo, which lies at `place`."""
    box = report.box
    if part.box is not None:
        found = part.box.shift(place.left, place.top)
        box = found if box is None else box.union(found)
    outside, largest_outside = report.outside, report.largest_outside
    if outside is not None and largest_outside is not None:
        outside += part.outside or 0
        largest_outside = max(largest_outside, part.largest_outside or 0)
    return replace(
        report,
        changed=report.changed + part.changed,
        box=box,
        largest=max(report.largest, part.largest),
        outside=outside,
        largest_outside=largest_outside,
        alpha_changed=report.alpha_changed + part.alpha_changed,
    )
