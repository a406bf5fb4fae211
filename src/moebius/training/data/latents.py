"""Encoded photos on disk, so that a fixed crop is encoded once and not every epoch.

Two files: `latents.f16` holds mean and standard deviation of each row, `latents.key` what they were made from and
a checksum. A row counts only if both agree, so a changed photo, crop, side or autoencoder, a write that was cut
off and a disk that lost something all read as "not there", and the row is made anew.
"""

from __future__ import annotations

import hashlib
import mmap
import os
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import numpy as np
import torch
from torch import Tensor

from moebius.errors import OutputError

_NAME, _STAMP = 16, 20
"""Bytes a row in `latents.key`: what it was made from, and the same with a checksum."""


class LatentCache:
    """Means and standard deviations of latents, (2, channels, side, side) a row, kept as float16.

    Processes may share a folder; each row is written by one at a time. Files grow as rows are written (sparse).

    Args:
        folder: made if it is not there.
        rows: as many as the source's photos times the recipe's views.
        autoencoder: digest of the autoencoder's weights.

    Raises:
        OutputError: the folder cannot be written to.
    """

    def __init__(self, folder: Path, *, rows: int, channels: int, side: int, autoencoder: str):
        self._rows, self._shape, self._autoencoder = rows, (2, channels, side, side), autoencoder
        self._bytes = 2 * int(np.prod(self._shape))
        self._folder = folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._latents = _Mapped(folder / "latents.f16", rows * self._bytes)
            self._stamps = _Mapped(folder / "latents.key", rows * _STAMP)
        except OSError as error:
            raise OutputError(
                f"{folder}: latents cannot be kept there ({error.strerror or error})"
            ) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._latents.close()
        self._stamps.close()

    def get(self, rows: Tensor, digests: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Look rows up.

        Args:
            rows: (B,) int64; negative ones are never there.
            digests: of the photos and crops, one each.

        Returns:
            (B, 2, c, h, w) float32, mean and standard deviation, 0 where there is none; (B,) bool, whether there is.
        """
        moments = np.zeros((len(digests), *self._shape), np.float32)
        hit = np.zeros(len(digests), bool)
        for i, (row, digest) in enumerate(zip(rows.tolist(), digests, strict=True)):
            if not 0 <= row < self._rows:
                continue
            stamp = self._stamps.read(row * _STAMP, _STAMP)
            name = self._name(digest)
            if stamp[:_NAME] != name:
                continue
            data = self._latents.read(row * self._bytes, self._bytes)
            if stamp == _stamp(name, data):
                moments[i] = np.frombuffer(data, np.float16).reshape(self._shape)
                hit[i] = True
        return torch.from_numpy(moments), torch.from_numpy(hit)

    def put(self, rows: Tensor, digests: Sequence[str], moments: Tensor) -> None:
        """Keep rows; negative ones are passed over.

        Args:
            moments: (B, 2, c, h, w), mean and standard deviation.

        Raises:
            OutputError: the disk is full, or another error of the file system.
            ValueError: another shape, or a row that the cache does not have.
        """
        if moments.shape != (len(digests), *self._shape):
            raise ValueError(f"expected {(len(digests), *self._shape)}, got {tuple(moments.shape)}")
        values = moments.detach().cpu().to(torch.float16).numpy()
        for row, digest, value in zip(rows.tolist(), digests, values, strict=True):
            if row < 0:
                continue
            if row >= self._rows:
                raise ValueError(f"expected a row below {self._rows}, got {row}")
            data = value.tobytes()
            try:
                self._latents.write(row * self._bytes, data)
                self._stamps.write(row * _STAMP, _stamp(self._name(digest), data))
            except OSError as error:
                raise OutputError(
                    f"{self._folder}: latents cannot be kept ({error.strerror or error}); "
                    f"all of them take {self._rows * self._bytes / 1e9:.1f} GB"
                ) from error

    def _name(self, digest: str) -> bytes:
        """Bytes that stand for all that a row's values depend on."""
        made_from = f"{digest} {self._shape} {self._autoencoder}"
        return hashlib.sha256(made_from.encode()).digest()[:_NAME]


class _Mapped:
    """A file of fixed length that is read through memory and written by calls.

    Writes through memory end a process without a word when the disk is full; calls raise.
    """

    def __init__(self, path: Path, length: int):
        self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        if os.fstat(self._file).st_size < length:
            os.ftruncate(self._file, length)
        self._memory = mmap.mmap(self._file, length, access=mmap.ACCESS_READ) if length else None

    def read(self, offset: int, length: int) -> bytes:
        assert self._memory is not None
        return self._memory[offset : offset + length]

    def write(self, offset: int, data: bytes) -> None:
        while data:
            written = os.pwrite(self._file, data, offset)
            data, offset = data[written:], offset + written

    def close(self) -> None:
        if self._memory is not None:
            self._memory.close()
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


def _stamp(name: bytes, data: bytes) -> bytes:
    return name + zlib.crc32(data, zlib.crc32(name)).to_bytes(4, "little")
