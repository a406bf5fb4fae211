"""End to end: a photo with a hole in, the photo filled out, by the pipeline that users run and by the published one."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from moebius.benchmarks.cases import Case, Entry, Setting
from moebius.benchmarks.denoiser import Shelf, number_formats
from moebius.benchmarks.photos import disc_photo
from moebius.benchmarks.subjects import SHORT, make_autoencoder, spec_of
from moebius.benchmarks.variants import FormatEngine
from moebius.pipeline import Moebius
from moebius.pipeline.official import FACTOR, GUIDANCE, reconstruct_official
from moebius.pipeline.official import STEPS as PUBLISHED_STEPS

STEPS = (20, 8, 4, 1)
"""Of the deployed form; the plain network runs the first number alone."""


def entries(case: Case, setting: Setting) -> list[Entry]:
    """The published inference, if asked for; the plain network guided; the deployed one guided and without the pair.

    All of them take turns, so that a few unguided steps compare with the published inference within a round. That one
    runs 19 steps when asked for 20, because it starts at strength 0.99.
    """
    shelf = Shelf(setting)

    @cache
    def engine(kind: str, dtype: str, taesdxl: bool) -> FormatEngine:
        plain = kind == "plain"
        denoiser = shelf.plain() if plain else shelf.deployed(dtype)
        graphs = False if plain else None  # as users get it
        return FormatEngine.holding(
            setting, denoiser, shelf.coder(dtype, taesdxl=taesdxl), dtype, graphs=graphs
        )

    found = []
    if setting.reference:
        title = f"published inference fp32, {PUBLISHED_STEPS - 1} steps, guided"
        found.append(
            Entry(name="reference", title=title, make=partial(_published, setting, shelf), warm=False)
        )

    def add(kind: str, dtype: str, steps: int, guidance: float, *, taesdxl: bool = False) -> None:
        tail = "no pair" if guidance == 1.0 else "guided"
        title = f"{kind} {SHORT[dtype]}, {steps} step{'s' if steps > 1 else ''}, {tail}"
        work = partial(_ours, setting, partial(engine, kind, dtype, taesdxl), steps, guidance)
        name = f"{kind}-{SHORT[dtype]}-{steps}-{tail.replace(' ', '-')}"
        if taesdxl:
            title, name = f"{title}, taesdxl", f"{name}-taesdxl"
        found.append(Entry(name=name, title=title, make=work, warm=steps == STEPS[-1]))

    add("plain", "float32", STEPS[0], GUIDANCE)
    for dtype in number_formats(shelf.device):
        for steps in STEPS if dtype != "float32" else STEPS[:1]:
            add("deployed", dtype, steps, GUIDANCE)
            if dtype != "float32":
                add("deployed", dtype, steps, 1.0)
                if dtype == "bfloat16":
                    add("deployed", dtype, steps, 1.0, taesdxl=True)
    return found


def _ours(
    setting: Setting, opened: Callable[[], FormatEngine], steps: int, guidance: float
) -> Callable[[], object]:
    """The pipeline over networks in memory; everything but opening the model is in it."""
    model = Moebius(spec_of(setting), opened(), model_hash="random")
    photo, mask = disc_photo(spec_of(setting).size)
    return lambda: model(photo, mask, steps=steps, guidance=guidance, grow=0, feather=0)


def _published(setting: Setting, shelf: Shelf) -> Callable[[], object]:
    """The published inference over the published graph: the photo and the emptied one encoded, 19 guided steps."""
    net, vae, device = shelf.reference(), make_autoencoder(setting), torch.device(setting.device)
    side = spec_of(setting).size
    photo, mask = disc_photo(side)
    noise = np.random.default_rng(0).standard_normal((1, 4, side // FACTOR, side // FACTOR))

    def tensor(values: NDArray[Any]) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(values)).to(device)

    def predict(x: NDArray[np.float32], timestep: int, ids: NDArray[np.int64]) -> NDArray[np.float32]:
        found: NDArray[np.float32] = (
            net(tensor(x), torch.tensor([timestep], device=device), tensor(ids)).cpu().numpy()
        )
        return found

    def work() -> object:
        return reconstruct_official(
            lambda image: vae.encode_moments(tensor(image))[0].cpu().numpy(),
            predict,
            lambda latents: vae.decode(tensor(latents)).float().cpu().numpy(),
            [photo],
            [mask.astype(np.uint8) * 255],
            noise.astype(np.float32),
            image_size=side,
        )

    return work
