"""Dataclasses from TOML tables: unknown names and impossible values are told with the nearest valid one.

    build(Recipe, tomllib.load(file), "recipe nano")

The dataclasses are the schema: their fields, types and defaults. Lists become tuples, whole numbers become floats
where a float is wanted, and a nested dataclass reads a nested table.
"""

from __future__ import annotations

import difflib
import tomllib
import types
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from moebius.errors import SettingsError

T = TypeVar("T")

_NAMES = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}


def build(kind: type[T], values: Mapping[str, Any], where: str) -> T:
    """An instance of the dataclass `kind` with the fields in `values`; `where` begins every message.

    Raises:
        SettingsError: an unknown field (with the nearest known one), a value of the wrong type, or one that the
            dataclass itself refuses.
    """
    hints = get_type_hints(kind)
    known = [field.name for field in fields(kind)]  # type: ignore[arg-type]
    for name in values:
        if name not in known:
            raise SettingsError(f"{where}: no field named {name!r}: {nearest(name, known)}")
    given = {name: _value(hints[name], value, f"{where}: {name}") for name, value in values.items()}
    try:
        return kind(**given)
    except SettingsError as error:
        raise SettingsError(f"{where}: {error}") from error
    except (TypeError, ValueError) as error:
        raise SettingsError(f"{where}: {error}") from error


def nearest(name: str, known: Sequence[str]) -> str:
    """The end of a message: "did you mean batch?", or what there is."""
    close = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {close[0]}?" if close else f"known are {', '.join(known)}"


def merge(table: Mapping[str, Any], changes: Iterable[str], where: str) -> dict[str, Any]:
    """A copy of `table` with changes like "run.batch=4" in it; the right side is a TOML value, or else text.

    Raises:
        SettingsError: a change is not NAME=VALUE, or goes into something that is no table.
    """
    merged = {name: dict(value) if isinstance(value, Mapping) else value for name, value in table.items()}
    for change in changes:
        path, equals, text = change.partition("=")
        if not equals or not all(part.strip() for part in path.split(".")):
            raise SettingsError(f"{where}: expected NAME=VALUE, as in run.batch=4, got {change!r}")
        *tables, last = path.strip().split(".")
        inside: dict[str, Any] = merged
        for name in tables:
            inner = inside.get(name, {})
            if not isinstance(inner, Mapping):
                raise SettingsError(f"{where}: {name} in {path!r} is a value, not a table")
            inside[name] = dict(inner)
            inside = inside[name]
        inside[last] = _toml_value(text.strip())
    return merged


def _toml_value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _value(hint: Any, value: Any, where: str) -> Any:
    origin, arguments = get_origin(hint), get_args(hint)
    if hint is Any:
        return value
    if origin in (Union, types.UnionType):
        if value is None:
            return None
        return _value(next(kind for kind in arguments if kind is not type(None)), value, where)
    if origin is Literal:
        if value not in arguments:
            near = difflib.get_close_matches(str(value), [str(a) for a in arguments], n=1)
            hinted = f" (did you mean {near[0]}?)" if near else ""
            raise SettingsError(
                f"{where}: expected one of {', '.join(map(str, arguments))}, got {value!r}{hinted}"
            )
        return value
    if is_dataclass(hint):
        if not isinstance(value, Mapping):
            raise SettingsError(f"{where}: expected a table, got {value!r}")
        return build(hint, value, where)  # type: ignore[arg-type]
    if origin is tuple:
        if not isinstance(value, (list, tuple)):
            raise SettingsError(f"{where}: expected a list, got {value!r}")
        if arguments[-1] is not Ellipsis and len(value) != len(arguments):
            raise SettingsError(f"{where}: expected {len(arguments)} values, got {value!r}")
        kinds = [arguments[0]] * len(value) if arguments[-1] is Ellipsis else list(arguments)
        return tuple(_value(kind, item, where) for kind, item in zip(kinds, value, strict=True))
    if origin in (dict, Mapping):
        if not isinstance(value, Mapping):
            raise SettingsError(f"{where}: expected a table, got {value!r}")
        return {str(name): _value(arguments[1], item, f"{where}.{name}") for name, item in value.items()}
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, hint) or (isinstance(value, bool) and hint is not bool):
        raise SettingsError(f"{where}: expected {_NAMES.get(hint, hint)}, got {value!r}")
    return value
