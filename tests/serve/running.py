"""A real `moebius serve` in a process of its own."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from child_processes import wait_until
from quick_nano import quick_nano


@dataclass
class Server:
    """A server that has been started."""

    url: str
    process: subprocess.Popen[str]
    log: Path
    environment: dict[str, str] = field(default_factory=dict)

    def info(self) -> dict[str, Any]:
        with urllib.request.urlopen(f"{self.url}/v1/info") as answer:
            found: dict[str, Any] = json.load(answer)
        return found

    @property
    def model(self) -> Path:
        """The quick nano that it was started with."""
        return self.log.with_name("nano")

    @property
    def worker(self) -> int:
        """Process id of the worker."""
        return int(self.info()["model"]["pid"])

    def records(self) -> list[dict[str, Any]]:
        """The log's lines of JSON."""
        return [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]

    def terminate(self) -> None:
        self.process.send_signal(signal.SIGTERM)

    def wait_until_ready(self) -> None:
        wait_until(self._is_ready, "the server is ready", self.process, self.log.read_text)

    def _is_ready(self) -> bool:
        with contextlib.suppress(OSError), urllib.request.urlopen(f"{self.url}/readyz"):
            return True
        return False


@contextlib.contextmanager
def running_server(folder: Path, *arguments: str, ready: bool = True, quick: bool = True) -> Iterator[Server]:
    """`moebius serve` on a free port, until the block ends.

    Args:
        folder: where its log goes; also its home and its folder for temporary files.
        ready: wait until it has loaded its model.
        quick: with `quick_nano`, in place of the model that everybody gets.
    """
    temporary = folder / "temporary"
    temporary.mkdir(parents=True, exist_ok=True)
    if quick:
        arguments = ("--model", str(quick_nano(folder / "nano")), *arguments)
    log = folder / "serve.log"
    environment = {**os.environ, "TMPDIR": str(temporary), "PYTHONWARNINGS": "default"}
    with log.open("w") as sink:
        process = subprocess.Popen(
            [sys.executable, "-m", "moebius", "serve", "--port", "0", "--log-format", "json", *arguments],
            stderr=sink, stdout=sink, text=True, cwd=folder, env=environment,
        )  # fmt: skip
    try:
        server = Server(_address(process, log), process, log, environment)
        if ready:
            server.wait_until_ready()
        yield server
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _address(process: subprocess.Popen[str], log: Path) -> str:
    line = re.compile(r"serving \S+ on (http\S+)")
    found = wait_until(lambda: line.search(log.read_text()), "the server listens", process, log.read_text)
    return str(found[1])
