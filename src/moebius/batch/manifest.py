"""manifest.jsonl: one line for everything that was done, only ever added to.

A line is one write at the file's end, and on the disk before the output it tells of can be seen. A process that is
killed in the middle leaves a torn line, which is ended by the next one that writes and passed over by all that read.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from moebius.batch.claims import Claims
from moebius.batch.item import Record, Source
from moebius.errors import OutputError

log = logging.getLogger(__name__)

FILE_NAME = "manifest.jsonl"
WORKER_DIED = "WorkerDied"
"""Kind of a failure that is told of a cluster's worker, not by it."""
_CHUNK = 1 << 20
_FULL = errno.ENOSPC


@dataclass(frozen=True, slots=True)
class Known:
    """What of an output's last "done" line decides whether it has to be done again."""

    nbytes: int
    sha256: str
    replaced: bool
    photo: Source | None
    mask: Source | None
    conditions: str
    """`conditions_of`"""
    sizes: tuple[int, ...]
    digests: tuple[str, ...]
    """Bytes, and SHA-256, by all its "done" lines: a file of another size, or other bytes, is not ours."""


class Manifest:
    """The manifest of a folder: what it says by now, and adding to it.

    Args:
        folder: where it is; need not exist for reading.
    """

    def __init__(self, folder: Path):
        self.path = folder / FILE_NAME
        self.done: dict[str, Known] = {}
        """By output name."""
        self.failed: set[str] = set()
        """Output names whose last line is a failure."""
        self.started: set[str] = set()
        """Output names that were handed to a cluster, of which no line says what became of them. A failure says it, but
    not that of a worker that died, which may have written the output before."""
        self.damaged = 0
        """Lines that are no records."""
        self._offset = 0
        self._conditions: dict[str, str] = {}
        self._guard = threading.Lock()

    def refresh(self) -> None:
        """Take in what any process has added since.

        Raises:
            OutputError: it cannot be read.
        """
        try:
            with self._guard, self.path.open("rb") as file:
                file.seek(self._offset)
                for line in _whole_lines(file):
                    self._offset += len(line)
                    self._take_in(line)
        except FileNotFoundError:
            return
        except OSError as error:
            raise OutputError(f"{self.path}: cannot be read ({error.strerror or error})") from error

    def append(self, claims: Claims, *records: Record) -> None:
        """Add lines, and wait until they are on the disk.

        Raises:
            OutputError: they cannot be written.
        """
        line = b"".join(record.to_line() for record in records)
        try:
            with claims.writing():
                file = os.open(
                    self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o666
                )
                try:
                    if _is_torn(file):
                        line = b"\n" + line
                    written = os.write(file, line)
                    if written < len(line):
                        raise OutputError(f"{self.path}: cannot be written (the disk is full)") from OSError(
                            _FULL, os.strerror(_FULL)
                        )
                    os.fsync(file)
                finally:
                    os.close(file)
        except OSError as error:
            raise OutputError(f"{self.path}: cannot be written ({error.strerror or error})") from error

    def _take_in(self, line: bytes) -> None:
        if not line.strip():
            return
        try:
            record = Record.from_dict(json.loads(line))
            name, status = record.output, record.status
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            self.damaged += 1
            log.debug("%s: a line is no record, at byte %d", self.path, self._offset)
            return
        if status == "started":
            self.started.add(name)
            return
        if status == "failed":
            self.failed.add(name)
            if (record.error or {}).get("kind") != WORKER_DIED:
                self.started.discard(name)
            return
        self.failed.discard(name)
        self.started.discard(name)
        before = self.done.get(name)
        nbytes, sha256 = record.nbytes or 0, record.sha256 or ""
        conditions = conditions_of(record.model_hash, record.settings, record.key, record.asked)
        self.done[name] = Known(
            nbytes,
            sha256,
            record.replaced,
            record.photo,
            record.mask,
            self._conditions.setdefault(conditions, conditions),
            tuple({nbytes, *(before.sizes if before else ())}),
            tuple({sha256, *(before.digests if before else ())}),
        )


def conditions_of(model_hash: str, settings: dict[str, Any], key: str, asked: dict[str, Any]) -> str:
    """All that decides about an output besides the photo's and the mask's bytes, as one comparable text."""
    told = {"model": model_hash, "settings": settings, "key": key, "asked": asked}
    return json.dumps(told, sort_keys=True)


def difference(before: str, now: str) -> str:
    """What of two `conditions_of` is not the same, for people: "steps 2 -> 4, model"."""
    old, new = json.loads(before), json.loads(now)
    told = [
        f"{name} {old['settings'].get(name)} -> {value}"
        for name, value in new["settings"].items()
        if old["settings"].get(name) != value
    ]
    labels = {"model": "the model", "key": "the noise key", "asked": "the mask's source, --quality or --rows"}
    told += [label for part, label in labels.items() if old[part] != new[part]]
    return ", ".join(told) or "settings"


def _whole_lines(file: Any) -> Iterator[bytes]:
    """Lines that have an end; what is being written, or was torn, stays for later."""
    rest = b""
    while chunk := file.read(_CHUNK):
        *lines, rest = (rest + chunk).split(b"\n")
        yield from (line + b"\n" for line in lines)


def _is_torn(file: int) -> bool:
    end = os.lseek(file, 0, os.SEEK_END)
    if not end:
        return False
    os.lseek(file, end - 1, os.SEEK_SET)
    return os.read(file, 1) != b"\n"
