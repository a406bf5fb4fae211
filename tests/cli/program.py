"""The program in a process of its own, and what a call of it leaves behind."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass

PROGRAM = "from moebius.cli import main; main()"


@dataclass(frozen=True)
class Outcome:
    """What a call of the program left behind."""

    code: int
    out: bytes
    err: str

    @property
    def lines(self) -> list[str]:
        """Lines on standard error."""
        return self.err.splitlines()


def in_a_process(code: str, *arguments: object, stdin: bytes = b"", **environment: str) -> Outcome:
    """Runs Python code in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        input=stdin,
        capture_output=True,
        timeout=600,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        check=False,
    )
    return Outcome(done.returncode, done.stdout, done.stderr.decode())
