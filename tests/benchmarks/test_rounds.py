"""Turns and statistics, on clocks that say what they are told."""

from __future__ import annotations

from typing import Any

import pytest

from moebius.benchmarks.rounds import BURN_IN_SECONDS, best, burn_in, measured, shuffled, summary
from moebius.benchmarks.tables import table
from moebius.engines.measuring import median, quartiles, ratios, spread, timed


class Clock:
    """Every call of the work takes as long as it is told, and half of that on the processor."""

    def __init__(self, *seconds: float):
        self.seconds, self.calls = list(seconds), 0

    def work(self) -> None:
        self.calls += 1

    def __call__(self, work: Any, wait: Any) -> tuple[float, float]:
        before = self.calls
        work()
        wait()
        each = self.seconds.pop(0) if len(self.seconds) > 1 else self.seconds[0]
        return each * (self.calls - before), each * (self.calls - before) / 2


def idle() -> None:
    pass


@pytest.mark.parametrize(
    ("seconds", "calls", "repeats"),
    [((1e-3,), 10, 200), ((0.15,), 2, 2), ((3.0, 0.5), 2, 1), ((BURN_IN_SECONDS + 1,), 1, 1)],
)
def test_burn_in(seconds: tuple[float, ...], calls: int, repeats: int) -> None:
    clock = Clock(*seconds)
    assert burn_in(clock.work, idle, clock) == repeats
    assert clock.calls == calls


def test_repeats_are_divided_out() -> None:
    clock, waits = Clock(0.5), []
    assert measured(clock.work, lambda: waits.append(clock.calls), 4, clock) == (0.5, 0.25)
    assert clock.calls == 4 and waits == [4]


def test_the_device_is_waited_for_on_both_sides() -> None:
    order: list[str] = []
    lap = timed(lambda: order.append("work"), lambda: order.append("wait"))
    assert order == ["wait", "work", "wait"] and min(lap) >= 0


def test_orders_are_shuffled_by_the_seed() -> None:
    names = list("abcdefgh")
    orders = [shuffled(names, 0, number) for number in range(20)]
    assert all(sorted(order) == names for order in orders)
    assert orders == [shuffled(names, 0, number) for number in range(20)]
    assert len({tuple(order) for order in orders}) == 20 and orders[0] != shuffled(names, 1, 0)
    firsts = {order[0] for order in orders}
    assert len(firsts) > 4  # nobody is always first


def test_quartiles() -> None:
    assert quartiles([4, 1, 3, 2, 5]) == (2, 3, 4)
    assert median([1, 2]) == 1.5
    assert spread([1.0, 2.0, 3.0]) == "2.00 (1.50, 2.50)" and spread([]) == "-"


def test_ratios_are_within_rounds() -> None:
    rounds = [{"a": (2.0, 1.0), "b": (1.0, 1.0)}, {"a": (20.0, 1.0), "b": (10.0, 2.0)}, {"a": (5.0, 5.0)}]
    assert ratios(rounds, "a", "b") == [2, 2] and ratios(rounds, "a", "b", 1) == [1, 0.5]


def case(**changes: Any) -> dict[str, Any]:
    """Two variants; the second does two photos a call in half the time; a busy moment in round two."""
    entry = {"title": "t", "images": 1, "dtype": "float32", "note": "", "flops": 2e9, "bytes": 0}
    probes = {"float32": {"matrix product": (1e9, 0.5, 1.0), "convolution": (1e9, 0.25, 0.25)}}
    slow = {"float32": {name: (f, 10 * s, c) for name, (f, s, c) in probes["float32"].items()}}
    return {
        "title": "a case", "unit": "s", "base": "a", "failed": {}, "load": [1.0, 9.0, None],
        "entries": {"a": entry, "b": entry | {"images": 2}},
        "rounds": [
            {"a": (1.0, 2.0), "b": (0.5, 1.0)}, {"b": (5.0, 1.0), "a": (10.0, 2.0)}, {"a": (1.0, 2.0), "b": (0.5, 1.0)},
        ],
        "peaks": [probes, slow, probes],
    } | changes  # fmt: skip


def test_what_the_rounds_say() -> None:
    found = summary(case())
    assert found["a"] == {
        "seconds": 1.0, "processor_seconds": 2.0, "gflops": 2.0, "of_peak": 0.5, "processor_of_peak": 0.25,
    }  # fmt: skip
    assert found["b"]["faster"] == [4, 4, 4] and found["b"]["processor_faster"] == [4, 4, 4]
    assert found["b"]["of_peak"] == 1.0 and found["b"]["seconds"] == 0.5


def test_the_roof_is_the_better_probe() -> None:
    probes = case()["peaks"][0]["float32"]
    assert best(probes) == 4e9 and best(probes, 1) == 4e9


def test_variants_that_were_left_out_or_not_counted() -> None:
    found = summary(case(rounds=[{"b": (1.0, 1.0)}], peaks=[{}]))
    assert set(found) == {"b"} and set(found["b"]) == {"seconds", "processor_seconds", "gflops"}
    assert summary(case(rounds=[], peaks=[])) == {}


def test_memory() -> None:
    found = summary(case(unit="MiB", rounds=[{"a": (100, 0), "b": (300, 0)}, {"a": (102, 0), "b": (300, 0)}]))
    assert found == {"a": {"mib": 101.0}, "b": {"mib": 300.0}}


def test_memory_of_a_gpu_is_what_was_used_and_what_was_held() -> None:
    rounds = [{"a": (100, 0), "b": (300, 512)}]
    assert summary(case(unit="MiB", rounds=rounds)) == {
        "a": {"mib": 100.0},
        "b": {"mib": 300.0, "held_mib": 512.0},
    }
    lines = table("memory", case(unit="MiB", rounds=rounds))
    assert "| variant | MiB | held, MiB | of the first |" in lines and lines[-1] == "| t | 300 | 512 | 3.00 |"
