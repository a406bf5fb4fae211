"""The table of all measurements, a row a fill: as CSV for people and Parquet for programs."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from moebius.evaluation.metrics import METRICS
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
    """A method's id."""
    metrics: dict[str, float]


def write_csv(path: Path, rows: Sequence[Row]) -> None:
    """The table as CSV; replaces the file at once. Numbers are written in full, missing ones are empty.

    Raises:
        OutputError: it cannot be written.
    """
    text = io.StringIO()
    names = _columns(rows)
    writer = csv.DictWriter(text, fieldnames=names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(_flat(row) for row in rows)
    with atomic_file(path, overwrite=True) as file:
        file.write(text.getvalue().encode())


def write_parquet(path: Path, rows: Sequence[Row]) -> None:
    """The same table as Parquet: text and float64 columns, missing numbers null.

    Raises:
        OutputError: it cannot be written.
    """
    import pyarrow
    from pyarrow import parquet

    flat = [_flat(row) for row in rows]
    text = pyarrow.string()
    fields = [
        pyarrow.field(
            name, text if name in ("photo", "group", "source", "family", "method") else pyarrow.float64()
        )
        for name in _columns(rows)
    ]
    columns = [pyarrow.array([row.get(field.name) for row in flat], field.type) for field in fields]
    with atomic_file(path, overwrite=True) as file:
        parquet.write_table(pyarrow.table(columns, schema=pyarrow.schema(fields)), file)


def _columns(rows: Sequence[Row]) -> list[str]:
    measured = {name for row in rows for name in row.metrics}
    fixed = ["photo", "group", "source", "family", "area", "method"]
    return fixed + [metric.name for metric in METRICS if metric.name in measured]


def _flat(row: Row) -> dict[str, Any]:
    values = asdict(row)
    metrics: dict[str, float] = values.pop("metrics")
    return {**values, **metrics}
