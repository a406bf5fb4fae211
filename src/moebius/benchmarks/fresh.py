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


def measure(name: str, setting: Setting) -> float:
    """Do what `processes.memory_entries` calls `name`; returns this process's largest resident memory, MiB.

    On a GPU it is the largest memory of its tensors, for what runs there.
    """
    if name == "nano":
        # Not looked up among all cases, for which torch would be imported.
        case = Case(name="nano", title="", module="nano", needs_torch=False)
        work = next(entry for entry in case.open(setting) if entry.name.endswith("-512")).make()
        work()
        work()
    elif name != "python":
        return _with_torch(name, setting)
    return peak_mib()


def _with_torch(name: str, setting: Setting) -> float:
    import torch

    if setting.threads is not None:
        from moebius.training.threads import use_threads

        use_threads(setting.threads)
    if name != "torch":
        from moebius.benchmarks.alone import work_of

        with torch.inference_mode():
            work = work_of(name, setting)
            gc.collect()  # the plain network that a fused one was made from
            forget_peak()
            work()
            work()
    device = torch.device(setting.device)
    return torch.cuda.max_memory_allocated(device) / 2**20 if device.type == "cuda" else peak_mib()


if __name__ == "__main__":
    sys.stdout.write(
        json.dumps({"peak_mib": measure(sys.argv[1], Setting(**json.loads(sys.argv[2])))}) + "\n"
    )
