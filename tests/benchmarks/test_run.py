"""A run: what it writes, what it goes on from, what it refuses, and how two of them compare."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import made_up_cases
import pytest
from child_processes import child

from moebius.benchmarks import run as benchmark
from moebius.benchmarks.cases import Entry, Setting
from moebius.benchmarks.compare import changes, comparison
from moebius.benchmarks.run import Plan, read, run
from moebius.benchmarks.tables import report, seconds
from moebius.errors import InputError, SettingsError


@pytest.fixture()
def _made_up(monkeypatch: pytest.MonkeyPatch) -> None:
    made_up_cases.use(monkeypatch.setattr)


def plan(out: Path, rounds: int = 2, **changes: Any) -> Plan:
    return Plan(**{"out": out, "rounds": rounds, "setting": Setting(size="tiny"), **changes})


@pytest.mark.usefixtures("_made_up")
def test_it_measures_and_writes(tmp_path: Path) -> None:
    told: list[str] = []
    state = run(plan(tmp_path), told.append)
    assert (
        json.loads((tmp_path / "bench.json").read_text())
        == json.loads(json.dumps(state))
        == read(tmp_path / "bench.json")
    )
    case = state["cases"]["one"]
    assert [set(each) for each in case["rounds"]] == [{"slow", "quick"}] * 2
    assert len(case["peaks"]) == len(case["load"]) == 2
    assert case["failed"] == {"broken": "the broken one: needs another machine"}
    assert case["summary"]["quick"]["faster"][1] > 1 and "faster" not in case["summary"]["slow"]
    assert (
        told[:3] == [f"one: the {name} one" for name in made_up_cases.NAMES]
        and told[3] == "one: round 1 of 2"
    )

    text = (tmp_path / "bench.md").read_text()
    assert text == report(state)
    assert "### one" in text and "Case one; 2 rounds." in text and "| the quick one | " in text
    assert "Left out: the broken one: needs another machine." in text and "It does nothing." in text


@pytest.mark.usefixtures("_made_up")
def test_what_is_computed_is_computed_within_rounds(tmp_path: Path) -> None:
    case = run(plan(tmp_path, cases=("two",)))["cases"]["two"]
    for laps in case["rounds"]:
        assert laps["sum"] == [2 * laps["slow"][which] + 0.5 * laps["quick"][which] for which in (0, 1)]
    assert case["failed"]["hopeless"] == "the hopeless sum: its part broken was left out"
    assert "hopeless" not in case["entries"] and case["entries"]["sum"]["parts"] == [
        ["slow", 2],
        ["quick", 0.5],
    ]
    before = (tmp_path / "bench.json").read_bytes()
    run(plan(tmp_path, cases=("two",)))  # it counts as done
    assert (tmp_path / "bench.json").read_bytes() == before


@pytest.mark.usefixtures("_made_up")
def test_a_variant_that_fails_in_any_way_costs_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: made_up_cases.MadeUp, setting: Setting) -> list[Entry]:
        return [
            Entry(name="one", title="fine", make=lambda: lambda: None),
            Entry(name="two", title="not fine", make=lambda: [][0]),
        ]

    monkeypatch.setattr(made_up_cases.MadeUp, "open", broken)
    case = run(plan(tmp_path, cases=("one",)))["cases"]["one"]
    assert (
        case["failed"] == {"two": "not fine: IndexError list index out of range"} and len(case["rounds"]) == 2
    )


@pytest.mark.usefixtures("_made_up")
def test_it_goes_on(tmp_path: Path) -> None:
    first = copy.deepcopy(run(plan(tmp_path, cases=("one",))))
    assert set(first["cases"]) == {"one"}
    before = (tmp_path / "bench.json").read_bytes()
    run(plan(tmp_path, cases=("one",)))  # nothing is measured again
    assert (tmp_path / "bench.json").read_bytes() == before
    run(plan(tmp_path, rounds=3, minutes=0.0))  # no time for more
    assert (tmp_path / "bench.json").read_bytes() == before
    later = run(plan(tmp_path, rounds=3))
    assert len(later["cases"]["one"]["rounds"]) == len(later["cases"]["two"]["rounds"]) == 3
    assert [list(each.items()) for each in later["cases"]["one"]["rounds"][:2]] == [
        list(each.items()) for each in first["cases"]["one"]["rounds"]
    ]


@pytest.mark.usefixtures("_made_up")
def test_other_code_is_measured_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(plan(tmp_path, rounds=3))
    monkeypatch.setattr(benchmark, "code_digest", lambda: "other")
    assert len(run(plan(tmp_path, rounds=1, cases=("one",)))["cases"]["one"]["rounds"]) == 1
    kept = read(tmp_path / "bench.json")["cases"]["two"]
    assert len(kept["rounds"]) == 3  # it was not asked for, and says which code it is of
    assert kept["code"] != "other"


@pytest.mark.usefixtures("_made_up")
def test_what_does_not_fit_together_is_refused(tmp_path: Path) -> None:
    run(plan(tmp_path, rounds=1))
    with pytest.raises(InputError, match="expected results with size full, got tiny; choose another folder"):
        run(plan(tmp_path, setting=Setting(size="full")))
    (tmp_path / "other.json").write_text("[]")
    with pytest.raises(InputError, match="expected results of moebius bench in format 1"):
        read(tmp_path / "other.json")
    with pytest.raises(InputError, match=r"none.json: expected results of moebius bench \("):
        read(tmp_path / "none.json")
    with pytest.raises(SettingsError, match="rounds: expected 1 or more, got 0"):
        plan(tmp_path, rounds=0)
    with pytest.raises(SettingsError, match="minutes: expected 0 or more, got nan"):
        plan(tmp_path, minutes=float("nan"))


def test_a_killed_run_keeps_its_rounds(tmp_path: Path) -> None:
    script = Path(made_up_cases.__file__)
    endless = [sys.executable, script, tmp_path, "1000000"]
    with child(endless, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("one: round 4"):
                break
        process.kill()
    kept = read(tmp_path / "bench.json")["cases"]["one"]["rounds"]
    assert len(kept) >= 3
    assert [path.name for path in tmp_path.iterdir() if path.suffix not in (".json", ".md", ".part")] == []

    subprocess.run(
        [sys.executable, script, tmp_path, str(len(kept) + 2)], check=True, stdout=subprocess.DEVNULL
    )
    after = read(tmp_path / "bench.json")["cases"]
    assert after["one"]["rounds"][: len(kept)] == kept
    assert len(after["one"]["rounds"]) == len(after["two"]["rounds"]) == len(kept) + 2


def made(*faster: float, machine: str = "this") -> dict[str, Any]:
    """A results file of one case, with that speed-up in its rounds."""
    about = {"machine": machine, "code": str(faster)}
    entries = {
        name: {"title": f"the {name}", "images": 1, "dtype": None, "flops": 0, "bytes": 0}
        for name in ("a", "b")
    }
    case = {
        "unit": "s", "base": "a", "entries": entries, "peaks": [],
        "rounds": [{"a": (ratio, 1.0), "b": (1.0, 1.0)} for ratio in faster],
    }  # fmt: skip
    return {"about": about, "cases": {"c": case | {"summary": benchmark.summary(case)}}}


def test_comparison() -> None:
    earlier = made(2.0, 2.1, 2.2)
    for later, verdict in (
        (made(3.0, 3.1, 3.2), "faster"),
        (made(1.0, 1.1), "slower"),
        (made(2.0, 2.4), "same"),
    ):
        assert [(change.title, change.verdict) for change in changes(earlier, later)] == [
            ("the a", "-"),
            ("the b", verdict),
        ]
    text = comparison(earlier, made(3.0, 3.1, 3.2, machine="another"))
    assert "Another machine: this, now another." in text and "code" not in text.replace("Verdict", "")
    assert "| c | the b | 1 s | 1 s | 2.10 | 3.10 | - | - | faster |" in text
    assert "No variant is in both." in comparison({"about": earlier["about"], "cases": {}}, earlier)


def test_durations() -> None:
    assert [seconds(value) for value in (2.414, 0.0413, 0.00025, 1234.5)] == [
        "2.41 s",
        "41.3 ms",
        "250 us",
        "1234 s",
    ]
