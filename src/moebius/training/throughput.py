"""How fast a distillation step is beside the published one, what each change is worth, and what memory it takes.

    measure(Plan(out=Path("runs/throughput"), size="small"))       writes throughput.md and throughput.json there

    python -m moebius.training.throughput PLAN STEP     the process that measures one step's memory

A ladder of steps leads from the release's (`published`) to the training loop's (`ours`), one change a rung. They run
in one process on the same networks and batches and take turns, round by round, so that a busy moment of the machine
falls on all alike; what is compared are the ratios within a round. Memory is measured in fresh processes. Weights
are random, photos are made up; loading of data is no part of it.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, get_args

import torch

from moebius.engines.measuring import (
    Lap,
    machine,
    median,
    peak_mib,
    ratios,
    resident_mib,
    spread,
    synchroniser,
    timed,
)
from moebius.engines.torch import choose_device
from moebius.errors import DeviceError, InputError, SettingsError, TrainingError
from moebius.imaging.atomic import atomic_file
from moebius.training.threads import use_threads
from moebius.training.throughput_steps import BESIDE, BURN_IN, SIZES, STEPS, Scene, Size

Watch = Callable[[int, int, str], None]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is measured.

    Raises:
        SettingsError: a value cannot be.
    """

    out: Path
    size: Size = "small"
    batch: int | None = None
    """Rows a step; None = 16 for tiny, 12 for small; for full 16 on a GPU and 1 on a CPU."""
    rounds: int = 10
    device: str = "auto"
    threads: int | None = None
    compile: bool = False
    """Measure torch.compile too."""
    steps: tuple[str, ...] = ()
    """Names of `STEPS`; empty = all that say something on this device."""
    minutes: float | None = None
    """Begin nothing more after that long; the same call goes on."""

    def __post_init__(self) -> None:
        if self.size not in get_args(Size):
            raise SettingsError(f"size: expected {', '.join(get_args(Size))}, got {self.size!r}")
        for name in ("batch", "rounds", "threads"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise SettingsError(f"{name}: expected 1 or more, got {value}")
        for name in self.steps:
            if name not in STEPS:
                raise SettingsError(f"steps: expected some of {', '.join(STEPS)}, got {name!r}")

    def chosen(self, device: torch.device) -> list[str]:
        """Names of the steps to measure, in the table's order; `published` is always there."""
        if self.steps:
            return [name for name in STEPS if name in self.steps or name == "published"]
        return [name for name in STEPS if self.compile or name != "compiled"]


def measure(plan: Plan, watch: Watch | None = None) -> str:
    """Measure what is not there yet, and return the table in Markdown.

    Writes `out/throughput.json` and `out/throughput.md` after every process and round; the same call goes on from
    them, with more rounds if more are asked for.

    Raises:
        InputError: `out` holds a benchmark of something else.
        DeviceError: the device is neither a CPU nor a CUDA GPU.
        TrainingError: a loss is no number, or a process failed.
    """
    use_threads(plan.threads)
    device = _device(plan)
    names, ends = plan.chosen(device), math.inf
    if plan.minutes is not None:
        ends = time.monotonic() + 60 * plan.minutes
    state = _begin(plan, device)
    memory, failed, rounds = state["memory"], state["failed"], state["rounds"]
    total = len(names) + plan.rounds
    for done, name in enumerate(names):
        if name not in (*memory, *failed) and time.monotonic() < ends:
            _tell(watch, done, total, f"memory: {name}")
            with _noting(failed, name):
                memory[name] = _memory(plan, name)
            _write(plan.out, state)
    if len(rounds) < plan.rounds and time.monotonic() < ends:
        with tempfile.TemporaryDirectory() as folder:
            scenes = _Scenes(plan, device, Path(folder))
            for name in names:
                if name not in failed:
                    with _noting(failed, name):
                        for number in range(BURN_IN):
                            scenes.timed(name, number)
            names = [name for name in names if name not in failed]
            while len(rounds) < plan.rounds and time.monotonic() < ends:
                turn = len(rounds) % len(names)
                _tell(watch, total - plan.rounds + len(rounds), total, f"round {len(rounds) + 1}")
                order = [*names[turn:], *names[:turn]]
                number = len(rounds)
                rounds.append({name: scenes.timed(name, number) for name in order})
                _write(plan.out, state)
    _tell(watch, total, total, "done")
    return _write(plan.out, state)


@contextmanager
def _noting(failed: dict[str, str], name: str) -> Iterator[None]:
    """A step that fails, for want of memory mostly, is left out with its reason; all rests on the published one."""
    try:
        yield
    except (RuntimeError, TrainingError) as error:
        if name == "published":
            raise TrainingError(f"published step: {error}") from error
        failed[name] = " ".join(str(error).split())[:200]
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


class _Scenes:
    """One scene a memory layout, made when it is first needed, with equal weights."""

    def __init__(self, plan: Plan, device: torch.device, folder: Path):
        self._plan, self._device, self._folder = plan, device, folder
        self._made: dict[bool, Scene] = {}

    def __getitem__(self, layout: bool) -> Scene:
        if layout not in self._made:
            batch = _batch(self._plan, self._device)
            folder = self._folder / str(int(layout))
            self._made[layout] = Scene(self._plan.size, batch, self._device, folder, channels_last=layout)
        return self._made[layout]

    def timed(self, name: str, number: int) -> Lap:
        """Seconds on the clock and of the processor that a step takes."""
        how = STEPS[name][1]
        scene = self[how.channels_last]
        losses: list[float] = []
        found = timed(lambda: losses.append(scene.step(number, how)), synchroniser(self._device))
        if not math.isfinite(losses[0]):
            raise TrainingError(f"step {name}: expected a finite loss, got {losses[0]:g}")
        return found


def _memory(plan: Plan, name: str) -> dict[str, float]:
    """MiB that one kind of step takes, in a process of its own."""
    told = json.dumps({**asdict(plan), "out": str(plan.out)})
    command = [sys.executable, "-m", "moebius.training.throughput", told, name]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"ended with {done.returncode}"]
        raise TrainingError(f"memory of step {name}: {lines[-1]}")
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def _serve(told: str, name: str) -> None:
    """The process: a few steps of one kind; prints what they take as JSON."""
    given = json.loads(told)
    plan = Plan(**{**given, "out": Path(given["out"]), "steps": tuple(given["steps"])})
    use_threads(plan.threads)
    device, how = _device(plan), STEPS[name][1]
    with tempfile.TemporaryDirectory() as folder:
        scene = Scene(plan.size, _batch(plan, device), device, Path(folder), channels_last=how.channels_last)
        networks = _used(device)
        losses = [scene.step(number, how) for number in range(BURN_IN)]
    found = {"networks_mib": networks, "peak_mib": _peak(device), "loss": losses[-1]}
    sys.stdout.write(json.dumps(found) + "\n")


def _peak(device: torch.device) -> float:
    """Most memory so far, MiB: the device's, or this process's."""
    return torch.cuda.max_memory_allocated(device) / 2**20 if device.type == "cuda" else peak_mib()


def _used(device: torch.device) -> float:
    """Memory in use now, MiB."""
    return torch.cuda.memory_allocated(device) / 2**20 if device.type == "cuda" else resident_mib()


def _begin(plan: Plan, device: torch.device) -> dict[str, Any]:
    """What was measured before, or the beginning of it."""
    plan.out.mkdir(parents=True, exist_ok=True)
    about = {
        "size": plan.size, "batch": _batch(plan, device), "device": device.type, "machine": machine(device),
        "torch": torch.__version__, "threads": torch.get_num_threads(), "steps": plan.chosen(device),
    }  # fmt: skip
    path = plan.out / "throughput.json"
    if not path.exists():
        return {"about": about, "memory": {}, "failed": {}, "rounds": []}
    state: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    for name, value in about.items():
        if state["about"].get(name) != value:
            raise InputError(
                f"{path}: expected a benchmark with {name} {value}, got one with {state['about'].get(name)}; "
                "choose another folder"
            )
    return state


def table(state: Mapping[str, Any]) -> str:
    """The measurements as Markdown: medians of the rounds' ratios, quartiles in brackets."""
    about, rounds, memory, failed = state["about"], state["rounds"], state["memory"], state["failed"]
    names = [name for name in about["steps"] if name not in failed]
    head = [
        "step", "speed-up", "processor time", "this change alone", "alone, processor", "images/s", "peak, MiB"
    ]  # fmt: skip
    lines = [
        f"Training step, size {about['size']}, batch {about['batch']}: {about['machine']}, "
        f"torch {about['torch']}, threads: {about['threads']}; {len(rounds)} rounds.",
        "",
        "| " + " | ".join(head) + " |",
        "| --- |" + " ---: |" * (len(head) - 1),
    ]
    for name in names:
        before = "ours" if name in BESIDE else next(iter(_before(names, name)), None)
        cells = [STEPS[name][0]]
        for base in ("published", before):
            cells += [_ratio(rounds, base, name, which) for which in (0, 1)]
        seconds = [each[name][0] for each in rounds]
        cells.append(f"{about['batch'] / median(seconds):.3g}" if seconds else "-")
        cells.append(f"{memory[name]['peak_mib']:.0f}" if name in memory else "-")
        lines.append("| " + " | ".join(cells) + " |")
    lines += [
        "",
        "Times faster than the published step, and than the step a line above (below the ladder: than our step), on "
        "the clock and in processor seconds: the median of the rounds' ratios, in brackets the quartiles. Peak memory "
        + ("of the GPU's tensors" if about["device"] == "cuda" else "of the whole process")
        + ", each step in a fresh process.",
        *(f"Left out: {STEPS[name][0]} ({reason})." for name, reason in failed.items()),
        "",
    ]
    return "\n".join(lines)


def summary(state: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """Medians by step: speed-up on the clock and in processor time, seconds and images a second."""
    found = {}
    for name in state["rounds"][0] if state["rounds"] else ():
        seconds = median([each[name][0] for each in state["rounds"]])
        found[name] = {
            "speed_up": median(ratios(state["rounds"], "published", name, 0)),
            "processor_speed_up": median(ratios(state["rounds"], "published", name, 1)),
            "seconds": seconds,
            "processor_seconds": median([each[name][1] for each in state["rounds"]]),
            "images_per_second": state["about"]["batch"] / seconds,
        }
    return found


def _before(names: Sequence[str], name: str) -> Iterator[str]:
    """The rungs below, nearest first."""
    return (each for each in reversed(names[: names.index(name)]) if each not in BESIDE)


def _ratio(rounds: Sequence[Mapping[str, Sequence[float]]], base: str | None, name: str, which: int) -> str:
    if base is None or not rounds or base not in rounds[0] or base == name:
        return "-"
    return spread(ratios(rounds, base, name, which))


def _write(out: Path, state: Mapping[str, Any]) -> str:
    text = table(state)
    whole = json.dumps({**state, "summary": summary(state)}, indent=1)
    for name, content in (("throughput.md", text), ("throughput.json", whole)):
        with atomic_file(out / name, overwrite=True) as file:
            file.write(content.encode())
    return text


def _device(plan: Plan) -> torch.device:
    device = choose_device(plan.device)
    if device.type not in ("cpu", "cuda"):
        raise DeviceError(f"device: expected cpu or cuda for this benchmark, got {device.type}")
    return device


def _batch(plan: Plan, device: torch.device) -> int:
    *_, on_cpu, on_gpu = SIZES[plan.size]
    return plan.batch or (on_gpu if device.type == "cuda" else on_cpu)


def _tell(watch: Watch | None, done: int, total: int, words: str) -> None:
    if watch is not None:
        watch(done, total, words)


if __name__ == "__main__":
    _serve(sys.argv[1], sys.argv[2])
