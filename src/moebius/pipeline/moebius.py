"""Moebius: photo and mask in, the same photo with its hole filled out."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Generator
from dataclasses import fields, replace
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from moebius.engines import Engine, open_engine
from moebius.errors import SettingsError
from moebius.imaging import (
    Box,
    Photo,
    Region,
    connected_boxes,
    default_growth,
    feather_weight,
    grow_mask,
    plan_regions,
    read_mask,
    read_photo,
)
from moebius.pipeline.region import RegionFill, Timer, prepare
from moebius.pipeline.result import Progress, Result
from moebius.sampling import (
    SamplingPlan,
    leading_timesteps,
    make_plan,
    scaled_linear,
    trailing_timesteps,
)
from moebius.settings import DEFAULT_MODEL, Settings
from moebius.weights import ModelSpec, open_model
from moebius.weights.transfer import Progress as TransferProgress

log = logging.getLogger(__name__)

Source = str | Path | bytes | BinaryIO | Image.Image | NDArray[Any] | Photo
Mask = NDArray[np.bool_]
MaskSource = str | Path | bytes | BinaryIO | Image.Image | NDArray[Any]

OFFICIAL_STRENGTH = 0.99


class Moebius:
    """A loaded model.

        model = Moebius.from_pretrained("nano")
        model("photo.jpg", "mask.png", seed=1).save("clean.jpg")

    One instance serves any number of calls; calls share nothing but the weights. The picture depends on the
    photo, the mask, the settings and the weights alone: not on earlier calls, batch sizes or the device's own
    random numbers.
    """

    def __init__(self, spec: ModelSpec, engine: Engine, *, model_hash: str):
        self.spec = spec
        self.engine = engine
        self.model_hash = model_hash

    @classmethod
    def from_pretrained(
        cls,
        name: str | Path = DEFAULT_MODEL,
        *,
        device: str = "auto",
        engine: str = "auto",
        dtype: str = "auto",
        progress: TransferProgress | None = None,
    ) -> Moebius:
        """Open a model: a name that `moebius models` lists, or a folder in the same layout.

        A published model that is not on this machine yet is downloaded; the bundled `nano` needs no network.

        Raises:
            UnknownModelError, DownloadError, CorruptWeightsError: the weights are not to be had.
            DeviceError: engine, device or dtype is not available.
        """
        model = open_model(name, progress=progress)
        opened = open_engine(model.spec, model.path, engine=engine, device=device, dtype=dtype)
        return cls(model.spec, opened, model_hash=model.hash)

    def __call__(self, image: Source, mask: MaskSource, *, key: str = "", **settings: Any) -> Result:
        """Fill the hole.

        Args:
            image: a path, bytes, an open file, a Pillow image, an array (H, W[, C]) of uint8, uint16
                or floats in [0, 1], or a `Photo`.
            mask: white = fill; the photo's size unless `fit_mask`.
            key: mixed into the noise with the seed; give each item of a batch its own.
            **settings: fields of `Settings`.

        Raises:
            InputError: photo, mask or settings cannot be used; the message says why.
        """
        result = None
        for event in self.stream(image, mask, key=key, **settings):
            result = event.result
        assert result is not None
        return result

    def stream(
        self, image: Source, mask: MaskSource, *, key: str = "", **settings: Any
    ) -> Generator[Progress, None, None]:
        """The same fill as a generator of `Progress`, one a network step; the last event carries the result.

        Everything that can be wrong with the arguments is raised here and now, before the first step. Close
        the generator to cancel: the network is not called again.
        """
        chosen = self.complete(**settings)
        plan = self.plan(chosen)
        began = time.perf_counter()
        timer = Timer({})
        photo = image if isinstance(image, Photo) else read_photo(image)
        hole = read_mask(mask, size=photo.size, invert=chosen.invert, fit=chosen.fit_mask)
        warnings = _warn(hole)
        hole = grow_objects(hole, chosen.grow)
        timer.add("read", began)
        return self._fill(photo, hole, chosen, plan, key, timer, began, warnings)

    def complete(self, **settings: Any) -> Settings:
        """`Settings` with the model's own defaults put in for None, checked against the model.

        Raises:
            SettingsError: a setting is unknown, out of range, or not for this model.
        """
        names = [field.name for field in fields(Settings)]
        unknown = [name for name in settings if name not in names]
        if unknown:
            raise SettingsError(f"settings: expected some of {', '.join(names)}, got {unknown[0]!r}")
        asked = Settings(**settings)
        default = self.spec.defaults
        chosen = replace(
            asked,
            steps=default.steps if asked.steps is None else asked.steps,
            guidance=default.guidance if asked.guidance is None else asked.guidance,
            solver=asked.solver or default.solver,
            start=asked.start or default.start,
        )
        if chosen.guidance != 1.0 and not self.spec.guidance_trained:
            raise SettingsError(
                f"guidance: model {self.spec.name} was trained without a guidance branch, expected 1, "
                f"got {chosen.guidance:g}"
            )
        return chosen

    def plan(self, settings: Settings) -> SamplingPlan:
        """The solver's coefficient table for settings that `complete` has made.

        Raises:
            SettingsError: more steps than the model has timesteps.
        """
        assert settings.steps is not None and settings.solver is not None
        if settings.start == "official":
            timesteps = leading_timesteps(settings.steps, OFFICIAL_STRENGTH)
        elif self.spec.spacing == "leading":
            timesteps = leading_timesteps(settings.steps)
        else:
            timesteps = trailing_timesteps(settings.steps, self.spec.first_timestep)
        return make_plan(scaled_linear(), timesteps, settings.solver, self.spec.prediction)

    def _fill(
        self, photo: Photo, hole: Mask, settings: Settings, plan: SamplingPlan, key: str, timer: Timer,
        began: float, warnings: tuple[str, ...],
    ) -> Generator[Progress, None, None]:  # fmt: skip
        assert settings.guidance is not None and settings.solver is not None and settings.start is not None
        size = self.spec.size
        sides = (size,) if settings.start == "official" else (*self.spec.cascade, size)
        steps = len(plan) * len(sides)
        regions = plan_regions(hole, model_size=size, context=settings.context)
        filled = photo.copy()
        preview: Callable[[], Image.Image] = partial(Image.new, "RGB", (size, size))
        for region in regions:
            prepared = time.perf_counter()
            part = hole[region.box.slices]
            crop = photo.crop_rgb(region.box)
            square = prepare(crop, part, size)
            leaky = None
            if settings.start == "official":
                leaky = prepare(crop, np.zeros_like(part), size).filled
            del crop
            timer.add("prepare", prepared)
            pixels = None
            for level, side in enumerate(sides):
                at_side = square.at(side) if pixels is None else square.at(side).refilled(pixels)
                fill = RegionFill(
                    at_side, engine=self.engine, spec=self.spec, plan=plan, start=settings.start,
                    guidance=settings.guidance, seed=settings.seed, key=f"{key}/{region.index}/{side}",
                    timer=timer, leaky=leaky,
                )  # fmt: skip
                for state in fill.steps():
                    preview = partial(_preview, fill, state.x0)
                    done = level * len(plan) + state.index + 1
                    yield Progress(region.index, len(regions), done, steps, preview)
                pixels = fill.pixels()
            assert pixels is not None
            blend = time.perf_counter()
            feather = min(settings.feather, _clearance(region, photo.size))
            filled.blend_rgb(region.box, fill.crop(pixels), feather_weight(part, feather))
            timer.add("blend", blend)
        timer.add("total", began)
        result = Result(
            photo=filled,
            settings=settings,
            key=key,
            model=self.spec.name,
            model_hash=self.model_hash,
            engine=self.engine.name,
            device=self.engine.device,
            dtype=self.engine.dtype,
            steps=len(plan) if regions else 0,
            guidance=settings.guidance,
            solver=settings.solver,
            start=settings.start,
            regions=tuple(region.box for region in regions),
            timings=timer.seconds,
            warnings=warnings,
        )
        done = steps if regions else 0
        yield Progress(max(0, len(regions) - 1), len(regions), done, done, preview, result)


def grow_objects(mask: Mask, pixels: int | None) -> Mask:
    """The mask grown by `pixels`; None grows each object by a margin scaled to its own size.

    Masks drawn by hand or by a segmenter end at an object's outline; its anti-aliased rim and soft shadow lie
    outside, and left in place they show as a ghost.
    """
    if pixels is not None:
        return grow_mask(mask, pixels)
    boxes: dict[int, list[Box]] = {}
    for box in connected_boxes(mask):
        boxes.setdefault(default_growth(box), []).append(box)
    grown = mask.copy()
    for growth, group in boxes.items():
        objects = np.zeros_like(mask)
        for box in group:
            objects[box.slices] |= mask[box.slices]
        grown |= grow_mask(objects, growth)
    return grown


def _clearance(region: Region, size: tuple[int, int]) -> int:
    """Pixels around a region's hole that lie inside its crop; a photo's own border is no limit."""
    box, hole = region.box, region.hole
    sides = (
        (box.left, 0, hole.left - box.left),
        (box.top, 0, hole.top - box.top),
        (box.right, size[0], box.right - hole.right),
        (box.bottom, size[1], box.bottom - hole.bottom),
    )
    return min((room for edge, border, room in sides if edge != border), default=max(size))


def _warn(hole: Mask) -> tuple[str, ...]:
    share = float(hole.mean())
    message = None
    if share == 0:
        message = "the mask is empty: nothing to fill, the photo is copied unchanged"
    elif share == 1:
        message = "the mask covers the whole photo: nothing known to fill from"
    elif share > 0.8:
        message = f"the mask covers {share:.0%} of the photo: white means fill (see invert)"
    if message is None:
        return ()
    log.warning(message)
    return (message,)


def _preview(fill: RegionFill, x0: Any) -> Image.Image:
    return Image.fromarray(np.floor(fill.decode(x0) * 255 + 0.5).astype(np.uint8))


__all__ = ["Moebius", "grow_objects"]
