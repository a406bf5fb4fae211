"""The process in which memory is measured: one thing is done twice, and its peak printed as JSON.

    python -m moebius.benchmarks.fresh NAME SETTING

Networks with random weights are built in the process itself, which takes more than loading a finished file; so for them
the peak is counted from then on, where the system can (Linux). The bundled model is opened as users open it, and all of
that counts.
"""

from __future__ import annotations

import gc
import json
import sys

from moebius.benchmarks.cases import Case, Setting
from moebius.engines.measuring import forget_peak, peak_mib


def measure(name: str, setting: Setting) -> tuple[float, float]:
    """Do what `processes.memory_entries` calls `name`; returns this process's largest resident memory, MiB, and 0.

    For what runs on a GPU it is the largest memory of its tensors there, and what was held for them; besides that, the
    driver takes some hundred MiB for a process.
    """
    if name == "nano":
        # Not looked up among all cases, for which torch would be imported.
        case = Case(name="nano", title="", module="nano", needs_torch=False)
        work = next(entry for entry in case.open(setting) if entry.name.endswith("-512")).make()
        work()
        work()
    elif name != "python":
        return _with_torch(name, setting)
    return peak_mib(), 0.0


def _with_torch(name: str, setting: Setting) -> tuple[float, float]:
    import torch

    if setting.threads is not None:
        from moebius.training.threads import use_threads

        use_threads(setting.threads)
    device = torch.device(setting.device)
    if name != "torch":
        from moebius.benchmarks.alone import work_of

        with torch.inference_mode():
            work = work_of(name, setting)
            gc.collect()  # the plain network that a fused one was made from
            forget_peak()
            if device.type == "cuda":
                torch.cuda.empty_cache()
                torch.cuda.reset_peak_memory_stats(device)
            work()
            work()
    if device.type != "cuda":
        return peak_mib(), 0.0
    return torch.cuda.max_memory_allocated(device) / 2**20, torch.cuda.max_memory_reserved(device) / 2**20


if __name__ == "__main__":
    used, held = measure(sys.argv[1], Setting(**json.loads(sys.argv[2])))
    sys.stdout.write(json.dumps({"peak_mib": used, "held_mib": held}) + "\n")
