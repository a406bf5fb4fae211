"""What every benchmark here measures with: clocks, memory, and ratios within rounds.

What is compared takes turns, round by round, so that a busy moment of the machine falls on all alike; what counts are
the ratios within a round. Processor time beside the clock's tells how much of a slow round was somebody else's.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from moebius._version import __version__
from moebius.engines.processor import processor_name

if TYPE_CHECKING:
    import torch

Lap = tuple[float, float]
"""Seconds on the clock, and of the processor over all threads and ended child processes."""
CLOCK, PROCESSOR = 0, 1
"""Places in a `Lap`."""


def timed(work: Callable[[], object], wait: Callable[[], None] = lambda: None) -> Lap:
    """How long `work` takes once; `wait` returns when the device is idle, and is called before and after."""
    wait()
    clock, processor = time.perf_counter(), processor_seconds()
    work()
    wait()
    return time.perf_counter() - clock, processor_seconds() - processor


def processor_seconds() -> float:
    """Processor time of this process so far, and of its children that have ended."""
    used = os.times()
    return time.process_time() + used.children_user + used.children_system


def synchroniser(device: torch.device) -> Callable[[], None]:
    """What waits until that device has done all it was given; does nothing for a CPU, which returns when it is done."""
    import torch

    if device.type == "cuda":
        return lambda: torch.cuda.synchronize(device)
    if device.type == "mps":
        return torch.mps.synchronize
    return lambda: None


def machine(device: torch.device) -> str:
    """The GPU's name, or the processor's and how much of it this process may use."""
    import torch

    return torch.cuda.get_device_name(device) if device.type == "cuda" else processor_name()


def versions(libraries: Sequence[str]) -> dict[str, str]:
    """Of Moebius, and of those libraries that are installed."""
    found = {"moebius": __version__}
    for name in libraries:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def peak_mib() -> float:
    """Largest resident memory of this process so far, MiB.

    On Linux not from `getrusage`, which counts the parent's too.
    """
    return _status("VmHWM")


def resident_mib() -> float:
    """Resident memory of this process now, MiB; where the system does not tell, the largest so far."""
    return _status("VmRSS")


def forget_peak() -> bool:
    """Let `peak_mib` count from now on; whether the system can."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


def _status(name: str) -> float:
    path = Path("/proc/self/status")
    if path.exists():
        lines = dict(line.split(":", 1) for line in path.read_text().splitlines() if ":" in line)
        return float(lines[name].split()[0]) / 1024
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (
        1 << (20 if sys.platform == "darwin" else 10)
    )


def quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    """Lower quartile, median and upper quartile, by linear interpolation.

    Raises:
        IndexError: there are no values.
    """
    low, middle, high = np.quantile(np.asarray(values, np.float64), [0.25, 0.5, 0.75]).tolist()
    return low, middle, high


def median(values: Sequence[float]) -> float:
    """The middle one; the mean of the two middle ones of an even number."""
    return quartiles(values)[1]


def spread(values: Sequence[float]) -> str:
    """Median, and in brackets the quartiles: "2.04 (2.01, 2.10)"; "-" for none."""
    if not values:
        return "-"
    low, middle, high = quartiles(values)
    return f"{middle:.2f} ({low:.2f}, {high:.2f})"


def ratios(
    rounds: Sequence[Mapping[str, Sequence[float]]], base: str, name: str, which: int = CLOCK
) -> list[float]:
    """How many times faster than `base`, round by round; rounds that lack one of the two are passed over."""
    return [
        each[base][which] / each[name][which]
        for each in rounds
        if base in each and name in each and each[name][which] > 0
    ]
