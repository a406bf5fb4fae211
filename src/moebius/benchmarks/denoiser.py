"""Cases of the denoiser: one step, plain and deployed, in each number format, at several batches."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import Any, Literal

import torch
from torch import nn

from moebius.benchmarks.cases import Case, Entry, Setting, rewrites
from moebius.benchmarks.counting import count
from moebius.benchmarks.reference import published_graph
from moebius.benchmarks.subjects import (
    DTYPES,
    SHORT,
    check_memory,
    denoiser_config,
    made_up_inputs,
    make_denoiser,
    ready_autoencoder,
    realise,
)
from moebius.networks import MoebiusConfig, MoebiusUNet

ROW_MIB = {"full": 250.0, "tiny": 1.0}
"""Memory that a row of a plain float32 call takes besides the weights, MiB, by size; measured with some to spare."""


class Shelf:
    """The networks of a case, each made when it is first asked for and shared by the variants that use it."""

    def __init__(self, setting: Setting):
        self.setting, self.device = setting, torch.device(setting.device)
        self.plain = cache(lambda: make_denoiser(setting))
        self.reference = cache(lambda: published_graph(self.plain()))
        self.autocast = lambda: Autocast(self.reference(), self.device)
        self.fused = cache(self._fused)

        self.deployed = cache(partial(self._fused, joined=True))
        self.coder = cache(partial(ready_autoencoder, setting))
        self.graphed = self.device.type == "cuda" or setting.size == "tiny"
        """Forms for GPUs take part; at toy size everywhere, so that they can be tried."""

    def _fused(self, dtype: str, chosen: tuple[str, ...] | None = None, joined: bool = False) -> nn.Module:
        weights = sum(p.numel() for p in self.plain().parameters()) * 4 / 2**20
        check_memory(1.5 * weights, self.device)
        return fused_form(self.plain(), dtype, self.device, chosen=chosen, joined=joined)


class Autocast(nn.Module):
    """A float32 network that computes under autocast in bfloat16."""

    def __init__(self, net: nn.Module, device: torch.device):
        super().__init__()
        self.net, self.device = net, device

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        """As the network's."""
        with torch.autocast(self.device.type, torch.bfloat16):
            out: torch.Tensor = self.net(*inputs)
        return out


def fused_form(
    net: MoebiusUNet,
    dtype: str,
    device: torch.device,
    *,
    chosen: tuple[str, ...] | None = None,
    sides: Literal["both", "condition"] = "both",
    joined: bool = True,
) -> nn.Module:
    """A network rewritten for inference, in a number format; `net` stays as it is.

    Args:
        chosen: rewrites; None = all.
        sides: "condition" leaves out what only guidance needs.
        joined: on a CPU also with oneDNN's joined operators, as the torch engine runs it.
    """
    from moebius.engines.fuse import fuse
    from moebius.engines.fused_onednn import prepare_for_cpu

    number = DTYPES[dtype]
    made = fuse(net, rewrites=rewrites() if chosen is None else chosen, sides=sides).to(number)
    return prepare_for_cpu(made, device, number) if joined else made


def entries(case: Case, setting: Setting) -> list[Entry]:
    """The variants of "step", "batch:N", "compiled" and "rewrite:NAME"."""
    shelf = Shelf(setting)
    from moebius.benchmarks.variants import engine_steps

    if case.name == "step":
        return step_entries(shelf) + (engine_steps(shelf) if shelf.graphed else [])
    if case.name == "compiled":
        return engine_steps(shelf, compiled=True, eager=True)
    kind, _, detail = case.name.partition(":")
    if kind == "rewrite":
        return rewrite_entries(shelf, detail)
    return batch_entries(shelf, int(detail)) + (engine_steps(shelf, int(detail)) if shelf.graphed else [])


def number_formats(device: torch.device) -> tuple[str, ...]:
    """Formats that are worth measuring there."""
    return ("float32", "bfloat16", "float16") if device.type == "cuda" else ("float32", "bfloat16")


def step_entries(shelf: Shelf) -> list[Entry]:
    """One photo: the published graph if asked for, plain, rewritten, and as the torch engine runs it on a CPU; guided,
    then without the guidance pair."""
    found = []
    for guided in (True, False):
        tail = ", guided" if guided else ", no pair"
        key = "guided" if guided else "single"
        nets: list[tuple[str, str, str, Callable[[], nn.Module]]] = []
        if shelf.setting.reference:
            nets.append((f"reference-{key}", "published graph fp32", "float32", shelf.reference))
            if shelf.graphed:
                nets.append(
                    (f"autocast-bf16-{key}", "published graph, bf16 autocast", "float32", shelf.autocast)
                )
        nets.append((f"plain-{key}", "plain fp32", "float32", shelf.plain))
        for dtype in number_formats(shelf.device):
            for kind, form in (("fused", shelf.fused), ("deployed", shelf.deployed)):
                if kind == "fused" or shelf.device.type == "cpu":  # elsewhere the two are one
                    name, title = f"{kind}-{SHORT[dtype]}-{key}", f"{kind} {SHORT[dtype]}"
                    nets.append((name, title, dtype, partial(form, dtype)))
        found += [
            step(shelf, name, title + tail, make, dtype, guided=guided) for name, title, dtype, make in nets
        ]
    return found


def published_step(config: MoebiusConfig, setting: Setting) -> Entry:
    """A guided step of the published graph, of any sizes, at random weights."""

    def work() -> Callable[[], object]:
        check_memory(2 * ROW_MIB["full"], torch.device(setting.device))
        net = published_graph(realise(lambda: MoebiusUNet(config), torch.device(setting.device)))
        x, timesteps, ids = made_up_inputs(config, 1, setting, guided=True)
        return lambda: net(x, timesteps, ids)

    return Entry(name="reference-guided", title="published graph fp32, guided", make=work, dtype="float32")


def batch_entries(shelf: Shelf, rows: int) -> list[Entry]:
    """Several photos at a time: plain, and deployed in each format, without and with the pair."""
    found = [step(shelf, "plain", "plain fp32, no pair", shelf.plain, "float32", rows=rows, guided=False)]
    for dtype in number_formats(shelf.device):
        for guided in (False, True):
            key, tail = ("guided", ", guided") if guided else ("single", ", no pair")
            make, short = partial(shelf.deployed, dtype), SHORT[dtype]
            found.append(
                step(
                    shelf,
                    f"deployed-{short}-{key}",
                    f"deployed {short}{tail}",
                    make,
                    dtype,
                    rows=rows,
                    guided=guided,
                )
            )
    return found


def rewrite_entries(shelf: Shelf, name: str) -> list[Entry]:
    """One rewrite: what it brings alone, and what is lost when it alone is left out."""
    whole = rewrites()
    left = tuple(each for each in whole if each != name)
    found = [step(shelf, "plain", "plain fp32", shelf.plain, "float32", guided=True)]
    for dtype in ("float32", "bfloat16"):
        for key, title, chosen in (
            ("none", "no rewrite", ()), ("alone", f"{name} alone", (name,)), ("all", "all", whole),
            ("without", f"all but {name}", left),
        ):  # fmt: skip
            short = SHORT[dtype]
            make = partial(shelf.fused, dtype, chosen)
            found.append(step(shelf, f"{key}-{short}", f"{title}, {short}", make, dtype, guided=True))
    return found


def step(
    shelf: Shelf,
    name: str,
    title: str,
    make: Callable[[], nn.Module],
    dtype: str,
    *,
    guided: bool,
    rows: int = 1,
) -> Entry:
    """One call of a denoiser as an entry.

    Args:
        rows: photos; with `guided` the network sees each twice.
    """
    config = denoiser_config(shelf.setting)

    def work() -> Callable[[], object]:
        check_memory((1 + guided) * rows * ROW_MIB[shelf.setting.size], shelf.device)
        net: Any = make()
        x, timesteps, ids = made_up_inputs(config, rows, shelf.setting, guided=guided)
        x = x.to(DTYPES[dtype])
        return call_of(net, x, timesteps, ids, guided=guided)

    return counted(Entry(name=name, title=title, make=work, images=rows, dtype=dtype))


def call_of(
    net: Any, x: torch.Tensor, timesteps: torch.Tensor, ids: torch.Tensor, *, guided: bool
) -> Callable[[], object]:
    """One call of a denoiser. A fused one does once what the pair shares, and is given what a timestep shifts, which
    the engine looks up."""
    if not hasattr(net, "step"):
        return lambda: net(x, timesteps, ids)
    told, rows = net.at(int(timesteps[0])), len(x) // 2 if guided else len(x)
    return lambda: net.step(x[:rows], told, guided=guided)


def counted(entry: Entry) -> Entry:
    """The entry with a count of its own work, which runs once more for that."""
    made: list[Callable[[], object]] = []

    def make() -> Callable[[], object]:
        made[:] = [entry.make()]
        return made[0]

    def tally() -> tuple[int, int]:
        found = count(made.pop())
        return found.flops, found.bytes

    return Entry(**{**vars(entry), "make": make, "count": tally})
