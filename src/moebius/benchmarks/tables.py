"""Results as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from moebius.benchmarks.rounds import best, summary
from moebius.engines.measuring import CLOCK, PROCESSOR, median

TIMES = (
    "variant",
    "time",
    "CPU time",
    "faster",
    "faster, CPU",
    "GFLOP",
    "GB",
    "GFLOP/s",
    "of peak",
    "of peak, CPU",
)
MEMORY = ("variant", "MiB", "of the first")
HELD = ("variant", "MiB", "held, MiB", "of the first")
PICTURES = ("variant", "how", "a call", "a picture", "pictures/s", "faster")
PARTS = ("part", "a call", "a picture", "GFLOP", "GFLOP/s", "of peak")
LEGEND = (
    "Time and CPU time (over all threads) are of one call, medians of the rounds. Faster: times faster than the first "
    "line, per photo; the median of the rounds' ratios, in brackets the quartiles. GFLOP are 2 a multiply-add of "
    "convolutions and matrix products, GB all operations' inputs and outputs, both counted as the call ran. Peak: "
    "the better of a matrix product and a 3 x 3 convolution of the machine's own library, in the same number format "
    "and the same round."
)


def report(state: Mapping[str, Any]) -> str:
    """All of a results file: what it was measured on, then a table a case."""
    about = state["about"]
    libraries = ", ".join(f"{name} {number}" for name, number in about["libraries"].items())
    lines = [
        f"{about['machine']}, device {about['device']}, threads: {about['threads'] or 'all'}, waiting "
        f"{about['waiting']}; Python {about['python']}, {libraries}"
        + (f"; networks of size {about['size']}." if about["size"] != "full" else "."),
        "",
        LEGEND,
        "",
    ]
    for name, case in state["cases"].items():
        lines += [*table(name, case), ""]
    return "\n".join(lines)


def table(name: str, case: Mapping[str, Any]) -> list[str]:
    """One case: a heading, what it was measured beside, a row a variant, and what was left out."""
    rows = summary(case)
    if name.startswith("pictures:"):
        return _pictures(name, case, rows)
    memory = case["unit"] == "MiB"
    held = any("held_mib" in row for row in rows.values())
    head = (HELD if held else MEMORY) if memory else TIMES
    lines = [f"### {name}", "", " ".join(_told(case)), ""]
    if rows:
        lines += ["| " + " | ".join(head) + " |", "| --- |" + " ---: |" * (len(head) - 1)]
    for key, row in rows.items():
        entry = case["entries"][key]
        cells = _memory_cells(row, rows.get(case["base"]), held) if memory else _time_cells(row, entry)
        lines.append("| " + " | ".join([entry["title"], *cells]) + " |")
    return [*lines, *_after(case)]


def _pictures(name: str, case: Mapping[str, Any], rows: Mapping[str, Any]) -> list[str]:
    """Whole pictures, and the parts of those that are computed."""
    lines = [f"### {name}", "", " ".join(_told(case)), ""]
    for head, parts in ((PICTURES, False), (PARTS, True)):
        lines += ["| " + " | ".join(head) + " |", "| --- |" + " ---: |" * (len(head) - 1)]
        for key, row in sorted(rows.items(), key=lambda item: item[0] != case["base"]):
            entry = case["entries"][key]
            if is_part(key) is not parts:
                continue
            each = row["seconds"] / entry["images"]
            cells = [entry["title"].removesuffix(", computed")]
            if parts:
                cells += [seconds(row["seconds"]), seconds(each), *_work_cells(row, entry)]
            else:
                how = "computed" if entry.get("parts") else "measured"
                cells += [
                    how,
                    seconds(row["seconds"]),
                    seconds(each),
                    f"{1 / each:.3g}",
                    _spread(row.get("faster")),
                ]
            lines.append("| " + " | ".join(cells) + " |")
        lines.append("")
    return [*lines[:-1], *_after(case)]


def is_part(key: str) -> bool:
    """Whether a variant of "pictures:N" is no picture but a part of one."""
    return ":" in key


def _work_cells(row: Mapping[str, Any], entry: Mapping[str, Any]) -> list[str]:
    return [
        f"{entry['flops'] / 1e9:.1f}" if entry["flops"] else "-",
        f"{row['gflops']:.4g}" if "gflops" in row else "-",
        f"{100 * row['of_peak']:.0f} %" if "of_peak" in row else "-",
    ]


def _after(case: Mapping[str, Any]) -> list[str]:
    """What stands below a table: notes, and what was left out."""
    lines: list[str] = []
    notes = dict.fromkeys(entry["note"] for entry in case["entries"].values() if entry["note"])
    if notes:
        lines += ["", *(f"{note}." for note in notes)]
    if case["failed"]:
        lines += ["", *(f"Left out: {reason}." for reason in case["failed"].values())]
    return lines


def _told(case: Mapping[str, Any]) -> list[str]:
    """What a case is, how many rounds, the load beside them, and the peaks."""
    count = len(case["rounds"])
    words = [f"{case['title'][0].upper()}{case['title'][1:]}; {count} round{'s' if count != 1 else ''}."]
    loads = [value for value in case["load"] if value is not None]
    if loads:
        words.append(f"Load of the machine, this run included: {min(loads):.1f} to {max(loads):.1f}.")
    for dtype in dict.fromkeys(dtype for peak in case["peaks"] for dtype in peak):
        found = [peak[dtype] for peak in case["peaks"] if dtype in peak]
        clock, processor = (
            median([best(peak, which) for peak in found]) / 1e9 for which in (CLOCK, PROCESSOR)
        )
        words.append(f"Peak in {dtype}: {clock:.4g} GFLOP/s, {processor:.4g} a second of CPU time.")
    return words


def _time_cells(row: Mapping[str, Any], entry: Mapping[str, Any]) -> list[str]:
    return [
        seconds(row["seconds"]),
        seconds(row["processor_seconds"]),
        _spread(row.get("faster")),
        _spread(row.get("processor_faster")),
        f"{entry['flops'] / 1e9:.1f}" if entry["flops"] else "-",
        f"{entry['bytes'] / 1e9:.2f}" if entry["bytes"] else "-",
        f"{row['gflops']:.4g}" if "gflops" in row else "-",
        *(f"{100 * row[key]:.0f} %" if key in row else "-" for key in ("of_peak", "processor_of_peak")),
    ]


def _memory_cells(row: Mapping[str, Any], base: Mapping[str, Any] | None, held: bool) -> list[str]:
    beside = [f"{row['held_mib']:.0f}" if "held_mib" in row else "-"] if held else []
    return [f"{row['mib']:.0f}", *beside, f"{row['mib'] / base['mib']:.2f}" if base else "-"]


def _spread(values: Sequence[float] | None) -> str:
    return "-" if values is None else f"{values[1]:.2f} ({values[0]:.2f}, {values[2]:.2f})"


def seconds(value: float) -> str:
    """A duration with its unit: "2.41 s", "41.3 ms", "250 us"."""
    for unit, factor in (("s", 1.0), ("ms", 1e3)):
        if value * factor >= 1:
            return f"{value * factor:.3g} {unit}" if value < 1000 else f"{value:.0f} s"
    return f"{value * 1e6:.0f} us"
