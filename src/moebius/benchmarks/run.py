"""A run of the benchmark: cases one after another, their variants in turns, and a file that it can go on from.

    state = run(Plan(out=Path("runs/bench"), cases=("step", "nano")))
    text = report(state)

Every round is written to `out/bench.json` before the next begins, so a run that is killed loses one round at most, and
the same call goes on. Numbers of other code, of another machine or setting are not mixed in.
"""

from __future__ import annotations

import gc
import hashlib
import json
import math
import os
import platform
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from moebius.benchmarks.cases import Case, Entry, Setting, choose, has_torch
from moebius.benchmarks.rounds import BURN_IN_SECONDS, Wait, Work, burn_in, measured, shuffled, summary
from moebius.benchmarks.tables import report
from moebius.engines.measuring import machine, synchroniser, versions
from moebius.engines.processor import processor_name
from moebius.errors import DeviceError, InputError, MoebiusError, SettingsError
from moebius.imaging.atomic import atomic_file

FORMAT = 1
FILE = "bench.json"
Watch = Callable[[str], None]
"""Told what is being done."""
Clock = Callable[[Work, Wait], tuple[float, float]]
_PACKAGE = Path(__file__).parents[1]
_MEASURED = ("benchmarks", "engines", "imaging", "networks", "pipeline", "sampling", "weights")
_LIBRARIES = ("numpy", "torch", "onnxruntime", "openvino", "diffusers")


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is measured.

    Raises:
        SettingsError: a value cannot be.
    """

    out: Path
    cases: tuple[str, ...] = ()
    """Names as `choose` takes them; empty = the usual ones."""
    setting: Setting = field(default_factory=Setting)
    rounds: int = 5
    """Of every case; those that take long have fewer (`Case.most_rounds`)."""
    minutes: float | None = None
    """Begin no more rounds after that long; the same call goes on."""
    seed: int = 0
    """Of the order within the rounds."""

    def __post_init__(self) -> None:
        if self.rounds < 1:
            raise SettingsError(f"rounds: expected 1 or more, got {self.rounds}")
        if self.minutes is not None and not self.minutes >= 0:
            raise SettingsError(f"minutes: expected 0 or more, got {self.minutes}")


def run(plan: Plan, watch: Watch | None = None) -> dict[str, Any]:
    """Measure what is not there yet.

    Writes `out/bench.json` and `out/bench.md` after every round.

    Returns:
        What is in the file: `about`, and by name the cases with their variants, rounds, peaks and summaries.

    Raises:
        InputError: `out` holds results of another machine or setting.
        SettingsError: no such case.
        DeviceError: a case that was asked for by name needs torch.
    """
    cases = choose(plan.cases, plan.setting)
    use_threads(plan.setting.threads)
    ends = math.inf if plan.minutes is None else time.monotonic() + 60 * plan.minutes
    state = _begin(plan)
    for case in cases:
        known = state["cases"].get(case.name)
        entries = case.open(plan.setting)
        if known is None or known["code"] != state["about"]["code"]:
            known = _empty(case, entries, state["about"]["code"])
        wanted = min(plan.rounds, case.most_rounds)
        names = [entry.name for entry in entries if entry.name not in known["failed"]]
        done = min((sum(name in each for each in known["rounds"]) for name in names), default=wanted)
        if done < wanted and time.monotonic() < ends:
            state["cases"][case.name] = known
            _Measuring(plan, case, entries, known, lambda: _write(plan.out, state), watch).rounds(
                wanted, ends
            )
            gc.collect()
    _write(plan.out, state)
    return state


class _Measuring:
    """One case, opened."""

    def __init__(
        self,
        plan: Plan,
        case: Case,
        entries: list[Entry],
        known: dict[str, Any],
        save: Callable[[], None],
        watch: Watch | None,
    ):
        self._plan, self._case, self._known, self._save = plan, case, known, save
        self._tell = watch or (lambda words: None)
        self._entries = {entry.name: entry for entry in entries}
        self._works: dict[str, Work] = {}
        self._repeats: dict[str, int] = {}
        self._computed: dict[str, tuple[tuple[str, float], ...]] = {}
        self._wait: Wait = lambda: None
        self._building: Callable[[], Any] = nullcontext
        self._running: Callable[[], Any] = nullcontext
        if case.needs_torch:
            import torch

            self._wait = synchroniser(torch.device(plan.setting.device))
            # Not one mode for both: what is allocated in inference mode cannot be written to outside, as counting does.
            self._building, self._running = torch.no_grad, torch.inference_mode

    def rounds(self, wanted: int, ends: float) -> None:
        """Rounds until there are `wanted` of every variant, or the time is up."""
        for name in self._entries:
            if time.monotonic() >= ends:
                return
            self._prepare(name)
        for entry in self._entries.values():
            self._compute(entry)
        if not self._works:
            self._save()
            return
        peaks = self._peaks()
        while self._missing(wanted) and time.monotonic() < ends:
            number = len(self._known["rounds"])
            self._tell(f"{self._case.name}: round {number + 1} of {wanted}")
            found: dict[str, Any] = {}
            for name in shuffled(sorted(self._works), self._plan.seed, number):
                found[name] = self._measure(name)
            for name, parts in self._computed.items():
                found[name] = [sum(often * found[part][which] for part, often in parts) for which in (0, 1)]
            self._known["peaks"].append(peaks.measure() if peaks is not None else {})
            self._known["rounds"].append(found)
            self._known["load"].append(load())
            self._save()

    def _missing(self, wanted: int) -> bool:
        names = (*self._works, *self._computed)
        return any(sum(name in each for each in self._known["rounds"]) < wanted for name in names)

    def _compute(self, entry: Entry) -> None:
        """Let a variant that is computed take part, if its parts do."""
        if not entry.parts:
            return
        lacking = [part for part, _ in entry.parts if part not in self._works]
        self._known["failed"].pop(entry.name, None)
        if lacking:
            self._known["failed"][entry.name] = f"{entry.title}: its part {lacking[0]} was left out"
        else:
            self._computed[entry.name] = entry.parts
            self._known["entries"][entry.name] = _told(entry) | {"flops": 0, "bytes": 0}

    def _prepare(self, name: str) -> None:
        entry = self._entries[name]
        if entry.parts:
            return
        self._tell(f"{self._case.name}: {entry.title}")
        self._known["failed"].pop(name, None)
        try:
            with self._building():
                work = entry.make()
                began = time.monotonic()
                flops, moved = entry.count() if entry.count is not None else (0, 0)
            # Counting runs the work as well: where that takes long, it has warmed it up.
            warm = entry.warm and self._case.unit == "s" and time.monotonic() - began < BURN_IN_SECONDS
            with self._running():
                self._repeats[name] = burn_in(work, self._wait) if warm else 1
        except Exception as error:  # whatever ails one variant, the others of an unattended run are measured
            reason = str(error) if isinstance(error, MoebiusError) else f"{type(error).__name__} {error}"
            self._known["failed"][name] = " ".join(f"{entry.title}: {reason}".split())[:300]
            return
        self._works[name] = work
        self._known["entries"][name] = _told(entry) | {"flops": flops, "bytes": moved}

    def _measure(self, name: str) -> list[float]:
        with self._running():
            if self._case.unit == "MiB":
                found: Any = self._works[name]()
                used, held = found if isinstance(found, tuple) else (found, 0.0)
                return [float(used), float(held)]
            return list(measured(self._works[name], self._wait, self._repeats[name]))

    def _peaks(self) -> Any:
        dtypes = {
            self._entries[name].dtype for name in self._works if self._known["entries"][name]["flops"]
        } - {None}
        if not dtypes or not has_torch():
            return None
        import torch

        from moebius.benchmarks.peaks import Peaks

        setting = self._plan.setting
        return Peaks(sorted(map(str, dtypes)), torch.device(setting.device), setting.size, self._wait)


def _told(entry: Entry) -> dict[str, Any]:
    """What the file says of a variant besides its numbers."""
    told: dict[str, Any] = {
        "title": entry.title,
        "images": entry.images,
        "dtype": entry.dtype,
        "note": entry.note,
    }
    return told | ({"parts": [list(part) for part in entry.parts]} if entry.parts else {})


def _empty(case: Case, entries: list[Entry], code: str) -> dict[str, Any]:
    return {
        "title": case.title, "unit": case.unit, "base": entries[0].name if entries else None, "code": code,
        "entries": {}, "failed": {}, "rounds": [], "peaks": [], "load": [],
    }  # fmt: skip


def _begin(plan: Plan) -> dict[str, Any]:
    """What was measured before, or the beginning of it."""
    plan.out.mkdir(parents=True, exist_ok=True)
    about = about_run(plan.setting)
    path = plan.out / FILE
    if not path.exists():
        return {"format": FORMAT, "about": about, "cases": {}}
    state = read(path)
    for name, value in about.items():
        if name != "code" and state["about"].get(name) != value:
            raise InputError(
                f"{path}: expected results with {name} {value}, got {state['about'].get(name)}; choose another folder"
            )
    state["about"] = about
    return state


def read(path: Path) -> dict[str, Any]:
    """A results file.

    Raises:
        InputError: it is missing, or something else.
    """
    try:
        state: Any = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: expected results of moebius bench ({error})") from error
    if not isinstance(state, dict) or state.get("format") != FORMAT or "cases" not in state:
        raise InputError(f"{path}: expected results of moebius bench in format {FORMAT}, got something else")
    return state


def _write(out: Path, state: dict[str, Any]) -> None:
    for case in state["cases"].values():
        case["summary"] = summary(case)
    whole = json.dumps(state, indent=1)
    for name, content in ((FILE, whole), ("bench.md", report(state))):
        with atomic_file(out / name, overwrite=True) as file:
            file.write(content.encode())


def about_run(setting: Setting) -> dict[str, Any]:
    """What the numbers depend on besides the case."""
    name, threads = processor_name(), setting.threads
    if has_torch():
        import torch

        name, threads = machine(torch.device(setting.device)), torch.get_num_threads()
    return {
        "code": code_digest(), "machine": name, "python": platform.python_version(),
        "libraries": versions(_LIBRARIES), "device": setting.device, "size": setting.size, "threads": threads,
        "model": setting.model, "waiting": os.environ.get("OMP_WAIT_POLICY", "as usual"),
    }  # fmt: skip


def code_digest() -> str:
    """Of all source that what is measured consists of."""
    total = hashlib.sha256()
    for room in _MEASURED:
        for path in sorted((_PACKAGE / room).rglob("*.py")):
            total.update(path.read_bytes())
    return total.hexdigest()[:16]


def load() -> float | None:
    """Processes that want the processor, averaged over the last minute; None where that cannot be told."""
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None


def choose_device_name(name: str) -> str:
    """The device of that name as torch calls it; "auto" takes a GPU where there is one.

    Raises:
        DeviceError: it is not available here.
    """
    if not has_torch():
        if name not in ("auto", "cpu"):
            raise DeviceError(f"device {name!r} needs PyTorch: pip install 'moebius-inpaint[torch]'")
        return "cpu"
    from moebius.engines.torch import choose_device

    return str(choose_device(name))


def use_threads(count: int | None) -> None:
    """Of torch; the other runtimes are told when they are opened."""
    if count is not None and has_torch():
        from moebius.training.threads import use_threads as set_threads

        set_threads(count)
