"""Two results files beside each other: what got faster, what slower, and what nobody can tell.

Seconds of two runs hardly compare on a machine that others use. What does is each variant's ratio to the first of its
case, and its share of the machine's peak, both of which were measured within rounds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from moebius.benchmarks.tables import seconds

Verdict = Literal["faster", "slower", "same", "-"]


@dataclass(frozen=True, kw_only=True)
class Change:
    """One variant in both files."""

    case: str
    title: str
    before: Mapping[str, Any]
    now: Mapping[str, Any]
    verdict: Verdict
    """Of its ratio to the first variant: faster or slower where the quartiles of both do not touch, else the same."""


def changes(earlier: Mapping[str, Any], state: Mapping[str, Any]) -> list[Change]:
    """Variants that both files have measured in seconds, in the order of the later one."""
    found = []
    for name, case in state["cases"].items():
        other = earlier["cases"].get(name)
        if other is None or case["unit"] != "s" or other["unit"] != "s":
            continue
        for key, row in case["summary"].items():
            if key in other["summary"]:
                before = other["summary"][key]
                title = case["entries"][key]["title"]
                verdict = _verdict(before, row) if case["base"] == other["base"] else "-"
                found.append(Change(case=name, title=title, before=before, now=row, verdict=verdict))
    return found


def _verdict(before: Mapping[str, Any], now: Mapping[str, Any]) -> Verdict:
    if "faster" not in before or "faster" not in now:
        return "-"
    (low, _, high), (low_now, _, high_now) = before["faster"], now["faster"]
    return "faster" if low_now > high else "slower" if high_now < low else "same"


def comparison(earlier: Mapping[str, Any], state: Mapping[str, Any]) -> str:
    """The changes as Markdown, after what differs between the two runs themselves."""
    then, about = earlier["about"], state["about"]
    differing = [key for key in about if key != "code" and then.get(key) != about[key]]
    lines = [
        "### Beside the earlier results",
        "",
        "Verdict: whether the ratio to the case's first variant has changed by more than the rounds of either run "
        "spread (quartiles). Seconds are of different moments.",
        "",
        *(f"Another {key}: {then.get(key)}, now {about[key]}." for key in differing),
        *([""] if differing else []),
    ]
    found = changes(earlier, state)
    if not found:
        return "\n".join([*lines, "No variant is in both.", ""])
    head = (
        "case",
        "variant",
        "time before",
        "now",
        "ratio before",
        "now",
        "of peak before",
        "now",
        "verdict",
    )
    lines += ["| " + " | ".join(head) + " |", "| --- | --- |" + " ---: |" * (len(head) - 3) + " --- |"]
    for change in found:
        pair = (change.before, change.now)
        cells = [change.case, change.title, *(seconds(row["seconds"]) for row in pair)]
        cells += [f"{row['faster'][1]:.2f}" if "faster" in row else "-" for row in pair]
        cells += [f"{100 * row['of_peak']:.0f} %" if "of_peak" in row else "-" for row in pair]
        lines.append("| " + " | ".join([*cells, change.verdict]) + " |")
    return "\n".join([*lines, ""])
