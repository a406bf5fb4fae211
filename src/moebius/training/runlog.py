"""What a run leaves to be read: a JSON line for each report, TensorBoard curves, sample grids as PNG."""

from __future__ import annotations

import json
import logging
import shutil
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from moebius.errors import OutputError

log = logging.getLogger(__name__)

ROOM = 2**16
"""Bytes that must be free where a run begins: TensorBoard's own thread does not bear a full disk."""


class RunLog:
    """Writes `log.jsonl`, `tensorboard/` and `samples/` of a run folder.

    Args:
        out: the run folder.
        step: the step that the run goes on from; lines of later steps are what a killed run had begun, and go.

    Raises:
        OutputError: the disk is full; so do its methods.
    """

    def __init__(self, out: Path, step: int):
        self.out = out
        self._lines = out / "log.jsonl"
        self._board: Any = None
        free = shutil.disk_usage(out).free
        if free < ROOM:
            raise OutputError(
                f"{out}: No space left on device: expected {ROOM} bytes for the log, got {free}"
            )
        with self._writing():
            self._drop_after(step)
        try:
            with self._writing(), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                from torch.utils.tensorboard import SummaryWriter

                self._board = SummaryWriter(str(out / "tensorboard"), purge_step=step or None)
        except ImportError:
            log.info("tensorboard is not installed: curves are in log.jsonl only")

    def report(self, step: int, kind: str, values: Mapping[str, Any]) -> None:
        """One line: {"step": step, "kind": kind, ...}; its numbers go to TensorBoard as kind/name."""
        line = {"step": step, "kind": kind} | {
            name: float(f"{value:.6g}") if isinstance(value, float) else value
            for name, value in values.items()
        }
        log.info("%s", line)
        with self._writing():
            with self._lines.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
            if self._board is not None:
                for name, value in values.items():
                    if isinstance(value, (int, float)):
                        self._board.add_scalar(f"{kind}/{name}", value, step)
                self._board.flush()

    def picture(self, step: int, sheet: NDArray[np.uint8]) -> None:
        """A sample grid (H, W, 3) uint8."""
        folder = self.out / "samples"
        with self._writing():
            folder.mkdir(exist_ok=True)
            Image.fromarray(sheet).save(folder / f"step-{step:07d}.png")
            if self._board is not None:
                self._board.add_image("samples", sheet, step, dataformats="HWC")

    def close(self) -> None:
        with self._writing():
            if self._board is not None:
                self._board.close()

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise OutputError(f"{self.out}: the log cannot be written ({error.strerror or error})") from error

    def _drop_after(self, step: int) -> None:
        if not self._lines.exists():
            return
        kept = []
        lines = self._lines.read_text(encoding="utf-8").splitlines()
        for line in lines:
            try:
                if json.loads(line)["step"] <= step:
                    kept.append(line)
            except (ValueError, KeyError):  # the half line of a killed run
                continue
        if kept != lines:
            partial = self._lines.with_suffix(".partial")
            partial.write_text("".join(f"{line}\n" for line in kept), encoding="utf-8")
            partial.replace(self._lines)


def peak_memory(device: torch.device) -> float:
    """GiB: the device's peak, or this process's on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**30
    import resource  # not on every system

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
