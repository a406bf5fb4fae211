"""What was asked of a GPU, beside what a run measured; and the published speed-up, measured again."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from moebius.benchmarks.tables import seconds
from moebius.engines.measuring import CLOCK, median

Row = Mapping[str, Any]
Found = tuple[float, str] | None
"""A number, and the variant that it is of; None = not measured."""
Verdict = Literal["met", "not met", "not measured"]


@dataclass(frozen=True)
class Bar:
    """One demand."""

    name: str
    asked: str
    measured: str
    verdict: Verdict


def bars(state: Mapping[str, Any], psnr: str = "") -> list[Bar]:
    """Every demand beside a results file.

    Args:
        state: of a GPU; what it lacks is not measured.
        psnr: what `scripts/picture_psnr` printed.
    """
    step, pictures = _rows(state, "step"), _rows(state, "pictures:1")
    guided = _fastest(step, lambda name: name.endswith("-guided") and not name.startswith(OTHER_FORMS))
    reference = _of(step, "reference-guided")
    whole, few = (_fastest(pictures, _ours(tail)) for tail in ("20-guided", "4-no-pair"))
    flux = _of(pictures, "flux-fill-50")
    found = [
        _bar("guided step, one photo", 2.5e-3, guided, seconds),
        _bar(
            "guided step beside the published graph, fp32 eager",
            10.0,
            _ratio(reference, guided),
            _times,
            least=True,
        ),
        _bar("whole picture, 20 guided steps", 80e-3, whole, seconds),
        _bar("whole picture, 4 steps without the pair", 25e-3, few, seconds),
        _bar("memory of whole pictures, one at a time", 2e9, _memory(state), _gigabytes),
        _bar("denoiser at batch 32, of the matrix peak in bf16", 0.45, _share(state), _per_cent, least=True),
        _bar("FLUX.1 Fill, 50 steps, beside our 20 guided", 60.0, _ratio(flux, whole), _times, least=True),
        _bar(
            "FLUX.1 Fill, 50 steps, beside our 4 without the pair",
            60.0,
            _ratio(flux, few),
            _times,
            least=True,
        ),
    ]
    for number, asked in (("float32", 45.0), ("float16", 45.0), ("bfloat16", 38.0)):
        name = f"picture in {number} beside the plain network in float32, PSNR"
        found.append(_bar(name, asked, _psnr(psnr, number), lambda value: f"{value:.1f} dB", least=True))
    return found


OTHER_FORMS = ("reference", "autocast", "plain", "nophases")
"""Forms of the network that are not ours as anybody gets it."""


def claims(state: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """The published speed-up over FLUX.1 Fill: what, as the paper has it, and measured."""
    pictures = _rows(state, "pictures:1")
    flux, reference = _of(pictures, "step:flux-fill"), _of(pictures, "step:reference")
    ours = _of(pictures, "guided:ours")
    wholes = [_of(pictures, name) for name in ("flux-fill-50", "flux-fill-20-computed", "reference-19")]
    best = _fastest(pictures, _ours("20-guided"))

    def told(found: Found) -> str:
        return "not measured" if found is None else _times(found[0])

    return [
        (
            "denoiser alone, their 50 steps beside 20 of the published graph",
            "15.5 x",
            told(_ratio(flux, reference, 2.5)),
        ),
        ("denoiser alone, equal steps, published graph", "6.2 x", told(_ratio(flux, reference))),
        ("denoiser alone, their 50 steps beside 20 of ours", "-", told(_ratio(flux, ours, 2.5))),
        ("denoiser alone, equal steps, ours", "-", told(_ratio(flux, ours))),
        (
            "whole picture, their 50 steps beside the published inference",
            "-",
            told(_ratio(wholes[0], wholes[2])),
        ),
        (
            "whole picture, equal steps (20 beside 19), published inference",
            "-",
            told(_ratio(wholes[1], wholes[2])),
        ),
        ("whole picture, their 50 steps beside our 20", "-", told(_ratio(wholes[0], best))),
        ("whole picture, equal steps, ours", "-", told(_ratio(wholes[1], best))),
    ]


def bars_report(state: Mapping[str, Any], psnr: str = "") -> str:
    """Both as Markdown."""
    lines = ["| bar | asked | measured | |", "| --- | ---: | ---: | --- |"]
    lines += [f"| {bar.name} | {bar.asked} | {bar.measured} | {bar.verdict} |" for bar in bars(state, psnr)]
    lines += ["", "| times faster than FLUX.1 Fill | published | measured |", "| --- | ---: | ---: |"]
    lines += [f"| {name} | {published} | {measured} |" for name, published, measured in claims(state)]
    return "\n".join([*lines, ""])


def _rows(state: Mapping[str, Any], case: str) -> dict[str, Row]:
    found = state["cases"].get(case)
    if found is None:
        return {}
    return {name: {**row, "title": found["entries"][name]["title"]} for name, row in found["summary"].items()}


def _of(rows: Mapping[str, Row], name: str) -> Found:
    return (rows[name]["seconds"], rows[name]["title"]) if name in rows else None


def _fastest(rows: Mapping[str, Row], wanted: Callable[[str], bool]) -> Found:
    return min(((row["seconds"], row["title"]) for name, row in rows.items() if wanted(name)), default=None)


def _ours(tail: str) -> Callable[[str], bool]:
    return lambda name: name.startswith("ours-") and name.endswith(f"-{tail}")


def _ratio(slow: Found, fast: Found, times: float = 1.0) -> Found:
    return None if slow is None or fast is None else (times * slow[0] / fast[0], fast[1])


def _memory(state: Mapping[str, Any]) -> Found:
    """Bytes that were held for tensors."""
    row = _rows(state, "picture-memory").get("ours:1")
    return None if row is None else (row.get("held_mib", row["mib"]) * 2**20, row["title"])


def _share(state: Mapping[str, Any]) -> Found:
    """Of the matrix product's rate in bf16, within rounds; the best guided form."""
    case = state["cases"].get("batch:32")
    if case is None:
        return None
    shares = []
    for name, entry in case["entries"].items():
        if not name.endswith("-guided") or entry["dtype"] != "bfloat16" or not entry["flops"]:
            continue
        found = []
        for laps, peak in zip(case["rounds"], case["peaks"], strict=False):
            probe = peak.get("bfloat16", {}).get("matrix product")
            if name in laps and probe:
                found.append(entry["flops"] / laps[name][CLOCK] / (probe[0] / probe[1 + CLOCK]))
        if found:
            shares.append((median(found), entry["title"]))
    return max(shares, default=None)


def _psnr(text: str, number: str) -> Found:
    """Of the first line of the torch engine in that number format: title, mean, lowest."""
    line = re.search(rf"^\| ([^|]*\btorch\b[^|]*\b{number}\b[^|]*) \| ([\d.]+) \|", text, re.MULTILINE)
    return None if line is None else (float(line[2]), line[1])


def _bar(name: str, asked: float, found: Found, told: Callable[[float], str], *, least: bool = False) -> Bar:
    demand = f"{'at least' if least else 'at most'} {told(asked)}"
    if found is None:
        return Bar(name, demand, "-", "not measured")
    met = found[0] >= asked if least else found[0] <= asked
    return Bar(name, demand, f"{told(found[0])} ({found[1]})", "met" if met else "not met")


def _times(value: float) -> str:
    return f"{value:.3g} x"


def _gigabytes(value: float) -> str:
    return f"{value / 1e9:.3g} GB"


def _per_cent(value: float) -> str:
    return f"{100 * value:.3g} %"
