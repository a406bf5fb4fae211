"""One call of one network in a process of its own, holding nothing else: what its memory is measured on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import nn

from moebius.benchmarks.autoencoder import coder, made_up_pair
from moebius.benchmarks.cases import Setting
from moebius.benchmarks.denoiser import fused_form
from moebius.benchmarks.reference import published_graph
from moebius.benchmarks.subjects import DTYPES, SHORT, denoiser_config, made_up_inputs, make_denoiser


def work_of(name: str, setting: Setting) -> Callable[[], object]:
    """The work of a name in `processes.memory_entries`; the network that it was made from is not kept."""
    kind, _, short = name.partition("-")
    dtype = next((known for known, each in SHORT.items() if each == short), "float32")
    if kind in ("encode", "decode"):
        made = coder(setting, dtype, "as it runs")
        image, latents = made_up_pair(setting, made)
        return (lambda: made.encode_moments(image)) if kind == "encode" else (lambda: made.decode(latents))
    net: Any = _network(kind, dtype, setting)
    x, timesteps, ids = made_up_inputs(denoiser_config(setting), 1, setting, guided=kind != "condition")
    x = x.to(DTYPES[dtype])
    if kind == "deployed":
        return lambda: net.guided(x[:1], timesteps)
    return lambda: net(x, timesteps, ids)


def _network(kind: str, dtype: str, setting: Setting) -> nn.Module:
    plain = make_denoiser(setting)
    if kind == "reference":
        return published_graph(plain)
    if kind == "plain":
        return plain
    sides: Literal["both", "condition"] = "condition" if kind == "condition" else "both"
    return fused_form(plain, dtype, torch.device(setting.device), sides=sides)
