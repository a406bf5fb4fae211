"""Tar shards read at random: headers once, then any member by its offset.

Members are named as in WebDataset: what stands before the first dot of a member's name is its key, the rest says
what it is: `<key>.jpg` (or .jpeg, .png, .webp), `<key>.mask.png`, `<key>.json` with {"prompt": "foreground"}.
Other members are passed over.
"""

from __future__ import annotations

import json
import tarfile
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from threading import Lock
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from moebius.errors import InputError, MaskError, PhotoError
from moebius.training.data.files import check_prompt
from moebius.training.data.records import Category, Index, Record, Source

PHOTOS = ("jpg", "jpeg", "png", "webp")
MASK = "mask.png"
WINDOW = 16384
"""Records between which reads move about."""
OPEN_FILES = 64
"""Shards that a process keeps open."""

Place = tuple[int, int]
"""Offset and length, bytes."""


class ShardSource(Source):
    """Records in tar shards. About 50 bytes of memory a record, and its key.

    Args:
        paths: the shards.
        keys: of all records, one after the other, UTF-8; record i's is ends[i - 1] to ends[i].
        places: (N, 5) int64: shard, photo's offset and length, mask's offset and length (0, 0 = none).
        foreground: numbers of the foreground records, ascending.
    """

    window = WINDOW

    def __init__(
        self, paths: Sequence[Path], keys: bytes, ends: Index, places: NDArray[np.int64], foreground: Index
    ):
        self._paths, self._keys, self._ends, self._places = list(paths), keys, ends, places
        self._foreground = foreground
        self._files = OpenFiles(self._paths)

    def __len__(self) -> int:
        return len(self._ends)

    def key(self, i: int) -> str:
        start = int(self._ends[i - 1]) if i else 0
        return self._keys[start : int(self._ends[i])].decode()

    def record(self, i: int) -> Record:
        shard, offset, length, *_ = self._places[i].tolist()
        at = int(np.searchsorted(self._foreground, i))
        is_object = at < len(self._foreground) and self._foreground[at] == i
        category: Category = "foreground" if is_object else "background"
        photo = self._read(shard, (offset, length), "photo", i, PhotoError)
        return Record(self.key(i), photo, self.mask(i), category)

    def mask(self, i: int) -> bytes | None:
        shard, _, _, offset, length = self._places[i].tolist()
        return self._read(shard, (offset, length), "mask", i, MaskError) if length else None

    @property
    def foreground(self) -> Index:
        return self._foreground

    def _read(self, shard: int, place: Place, noun: str, i: int, error_type: type[InputError]) -> bytes:
        where = f"{noun} {self.key(i)} in {self._paths[shard]}"
        try:
            data = self._files.read(shard, place)
        except OSError as error:
            raise error_type(f"{where}: cannot be read ({error.strerror or error})") from error
        if len(data) != place[1]:
            raise error_type(f"{where}: expected {place[1]} bytes, got {len(data)}")
        return data


class OpenFiles:
    """Files that stay open between reads, in each process its own. Threads may share one."""

    def __init__(self, paths: Sequence[Path]):
        self._paths = list(paths)
        self._open: OrderedDict[int, BinaryIO] = OrderedDict()
        self._lock = Lock()

    def __getstate__(self) -> list[Path]:
        return self._paths

    def __setstate__(self, paths: list[Path]) -> None:
        self.__init__(paths)  # type: ignore[misc]

    def __del__(self) -> None:
        for file in self._open.values():
            file.close()

    def read(self, number: int, place: Place) -> bytes:
        offset, length = place
        with self._lock:
            file = self._open.pop(number, None)
            if file is None:
                if len(self._open) >= OPEN_FILES:
                    self._open.popitem(last=False)[1].close()
                file = self._paths[number].open("rb")
            self._open[number] = file
            file.seek(offset)
            return file.read(length)


def open_shards(paths: Sequence[Path]) -> ShardSource:
    """Index shards by scanning their headers; JSON members are read too.

    Raises:
        InputError: a shard is no tar, compressed or cut off; a mask or a JSON member has no photo; two photos
            have one key; a prompt is no category; foreground without mask; no photo at all.
    """
    keys: list[bytes] = []
    rows: list[tuple[int, ...]] = []
    foreground: list[int] = []
    for shard, path in enumerate(paths):
        for key, members in _scan(path).items():
            where = f"{path}: {key}"
            names = [name for name in members if name in PHOTOS]
            if not names and MASK in members:
                raise InputError(f"{where}.{MASK}: expected a photo of that key, got a mask alone")
            if not names:
                continue
            if len(names) > 1:
                raise InputError(f"{where}: expected one photo, got {' and '.join(names)}")
            prompt = members.get("json", "background")
            check_prompt(prompt, where)
            if prompt == "foreground":
                if MASK not in members:
                    raise InputError(
                        f"{where}: expected {key}.{MASK}, for the prompt is foreground, got none"
                    )
                foreground.append(len(keys))
            keys.append(key.encode("utf-8", "replace"))
            rows.append((shard, *members[names[0]], *members.get(MASK, (0, 0))))
    if not keys:
        raise InputError(f"{paths[0]}: expected photos named KEY.jpg, .png or .webp in the shard, got none")
    ends = np.cumsum([len(key) for key in keys], dtype=np.int64)
    places = np.array(rows, np.int64)
    return ShardSource(paths, b"".join(keys), ends, places, np.array(foreground, np.int64))


def _scan(path: Path) -> dict[str, dict[str, Any]]:
    """Key -> extension -> place; of "json" the prompt instead."""
    found: dict[str, dict[str, Any]] = {}
    try:
        with tarfile.open(path, "r:") as tar:
            for member in tar:
                folder, slash, name = member.name.rpartition("/")
                stem, _, extension = name.partition(".")
                extension = extension.lower()
                if not member.isreg() or not stem or extension not in (*PHOTOS, MASK, "json"):
                    continue
                key = f"{folder}{slash}{stem}".removeprefix("./")
                place: Any = (member.offset_data, member.size)
                if extension == "json":
                    stream = tar.extractfile(member)
                    assert stream is not None
                    place = _prompt(stream.read(), f"{path}: {member.name}")
                found.setdefault(key, {})[extension] = place
    except (tarfile.TarError, OSError) as error:
        raise InputError(f"{path}: expected an uncompressed tar shard, got: {error}") from error
    return found


def _prompt(data: bytes, where: str) -> object:
    try:
        entry = json.loads(data)
    except ValueError as error:
        raise InputError(f"{where}: expected JSON, got {data[:60]!r}") from error
    if not isinstance(entry, dict):
        raise InputError(f"{where}: expected an object, got {type(entry).__name__}")
    return entry.get("prompt", "background")
