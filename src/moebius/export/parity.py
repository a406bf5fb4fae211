"""Exported graphs beside the network that they were made of: the plain one, in PyTorch and float32."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from moebius.engines import Engine, open_engine
from moebius.engines.base import FloatArray
from moebius.engines.networks import Autoencoder
from moebius.engines.torch import TorchEngine
from moebius.page import FOLDER
from moebius.pipeline import Moebius
from moebius.sampling import normal
from moebius.weights import ModelSpec

PHOTO = FOLDER / "examples" / "rocket.jpg"
PICTURE_STEPS = 4
"""Most steps of the picture that is compared: for a large model on a processor each takes seconds."""


@dataclass(frozen=True)
class Row:
    """One comparison."""

    what: str
    """"encoder", "denoiser 64 x 64, t = 900", "decoder"."""
    relative: float
    """Root of the mean squared difference over that of the network's own output."""
    largest: float
    """Largest difference of two numbers."""


@dataclass(frozen=True)
class Parity:
    """What an export changes."""

    rows: tuple[Row, ...]
    psnr: float | None
    """Of a filled hole, in dB, between both; None where every pixel is the same."""
    steps: int
    """Of that fill."""


def references(spec: ModelSpec, denoiser: torch.nn.Module, autoencoder: Autoencoder) -> TorchEngine:
    """The plain networks as an engine to compare with."""
    return TorchEngine.over(spec, denoiser, autoencoder, torch.device("cpu"))


def compare(
    spec: ModelSpec, reference: Engine, exported: Engine, shapes: tuple[tuple[int, int], ...]
) -> Iterator[Row]:
    """Each graph on pseudo-random inputs: as many rows as there are graphs, and one more for the opposite.

    Args:
        shapes: latent (height, width), each of which the denoiser is compared at; encoder and decoder at the first.
    """
    channels, factor = spec.latent_channels, spec.latent_factor
    height, width = shapes[0]
    image = np.tanh(normal((1, 3, height * factor, width * factor), seed=0, key="parity/image"))
    yield _row("encoder", reference.numpy(reference.encode(image)), exported.encode(image))
    guidances = [1.0, 2.0] if spec.guidance_trained else [1.0]
    for height, width in shapes:
        noisy, condition = (
            normal((1, channels, height, width), seed=0, key=f"parity/{key}")
            for key in ("noisy", "condition")
        )
        mask = (normal((1, 1, height, width), seed=0, key="parity/mask") > 0).astype(np.float32)
        for guidance in guidances if (height, width) == shapes[0] else guidances[:1]:
            answers = [
                engine.numpy(
                    engine.predict(
                        engine.array(noisy), spec.first_timestep, engine.array(mask),
                        engine.array(condition), guidance,
                    )
                )
                for engine in (reference, exported)
            ]  # fmt: skip
            guided = "" if guidance == 1.0 else f", guidance {guidance:g}"
            yield _row(f"denoiser {height} x {width}{guided}", *answers)
    latents = normal((1, channels, *shapes[0]), seed=0, key="parity/latents") * np.float32(spec.latent_scale)
    yield _row("decoder", reference.decode(reference.array(latents)), exported.decode(latents))


def picture_psnr(
    spec: ModelSpec, reference: Engine, exported: Engine, photo: Path = PHOTO
) -> tuple[float | None, int]:
    """PSNR (dB) inside the hole of a fill of one photo by both engines, and its steps; None for equal pictures."""
    steps = min(spec.defaults.steps, PICTURE_STEPS)
    fills = []
    for engine in (reference, exported):
        model = Moebius(spec, engine, model_hash="parity")
        with_hole = _photo(photo, spec.size)
        fills.append(model(*with_hole, seed=0, steps=steps).photo.pixels)
    return psnr(fills[0], fills[1], with_hole[1]), steps


def psnr(first: NDArray[np.uint8], second: NDArray[np.uint8], hole: NDArray[np.bool_]) -> float | None:
    """Of 8-bit pixels inside the hole, in dB; None where they are equal."""
    error = float(np.square(first[hole].astype(np.float64) - second[hole]).mean())
    return None if error == 0 else float(10 * np.log10(255**2 / error))


def _photo(path: Path, side: int) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """The photo at side x side, and a disc in its middle."""
    from PIL import Image

    with Image.open(path) as image:
        pixels = np.asarray(image.convert("RGB").resize((side, side), Image.Resampling.LANCZOS))
    rows, columns = np.mgrid[0:side, 0:side]
    return pixels, (rows - side / 2) ** 2 + (columns - side / 2) ** 2 < (side / 5) ** 2


def _row(what: str, expected: FloatArray, got: FloatArray) -> Row:
    change = got.astype(np.float64) - expected
    size = float(np.sqrt(np.square(expected.astype(np.float64)).mean()))
    return Row(what, float(np.sqrt(np.square(change).mean())) / max(size, 1e-30), float(np.abs(change).max()))


def measure(
    spec: ModelSpec,
    reference: Engine,
    exported_spec: ModelSpec,
    folder: Path,
    shapes: tuple[tuple[int, int], ...],
) -> Parity:
    """All of it, for the exported folder, by the engine that is chosen for it by itself."""
    engine = open_engine(exported_spec, folder)
    rows = tuple(compare(exported_spec, reference, engine, shapes))
    ratio, steps = picture_psnr(exported_spec, reference, engine)
    return Parity(rows, ratio, steps)
