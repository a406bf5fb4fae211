"""What is compared: everything here fills the same hole, and only the hole's pixels are taken from it.

No filler reads what the hole hides: it is blackened for OpenCV's two, and the rest never look.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from moebius.engines.base import Array, Engine, FloatArray
from moebius.evaluation.photos import Hole
from moebius.imaging import Box, push_pull, read_photo
from moebius.pipeline import Moebius
from moebius.settings import Settings
from moebius.weights.spec import Defaults

Pixels = NDArray[np.uint8]

OPENCV_RADIUS = 3
"""Pixels around a missing one that OpenCV's methods look at; what most users of them set."""
SEED = 0


@dataclass(frozen=True)
class Filler:
    """A way to fill a hole."""

    id: str
    """Stable name in tables and files."""
    title: str
    """For people."""
    fill: Callable[[Hole], Pixels]
    """The whole picture (H, W, 3), its hole filled; whatever it does outside is not looked at."""
    of_model: bool = False
    """Whether the result depends on the model's weights."""

    def __call__(self, hole: Hole) -> Pixels:
        """The truth with the hole's pixels replaced by this fill."""
        return np.where(hole.mask[..., None], self.fill(hole), hole.pixels)


def plain_fillers() -> list[Filler]:
    """OpenCV's two methods, and the smooth fill that the bundled model starts from."""
    return [
        Filler("telea", "Telea (OpenCV)", _telea),
        Filler("navier-stokes", "Navier-Stokes (OpenCV)", _navier_stokes),
        Filler("push-pull", "smooth fill", _push_pull),
    ]


def model_fillers(model: Moebius, steps: Sequence[int], solvers: Sequence[str]) -> list[Filler]:
    """The smooth fill through the model's autoencoder, without its denoiser; and the model itself.

    The first is what the second has to beat: an autoencoder alone adds texture that some metrics reward.

    Raises:
        SettingsError: a number of steps or a solver that there is none of.
    """

    def by(filling: Moebius, **settings: Any) -> Callable[[Hole], Pixels]:
        Settings(**settings)

        def fill(hole: Hole) -> Pixels:
            result = filling(hole.pixels, hole.mask, key=hole.key, seed=SEED, grow=0, feather=0, **settings)
            return result.photo.pixels.astype(np.uint8, copy=False)

        return fill

    def at(steps: int, solver: str) -> Filler:
        sizes = f" at each of {1 + len(model.spec.cascade)} sizes" if model.spec.cascade else ""
        title = f"{model.spec.name}, {steps} step{'s' if steps > 1 else ''}{sizes}, {solver}"
        return Filler(f"model:{steps}:{solver}", title, by(model, steps=steps, solver=solver), of_model=True)

    bare = by(without_denoiser(model))
    fillers = [Filler("autoencoder", "smooth fill, autoencoder", bare, of_model=True)]
    return fillers + [at(count, solver) for solver in solvers for count in steps]


class NoDenoiser:
    """An engine with the denoiser of another left out: it answers zero, whatever it is asked."""

    def __init__(self, engine: Engine):
        self._engine = engine
        self.name, self.device, self.dtype = engine.name, engine.device, engine.dtype

    def array(self, values: FloatArray) -> Array:
        return self._engine.array(values)

    def numpy(self, values: Array) -> FloatArray:
        return self._engine.numpy(values)

    def encode(self, image: FloatArray) -> Array:
        return self._engine.encode(image)

    def predict(self, noisy: Array, timestep: int, mask: Array, condition: Array, guidance: float) -> Array:
        return noisy * 0.0

    def decode(self, latents: Array) -> FloatArray:
        return self._engine.decode(latents)


def without_denoiser(model: Moebius) -> Moebius:
    """The model's pipeline, giving back the smooth fill as its autoencoder renders it, once and at full size."""
    spec = replace(
        model.spec, feed="prefill", target="residual", prediction="sample", cascade=(), guidance_trained=False,
        defaults=Defaults(steps=1, guidance=1.0, solver="ddim", start="noise"),
    )  # fmt: skip
    return Moebius(spec, NoDenoiser(model.engine), model_hash=model.model_hash)


def _push_pull(hole: Hole) -> Pixels:
    photo = read_photo(hole.pixels)
    box = Box(0, 0, photo.width, photo.height)
    photo.blend_rgb(box, push_pull(photo.crop_rgb(box), hole.mask), hole.mask.astype(np.float32))
    return photo.pixels.astype(np.uint8, copy=False)


def _telea(hole: Hole) -> Pixels:
    import cv2

    return _by_opencv(hole, cv2.INPAINT_TELEA)


def _navier_stokes(hole: Hole) -> Pixels:
    import cv2

    return _by_opencv(hole, cv2.INPAINT_NS)


def _by_opencv(hole: Hole, method: int) -> Pixels:
    import cv2

    emptied = np.where(hole.mask[..., None], np.uint8(0), hole.pixels)
    filled: Pixels = cv2.inpaint(emptied, hole.mask.astype(np.uint8), OPENCV_RADIUS, method)
    return filled
