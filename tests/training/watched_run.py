"""A run that notes what it sees: `torchrun --nproc-per-node 2 watched_run.py RECIPE PHOTOS OUT NAME=VALUE ...`.

Leaves OUT/seen-<rank>.json: a line a step, of what this process read and what its network then was.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from torch import Tensor

from moebius.training.data.loader import Batch
from moebius.training.inputs import Inputs
from moebius.training.loop import RunOptions, _Run
from moebius.training.recipe import load_recipe


class Watched(_Run):
    """The loop, with its steps written down."""

    steps: list[dict[str, Any]]

    def _next(self, stream: Any) -> Batch:
        batch = super()._next(stream)
        self.steps.append({"positions": batch.positions.tolist(), "keys": batch.keys})
        return batch

    def forward_backward(self, inputs: Inputs) -> dict[str, Tensor]:
        report = super().forward_backward(inputs)
        self.steps[-1] |= {
            "timesteps": inputs.timesteps.tolist(),
            "noise": [digest([row]) for row in inputs.noise],
            "ratios": {name: float(value) for name, value in report.items() if name.startswith("ratio_")},
        }
        return report

    def _share_statistics(self, stop: bool) -> bool:
        stopped = super()._share_statistics(stop)
        self.steps[-1] |= {
            "buffers": digest(self.plain.buffers()),
            "weights": digest(self.plain.parameters()),
        }
        return stopped


def watch(recipe: Path, photos: Path, out: Path, changes: Iterable[str]) -> list[dict[str, Any]]:
    """Run it; what this process saw."""
    run = Watched(load_recipe(recipe, changes), [photos], out, RunOptions(device="cpu"))
    run.steps = []
    try:
        run.go()
    finally:
        run.close()
    (out / f"seen-{run.rank}.json").write_text(json.dumps(run.steps))
    return run.steps


def digest(tensors: Iterable[Tensor]) -> str:
    whole = hashlib.sha256()
    for tensor in tensors:
        whole.update(tensor.detach().contiguous().numpy().tobytes())
    return whole.hexdigest()


if __name__ == "__main__":
    recipe, photos, out = map(Path, sys.argv[1:4])
    watch(recipe, photos, out, sys.argv[4:])
