"""Measurements on disk, added one by one as they are made, so that an interrupted run goes on where it was.

One SQLite file: each hole measured is one transaction, on the disk before the next begins, whole or not there. A row
is found again by its fingerprint, a digest of all that it depends on besides the hole: code, library versions,
weights, settings. Rows of other fingerprints stay in the file and are not used.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from moebius.errors import OutputError

Vector = NDArray[np.float32]

_TABLES = """
CREATE TABLE IF NOT EXISTS measured (
    fingerprint TEXT NOT NULL, hole TEXT NOT NULL, numbers TEXT NOT NULL, seconds REAL NOT NULL,
    PRIMARY KEY (fingerprint, hole)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS features (
    fingerprint TEXT NOT NULL, hole TEXT NOT NULL, network TEXT NOT NULL, vector BLOB NOT NULL,
    PRIMARY KEY (fingerprint, hole, network)) WITHOUT ROWID;
"""


@dataclass(frozen=True)
class Measured:
    """What one fill of one hole measures."""

    numbers: Mapping[str, float]
    """By the name of the metric; with "area", the hole's share of the picture."""
    features: Mapping[str, Vector] = field(default_factory=dict)
    """Descriptors (D,) for the metrics of whole sets, by network."""
    seconds: float = 0.0
    """Wall time of the fill, while other workers ran; not part of any result."""


class Store:
    """The measurements of a run folder. Use it from one thread; close it, or use it as a context.

    Raises:
        OutputError: the file cannot be read or written, or is not such a file.
    """

    def __init__(self, path: Path):
        self._path = path
        with self._told():
            self._db = sqlite3.connect(path, timeout=60)
            self._db.executescript(_TABLES)

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._db.close()

    def has(self, fingerprint: str, hole: str) -> bool:
        """Whether a fill was measured."""
        with self._told():
            query = "SELECT 1 FROM measured WHERE fingerprint = ? AND hole = ?"
            return self._db.execute(query, (fingerprint, hole)).fetchone() is not None

    def get(self, fingerprint: str, hole: str) -> Measured | None:
        """One measurement without its features; None if there is none."""
        with self._told():
            query = "SELECT numbers, seconds FROM measured WHERE fingerprint = ? AND hole = ?"
            row = self._db.execute(query, (fingerprint, hole)).fetchone()
        return None if row is None else Measured(json.loads(row[0]), seconds=row[1])

    def features(self, fingerprint: str, hole: str, network: str) -> Vector | None:
        """A descriptor (D,) float32; None if there is none."""
        with self._told():
            query = "SELECT vector FROM features WHERE fingerprint = ? AND hole = ? AND network = ?"
            row = self._db.execute(query, (fingerprint, hole, network)).fetchone()
        return None if row is None else np.frombuffer(row[0], np.float32)

    def add(self, hole: str, measured: Mapping[str, Measured]) -> None:
        """Everything measured on a hole, by fingerprint: all of it reaches the disk, or nothing."""
        with self._told(), self._db:
            for fingerprint, one in measured.items():
                numbers = json.dumps(dict(one.numbers), allow_nan=False)
                self._db.execute(
                    "INSERT OR REPLACE INTO measured VALUES (?, ?, ?, ?)",
                    (fingerprint, hole, numbers, one.seconds),
                )
                self._db.executemany(
                    "INSERT OR REPLACE INTO features VALUES (?, ?, ?, ?)",
                    [
                        (fingerprint, hole, network, np.ascontiguousarray(vector, np.float32).tobytes())
                        for network, vector in one.features.items()
                    ],
                )

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise OutputError(
                f"{self._path}: expected a file of measurements to read and write, got: {error}"
            ) from error


def digest(values: Mapping[str, Any]) -> str:
    """A short name for plain values: the same for equal ones, whatever the order of their keys."""
    return hashlib.sha256(json.dumps(dict(values), sort_keys=True).encode()).hexdigest()[:16]
