"""Moebius: photo and mask in, the same photo with its hole filled out."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Generator
from dataclasses import fields, replace
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from moebius.engines import Engine, Lane, open_engine
from moebius.errors import MaskError, SettingsError
from moebius.imaging import Hole, Photo, read_mask, read_photo
from moebius.pipeline.filling import Filling
from moebius.pipeline.region import Timer
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
REFINING_STRENGTH = 0.5
"""Part of the timesteps that a refinement goes through, where the sampler starts from the fill so far."""


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

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the threads of a model with a `Lane`, as `from_pretrained` makes with rows > 1; later fills raise
        `MoebiusError`. Without this they end when nothing refers to the model any more. Other models have none. The
        weights' memory comes back with the last reference in any case.
        """
        if isinstance(self.engine, Lane):
            self.engine.close()

    @classmethod
    def from_pretrained(
        cls,
        name: str | Path = DEFAULT_MODEL,
        *,
        device: str = "auto",
        engine: str = "auto",
        dtype: str = "auto",
        rows: int = 1,
        progress: TransferProgress | None = None,
    ) -> Moebius:
        """Open a model: a name that `moebius models` lists, or a folder in the same layout.

        A published model that is not on this machine yet is downloaded; the bundled `nano` needs no network.

        Args:
            rows: regions that go through the network at once. With more than one, pictures depend in their last bits on
                this number (but not on what else goes through); it pays on GPUs and for photos with many holes.

        Raises:
            UnknownModelError, DownloadError, CorruptWeightsError: the weights are not to be had.
            DeviceError: engine, device or dtype is not available.
            SettingsError: rows < 1.
        """
        if rows < 1:
            raise SettingsError(f"rows: expected a whole number from 1, got {rows!r}")
        model = open_model(name, progress=progress)
        opened = open_engine(model.spec, model.path, engine=engine, device=device, dtype=dtype)
        return cls(model.spec, opened if rows == 1 else Lane(opened, rows), model_hash=model.hash)

    def __call__(self, image: Source, mask: MaskSource | Hole, *, key: str = "", **settings: Any) -> Result:
        """Fill the hole.

        Args:
            image: a path, bytes, an open file, a Pillow image, an array (H, W[, C]) of uint8, uint16
                or floats in [0, 1], or a `Photo`.
            mask: white = fill; the photo's size unless `fit_mask`. A `Hole` says besides what stays as it is.
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
        self, image: Source, mask: MaskSource | Hole, *, key: str = "", **settings: Any
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
        hole = _read_hole(mask, photo, chosen)
        warnings = _warn(hole.without_kept(hole.mask))
        hole = hole.grown(chosen.grow)
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

    def refining_plan(self, settings: Settings) -> SamplingPlan:
        """The steps by which a coarse fill is refined at a higher resolution.

        A network that is shown the fill so far takes its own steps. One that sees an emptied hole starts from the
        noised fill, half way down, as in SDEdit (Meng et al., ICLR 2022), and takes the steps that are left from there.
        """
        if self.spec.feed == "prefill":
            return self.plan(settings)
        assert settings.steps is not None and settings.solver is not None
        steps = max(1, round(settings.steps * REFINING_STRENGTH))
        first = max(steps, round(self.spec.first_timestep * REFINING_STRENGTH))
        timesteps = trailing_timesteps(steps, first)
        return make_plan(scaled_linear(), timesteps, settings.solver, self.spec.prediction)

    def _fill(
        self, photo: Photo, hole: Hole, settings: Settings, plan: SamplingPlan, key: str, timer: Timer,
        began: float, warnings: tuple[str, ...],
    ) -> Generator[Progress, None, None]:  # fmt: skip
        assert settings.guidance is not None and settings.solver is not None and settings.start is not None
        filling = Filling(
            self.engine, self.spec, photo, hole.mask, hole.kept, settings, plan,
            self.refining_plan(settings), key, timer,
        )  # fmt: skip
        count, steps = len(filling.regions), filling.steps if filling.regions else 0
        preview: Callable[[], Image.Image] = partial(Image.new, "RGB", (self.spec.size, self.spec.size))
        box = None
        for event in filling.run():
            preview, box = event.preview, event.box
            yield Progress(event.region, count, event.step, steps, event.fraction, preview, box)
        timer.add("total", began)
        result = Result(
            photo=filling.photo,
            hole=hole,
            settings=settings,
            key=key,
            model=self.spec.name,
            model_hash=self.model_hash,
            engine=self.engine.name,
            device=self.engine.device,
            dtype=self.engine.dtype,
            steps=len(plan) if filling.regions else 0,
            guidance=settings.guidance,
            solver=settings.solver,
            start=settings.start,
            regions=tuple(region.box for region in filling.regions),
            timings=timer.seconds,
            warnings=warnings,
        )
        yield Progress(max(0, count - 1), count, steps, steps, 1.0, preview, box, result)


def _read_hole(source: MaskSource | Hole, photo: Photo, settings: Settings) -> Hole:
    """The hole as it was given, not grown yet."""
    mask, kept = (source.mask, source.kept) if isinstance(source, Hole) else (source, None)
    hole = read_mask(mask, size=photo.size, invert=settings.invert, fit=settings.fit_mask)
    if kept is not None and kept.shape != hole.shape:
        sizes = f"{kept.shape[1]} x {kept.shape[0]} for a photo of {photo.width} x {photo.height}"
        raise MaskError(f"what is kept: expected the photo's size, got {sizes}")
    return Hole(hole, kept)


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
