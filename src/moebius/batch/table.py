"""Tables that say which mask is whose: CSV with a header, JSON lines, or Parquet.

Columns: `photo` and `mask`, and if wanted `output` (below OUT), `seed`, `key`, and `box` ("x,y,w,h"; several with ";"
between). Places are relative to the table. Columns of other names are left alone.
"""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from moebius.batch.files import is_url, shown
from moebius.errors import DeviceError, InputError
from moebius.settings import MAX_SEED

_SHOWN = 60
"""Characters of a wrong value that a message shows; seeds have no more digits."""
SUFFIXES = (".csv", ".jsonl", ".ndjson", ".parquet")
"""What makes a file a table."""


@dataclass(frozen=True)
class Row:
    """One row, checked."""

    photo: str
    """As written in the table."""
    mask: str | None = None
    output: str | None = None
    seed: int | None = None
    key: str = ""
    boxes: tuple[str, ...] = ()


def is_table(place: str) -> bool:
    """Whether a place is a table by its name."""
    return not is_url(place) and Path(place).suffix.lower() in SUFFIXES and not os.path.isdir(place)  # noqa: PTH112


def read_table(path: Path) -> Iterator[Row]:
    """The rows of a table, one after the other.

    Raises:
        InputError: it cannot be read, has no column `photo`, or a row cannot be used; the message names the row.
        DeviceError: Parquet without pyarrow.
    """
    kind = path.suffix.lower()
    rows = _parquet(path) if kind == ".parquet" else _csv(path) if kind == ".csv" else _json_lines(path)
    try:
        for place, values in rows:
            yield _row(values, place)
    except (OSError, UnicodeError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{shown(str(path))}: cannot be read as a table ({reason})") from error


def _csv(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        reader = csv.DictReader(file, strict=True)
        _check_columns(path, reader.fieldnames or [])
        for values in reader:
            place = f"{shown(str(path))}, line {reader.line_num}"
            if None in values or None in values.values():
                raise InputError(f"{place}: expected {len(reader.fieldnames or [])} columns")
            yield place, values


def _json_lines(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            place = f"{shown(str(path))}, line {number}"
            if not line.strip():
                continue
            try:
                values = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise InputError(f"{place}: expected a JSON object ({error})") from error
            if not isinstance(values, dict):
                raise InputError(f"{place}: expected a JSON object, got {type(values).__name__}")
            yield place, values


def _parquet(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    try:
        import pyarrow as arrow
        import pyarrow.parquet as parquet
    except ImportError as error:
        raise DeviceError(
            "Parquet tables need pyarrow: pip install 'moebius-inpaint[ray]', or pyarrow alone"
        ) from error
    try:
        with parquet.ParquetFile(path) as file:
            names = [
                each for each in file.schema_arrow.names if each in Row.__dataclass_fields__ or each == "box"
            ]
            _check_columns(path, names)
            number = 0
            for batch in file.iter_batches(columns=names):
                for values in batch.to_pylist():
                    number += 1
                    yield f"{shown(str(path))}, row {number}", values
    except arrow.ArrowException as error:
        raise InputError(
            f"{shown(str(path))}: cannot be read as Parquet ({str(error).splitlines()[0]})"
        ) from error


def _check_columns(path: Path, names: Any) -> None:
    if "photo" not in names:
        raise InputError(f"{shown(str(path))}: expected a column photo, got {', '.join(names) or 'none'}")


def _row(values: Mapping[str, Any], place: str) -> Row:
    text = {name: _text(values.get(name), f"{place}, {name}") for name in ("photo", "mask", "output", "key")}
    if not text["photo"]:
        raise InputError(f"{place}: expected a photo, got none")
    return Row(
        text["photo"], text["mask"] or None, text["output"] or None, _seed(values.get("seed"), place),
        text["key"], _boxes(values.get("box"), place),
    )  # fmt: skip


def _text(value: Any, place: str) -> str:
    if value is None:
        return ""
    if not isinstance(value, str) or "\0" in value or not _is_name(value):
        raise InputError(f"{place}: expected text, got {_short(value)}")
    return value


def _is_name(text: str) -> bool:
    """Whether a file can be called so: halves of surrogate pairs, which JSON can have, are in no name."""
    try:
        text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return False
    return True


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def _seed(value: Any, place: str) -> int | None:
    if value in (None, ""):
        return None
    number = -1
    if not isinstance(value, bool) and (
        isinstance(value, int) or (isinstance(value, str) and value.isdecimal() and len(value) <= _SHOWN)
    ):
        number = int(value)
    if not 0 <= number <= MAX_SEED:
        raise InputError(f"{place}, seed: expected a whole number from 0 to {MAX_SEED}, got {_short(value)}")
    return number


def _boxes(value: Any, place: str) -> tuple[str, ...]:
    """A text, a list of four numbers, or a list of either, as texts "x,y,w,h"."""
    if value is None:
        return ()
    if isinstance(value, str) and _is_name(value):
        return tuple(each.strip() for each in value.split(";") if each.strip())
    if _is_box(value):
        return (",".join(str(each) for each in value),)
    if isinstance(value, list) and all(isinstance(each, str) or _is_box(each) for each in value):
        return tuple(box for each in value for box in _boxes(each, place))
    raise InputError(f"{place}, box: expected x,y,w,h, got {_short(value)}")


def _is_box(value: Any) -> bool:
    return (
        isinstance(value, list) and len(value) == 4 and all(isinstance(each, int | float) for each in value)
    )
