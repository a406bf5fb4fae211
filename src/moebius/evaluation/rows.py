"""Measurements on disk: one line each, added as they are made, so that an interrupted run goes on.

A row is found again by its fingerprint, a digest of everything it depends on besides the hole: code, library
versions, weights, settings. Rows of another fingerprint stay in the file and are not used.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from moebius.errors import OutputError
from moebius.imaging import atomic_file


@dataclass(frozen=True)
class Row:
    """One fill of one hole, measured."""

    photo: str
    group: str
    source: str
    family: str
    area: float
    """Share of the picture that is hole, 0 to 1."""
    method: str
    """A filler's id."""
    metrics: dict[str, float]


class RowFile:
    """Rows in a file of JSON lines that is only ever added to; safe against being killed at any moment.

    Lines are written at once and reach the disk before `add` returns; a line that was cut is passed over.

    Raises:
        OutputError: the file cannot be read or written.
    """

    def __init__(self, path: Path):
        self._path = path
        self._rows: dict[tuple[str, str, str], Row] = {}
        try:
            lines = path.read_bytes().split(b"\n") if path.exists() else [b""]
        except OSError as error:
            raise OutputError(f"{path}: cannot be read ({error.strerror})") from error
        self._cut = lines[-1] != b""
        for line in lines:
            try:
                values = json.loads(line)
                fingerprint, row = values.pop("fingerprint"), Row(**values)
            except (ValueError, TypeError, KeyError, AttributeError):
                continue
            self._rows[fingerprint, row.photo, row.family] = row

    def get(self, fingerprint: str, photo: str, family: str) -> Row | None:
        return self._rows.get((fingerprint, photo, family))

    def add(self, rows: Iterable[tuple[str, Row]]) -> None:
        """Append rows, each with its fingerprint."""
        lines = b"\n" if self._cut else b""
        for fingerprint, row in rows:
            self._rows[fingerprint, row.photo, row.family] = row
            lines += json.dumps({"fingerprint": fingerprint, **asdict(row)}).encode() + b"\n"
        try:
            descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
            with os.fdopen(descriptor, "ab", buffering=0) as file:
                file.write(lines)
                os.fsync(file.fileno())
        except OSError as error:
            raise OutputError(f"{self._path}: cannot be written ({error.strerror})") from error
        self._cut = False


def digest(values: dict[str, Any]) -> str:
    """A short name for plain values: the same for equal ones, whatever the order of their keys."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]


def write_csv(path: Path, rows: Iterable[Row]) -> None:
    """The per-image table; replaces the file at once. Numbers are written in full.

    Raises:
        OutputError: it cannot be written.
    """
    text = io.StringIO()
    writer: Any = None
    for row in rows:
        values = asdict(row)
        values |= values.pop("metrics")
        if writer is None:
            writer = csv.DictWriter(text, fieldnames=list(values), lineterminator="\n")
            writer.writeheader()
        writer.writerow(values)
    with atomic_file(path, overwrite=True) as file:
        file.write(text.getvalue().encode())
