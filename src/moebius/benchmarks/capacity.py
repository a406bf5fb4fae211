"""Pictures an hour and what a million of them costs, on cards that nobody may have measured: a roofline on paper.

A part of a picture (encode, step, decode) takes the longer of its operations at an assumed share of the card's peak
and its bytes at an assumed share of the memory's. Operations and bytes are counted on tensors without numbers, 32
photos at a time; bytes are all operations' inputs and outputs, as if no cache kept anything, so where memory binds the
estimate is on the slow side. Results of `moebius bench pictures:32` on one of the cards replace its own rows, and
correct the others by as much as that card was slower or faster than its estimate.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import torch

from moebius.benchmarks.cases import Setting, rewrites
from moebius.benchmarks.counting import Count, count
from moebius.benchmarks.subjects import diffusers_class, spec_of
from moebius.engines.fuse import fuse
from moebius.engines.networks import Autoencoder
from moebius.engines.torch import ready
from moebius.networks import MoebiusUNet
from moebius.weights.convert import VAE_CONFIG, vae_kind

ROWS = 32
PICTURE_BYTES = 2 * 512 * 512 * 3 * 4
"""Of one picture over PCIe: float32 there and back."""
WORKLOADS: Mapping[str, tuple[int, str]] = MappingProxyType(
    {"20 guided": (20, "guided"), "4, no pair": (4, "single"), "1, no pair": (1, "single")}
)
"""Title -> steps, and which step."""


@dataclass(frozen=True, kw_only=True)
class Card:
    """A card by its data sheet, in a machine to rent."""

    tflops: float
    """Dense bfloat16 peak, TFLOP/s."""
    memory: float
    """Bandwidth of its memory, GB/s."""
    pcie: str
    link: float
    """One direction of that, GB/s."""
    cores: int
    """Processor cores that are rented with it. An assumption."""
    price: float
    """US dollars an hour. An assumption."""


CARDS: Mapping[str, Card] = MappingProxyType(
    {
        "L4": Card(tflops=121, memory=300, pcie="4.0 x16", link=31.5, cores=8, price=0.80),
        "L40S": Card(tflops=362, memory=864, pcie="4.0 x16", link=31.5, cores=16, price=1.90),
        "H100": Card(tflops=989, memory=3350, pcie="5.0 x16", link=63.0, cores=24, price=3.50),
        "H200": Card(tflops=989, memory=4800, pcie="5.0 x16", link=63.0, cores=24, price=4.50),
    }
)
"""The H100 is the SXM one. Prices are of the order of public on-demand lists, one card with its share of a machine."""


@dataclass(frozen=True)
class Shares:
    """What of its data sheet a card reaches."""

    peak: float = 0.45
    memory: float = 0.80


@dataclass(frozen=True)
class Estimate:
    """One workload on one card."""

    seconds: float
    """Of a picture, at `ROWS` at a time."""
    measured: bool
    bound: str
    """What a step waits for: "compute" or "memory"."""
    autoencoder: float
    """Its share of the time."""


def counts() -> dict[str, Count]:
    """Operations and bytes of one picture's parts, as the engine runs them in bfloat16 on a GPU: "encode", "guided",
    "single", "decode".

    Raises:
        DeviceError: diffusers is not installed.
    """
    spec, number = spec_of(Setting()), torch.bfloat16
    cells = spec.size // 8
    with torch.device("meta"):
        kind = diffusers_class(vae_kind(VAE_CONFIG))
        network = kind.from_config(VAE_CONFIG).eval().requires_grad_(False)
        coder = ready(Autoencoder(network, spec), torch.device("meta"), number)
        net: Any = fuse(MoebiusUNet().eval().requires_grad_(False), rewrites=rewrites()).to(number)
        x = torch.zeros(ROWS, 9, cells, cells, dtype=number)
        image, latents = torch.zeros(8, 3, spec.size, spec.size), torch.zeros(8, 4, cells, cells)
    told = torch.zeros_like(net.at(501), device="meta")
    return {
        "encode": _each(count(lambda: coder.encode_moments(image)), 8),
        "guided": _each(count(lambda: net.step(x, told, guided=True)), ROWS),
        "single": _each(count(lambda: net.step(x, told, guided=False)), ROWS),
        "decode": _each(count(lambda: coder.decode(latents)), 8),
    }


def _each(found: Count, rows: int) -> Count:
    return Count(found.flops // rows, found.bytes // rows, found.operations, found.kinds)


def estimate(work: Mapping[str, Count], card: Card, steps: int, step: str, shares: Shares) -> Estimate:
    """A picture on a card by its roofline."""
    times = {name: part_seconds(work[name], card, shares) for name in ("encode", step, "decode")}
    coder = times["encode"] + times["decode"]
    whole = coder + steps * times[step]
    memory_bound = work[step].bytes / (card.memory * shares.memory) > work[step].flops / (
        1e3 * card.tflops * shares.peak
    )
    return Estimate(whole, False, "memory" if memory_bound else "compute", coder / whole)


def part_seconds(part: Count, card: Card, shares: Shares) -> float:
    """The longer of operations and bytes."""
    return max(
        part.flops / (card.tflops * 1e12 * shares.peak), part.bytes / (card.memory * 1e9 * shares.memory)
    )


def measured_seconds(state: Mapping[str, Any]) -> dict[str, tuple[float, float | None]]:
    """Workload -> seconds of a picture in results of "pictures:32", the best of our ways, and the autoencoder's share.

    Empty where that case was not measured on a GPU.
    """
    case = state["cases"].get(f"pictures:{ROWS}")
    if case is None or state["about"]["device"] == "cpu" or state["about"]["size"] != "full":
        return {}
    found: dict[str, tuple[float, float | None]] = {}
    summary = case["summary"]
    coder = [summary[f"{part}:ours"]["seconds"] for part in ("encode", "decode") if f"{part}:ours" in summary]
    for title, (steps, step) in WORKLOADS.items():
        tail = f"-{steps}-" + ("guided" if step == "guided" else "no-pair")
        times = [
            row["seconds"]
            for name, row in summary.items()
            if name.startswith("ours-") and name.endswith(tail)
        ]
        if times:
            share = min(1.0, sum(coder) / min(times)) if len(coder) == 2 else None
            found[title] = (min(times) / ROWS, share)
    return found


def estimates(
    work: Mapping[str, Count],
    cards: Mapping[str, Card],
    shares: Shares,
    state: Mapping[str, Any] | None = None,
) -> dict[tuple[str, str], Estimate]:
    """Every card and workload; with results of one of the cards, its own measured rows and the others corrected."""
    measured = measured_seconds(state) if state is not None else {}
    machine = state["about"]["machine"].replace("-", " ").split() if state is not None else []
    known = next((name for name in cards if name in machine), None)
    found = {}
    for title, (steps, step) in WORKLOADS.items():
        factor = 1.0
        if known is not None and title in measured:
            factor = measured[title][0] / estimate(work, cards[known], steps, step, shares).seconds
        for name, card in cards.items():
            on_paper = estimate(work, card, steps, step, shares)
            autoencoder = on_paper.autoencoder
            is_measured = name == known and title in measured
            if is_measured and measured[title][1] is not None:
                autoencoder = float(measured[title][1] or 0.0)
            seconds = on_paper.seconds * factor
            found[name, title] = Estimate(seconds, is_measured, on_paper.bound, autoencoder)
    return found


def capacity_report(
    found: Mapping[tuple[str, str], Estimate],
    work: Mapping[str, Count],
    cards: Mapping[str, Card],
    shares: Shares,
    jpeg: tuple[float, float, float],
) -> str:
    """Markdown.

    Args:
        jpeg: megapixels, and core-seconds that decoding and encoding such a photo take here.
    """
    megapixels, opened, written = jpeg
    parts = "; ".join(
        f"{title} {work[name].flops / 1e12:.3f} TFLOP, {work[name].bytes / 1e9:.2f} GB"
        for name, title in (
            ("encode", "encode"), ("guided", "guided step"), ("single", "step without the pair"), ("decode", "decode"),
        )
    )  # fmt: skip
    told = "measured where the row says so, other rows of that workload corrected by the same factor"
    any_measured = any(each.measured for each in found.values())
    lines = [
        f"A picture of 512 x 512, {ROWS} at a time, bfloat16; {told if any_measured else 'nothing measured'}. Counted "
        f"of a picture: {parts}. Assumed: {100 * shares.peak:.0f} % of the dense peak, {100 * shares.memory:.0f} % of "
        f"the memory's bandwidth. A JPEG of {megapixels:g} megapixels takes one core here {1e3 * opened:.0f} ms to "
        f"decode and {1e3 * written:.0f} ms to encode. Prices and cores are assumptions. What is short next: the "
        "autoencoder, where it has more than half of the time; cores, above 100 %. PCIe carries float32 crops.",
        "",
        "| card | peak, TFLOP/s | memory, GB/s | PCIe | cores | $ an hour |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    lines += [
        f"| {name} | {card.tflops:g} | {card.memory:g} | {card.pcie} | {card.cores} | {card.price:.2f} |"
        for name, card in cards.items()
    ]
    head = (
        "card", "steps", "from", "ms a picture", "pictures an hour", "$ a million", "a step waits for",
        "autoencoder", "JPEG, of the cores", "of PCIe",
    )  # fmt: skip
    lines += ["", "| " + " | ".join(head) + " |", "| --- | --- | --- |" + " ---: |" * (len(head) - 3)]
    for (name, title), each in found.items():
        card, rate = cards[name], 1 / each.seconds
        cells = [
            name, title, "measured" if each.measured else "paper", f"{1e3 * each.seconds:.3g}", f"{3600 * rate:,.0f}",
            f"{card.price / 3600 * each.seconds * 1e6:,.2f}", each.bound, f"{100 * each.autoencoder:.0f} %",
            f"{100 * rate * (opened + written) / card.cores:.2g} %",
            f"{100 * rate * PICTURE_BYTES / 2 / (1e9 * card.link):.2g} %",
        ]  # fmt: skip
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join([*lines, ""])
