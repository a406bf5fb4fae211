"""One model folder's networks on every engine that opens it: encode, one step, decode; the bundled one by default."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import Any

import numpy as np

from moebius.benchmarks.cases import Case, Entry, Setting
from moebius.benchmarks.nano import engine_kinds
from moebius.engines import Engine, open_engine
from moebius.weights import ModelSpec, open_model

TIMESTEP = 501
WORKS = {
    "encode": {"encode": "encode"},
    "step": {"single": "step, no pair", "guided": "guided step"},
    "decode": {"decode": "decode"},
}
"""Part -> the work of its variants, and what the table calls it."""


def entries(case: Case, setting: Setting) -> list[Entry]:
    """A part of the work on each engine; engines that refuse the folder are left out with their reason."""
    model = open_model(setting.model)
    spec = model.spec

    def opened(engine: str, dtype: str) -> Engine:
        return open_engine(
            spec, model.path, engine=engine, device=setting.device, dtype=dtype, threads=setting.threads
        )

    kept, cells = cache(opened), spec.size // spec.latent_factor
    return _published_step(case, setting, spec) + [
        Entry(
            name=f"{part}-{engine}-{dtype}", title=f"{spec.name}, {title}, {engine} {dtype}",
            make=partial(_work, part, partial(kept, engine, dtype), cells, spec.latent_channels),
        )
        for part, title in WORKS[case.detail].items()
        if part != "guided" or spec.guidance_trained
        for engine, dtype in engine_kinds(setting)
    ]  # fmt: skip


def _published_step(case: Case, setting: Setting, spec: ModelSpec) -> list[Entry]:
    """The published graph of the model's sizes at random weights, guided: what the engines' steps compare with."""
    if not setting.reference or case.detail != "step" or spec.architecture != "moebius":
        return []
    from moebius.benchmarks.denoiser import published_step
    from moebius.networks import MoebiusConfig

    return [published_step(MoebiusConfig(**spec.denoiser), setting)]


def _work(part: str, opened: Callable[[], Engine], cells: int, channels: int) -> Callable[[], object]:
    engine, draw = opened(), np.random.default_rng(3)

    def random(depth: int, side: int) -> Any:
        return engine.array(draw.standard_normal((1, depth, side, side)).astype(np.float32))

    if part == "encode":
        image = draw.uniform(-1, 1, (1, 3, 8 * cells, 8 * cells)).astype(np.float32)
        return lambda: engine.encode(image)
    noisy, condition = random(channels, cells), random(channels, cells)
    if part == "decode":
        return lambda: engine.decode(noisy)
    mask = engine.array((draw.random((1, 1, cells, cells)) < 0.1).astype(np.float32))
    return lambda: engine.predict(noisy, TIMESTEP, mask, condition, 2.0 if part == "guided" else 1.0)
