"""What a source of photos gives: records by number."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Category = Literal["background", "foreground"]
Index = NDArray[np.int64]


@dataclass(frozen=True)
class Record:
    """One photo as it is stored."""

    key: str
    """Its own among all records."""
    photo: bytes
    """An encoded image."""
    mask: bytes | None
    """An encoded image of the photo's size, white = hole: the scene's free part (background), an object."""
    category: Category


class Source(ABC):
    """Records by number."""

    window: int | None = None
    """Records that should be read near each other, because reading far apart is slow; None = it is not."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def key(self, i: int) -> str:
        """The record's key, without reading it."""

    @abstractmethod
    def record(self, i: int) -> Record:
        """Read a record.

        Raises:
            PhotoError, MaskError: a file is not there any more, or shorter than it was.
        """

    @abstractmethod
    def mask(self, i: int) -> bytes | None:
        """The record's mask alone."""

    @property
    @abstractmethod
    def foreground(self) -> Index:
        """Numbers of the foreground records, ascending, int64."""

    @cached_property
    def background(self) -> Index:
        """Numbers of the background records, ascending, int64."""
        return np.setdiff1d(np.arange(len(self), dtype=np.int64), self.foreground, assume_unique=True)
