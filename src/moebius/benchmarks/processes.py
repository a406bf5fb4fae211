"""Cases of whole processes: how long they take from start to end, and the memory they take at most."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import weakref
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from moebius.benchmarks.cases import Case, Entry, Setting, has_torch
from moebius.benchmarks.photos import disc_photo
from moebius.errors import MoebiusError

SIDE = 512
"""Of the photo that a process fills, px."""
STARTS = {
    "python": ("python itself", ("-c", "pass")),
    "import": ("import of the base package", ("-c", "import moebius")),
    "public": ("import of all that a fill needs", ("-c", "from moebius import Moebius")),
    "help": ("moebius --help", ("-m", "moebius", "--help")),
}
"""Name -> title and the arguments of Python; the first is what the others are compared with."""


def entries(case: Case, setting: Setting) -> list[Entry]:
    """The variants of "start-up", "memory" and "picture-memory"."""
    if case.name == "picture-memory":
        return picture_entries(setting)
    return start_entries(setting) if case.name == "start-up" else memory_entries(setting)


def start_entries(setting: Setting) -> list[Entry]:
    """Processes that import, print help, or fill a photo with the bundled model."""
    found = [
        Entry(name=name, title=title, make=partial(_process, arguments, setting))
        for name, (title, arguments) in STARTS.items()
    ]
    title = f"moebius inpaint with nano, {SIDE} px, to the finished file"
    return [*found, Entry(name="inpaint", title=title, make=partial(_inpaint, setting))]


def memory_entries(setting: Setting) -> list[Entry]:
    """Fresh processes: the bundled model's fill, and one call of each form of the full-size networks."""
    kinds = {"python": "Python and numpy", "nano": f"nano, one fill of {SIDE} px"}
    if has_torch():
        kinds["torch"] = "Python and torch"
        kinds |= {"reference": "published graph fp32, guided step"} if setting.reference else {}
        kinds |= {
            "plain": "plain fp32, guided step",
            "deployed-fp32": "deployed fp32, guided step",
            "deployed-bf16": "deployed bf16, guided step",
            "condition-bf16": "deployed bf16 for the condition alone, step",
            "encode-fp32": "autoencoder, encode fp32",
            "decode-fp32": "autoencoder, decode fp32",
            "decode-bf16": "autoencoder, decode bf16",
        }
    told = "Networks with random weights: from when they are built on; the rest from the start of the process"
    return [
        Entry(name=name, title=title, make=partial(_peak, name, setting), note=told)
        for name, title in kinds.items()
    ]


def picture_entries(setting: Setting) -> list[Entry]:
    """Fresh processes that make whole pictures, two steps each: ours, the published inference, networks of others."""
    kinds = {f"ours:{rows}": f"Moebius bf16, {_at_a_time(rows)}" for rows in (1, 8, 32)}
    kinds |= {"reference:1": f"published inference fp32, {_at_a_time(1)}"} if setting.reference else {}
    kinds |= {f"{peer}:1": f"{peer} bf16, {_at_a_time(1)}" for peer in setting.peers}
    return [
        Entry(name=name, title=title, make=partial(_peak, f"picture:{name}", setting), note=PICTURES_TOLD)
        for name, title in kinds.items()
    ]


PICTURES_TOLD = "Networks with random weights, from when they are built on; text encoders are left out"


def _at_a_time(rows: int) -> str:
    return f"{rows} picture{'s' if rows > 1 else ''} at a time"


def run_process(arguments: Sequence[str], setting: Setting) -> str:
    """Run Python with those arguments to its end; returns what it printed.

    Raises:
        MoebiusError: it failed; the message has its last line.
    """
    surroundings = dict(os.environ)
    if setting.threads is not None:
        surroundings["OMP_NUM_THREADS"] = str(setting.threads)
    command = [sys.executable, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=surroundings)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"ended with {done.returncode}"]
        raise MoebiusError(f"process {' '.join(arguments[:3])}: {lines[-1]}")
    return done.stdout


def _process(arguments: Sequence[str], setting: Setting) -> Callable[[], object]:
    return lambda: run_process(arguments, setting)


def _inpaint(setting: Setting) -> Callable[[], object]:
    """The command on files; they are removed with the work."""
    from PIL import Image

    folder = Path(tempfile.mkdtemp())
    photo, mask = disc_photo(SIDE)
    paths = [folder / name for name in ("photo.png", "mask.png", "clean.png")]
    Image.fromarray(photo).save(paths[0])
    Image.fromarray(mask).save(paths[1])
    arguments = ["-m", "moebius", "inpaint", *map(str, paths[:2]), "-o", str(paths[2]), "--device", "cpu"]

    def work() -> None:
        paths[2].unlink(missing_ok=True)
        run_process(arguments, setting)

    weakref.finalize(work, shutil.rmtree, folder, ignore_errors=True)
    return work


def _peak(name: str, setting: Setting) -> Callable[[], float | tuple[float, float]]:
    """MiB that a process takes at most which does that one thing (`moebius.benchmarks.fresh`)."""
    told = json.dumps({"size": setting.size, "device": setting.device, "threads": setting.threads})

    def work() -> float | tuple[float, float]:
        lines = run_process(["-m", "moebius.benchmarks.fresh", name, told], setting).splitlines()
        found = json.loads(lines[-1])
        used, held = float(found["peak_mib"]), float(found["held_mib"])
        return (used, held) if held else used

    return work
