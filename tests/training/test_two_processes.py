"""Two processes over gloo: together they see what one would see, and they stay alike."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_runs import TEACHER_CHANGES, Tiny, environment, lines, state
from torch import Tensor
from watched_run import watch

from moebius import Moebius
from moebius.training.models import open_models
from moebius.training.recipe import load_recipe

pytestmark = pytest.mark.slow
Seen = list[dict[str, Any]]


def both(tiny: Tiny, out: Path, *changes: str) -> tuple[Seen, Seen]:
    """A run of two processes; what each saw."""
    script = Path(__file__).with_name("watched_run.py")
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [*launcher, script, tiny.recipe, tiny.photos, out, f'teacher="{tiny.teacher}"', *changes],
        env=environment(PYTHONWARNINGS="error::FutureWarning:torch.nn"),
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr, done.stderr
    first, second = (json.loads((out / f"seen-{rank}.json").read_text()) for rank in range(2))
    return first, second


def test_two_processes_make_what_one_makes(tiny: Tiny, tmp_path: Path) -> None:
    """A network without batch norm: four steps of two rows in each of two processes, and of four rows in one."""
    changes = (*TEACHER_CHANGES, "run.steps=4", "run.accumulate=2", "optimizer.learning_rate=1e-6")
    first, second = both(tiny, tmp_path / "two", "run.batch=2", *changes)
    alone = watch(
        tiny.recipe, tiny.photos, tmp_path / "one", ["run.batch=4", f'teacher="{tiny.teacher}"', *changes]
    )
    assert len(first) == len(second) == len(alone) == 8
    for ours, theirs, whole in zip(first, second, alone, strict=True):
        for what in ("positions", "keys", "timesteps", "noise"):
            assert ours[what] + theirs[what] == whole[what]
        assert not set(ours["positions"]) & set(theirs["positions"])
        assert not set(ours["noise"]) & set(theirs["noise"])
        assert ours.get("weights") == theirs.get("weights")
    # Adam divides by the gradient's size: where that is next to nothing, rounding decides which way a weight goes. At
    # so small a rate this does not reach the other gradients, and what is compared is how far the weights moved.
    two, one = state(tmp_path / "two"), state(tmp_path / "one")
    first_moments = [name for name in one if name.endswith("exp_avg")]
    assert first_moments and two.keys() == one.keys()
    gradients = (flat(two, first_moments) - flat(one, first_moments)).norm() / flat(one, first_moments).norm()
    assert gradients < 1e-2, (
        "rounding, which this network makes a thousand times larger; a share that is lost makes 1"
    )
    _, models = open_models(load_recipe(tiny.recipe, [f'teacher="{tiny.teacher}"', *changes]))
    begun = {f"net.{name}": tensor for name, tensor in models.net.state_dict().items()}
    apart, moved = (
        (flat(two, begun) - flat(one, begun)).norm(),
        (flat(one, begun) - flat(begun, begun)).norm(),
    )
    assert moved > 0 and apart / moved < 0.05
    assert (flat(two, begun) - flat(one, begun)).abs().max() < 1e-5


def flat(tensors: dict[str, Tensor], names: Iterable[str]) -> Tensor:
    """All of the network's weights as one row."""
    return torch.cat([tensors[name].flatten() for name in names])


def test_ratios_and_statistics_are_shared(tiny: Tiny, tmp_path: Path) -> None:
    changes = ["optimizer.name=muon", "loss.smoothing=0.5", "run.steps=4", "run.settle=2"]
    first, second = both(tiny, tmp_path, *changes)
    assert len(first) == 4
    for ours, theirs in zip(first, second, strict=True):
        assert ours["ratios"] == theirs["ratios"] and len(ours["ratios"]) == 3
        assert ours["buffers"] == theirs["buffers"] and ours["weights"] == theirs["weights"]
        assert not set(ours["noise"]) & set(theirs["noise"])
    assert len({step["buffers"] for step in first}) == 4
    assert [line["step"] for line in lines(tmp_path)] == [1, 2, 3, 4], "the first process alone writes"
    assert Moebius.from_pretrained(tmp_path / "model", engine="torch").spec.name == "trained"
