"""What a fill gives back: the picture, and everything needed to make it again."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from PIL import Image

from moebius._version import __version__
from moebius.imaging import Box, Changes, Hole, Photo, Written, describe_changes, write_photo
from moebius.settings import Settings


@dataclass(frozen=True)
class Result:
    """One finished fill."""

    photo: Photo
    """The photo with its hole filled, at its own size and depth, with its metadata."""
    hole: Hole
    """What was filled: the mask after its growth."""
    settings: Settings
    """Complete: with the model's own values where none were asked for. These make the same picture again."""
    key: str
    """What was mixed into the noise besides the seed."""
    model: str
    model_hash: str
    """SHA-256 of the weights file."""
    engine: str
    device: str
    dtype: str
    steps: int
    """Network steps really run for each region: as in `settings`, but 0 when there was nothing to fill, and
    fewer with start "official"."""
    guidance: float
    solver: str
    start: str
    regions: tuple[Box, ...]
    """The crops in which the filling happened, in pixels of the photo."""
    timings: dict[str, float]
    """Seconds by stage: read, prepare, encode, denoise, decode, texture, blend, total; those that there were."""
    warnings: tuple[str, ...] = field(default=())

    @property
    def image(self) -> Image.Image:
        """The picture for Pillow (8 bits a channel; `photo` keeps 16-bit pixels)."""
        return self.photo.to_pil()

    @property
    def seed(self) -> int:
        """The seed asked for."""
        return self.settings.seed

    def changes(self, before: Photo) -> Changes:
        """What differs from the photo that was filled; outside is where neither hole nor feather reaches.

        Raises:
            ValueError: the photos are not alike in size, mode, depth or transparency.
        """
        return describe_changes(before, self.photo, self.hole.touched(self.settings.feather))

    def save(
        self,
        target: str | Path | BinaryIO,
        *,
        format: str | None = None,
        quality: int | None = None,
        overwrite: bool = False,
    ) -> Written:
        """Write the picture with its metadata, in the photo's own format unless told otherwise.

        Returns:
            How it was stored: whether a JPEG's untouched blocks could be kept, for example.

        Raises:
            OutputError: the file exists (without `overwrite`) or cannot be written.
        """
        target = Path(target) if isinstance(target, str) else target
        return write_photo(self.photo, target, format=format, quality=quality, overwrite=overwrite)

    def to_dict(self) -> dict[str, Any]:
        """Everything but the pixels, as plain values."""
        return {
            "version": __version__,
            "model": self.model,
            "model_hash": self.model_hash,
            "engine": self.engine,
            "device": self.device,
            "dtype": self.dtype,
            "seed": self.seed,
            "key": self.key,
            "steps": self.steps,
            "guidance": self.guidance,
            "solver": self.solver,
            "start": self.start,
            "size": [self.photo.width, self.photo.height],
            "regions": [[b.left, b.top, b.right, b.bottom] for b in self.regions],
            "settings": self.settings.to_dict(),
            "timings": {name: round(seconds, 4) for name, seconds in self.timings.items()},
            "warnings": list(self.warnings),
        }

    def to_json(self) -> str:
        """`to_dict` as one line of JSON."""
        return json.dumps(self.to_dict())


@dataclass(frozen=True)
class Progress:
    """One event of `Moebius.stream`: a network step done, or, last, the whole fill."""

    region: int
    """Regions that are finished; the number of the one at hand, from 0."""
    regions: int
    step: int
    """Network steps done for the regions at hand, over all the sides that the model fills them at."""
    steps: int
    fraction: float
    """Part of the work that is done, 0 to 1."""
    preview: Callable[[], Image.Image]
    """A picture of the region at hand as it stands now, at the model's size; costs one decoder call."""
    box: Box | None = None
    """What of the photo the preview shows; None where nothing was filled."""
    result: Result | None = None
    """Set on the last event only, which repeats the counts of the one before."""
