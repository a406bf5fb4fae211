"""One call of one network in a process of its own, holding nothing else: what its memory is measured on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, cast

import torch
from torch import nn

from moebius.benchmarks.autoencoder import coder, made_up_pair
from moebius.benchmarks.cases import Peer, Setting
from moebius.benchmarks.denoiser import Shelf, call_of, fused_form
from moebius.benchmarks.reference import published_graph
from moebius.benchmarks.subjects import DTYPES, SHORT, denoiser_config, made_up_inputs, make_denoiser


def work_of(name: str, setting: Setting) -> Callable[[], object]:
    """The work of a name in `processes.memory_entries`; the network that it was made from is not kept."""
    if name.startswith("picture:"):
        _, what, rows = name.split(":")
        return _pictures(what, int(rows), setting)
    kind, _, short = name.partition("-")
    dtype = next((known for known, each in SHORT.items() if each == short), "float32")
    if kind in ("encode", "decode"):
        made = coder(setting, dtype, "as it runs")
        image, latents = made_up_pair(setting, made)
        return (lambda: made.encode_moments(image)) if kind == "encode" else (lambda: made.decode(latents))
    net: Any = _network(kind, dtype, setting)
    x, timesteps, ids = made_up_inputs(denoiser_config(setting), 1, setting, guided=kind != "condition")
    return call_of(net, x.to(DTYPES[dtype]), timesteps, ids, guided=kind != "condition")


def _pictures(what: str, rows: int, setting: Setting) -> Callable[[], object]:
    """Whole pictures: "ours" as users run it, "reference", or somebody else's; a few steps take the memory of many."""
    from moebius.benchmarks.pictures import our_work
    from moebius.benchmarks.pipelines import Kitchen
    from moebius.benchmarks.variants import ways
    from moebius.pipeline.official import GUIDANCE

    shelf = Shelf(setting)
    kitchen = Kitchen(setting, rows, shelf)
    if what == "ours":
        work = our_work(kitchen, ways(shelf, "bfloat16")[-1], 2, GUIDANCE)
        shelf.plain.cache_clear()  # the network that the engine's was made from
        return work
    pipeline = kitchen.published() if what == "reference" else kitchen.peer(cast(Peer, what))
    return kitchen.whole(pipeline, min(2, pipeline.steps))


def _network(kind: str, dtype: str, setting: Setting) -> nn.Module:
    plain = make_denoiser(setting)
    if kind == "reference":
        return published_graph(plain)
    if kind == "plain":
        return plain
    sides: Literal["both", "condition"] = "condition" if kind == "condition" else "both"
    return fused_form(plain, dtype, torch.device(setting.device), sides=sides)
