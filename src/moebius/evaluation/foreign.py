"""What all methods from outside share: options as text, names made of them, and files that name themselves."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TypeVar

from moebius.errors import SettingsError
from moebius.weights.store import file_sha256

Options = Mapping[str, str]
Word = TypeVar("Word", bound=str)
Number = TypeVar("Number", int, float)

ID_CHARACTERS = "A-Za-z0-9._:=,@-"
_OPTION = re.compile(r",([A-Za-z_]+)=")


def split_options(text: str) -> tuple[str, dict[str, str]]:
    """`PATH,key=value,key=value` -> PATH and the options.

    A path may hold commas and equals signs: of the ways to read the text, the longest path that exists is
    taken, or the shortest if none does. A value may hold commas, but not what looks like another option.

    Raises:
        SettingsError: an option is given twice.
    """
    starts = [mark.start() for mark in _OPTION.finditer(text)]
    end = next(
        (end for end in (len(text), *reversed(starts)) if _exists(text[:end])), min(starts, default=len(text))
    )
    pieces = _OPTION.split(text[end:])  # nothing, then names and values by turns
    options: dict[str, str] = {}
    for name, value in zip(pieces[1::2], pieces[2::2], strict=True):
        if name in options:
            raise SettingsError(f"{text}: expected each option once, got {name} twice")
        options[name] = value
    return text[:end], options


def home_path(path: str | Path) -> Path:
    """A path, its "~" written out."""
    try:
        return Path(path).expanduser()
    except RuntimeError:  # nobody of that name
        return Path(path)


def _exists(path: str) -> bool:
    try:
        return home_path(path).exists()
    except (OSError, ValueError):  # too long for a path, or not one
        return False


def check_names(options: Options, known: Iterable[str], where: str) -> None:
    """Refuse options of other names than these.

    Raises:
        SettingsError: and lists those that there are.
    """
    names = tuple(known)
    for name in options:
        if name not in names:
            raise SettingsError(f"{where}: expected options {', '.join(names)}, got {name!r}")


def choice(options: Options, name: str, words: tuple[Word, ...]) -> Word | None:
    """An option that is one of a few words; None if it is not given.

    Raises:
        SettingsError: another word.
    """
    value = options.get(name)
    for word in words:
        if word == value:
            return word
    if value is not None:
        raise SettingsError(f"{name}: expected {' or '.join(words)}, got {value!r}")
    return None


def whole(options: Options, name: str, low: int, high: int) -> int | None:
    """An option that is a whole number from low to high; None if it is not given.

    Raises:
        SettingsError: no number, or out of its range.
    """
    return _number(options, name, int, low, high)


def real(options: Options, name: str, low: float, high: float) -> float | None:
    """An option that is a number from low to high; None if it is not given.

    Raises:
        SettingsError: no number, or out of its range.
    """
    return _number(options, name, float, low, high)


def _number(options: Options, name: str, kind: type[Number], low: Number, high: Number) -> Number | None:
    if name not in options:
        return None
    try:
        value = kind(options[name])
        if low <= value <= high:
            return value
    except ValueError:
        pass
    noun = "a whole number" if kind is int else "a number"
    raise SettingsError(f"{name}: expected {noun} from {low} to {high}, got {options[name]!r}")


def method_id(kind: str, name: str, options: Options) -> str:
    """`kind:name,key=value`, as a `Method.id`.

    Other characters become "-"; then, or if it is too long for a file's name, a digest keeps it apart from
    all others.
    """
    text = f"{kind}:{name}" + "".join(f",{key}={options[key]}" for key in sorted(options))
    plain = re.sub(f"[^{ID_CHARACTERS}]+", "-", text)
    if plain == text and len(text) <= 80:
        return text
    return f"{plain[:80]}@{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def method_title(kind: str, name: str, options: Options) -> str:
    """What people are shown: "lama (ONNX, size=512)"."""
    return f"{name} ({', '.join([kind, *(f'{key}={value}' for key, value in options.items())])})"


def files_sha256(folder: Path, paths: Iterable[Path]) -> str:
    """SHA-256 over names and contents of files in a folder, whatever their order."""
    lines = sorted(f"{path.relative_to(folder).as_posix()}\0{file_sha256(path)}\n" for path in paths)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def first_line(error: BaseException) -> str:
    """Of what a library says."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
