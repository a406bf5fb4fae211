"""Training photos: WebDataset-style tar shards, decoded once into one flat file, cropped from there.

Small photos (short side 256 to 288 px) decode slower than a small network trains on them, so all are decoded
once: `photos.u8` holds the raw pixels back to back, `photos.json` where each begins. The file is mapped, not
read, so several processes share one copy in the page cache.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
import os
import tarfile
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from moebius.errors import InputError

log = logging.getLogger(__name__)

Pixels = NDArray[np.uint8]


class PhotoPack:
    """Decoded photos on disk: `pack[i]` is (H, W, 3) uint8, a view into the mapped file."""

    def __init__(self, folder: Path):
        self.folder = folder
        index = json.loads((folder / "photos.json").read_text())
        self.keys: list[str] = [entry["key"] for entry in index["photos"]]
        self._entries: list[tuple[int, int, int]] = [
            (entry["offset"], entry["height"], entry["width"]) for entry in index["photos"]
        ]
        self._data: NDArray[np.uint8] = np.memmap(folder / "photos.u8", dtype=np.uint8, mode="r")

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopen, (self.folder,)  # a process gets the path, not the pixels

    def __len__(self) -> int:
        return len(self._entries)

    def __getitem__(self, i: int) -> Pixels:
        offset, height, width = self._entries[i]
        return self._data[offset : offset + height * width * 3].reshape(height, width, 3)


@lru_cache(maxsize=2)
def _reopen(folder: Path) -> PhotoPack:
    return PhotoPack(folder)


def open_photos(shards: Sequence[Path], cache: Path) -> PhotoPack:
    """The photos of `shards`, decoded into `cache` the first time (about 0.3 MB a photo).

    Broken images are skipped and counted in the log.

    Raises:
        InputError: no shard, or no readable photo in them.
    """
    if not shards:
        raise InputError("expected at least one .tar shard of photos, got none")
    names = "\n".join(f"{path.name} {path.stat().st_size}" for path in sorted(shards))
    folder = cache / hashlib.sha256(names.encode()).hexdigest()[:16]
    if not (folder / "photos.json").exists():
        folder.mkdir(parents=True, exist_ok=True)
        partial = folder / f"photos.u8.{os.getpid()}"
        with partial.open("wb") as out:
            entries = _decode(sorted(shards), out)
        if not entries:
            partial.unlink()
            raise InputError(f"expected photos in {len(shards)} shards, found none that can be read")
        partial.replace(folder / "photos.u8")
        staged = folder / f"photos.json.{os.getpid()}"
        staged.write_text(json.dumps({"photos": entries}))
        staged.replace(folder / "photos.json")
    return PhotoPack(folder)


def _decode(shards: Sequence[Path], out: BinaryIO) -> list[dict[str, int | str]]:
    entries: list[dict[str, int | str]] = []
    broken = 0
    for shard in shards:
        with tarfile.open(shard) as tar:
            for member in tar:
                stream = tar.extractfile(member)
                if stream is None:
                    continue
                try:
                    pixels = np.asarray(Image.open(io.BytesIO(stream.read())).convert("RGB"))
                except OSError:
                    broken += 1
                    continue
                height, width = pixels.shape[:2]
                key = Path(member.name).stem
                entries.append({"key": key, "offset": out.tell(), "height": height, "width": width})
                out.write(pixels.tobytes())
        log.info("decoded %s: %d photos so far, %d broken", shard.name, len(entries), broken)
    return entries


def random_crop(photo: Pixels, size: int, rng: np.random.Generator, *, smallest_scale: float = 0.5) -> Pixels:
    """A square crop of `size` px, (size, size, 3) uint8: random place, mirrored half of the time.

    The crop is cut larger (up to what the photo has, never below `smallest_scale` of it in scale) and reduced,
    so that both native detail and wider views are seen. Photos smaller than `size` are enlarged.
    """
    height, width = photo.shape[:2]
    largest = min(height, width)
    limit = max(size, min(largest, round(size / smallest_scale)))
    side = min(largest, int(rng.integers(size, limit + 1)) if rng.random() < 0.6 else size)
    top = int(rng.integers(0, height - side + 1))
    left = int(rng.integers(0, width - side + 1))
    crop = photo[top : top + side, left : left + side]
    if rng.random() < 0.5:
        crop = crop[:, ::-1]
    if side != size:
        how = Image.Resampling.BOX if side % size == 0 else Image.Resampling.LANCZOS
        crop = np.asarray(Image.fromarray(np.ascontiguousarray(crop)).resize((size, size), how))
    return np.ascontiguousarray(crop)


def epoch_index(count: int, position: int, seed: int) -> int:
    """Which photo stands at `position` of an endless stream that visits every photo once an epoch."""
    epoch, place = divmod(position, count)
    return int(_permutation(count, seed, epoch)[place])


@lru_cache(maxsize=4)
def _permutation(count: int, seed: int, epoch: int) -> NDArray[np.int64]:
    return np.random.default_rng([seed, epoch]).permutation(count)
