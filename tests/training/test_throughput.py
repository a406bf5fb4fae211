"""The benchmark of a training step: its steps do the same work, and its table says what was measured. No timings."""

from __future__ import annotations

import itertools
import json
import math
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from teacher_models import import_diffusers
from torch import Tensor

from moebius.errors import InputError, SettingsError, TrainingError
from moebius.training import throughput
from moebius.training.throughput import Plan, measure, summary, table
from moebius.training.throughput_steps import BESIDE, STEPS, Scene, Step, sized

ROOT = Path(__file__).parents[2]
CPU = torch.device("cpu")


@pytest.fixture(autouse=True, scope="module")
def diffusers() -> None:
    import_diffusers()


@pytest.fixture()
def no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory without processes, and little burn-in."""
    monkeypatch.setattr(throughput, "_memory", lambda plan, name: {"networks_mib": 1.0, "peak_mib": 2.0})
    monkeypatch.setattr(throughput, "BURN_IN", 1)


def scene(folder: Path, size: str = "tiny", *, channels_last: bool = False) -> Scene:
    return Scene(size, 2, CPU, folder, channels_last=channels_last)


def gradients(stage: Scene) -> dict[str, Tensor]:
    found = {name: p.grad.clone() for name, p in stage.net.named_parameters() if p.grad is not None}
    stage.net.zero_grad()
    return found


def relative(a: Tensor, b: Tensor) -> float:
    return float((a - b).norm() / b.norm().clamp_min(1e-12))


# The steps do the same work


def test_the_published_step_and_ours_agree(tmp_path: Path) -> None:
    stage = scene(tmp_path, "small")
    inputs = stage.feeder(Step())(stage.batches[0])
    found = []
    for how in (STEPS["published"][1], STEPS["ours"][1]):
        stage.net.gradient_checkpointing = how.recompute
        found.append((stage.forward_backward(inputs, how), gradients(stage)))
    (theirs, wanted), (ours, got) = found
    ratios = [name for name in ours if name.startswith("ratio_")]
    assert len(ratios) == 3
    for name in (*ratios, "loss", "coarse", "output", "task", "perceptual"):
        assert float(ours[name]) == pytest.approx(float(theirs[name]), rel=1e-4), name
    assert set(got) == set(wanted) == {name for name, _ in stage.net.named_parameters()}
    whole = [torch.cat([each[name].flatten() for name in wanted]) for each in (got, wanted)]
    assert relative(*whole) < 1e-4
    assert len([name for name in theirs if name.startswith("norm_")]) == 7
    assert len(theirs) + 1 == 20  # with the gradient's norm: what the release reads in a step


def test_ours_is_the_loops(tmp_path: Path) -> None:
    from moebius.training.loop import _Run

    stage = scene(tmp_path)
    how = STEPS["ours"][1]
    inputs = stage.feeder(how)(stage.batches[0])
    run: Any = SimpleNamespace(
        objective=stage.objective, recipe=stage.recipe, device=CPU, net=stage.net, weights=stage.weights,
        output_probe=stage.output_probe, feature_probe=stage.feature_probe, ranks=1,
        accelerator=SimpleNamespace(backward=lambda loss: loss.backward()),
    )  # fmt: skip
    theirs, wanted = _Run.forward_backward(run, inputs), gradients(stage)
    ours, got = stage.forward_backward(inputs, how), gradients(stage)
    assert set(ours) == set(theirs)
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert all(torch.equal(got[name], wanted[name]) for name in wanted)


def test_all_ways_of_encoding_see_the_same(tmp_path: Path) -> None:
    stage = scene(tmp_path)
    seen = {}
    for way in ("twice", "together", "kept"):
        feeder = stage.feeder(Step(latents=way))
        for batch in stage.batches:
            seen[way] = feeder(batch)
        assert feeder.hits == (4 if way == "kept" else 0)
    for way in ("together", "kept"):
        assert torch.equal(seen[way].noise, seen["twice"].noise)
        assert torch.allclose(seen[way].clean, seen["twice"].clean, atol=5e-3)
        assert torch.allclose(seen[way].condition, seen["twice"].condition, atol=1e-4)
    assert set(seen["kept"].mask.unique().tolist()) == {0.0, 1.0}


def test_every_step_learns(tmp_path: Path) -> None:
    stages = {layout: scene(tmp_path / str(layout), channels_last=layout) for layout in (False, True)}
    for name, (_, how) in STEPS.items():
        if how.compiled:
            continue
        stage = stages[how.channels_last]
        before = [p.detach().clone() for p in stage.net.parameters()]
        assert math.isfinite(stage.step(0, how)), name
        moved = [not torch.equal(a, b) for a, b in zip(before, stage.net.parameters(), strict=True)]
        assert sum(moved) > 0.9 * len(moved), name
    kept = [stage.average.step for stage in stages.values() if "average" in vars(stage)]
    assert kept == [3]  # ours, and beside it


def test_the_ladder_changes_one_thing_a_rung() -> None:
    ladder = [step for name, (_, step) in STEPS.items() if name not in BESIDE]
    fields = Step.__dataclass_fields__
    changes = [
        {name for name in fields if getattr(a, name) != getattr(b, name)}
        for a, b in itertools.pairwise(ladder)
    ]
    assert [len(change) for change in changes] == [1] * len(changes)


def test_full_size_is_the_published_networks() -> None:
    recipe, teacher = sized("full", 3, CPU)
    assert recipe.run.batch == 3 and recipe.data.sizes == (512,) and not recipe.network
    assert teacher.channels == (320, 640, 1280, 1280)
    assert recipe.feeding is not None and recipe.feeding.mask_mode == "nearest"
    assert recipe.run.precision == "float32"
    assert sized("full", 3, torch.device("cuda"))[0].run.precision == "bfloat16"


# What is measured, and written


@pytest.mark.usefixtures("no_process")
def test_it_measures_writes_and_goes_on(tmp_path: Path) -> None:
    told: list[str] = []
    plan = Plan(out=tmp_path, size="tiny", batch=2, rounds=1, device="cpu", steps=("kept", "plain"))
    text = measure(plan, lambda done, total, words: told.append(words))
    assert told == [*(f"memory: {name}" for name in ("published", "kept", "plain")), "round 1", "done"]
    assert (tmp_path / "throughput.md").read_text() == text
    state = json.loads((tmp_path / "throughput.json").read_text())
    assert set(state["rounds"][0]) == set(state["summary"]) == {"published", "kept", "plain"}
    assert state["summary"]["plain"]["speed_up"] > 0

    assert measure(plan) == text  # nothing is measured again
    assert measure(Plan(**{**vars(plan), "rounds": 2, "minutes": 0.0})) == text  # no time for more
    measure(Plan(**{**vars(plan), "rounds": 2}))
    after = json.loads((tmp_path / "throughput.json").read_text())
    assert len(after["rounds"]) == 2 and after["rounds"][0] == state["rounds"][0]
    with pytest.raises(InputError, match=r"expected a benchmark with batch 3, got one with 2"):
        measure(Plan(**{**vars(plan), "batch": 3}))


def test_a_step_that_fails_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def memory(plan: Plan, name: str) -> dict[str, float]:
        if name == broken:
            raise TrainingError("out of\nmemory")
        return {"networks_mib": 1.0, "peak_mib": 2.0}

    monkeypatch.setattr(throughput, "_memory", memory)
    monkeypatch.setattr(throughput, "BURN_IN", 1)
    broken = "ours"
    text = measure(Plan(out=tmp_path / "a", size="tiny", batch=2, rounds=1, device="cpu", steps=("ours",)))
    assert "Left out: + averaged weights = our step (out of memory)." in text
    broken = "published"
    with pytest.raises(TrainingError, match="published step: out of"):
        measure(Plan(out=tmp_path / "b", size="tiny", batch=2, rounds=1, device="cpu", steps=("ours",)))


def test_the_table_has_ratios_within_rounds() -> None:
    state = {
        "about": {
            "size": "small", "batch": 12, "device": "cpu", "machine": "a machine", "torch": "2", "threads": 1,
            "steps": ["published", "kept", "ours", "together"],
        },
        "memory": {"ours": {"peak_mib": 700.4}},
        "failed": {},
        "rounds": [
            {"published": (4.0 * f, 8.0), "kept": (2.0 * f, 4.0), "ours": (1.0 * f, 4.0), "together": (2.0 * f, 4.0)}
            for f in (1, 10, 1)
        ],
    }  # fmt: skip
    rows = [line.split(" | ") for line in table(state).splitlines() if line.startswith("| ")]
    assert [row[0] for row in rows[2:]] == [f"| {STEPS[name][0]}" for name in state["about"]["steps"]]  # type: ignore[index]
    kept, ours, together = rows[3], rows[4], rows[5]
    assert kept[1] == kept[3] == "2.00 (2.00, 2.00)"
    assert ours[1:6] == [
        "4.00 (4.00, 4.00)",
        "2.00 (2.00, 2.00)",
        "2.00 (2.00, 2.00)",
        "1.00 (1.00, 1.00)",
        "12",
    ]
    assert together[3] == "0.50 (0.50, 0.50)"  # beside the ladder: than ours
    assert ours[6] == "700 |" and kept[6] == "- |"
    assert summary(state)["ours"] == {
        "speed_up": 4.0, "processor_speed_up": 2.0, "seconds": 1.0, "processor_seconds": 4.0,
        "images_per_second": 12.0,
    }  # fmt: skip


def test_impossible_plans(tmp_path: Path) -> None:
    for values, message in (
        ({"size": "huge"}, "size: expected tiny, small, full, got 'huge'"),
        ({"batch": 0}, "batch: expected 1 or more, got 0"),
        ({"steps": ("other",)}, "steps: expected some of published, .*, got 'other'"),
    ):
        with pytest.raises(SettingsError, match=message):
            Plan(out=tmp_path, **values)  # type: ignore[arg-type]


# The command and the job


@pytest.mark.usefixtures("no_process")
def test_the_command_prints_the_table(tmp_path: Path) -> None:
    from moebius.cli.train import train

    threads = torch.get_num_threads()
    words = [
        "bench",
        "--size",
        "tiny",
        "--rounds",
        "1",
        "--device",
        "cpu",
        "--steps",
        "plain",
        "--out",
        str(tmp_path),
    ]
    done = CliRunner().invoke(train, [*words, "--threads", str(threads)], catch_exceptions=False)
    assert done.exit_code == 0
    assert done.stdout == (tmp_path / "throughput.md").read_text()
    assert "| published step | - |" in done.stdout and "no recomputation | " in done.stdout


@pytest.mark.slow
def test_the_job_runs_on_a_cpu(tmp_path: Path) -> None:
    """The script as it is, at tiny size, memory in processes of their own."""
    surroundings = os.environ | {
        "OUT": str(tmp_path / "out"), "SIZE": "tiny", "ROUNDS": "1", "DEVICE": "cpu", "PYTHON": sys.executable,
        "PYTHONPATH": str(ROOT / "tests" / "no_torchvision"), "OMP_NUM_THREADS": "1",
    }  # fmt: skip
    command = [str(ROOT / "scripts" / "gpu" / "bench_training"), "--steps", "published", "--threads", "1"]
    done = subprocess.run(command, capture_output=True, text=True, env=surroundings, check=False)
    assert done.returncode == 0, done.stderr
    assert f"{tmp_path / 'out'}/throughput.md" in done.stderr
    state = json.loads((tmp_path / "out" / "throughput.json").read_text())
    assert state["failed"] == {} and len(state["rounds"]) == 1
    for found in state["memory"].values():
        assert 50 < found["networks_mib"] <= found["peak_mib"]
    assert done.stdout == (tmp_path / "out" / "throughput.md").read_text()
