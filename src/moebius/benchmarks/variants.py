"""The ways in which the torch engine runs a network of ours: eager, as CUDA graphs, compiled."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import torch
from torch import nn

from moebius.benchmarks.cases import Entry, Setting, rewrites
from moebius.benchmarks.denoiser import Shelf, step
from moebius.benchmarks.subjects import DTYPES, SHORT, spec_of
from moebius.engines.networks import Autoencoder
from moebius.engines.torch import TorchEngine
from moebius.errors import DeviceError
from moebius.pipeline.official import GUIDANCE


class FormatEngine(TorchEngine):
    """A torch engine over networks in memory, the denoiser in any number format."""

    @classmethod
    def holding(
        cls,
        setting: Setting,
        denoiser: nn.Module,
        autoencoder: Autoencoder,
        dtype: str,
        *,
        graphs: bool | None = False,
        compiled: bool = False,
    ) -> FormatEngine:
        """The engine of a measured model; `graphs` and `compiled` as `TorchEngine` takes them."""
        engine = cls.__new__(cls)
        device = torch.device(setting.device)
        engine._hold(
            spec_of(setting), denoiser, autoencoder, device, DTYPES[dtype], graphs=graphs, compiled=compiled
        )
        return engine


@dataclass(frozen=True)
class Way:
    """A way of running."""

    name: str
    """Without hyphens."""
    title: str
    open: Callable[[], FormatEngine]
    loop: bool = False
    """All steps of a picture in one call."""


def ways(shelf: Shelf, dtype: str, *, compiled: bool = False) -> list[Way]:
    """Over the case's networks in a number format. The last is what users get there by default; with `compiled` those
    that compile, too, and last.

    Graphs are for GPUs; size "tiny" tries them everywhere, where they are left out with their reason.
    """
    eager = cache(partial(_opened, shelf, dtype))
    found = [Way("eager", "eager", eager)]
    if shelf.graphed:
        graphs = cache(partial(_opened, shelf, dtype, graphs=True))
        found += [Way("loop", "one graph for all steps", graphs, loop=True), Way("graphs", "graphs", graphs)]
        if shelf.device.type == "cpu":
            found.reverse()
        if compiled:
            made = partial(_opened, shelf, dtype, compiled=True)
            found += [
                Way("compiled", "compiled", cache(made)),
                Way("both", "compiled, graphs", cache(partial(made, graphs=True))),
            ]
    return found


def _opened(
    shelf: Shelf, dtype: str, graphs: bool = False, compiled: bool = False, left_out: str = ""
) -> FormatEngine:
    chosen = tuple(name for name in rewrites() if name != left_out)
    denoiser = shelf.fused(dtype, chosen, True) if left_out else shelf.deployed(dtype)
    coder = shelf.coder(dtype)
    # None, so that a recorder that stands in for a GPU's can be asked for.
    engine = FormatEngine.holding(
        shelf.setting,
        denoiser,
        coder,
        dtype,
        graphs=None if graphs else False,
        compiled=compiled,
    )
    if graphs and engine.captured is None:
        raise DeviceError(f"graphs need an NVIDIA GPU, got {engine.device}")
    return engine


def engine_steps(shelf: Shelf, rows: int = 1, *, compiled: bool = False, eager: bool = False) -> list[Entry]:
    """Steps as the engine's `predict` makes them, in each way but the eager one (unless asked for)."""
    found = []
    for dtype in ("bfloat16",) if compiled else ("bfloat16", "float16"):
        if dtype == "float16" and shelf.device.type == "cpu":
            continue
        taken = ways(shelf, dtype, compiled=compiled)
        if dtype == "bfloat16" and not compiled:
            opened = cache(partial(_opened, shelf, dtype, graphs=True, left_out="phases"))
            taken.append(Way("nophases", "graphs, upsampling as trained", opened))
        for way in taken:
            if way.loop or (way.name == "eager" and not eager):
                continue
            for guided in (True, False):
                tail, key = (", guided", "guided") if guided else (", no pair", "single")
                plain = eager_step(shelf, dtype, rows, guided)
                work = partial(engine_step, way.open, shelf, rows, guided)
                found.append(
                    Entry(
                        name=f"{way.name}-{SHORT[dtype]}-{key}",
                        title=f"engine {SHORT[dtype]}, {way.title}{tail}",
                        make=work,
                        images=rows,
                        dtype=dtype,
                        count=partial(count_of, plain),
                    )
                )
    return found


def eager_step(shelf: Shelf, dtype: str, rows: int, guided: bool) -> Entry:
    """The same step operator by operator: what is counted, because a graph shows no operators."""
    return step(shelf, "", "", partial(shelf.deployed, dtype), dtype, guided=guided, rows=rows)


def count_of(plain: Entry) -> tuple[int, int]:
    """FLOPs and bytes of such a step."""
    plain.make()
    assert plain.count is not None
    return plain.count()


def engine_step(opened: Callable[[], Any], shelf: Shelf, rows: int, guided: bool) -> Callable[[], object]:
    """One call of an engine's `predict`."""
    engine, spec = opened(), spec_of(shelf.setting)
    cells = spec.size // spec.latent_factor
    draw = torch.Generator().manual_seed(5)
    latents = torch.randn(rows, spec.latent_channels, cells, cells, generator=draw).to(shelf.device)
    mask = (torch.rand(rows, 1, cells, cells, generator=draw) < 0.1).float().to(shelf.device)
    guidance = GUIDANCE if guided else 1.0
    return lambda: engine.predict(latents, 501, mask, latents, guidance)
