"""Photos in folders, and lists of photos in JSON lines."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, get_args

import numpy as np

from moebius.errors import InputError, MaskError, PhotoError
from moebius.training.data.records import Category, Index, Record, Source

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp")
"""Of photos in folders, in any case."""
MASK_SUFFIX = ".mask.png"


class FileSource(Source):
    """Photos and masks in files.

    Args:
        keys, photos: one each.
        masks: a path by record number; background records may have none.
        foreground: numbers of the foreground records, ascending.
    """

    def __init__(
        self,
        keys: Sequence[str],
        photos: Sequence[str],
        masks: dict[int, str],
        foreground: Sequence[int] = (),
    ):
        self._keys, self._photos, self._masks = list(keys), list(photos), masks
        self._foreground = set(foreground)

    def __len__(self) -> int:
        return len(self._keys)

    def key(self, i: int) -> str:
        return self._keys[i]

    def record(self, i: int) -> Record:
        category: Category = "foreground" if i in self._foreground else "background"
        return Record(self._keys[i], _read(self._photos[i], "photo", PhotoError), self.mask(i), category)

    def mask(self, i: int) -> bytes | None:
        path = self._masks.get(i)
        return None if path is None else _read(path, "mask", MaskError)

    @cached_property
    def foreground(self) -> Index:
        return np.array(sorted(self._foreground), np.int64)


def open_folder(folder: Path) -> FileSource:
    """The images in a folder and its subfolders, sorted by path, all background.

    `name.mask.png` is the annotated mask of `name.jpg` (or `.png`, ...). Hidden files and links to folders are
    passed over. Keys are paths inside the folder.

    Raises:
        InputError: no image there, or a mask without its photo.
    """
    photos: list[str] = []
    masks: dict[str, str] = {}
    for name in sorted(_files(folder)):
        if name.lower().endswith(MASK_SUFFIX):
            masks[name[: -len(MASK_SUFFIX)]] = name
        elif name.lower().endswith(SUFFIXES):
            photos.append(name)
    by_stem = {os.path.splitext(name)[0]: i for i, name in enumerate(photos)}  # noqa: PTH122 - text, not a Path
    for stem, mask in masks.items():
        if stem not in by_stem:
            raise InputError(
                f"{folder / mask}: expected a photo {Path(stem).name}.* beside the mask, got none"
            )
    if not photos:
        raise InputError(f"{folder}: expected images ({', '.join(SUFFIXES)}) or .tar shards, got none")
    paths = {by_stem[stem]: str(folder / mask) for stem, mask in masks.items()}
    return FileSource(photos, [str(folder / name) for name in photos], paths)


def open_list(path: Path) -> FileSource:
    """Photos named in a file of JSON lines: {"image": path, "prompt": "background", "mask": path}.

    `prompt` is background or foreground; `mask` is needed for foreground. A line may be a list whose second
    element is the object. Paths are relative to the list's folder, or else to the working directory. Keys are the
    images' paths as written.

    Raises:
        InputError: a line that is not so, with its number; or no line at all.
    """
    keys: list[str] = []
    photos: list[str] = []
    masks: dict[int, str] = {}
    foreground: list[int] = []
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: expected JSON lines in UTF-8, got: {error}") from error
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        entry = _entry(line, f"{path}:{number}")
        if entry["prompt"] == "foreground":
            foreground.append(len(keys))
        if entry["mask"] is not None:
            masks[len(keys)] = _resolve(path.parent, entry["mask"])
        keys.append(entry["image"])
        photos.append(_resolve(path.parent, entry["image"]))
    if not keys:
        raise InputError(f"{path}: expected JSON lines that name photos, got an empty file")
    return FileSource(keys, photos, masks, foreground)


def _entry(line: str, where: str) -> dict[str, Any]:
    """image, prompt and mask (or None) of a line, checked."""
    try:
        entry = json.loads(line)
    except ValueError as error:
        raise InputError(f"{where}: expected JSON, got {line.strip()[:60]!r}") from error
    if isinstance(entry, list) and len(entry) > 1:
        entry = entry[1]
    if not isinstance(entry, dict):
        raise InputError(f"{where}: expected an object with image and prompt, got {type(entry).__name__}")
    image, prompt, mask = entry.get("image"), entry.get("prompt"), entry.get("mask")
    if not isinstance(image, str) or not image:
        raise InputError(f"{where}: image: expected a path, got {image!r}")
    check_prompt(prompt, where)
    if mask is not None and not isinstance(mask, str):
        raise InputError(f"{where}: mask: expected a path, got {mask!r}")
    if prompt == "foreground" and not mask:
        raise InputError(f"{where}: mask: expected one, for the prompt is foreground, got none")
    return {"image": image, "prompt": prompt, "mask": mask or None}


def check_prompt(prompt: object, where: str) -> None:
    """Raises InputError unless it is the name of a category."""
    if prompt not in get_args(Category):
        raise InputError(f"{where}: prompt: expected background or foreground, got {prompt!r}")


def _files(folder: Path) -> Iterator[str]:
    """Paths of the files inside, relative, with forward slashes."""
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        relative = Path(parent).relative_to(folder)
        yield from ((relative / name).as_posix() for name in names if not name.startswith("."))


def _resolve(folder: Path, name: str) -> str:
    beside = folder / name  # an absolute name stays
    return name if not beside.exists() and Path(name).exists() else str(beside)


def _read(path: str, noun: str, error_type: type[InputError]) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise error_type(f"{noun} {path}: cannot be read ({error.strerror or error})") from error
