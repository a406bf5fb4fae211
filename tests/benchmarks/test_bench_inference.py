"""The unattended run for a GPU, on a CPU at toy size."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def script(out: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    surroundings = os.environ | {
        "OUT": str(out), "SIZE": "tiny", "DEVICE": "cpu", "ROUNDS": "1", "PYTHON": sys.executable, "PEERS": "",
        "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT / "tests" / "no_torchvision"),
    } | environment  # fmt: skip
    command = [str(ROOT / "scripts" / "gpu" / "bench_inference")]
    return subprocess.run(command, env=surroundings, capture_output=True, text=True, check=False)


STAGES = "step pictures batch32 memory psnr pictures32 batches more profile compiled whole"


@pytest.mark.slow
def test_it_measures_and_goes_on(tmp_path: Path) -> None:
    (tmp_path / "profile.md").write_text("made before\n")
    done = script(tmp_path, STAGES="batch32 profile")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 11 and all(line.startswith(("met", "not met", "not measured")) for line in lines)
    share = next(line for line in lines if "denoiser at batch 32" in line)
    assert share.startswith(("met", "not met")) and "asked at least 45 %, measured " in share
    state = json.loads((tmp_path / "bench.json").read_text())
    assert set(state["cases"]) == {"batch:32"} and (tmp_path / "profile.md").read_text() == "made before\n"
    names = {"bars.md", "bench.json", "bench.md", "batch32.txt", "batch32.log", "profile.md"}
    assert {path.name for path in tmp_path.iterdir()} == names

    again = script(tmp_path, STAGES="batch32")  # nothing is left to do
    assert again.returncode == 0 and again.stdout == done.stdout
    assert (
        json.loads((tmp_path / "bench.json").read_text())["cases"]["batch:32"] == state["cases"]["batch:32"]
    )


def test_without_time_nothing_begins(tmp_path: Path) -> None:
    done = script(tmp_path, MINUTES="0")
    told = [line.partition("no time for ")[2].partition(";")[0] for line in done.stderr.splitlines()]
    assert done.returncode == 0 and " ".join(filter(None, told)) == STAGES
    assert [line.startswith("not measured ") for line in done.stdout.splitlines()] == [True] * 11
    assert [path.name for path in tmp_path.iterdir()] == ["bars.md"]


def test_a_stage_that_fails_costs_only_itself(tmp_path: Path) -> None:
    done = script(tmp_path, STAGES="pictures memory", PEERS="dalle")
    assert done.returncode == 1
    assert "failed: pictures memory (see the .log of each" in done.stderr
    assert done.stderr.count("got 'dalle'") == 2  # the second was tried
    assert (tmp_path / "bars.md").exists()
    assert script(tmp_path, STAGES="nonsense").returncode == 2
