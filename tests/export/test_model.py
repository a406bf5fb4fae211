"""`model_checks.py` in a process of its own: where OpenVINO has run, a later start of a program crashes the process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

CHECKS = Path(__file__).with_name("model_checks.py")


@pytest.mark.slow
def test_exported_models(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:xdist",
        "--basetemp",
        str(tmp_path / "own"),
        str(CHECKS),
    ]
    done = subprocess.run(command, cwd=CHECKS.parents[2], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert " passed" in done.stdout
