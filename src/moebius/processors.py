"""How many processors there are for this process."""

from __future__ import annotations

import os


def processor_count() -> int:
    """Processors that this process may use; all of the machine's where the system cannot tell."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
