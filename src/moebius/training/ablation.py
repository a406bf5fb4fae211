"""A miniature of the paper's loss ablation (Table 5), and the comparison it leaves out: how the terms are weighted.

One small teacher; the same small student, trained for the same number of steps on the same samples in the same order,
with more and more of the recipe; several seeds. Every run is a process of one thread, so that two cores carry two;
finished runs are not repeated.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from moebius.errors import InputError, TrainingError
from moebius.imaging.atomic import atomic_file

VARIANTS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "alone": ("task loss alone", {"form": "fixed", "task": 1, "output": 0, "coarse": 0, "perceptual": 0}),
    "output": (
        "+ output distillation",
        {"form": "fixed", "task": 1, "output": 1, "coarse": 0, "perceptual": 0},
    ),
    "coarse": ("+ coarse features", {"form": "fixed", "task": 1, "output": 1, "coarse": 1, "perceptual": 0}),
    "fixed": ("+ perceptual: all four, fixed", {"form": "fixed", "task": 1, "output": 1, "coarse": 1, "perceptual": 1}),
    "paper": ("all four, paper's weights", {"form": "paper", "task": 1, "output": 1, "coarse": 1, "perceptual": 1}),
    "released": (
        "all four, released weights",
        {"form": "released", "task": 0.5, "output": 0.01, "coarse": 0.01, "perceptual": 0.5},
    ),
}  # fmt: skip
"""Name -> what it is called in the table, and its `[loss]`."""

COLUMNS = {
    "task": "noise error",
    "t300": "latent error t=300",
    "t500": "t=500",
    "t700": "t=700",
    "t900": "t=900",
    "t999": "latent error t=999",
    "fill_error": "fill MAE",
    "fill_lpips": "fill LPIPS",
}


@dataclass(frozen=True, kw_only=True)
class Ablation:
    """What is compared, and on what."""

    data: Sequence[Path]
    out: Path
    teacher: str
    features: Path | None = None
    recipe: str = "ablation-student"
    variants: Sequence[str] = tuple(VARIANTS)
    seeds: int = 3
    workers: int = 2
    changes: Sequence[str] = ()


def run_ablation(plan: Ablation, watch: Callable[[int, int, str], None] | None = None) -> str:
    """Run what is not there yet, and return the table in Markdown; also written to `out/ablation.md` and `.json`.

    Raises:
        InputError: no such variant, none, or no seed.
        TrainingError: a run failed; has its last line.
    """
    if plan.seeds < 1:
        raise InputError(f"seeds: expected 1 or more, got {plan.seeds}")
    unknown = [name for name in plan.variants if name not in VARIANTS]
    if unknown or not plan.variants:
        got = unknown[0] if unknown else "none"
        raise InputError(f"variants: expected some of {', '.join(VARIANTS)}, got {got}")
    plan.out.mkdir(parents=True, exist_ok=True)
    variants = [name for name in VARIANTS if name in plan.variants]
    jobs = [(name, seed) for seed in range(plan.seeds) for name in variants]
    results: dict[str, list[dict[str, float]]] = {name: [] for name in variants}
    with ThreadPoolExecutor(max(1, plan.workers)) as pool:
        running = [(name, seed, pool.submit(_one, plan, name, seed)) for name, seed in jobs]
        for done, (name, seed, job) in enumerate(running, start=1):
            results[name].append(job.result())
            if watch is not None:
                watch(done, len(jobs), f"{name}, seed {seed}")
    text = table(results)
    _write(plan.out / "ablation.md", text)
    _write(plan.out / "ablation.json", json.dumps(results, indent=1))
    return text


def table(results: Mapping[str, Sequence[Mapping[str, float]]]) -> str:
    """Mean and, in brackets, lowest and highest over the seeds; below, each variant's difference from the first.

    The differences are of equal seeds (same samples in the same order), so they are narrower than the means suggest.
    """
    columns = [name for name in COLUMNS if all(name in run for runs in results.values() for run in runs)]
    head = "| | " + " | ".join(COLUMNS[name] for name in columns) + " |"
    rule = "| --- |" + " ---: |" * len(columns)
    lines = [head, rule]
    for name, runs in results.items():
        lines.append(_row(VARIANTS[name][0], [[run[c] for run in runs] for c in columns], signed=False))
    first = next(iter(results))
    lines += ["", f"Difference from {VARIANTS[first][0]}, seed by seed (below 0 = better):", "", head, rule]
    for name, runs in results.items():
        if name != first:
            pairs = list(zip(runs, results[first], strict=True))
            lines.append(
                _row(VARIANTS[name][0], [[a[c] - b[c] for a, b in pairs] for c in columns], signed=True)
            )
    seeds = len(results[first])
    return "\n".join([*lines, "", f"Mean over {seeds} seeds, in brackets the lowest and the highest.", ""])


def _row(label: str, columns: Sequence[Sequence[float]], *, signed: bool) -> str:
    form = "+.4f" if signed else ".4f"
    cells = [f"{statistics.fmean(v):{form}} ({min(v):{form}}, {max(v):{form}})" for v in columns]
    return f"| {label} | " + " | ".join(cells) + " |"


def _one(plan: Ablation, name: str, seed: int) -> dict[str, float]:
    """The last held-out measurements of one run; runs it unless it is finished."""
    out = plan.out / f"{name}-{seed}"
    ended = out / "outcome.json"
    if not ended.exists():
        loss = [f"loss.{field}={json.dumps(value)}" for field, value in VARIANTS[name][1].items()]
        changes = [*plan.changes, *loss, f"seed={100 + seed}"]
        command = [
            sys.executable,
            "-m",
            "moebius",
            "train",
            plan.recipe,
            "--teacher",
            plan.teacher,
            "--out",
            str(out),
        ]
        command += [part for path in plan.data for part in ("--data", str(path))]
        command += [part for change in changes for part in ("--set", change)]
        command += ["--features", str(plan.features)] if plan.features is not None else []
        command += [
            "--cache",
            str(plan.out / f"latents-{seed}"),
            "--threads",
            "1",
            "--device",
            "cpu",
            "--json",
        ]
        environment = os.environ | {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"}
        done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
        if done.returncode:
            raise TrainingError(f"ablation {name}, seed {seed}: {done.stderr.strip().splitlines()[-1]}")
        _write(ended, done.stdout)
    held_out: dict[str, float] = json.loads(ended.read_text(encoding="utf-8"))["held_out"]
    return held_out


def _write(path: Path, text: str) -> None:
    with atomic_file(path, overwrite=True) as file:
        file.write(text.encode())
