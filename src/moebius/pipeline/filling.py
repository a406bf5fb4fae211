"""One photo's fill: its regions, a few at a time, each brought to the network and pasted back."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
from PIL import Image

from moebius.engines.base import Engine, FloatArray
from moebius.imaging import Box, Grain, Photo, Region, feather_weight, plan_regions, textured
from moebius.pipeline.canvas import Picture
from moebius.pipeline.frame import Frame, Mask, Shape, prepare
from moebius.pipeline.region import RegionFill, Timer
from moebius.pipeline.tiles import Refiner
from moebius.sampling import SamplingPlan, normal
from moebius.settings import Settings
from moebius.weights import ModelSpec

SPARSE_SCALE = 2.0
"""Photo pixels a model pixel from which on a sparse hole is refined by tiles, with strategy "crop" too."""
REFINED_SCALE = 1.05
"""Photo pixels a model pixel up to which the fill has the photo's own resolution."""
COARSE_PART = 0.2
"""Part of a region's work that its coarse fill is counted for, where a refinement follows."""
TEXTURE_SCALE = 3.0
"""Model pixels' sizes, in each direction, that a fill with the photo's own texture has at most."""
TEXTURE_UNIT = 64
"""What sides of such a fill divide by, so that they can be halved."""
_STRIP = 1 << 22
"""Pixels of a fill that are pasted at a time."""

Preview = Callable[[], Image.Image]


@dataclass(frozen=True)
class Event:
    """A network call done."""

    region: int
    """Number of regions that are finished."""
    step: int
    steps: int
    """Network steps of the regions at hand, done and in all; of a fill by tiles, of its coarse part."""
    fraction: float
    """Part of the photo's work that is done, 0 to 1."""
    preview: Preview
    box: Box
    """What of the photo the preview shows."""


@dataclass
class Filling:
    """A photo being filled: iterate over `run()`, then take `photo`.

    Args:
        original: never written to.
        hole: (H, W), True = fill, grown already.
        kept: (H, W), True where the feather does not reach; None for nowhere.
        settings: complete.
        plan: solver steps of a fill.
        refining: solver steps of a refinement by tiles.
        key: mixed into the noise.
    """

    engine: Engine
    spec: ModelSpec
    original: Photo
    hole: Mask
    kept: Mask | None
    settings: Settings
    plan: SamplingPlan
    refining: SamplingPlan
    key: str
    timer: Timer

    def __post_init__(self) -> None:
        official = self.settings.start == "official"
        size = self.spec.size
        self._shapes = self.spec.shapes(size)[: 1 if official else None]
        self._sides = (size,) if official else self.spec.sides
        self.regions = plan_regions(
            self.hole,
            shapes=self._shapes,
            context=self.settings.context,
            whole=self.settings.strategy == "whole",
        )
        self.photo = self.original.copy()
        self._grain: tuple[int, Grain] | None = None

    @property
    def steps(self) -> int:
        """Network steps of a region, over all the sides that the model fills it at."""
        return len(self.plan) * len(self._sides)

    def run(self) -> Iterator[Event]:
        """Fill region after region, one event a network call."""
        finished = 0
        for group in self._groups():
            began = time.perf_counter()
            frames = [
                prepare(self.original, region.box, self.hole[region.box.slices], region.shape)
                for region in group
            ]
            self.timer.add("prepare", began)
            finals = yield from self._coarse(group, frames, finished)
            coarse = self._coarse_part(group)
            for place, (region, frame, pixels) in enumerate(zip(group, frames, finals, strict=True)):
                if self.spec.detail == "photo":
                    frame, pixels = self._textured(region, frame, pixels)
                if self._is_refined(region):
                    before = finished - place + len(group) * coarse + place * (1 - coarse)
                    yield from self._refine(region, frame, pixels, finished, before, 1 - coarse)
                else:
                    self._paste_frame(region, frame, pixels)
                finished += 1

    def _groups(self) -> Iterator[list[Region]]:
        """Regions of one shape, as many as the engine takes at once."""
        by_shape: dict[Shape, list[Region]] = {}
        for region in self.regions:
            by_shape.setdefault(region.shape, []).append(region)
        for regions in by_shape.values():
            for start in range(0, len(regions), self.engine.rows):
                yield regions[start : start + self.engine.rows]

    def _coarse_part(self, group: list[Region]) -> float:
        """Part of the group's work that its coarse fills are counted for; they come before all refinements."""
        return COARSE_PART if any(map(self._is_refined, group)) else 1.0

    def _coarse(
        self, group: list[Region], frames: list[Frame], finished: int
    ) -> Generator[Event, None, list[FloatArray]]:
        """Fill frames at the model's sizes, from the smallest to its own."""
        leaky = None
        if self.settings.start == "official":
            seen = [np.zeros_like(self.hole[region.box.slices]) for region in group]
            leaky = [
                prepare(self.original, region.box, nothing, region.shape).filled
                for region, nothing in zip(group, seen, strict=True)
            ]
        assert self.settings.start is not None and self.settings.guidance is not None
        finals: list[FloatArray] = []
        part = len(group) * self._coarse_part(group)
        for level, side in enumerate(self._sides):
            sized = [frame.at(self._shape(region, side)) for frame, region in zip(frames, group, strict=True)]
            if finals:
                sized = [frame.refilled(pixels) for frame, pixels in zip(sized, finals, strict=True)]
            fill = RegionFill(
                sized, engine=self.engine, spec=self.spec, plan=self.plan, start=self.settings.start,
                guidance=self.settings.guidance, seed=self.settings.seed,
                keys=[f"{self.key}/{region.index}/{side}" for region in group], timer=self.timer, leaky=leaky,
            )  # fmt: skip
            for state in fill.steps():
                done = level * len(self.plan) + state.index + 1
                fraction = (finished + part * done / self.steps) / len(self.regions)
                preview = partial(_preview, fill, state.x0, _inner_part(frames[0]))
                yield Event(finished, done, self.steps, fraction, preview, group[0].box)
            finals = fill.pixels()
        return finals

    def _textured(self, region: Region, frame: Frame, pixels: FloatArray) -> tuple[Frame, FloatArray]:
        """The region's fill with the photo's own texture, at the photo's own resolution or near it, and its frame."""
        began = time.perf_counter()
        scale = 1.0 if self._is_refined(region) else min(region.scale, TEXTURE_SCALE)
        if scale > REFINED_SCALE:
            height, width = (round(side * scale / TEXTURE_UNIT) * TEXTURE_UNIT for side in region.shape)
            frame = prepare(self.original, region.box, self.hole[region.box.slices], (height, width))
        pixels = textured(frame.refilled(pixels).filled, frame.filled, frame.mask)
        self.timer.add("texture", began)
        return frame, pixels

    def _shape(self, region: Region, side: int) -> Shape:
        """The region's shape at another of the model's sides."""
        return self.spec.shapes(side)[self._shapes.index(region.shape)]

    def _is_refined(self, region: Region) -> bool:
        return is_refined(region, self.settings)

    def _refine(
        self, region: Region, frame: Frame, pixels: FloatArray, finished: int, before: float, share: float
    ) -> Generator[Event, None, None]:
        """Refine a fill by tiles.

        Args:
            finished: regions.
            before, share: regions' worth of work that is done by now, and that this adds.
        """
        assert self.settings.guidance is not None
        box, feather = region.box, self._feather(region)
        height, width = frame.inner
        coarse = Picture(pixels[:height, :width], (box.left, box.top, box.right, box.bottom))
        refiner = Refiner(
            self.engine, self.spec, self.refining, self.settings.guidance, self.settings.seed, self.timer
        )
        run = refiner.run(
            self.original, self.hole, box, region.hole, coarse, scale=region.scale, reach=feather,
            key=f"{self.key}/{region.index}", paste=partial(self._paste, region, feather),
        )  # fmt: skip
        for part, fill in run:
            fraction = (before + share * part) / len(self.regions)
            preview = partial(_small, fill, self.spec.size)
            left, top, right, bottom = map(round, fill.box)
            yield Event(finished, self.steps, self.steps, fraction, preview, Box(left, top, right, bottom))

    def _paste_frame(self, region: Region, frame: Frame, pixels: FloatArray) -> None:
        """Bring a frame to the photo's resolution, where it has weight, and blend it in."""
        feather = self._feather(region)
        box, wanted = region.box, region.hole.expand(feather).intersection(region.box)
        rows = max(1, _STRIP // wanted.width)
        for top in range(wanted.top, wanted.bottom, rows):
            strip = Box(wanted.left, top, wanted.right, min(wanted.bottom, top + rows))
            inside = Box(
                strip.left - box.left, strip.top - box.top, strip.right - box.left, strip.bottom - box.top
            )
            began = time.perf_counter()
            rgb = frame.part(pixels, inside)
            self.timer.add("blend", began)
            self._paste(region, feather, strip, rgb)

    def _paste(self, region: Region, feather: int, box: Box, rgb: FloatArray) -> None:
        """Blend a part of a fill into the photo, fading out around the region's holes."""
        began = time.perf_counter()
        if self.settings.grain:
            if self._grain is None or self._grain[0] != region.index:
                self._grain = region.index, self._measured_grain(region)
            top, left = box.top - region.box.top, box.left - region.box.left
            rgb = self._grain[1].add(
                rgb, self.hole[box.slices], top=top, left=left, amount=self.settings.grain
            )
        around = box.expand(feather).intersection(region.box)
        weight = feather_weight(self.hole[around.slices], feather)
        top, left = box.top - around.top, box.left - around.left
        weight = weight[top : top + box.height, left : left + box.width]
        if self.kept is not None:
            weight = np.where(self.kept[box.slices], np.float32(0), weight)
        self.photo.blend_rgb(box, rgb, weight)
        self.timer.add("blend", began)

    def _measured_grain(self, region: Region) -> Grain:
        """The photo's noise around a region's hole."""
        crop, seed = region.box, self.settings.seed

        def read(box: Box) -> FloatArray:
            left, top = crop.left + box.left, crop.top + box.top
            return self.original.crop_rgb(Box(left, top, left + box.width, top + box.height))

        noise = partial(normal, seed=seed, key=f"{self.key}/{region.index}/grain")
        return Grain(read, self.hole[crop.slices], noise)

    def _feather(self, region: Region) -> int:
        """The feather, but no wider than what the crop shows around the hole; a photo's own border is no limit."""
        box, hole, (width, height) = region.box, region.hole, self.original.size
        sides = (
            (box.left, 0, hole.left - box.left),
            (box.top, 0, hole.top - box.top),
            (box.right, width, box.right - hole.right),
            (box.bottom, height, box.bottom - hole.bottom),
        )
        room = min((room for edge, border, room in sides if edge != border), default=max(width, height))
        return min(self.settings.feather, room)


def is_refined(region: Region, settings: Settings) -> bool:
    """Whether a region's fill goes on to the photo's own resolution, by tiles."""
    if settings.start == "official" or settings.strategy == "whole":
        return False
    least = REFINED_SCALE if settings.strategy == "tiles" else SPARSE_SCALE
    return region.scale > least and (settings.strategy == "tiles" or region.sparse)


def _preview(fill: RegionFill, x0: object, inner: tuple[float, float]) -> Image.Image:
    """The first frame's picture from a step's x0, without what only fills up the model's shape."""
    pixels = fill.preview(x0)
    height, width = (max(1, round(part * side)) for part, side in zip(inner, pixels.shape, strict=False))
    return _image(pixels[:height, :width])


def _inner_part(frame: Frame) -> tuple[float, float]:
    """(height, width) of the crop inside a frame of the model's own shape, as parts of it."""
    return frame.inner[0] / frame.mask.shape[0], frame.inner[1] / frame.mask.shape[1]


def _small(picture: Picture, size: int) -> Image.Image:
    image = _image(picture.pixels)
    image.thumbnail((size, size))
    return image


def _image(pixels: FloatArray) -> Image.Image:
    return Image.fromarray(np.floor(pixels * 255 + 0.5).astype(np.uint8))
