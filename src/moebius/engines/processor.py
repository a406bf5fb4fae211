"""What a measurement was made on, for people."""

from __future__ import annotations

import platform
from pathlib import Path

from moebius.processors import processor_count


def processor_name() -> str:
    """The processor and how much of it this process may use."""
    name = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        models = [
            line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if "model name" in line
        ]
        name = models[0] if models else name
    return f"{processor_count()} cores of {name}"
