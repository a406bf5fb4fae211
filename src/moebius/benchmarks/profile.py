"""Where the time of a step and of a decode goes: torch's profiler, by operator and by module of the network.

On a GPU the times are the device's own, of the kernels that an operator starts. Calls are eager, because a recorded
graph is one operator to the profiler. A module's time holds that of the modules in it, and on a CPU what Python does
between operators; what is called by another method than `forward` (the interactive lambda) counts in what is around it.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile, record_function

from moebius.benchmarks.cases import Setting
from moebius.benchmarks.denoiser import Shelf, call_of
from moebius.benchmarks.subjects import denoiser_config, made_up_inputs, spec_of
from moebius.benchmarks.tables import seconds
from moebius.engines.measuring import machine, synchroniser

TOP = 20
"""Lines of a table."""
MARK = "module: "
_PLAIN = ("torch.nn.", "torch.ao.")
"""Modules of these packages are operators by another name."""


@dataclass(frozen=True)
class Share:
    """One line: an operator or a module."""

    name: str
    calls: float
    """In one call of the work."""
    seconds: float
    """In one call of the work: of the operator alone, or of the module with all in it."""


@dataclass(frozen=True)
class Profile:
    """One piece of work."""

    title: str
    seconds: float
    """Of all operators together, in one call."""
    operators: tuple[Share, ...]
    """Longest first."""
    modules: tuple[Share, ...]


def profiles(setting: Setting, rows: int = 1) -> list[Profile]:
    """The fused guided step in bfloat16 and the decode as it runs, `rows` photos at a time."""
    shelf = Shelf(setting)
    net: Any = shelf.deployed("bfloat16")
    x, timesteps, ids = made_up_inputs(denoiser_config(setting), rows, setting, guided=True)
    step = call_of(net, x.to(torch.bfloat16), timesteps, ids, guided=True)
    coder = shelf.coder("bfloat16")
    cells = spec_of(setting).size // coder.factor
    latents = torch.randn(rows, coder.channels, cells, cells, device=shelf.device)
    each = f"{rows} photo{'s' if rows > 1 else ''}"
    return [
        profiled(f"guided step of {each}, fused, bf16", step, net, shelf.device),
        profiled(f"decode of {each}, bf16", lambda: coder.decode(latents), coder.network, shelf.device),
    ]


def profiled(
    title: str, work: Callable[[], object], net: nn.Module, device: torch.device, calls: int = 3
) -> Profile:
    """Run `work`, which calls `net`, a few times under the profiler, after as many without."""
    wait = synchroniser(device)
    kinds = [ProfilerActivity.CPU] + ([ProfilerActivity.CUDA] if device.type == "cuda" else [])
    with torch.inference_mode(), ExitStack() as marks:
        for module in net.modules():
            if not type(module).__module__.startswith(_PLAIN):
                _marked(module, marks)
        for _ in range(calls):
            work()
        wait()
        with profile(activities=kinds) as seen:
            for _ in range(calls):
                work()
            wait()
    on_device = device.type == "cuda"
    operators, modules = list[Share](), list[Share]()
    for event in seen.key_averages():
        if event.device_type.name != "CPU":  # a kernel: its time is its operator's already
            continue
        of_module = event.key.startswith(MARK)
        if of_module:
            spent = event.device_time_total if on_device else event.cpu_time_total
        else:
            spent = event.self_device_time_total if on_device else event.self_cpu_time_total
        share = Share(event.key.removeprefix(MARK), event.count / calls, spent / calls / 1e6)
        (modules if of_module else operators).append(share)
    total = sum(share.seconds for share in operators)
    return Profile(title, total, _longest(operators), _longest(modules))


def _longest(shares: list[Share]) -> tuple[Share, ...]:
    return tuple(sorted(shares, key=lambda share: -share.seconds))


def _marked(module: nn.Module, marks: ExitStack) -> None:
    """Let the profiler see when a module works, by the name of its class."""
    name, entered = MARK + type(module).__name__, list[Any]()

    def enter(*_: Any) -> None:
        entered.append(record_function(name))
        entered[-1].__enter__()

    def leave(*_: Any) -> None:
        entered.pop().__exit__(None, None, None)

    marks.callback(module.register_forward_pre_hook(enter).remove)
    marks.callback(module.register_forward_hook(leave).remove)


def profile_report(found: list[Profile], setting: Setting) -> str:
    """Profiles as Markdown."""
    device = torch.device(setting.device)
    where = "device" if device.type == "cuda" else "processor"
    lines = [f"{machine(device)}, {where} time of one call, eager.", ""]
    for each in found:
        lines += [f"### Profile: {each.title}", "", f"All operators: {seconds(each.seconds)}.", ""]
        for head, shares in (("operator", each.operators), ("module, with all in it", each.modules)):
            lines += [f"| {head} | calls | time | share |", "| --- | ---: | ---: | ---: |"]
            for share in shares[:TOP]:
                part = 100 * share.seconds / each.seconds if each.seconds else 0.0
                lines.append(f"| {share.name} | {share.calls:g} | {seconds(share.seconds)} | {part:.1f} % |")
            lines.append("")
    return "\n".join(lines)
