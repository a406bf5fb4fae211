"""Taking turns: every variant once a round, in an order shuffled by the seed; and what the rounds say."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from moebius.engines.measuring import CLOCK, PROCESSOR, Lap, median, quartiles, ratios, timed

BURN_IN_SECONDS = 5.0
"""Calls before anything is measured: until this has passed, two at least, or one if it takes that long."""
SHORTEST = 0.2
"""Seconds that a measurement takes at least: shorter work is repeated within it."""

Work = Callable[[], object]
Wait = Callable[[], None]
Rounds = Sequence[Mapping[str, Sequence[float]]]


def shuffled(names: Sequence[str], seed: int, number: int) -> list[str]:
    """The order of a round; another one each round, the same one for the same seed."""
    order = np.random.default_rng([seed, number]).permutation(len(names))
    return [names[place] for place in order]


def burn_in(work: Work, wait: Wait, clock: Callable[[Work, Wait], Lap] = timed) -> int:
    """Warm `work` up; how often it has to be repeated to take `SHORTEST`."""
    passed, calls = 0.0, 0
    while calls < 10 and (calls < 2 or passed < SHORTEST) and passed < BURN_IN_SECONDS:
        lap = clock(work, wait)
        passed, calls = passed + lap[CLOCK], calls + 1
    return max(1, math.ceil(SHORTEST / max(lap[CLOCK], 1e-6)))


def measured(work: Work, wait: Wait, repeats: int, clock: Callable[[Work, Wait], Lap] = timed) -> Lap:
    """Seconds of one call, over `repeats` calls that are waited for together."""

    def together() -> None:
        for _ in range(repeats):
            work()

    lap = clock(together, wait)
    return lap[CLOCK] / repeats, lap[PROCESSOR] / repeats


def summary(case: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """What the rounds of a case say of each variant.

    Args:
        case: of the results file: `entries`, `base`, `rounds`, `peaks`, `unit`.

    Returns:
        By variant: `seconds` and `processor_seconds` (or `mib`, with `held_mib` on a GPU) as medians; `faster` and
        `processor_faster`, quartiles and median of the rounds' ratios to the base, per photo; and for counted variants
        `gflops` (10^9 operations a second), `of_peak` and `processor_of_peak` (of the machine's own best in that number
        format, same round).
    """
    rounds, entries, base, peaks = case["rounds"], case["entries"], case["base"], case.get("peaks", [])
    found: dict[str, dict[str, Any]] = {}
    for name, entry in entries.items():
        laps = [each[name] for each in rounds if name in each]
        if not laps:
            continue
        if case["unit"] == "MiB":
            found[name] = {"mib": median([lap[0] for lap in laps])}
            if any(lap[1] for lap in laps):
                found[name]["held_mib"] = median([lap[1] for lap in laps])
            continue
        row: dict[str, Any] = {
            "seconds": median([lap[CLOCK] for lap in laps]),
            "processor_seconds": median([lap[PROCESSOR] for lap in laps]),
        }
        if base in entries and base != name:
            worth = entry["images"] / entries[base]["images"]
            for key, which in (("faster", CLOCK), ("processor_faster", PROCESSOR)):
                values = ratios(rounds, base, name, which)
                if values:
                    row[key] = [worth * value for value in quartiles(values)]
        if entry["flops"]:
            row["gflops"] = entry["flops"] / row["seconds"] / 1e9
            for key, which in (("of_peak", CLOCK), ("processor_of_peak", PROCESSOR)):
                shares = [
                    entry["flops"] / each[name][which] / best(peak[entry["dtype"]], which)
                    for each, peak in zip(rounds, peaks, strict=False)
                    if name in each and entry["dtype"] in peak and each[name][which] > 0
                ]
                if shares:
                    row[key] = median(shares)
        found[name] = row
    return found


def best(probes: Mapping[str, Sequence[float]], which: int = CLOCK) -> float:
    """FLOP a second of the fastest probe of a round; probes are (FLOP, seconds, processor seconds)."""
    return max(probe[0] / probe[1 + which] for probe in probes.values() if probe[1 + which] > 0)
