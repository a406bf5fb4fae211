"""Photos to train on, from any mix of places, one schema: key, photo, perhaps a mask, a category.

    open_sources([Path("photos"), Path("list.jsonl"), Path("shards")])

A source opens nothing but what is asked for, and travels to loader processes as paths and numbers.
"""

from __future__ import annotations

import hashlib
import re
from bisect import bisect_right
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from moebius.errors import InputError
from moebius.imaging import read_photo
from moebius.training.data.files import open_folder, open_list
from moebius.training.data.records import Index, Record, Source
from moebius.training.data.shards import open_shards

__all__ = ["Record", "Source", "open_sources", "split"]

PROBES = 16
"""Photos of a source that are tried before it counts as unreadable."""


def open_sources(paths: Sequence[Path]) -> Source:
    """All photos of all paths, in order.

    A path is a folder of images (its subfolders too), a `.jsonl` list, a `.tar` shard, or a folder of shards;
    `files` and `shards` say how each is laid out.

    Raises:
        InputError: nothing there, nothing readable, a list or a shard that is not laid out as it should.
    """
    if not paths:
        raise InputError("expected at least one folder, .jsonl list or .tar shard of photos, got none")
    parts = [_open(Path(path)) for path in paths]
    for path, part in zip(paths, parts, strict=True):
        _probe(path, part)
    return Joined(parts)


def split(source: Source, holdout: float) -> tuple[Source, Source]:
    """(train, held out): the share `holdout` of the photos, chosen by their keys alone.

    Records of the same photo go the same way. If there are two photos or more and `holdout` is not 0, at least
    one is held out.
    """
    places = (
        np.array([_number(_PHOTO.sub("", source.key(i))) for i in range(len(source))], np.uint64) / 2.0**64
    )
    held = places < holdout
    if holdout and not held.any() and len(np.unique(places)) > 1:
        held = places == places.min()
    return Subset(source, np.flatnonzero(~held)), Subset(source, np.flatnonzero(held))


class Joined(Source):
    """Several sources one after the other. Keys that occur again are told apart: "a.jpg", "a.jpg#2"."""

    def __init__(self, parts: Sequence[Source]):
        self._parts = list(parts)
        self._starts = np.cumsum([0, *map(len, parts)]).tolist()
        windows = [part.window for part in parts if part.window is not None]
        self.window = max(windows) if windows else None
        self._again = self._count_again()

    def __len__(self) -> int:
        return int(self._starts[-1])

    def key(self, i: int) -> str:
        part, local = self._place(i)
        key = part.key(local)
        return f"{key}#{self._again[i]}" if i in self._again else key

    def record(self, i: int) -> Record:
        part, local = self._place(i)
        record = part.record(local)
        return Record(self.key(i), record.photo, record.mask, record.category)

    def mask(self, i: int) -> bytes | None:
        part, local = self._place(i)
        return part.mask(local)

    @cached_property
    def foreground(self) -> Index:
        shifted = [part.foreground + start for part, start in zip(self._parts, self._starts, strict=False)]
        return np.concatenate(shifted).astype(np.int64)

    def _place(self, i: int) -> tuple[Source, int]:
        part = bisect_right(self._starts, i) - 1
        return self._parts[part], i - self._starts[part]

    def _count_again(self) -> dict[int, int]:
        """Records whose key occurred before -> the how-manieth they are."""
        numbers = np.array(
            [_number(part.key(i)) for part in self._parts for i in range(len(part))], np.uint64
        )
        order = np.argsort(numbers, kind="stable")
        again: dict[int, int] = {}
        for before, i in zip(order[:-1].tolist(), order[1:].tolist(), strict=True):
            if numbers[before] == numbers[i]:
                again[i] = again.get(before, 1) + 1
        return again


class Subset(Source):
    """Some records of a source, in its order."""

    def __init__(self, source: Source, indices: NDArray[np.intp]):
        self._source, self._indices = source, indices.astype(np.int64)
        self.window = source.window

    def __len__(self) -> int:
        return len(self._indices)

    def key(self, i: int) -> str:
        return self._source.key(int(self._indices[i]))

    def record(self, i: int) -> Record:
        return self._source.record(int(self._indices[i]))

    def mask(self, i: int) -> bytes | None:
        return self._source.mask(int(self._indices[i]))

    @cached_property
    def foreground(self) -> Index:
        return np.flatnonzero(np.isin(self._indices, self._source.foreground)).astype(np.int64)


_PHOTO = re.compile(r"#\d+$")
"""What tells equal keys apart."""


def _open(path: Path) -> Source:
    if path.is_dir():
        shards = sorted(each for each in path.iterdir() if each.suffix == ".tar" and each.is_file())
        return open_shards(shards) if shards else open_folder(path)
    if not path.exists():
        raise InputError(
            f"{path}: expected a folder, a .jsonl list or a .tar shard of photos, got nothing there"
        )
    if path.suffix == ".jsonl":
        return open_list(path)
    if path.suffix == ".tar":
        return open_shards([path])
    raise InputError(f"{path}: expected a folder, a .jsonl list or a .tar shard of photos, got another file")


def _probe(path: Path, source: Source) -> None:
    """Raise unless some photo can be read."""
    tries = min(PROBES, len(source))
    reason = ""
    for i in range(tries):
        try:
            read_photo(source.record(i * len(source) // tries).photo)
            return
        except InputError as error:
            reason = str(error)
    raise InputError(
        f"{path}: expected photos, got {len(source)} files of which none of {tries} can be read ({reason})"
    )


def _number(key: str) -> int:
    """64 bits of the key's SHA-256."""
    return int.from_bytes(hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()[:8])
