"""What a server takes, and how long it waits: every limit with its default, in one place."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields

from moebius.errors import SettingsError


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Limits of one server. Validated on construction.

    Raises:
        SettingsError: a value is not a positive number.
    """

    upload_bytes: int = 64 * 2**20
    """Largest body of a request."""
    pixels: int = 100_000_000
    """Largest photo; refused by its header, before it is decoded."""
    queue: int = 64
    """Jobs that wait; one more is told to come back (429)."""
    memory_bytes: int = 1 << 30
    """Bytes of uploads and finished pictures held at once, over all jobs."""
    deadline_seconds: float = 120.0
    """From a job's arrival to its picture, waiting included."""
    keep_seconds: float = 600.0
    """How long a finished job's picture can be fetched."""
    linger_seconds: float = 10.0
    """How long a job goes on when the last listener to its events has left."""
    upload_seconds: float = 60.0
    """In which a body has to arrive whole."""
    idle_seconds: float = 15.0
    """Longest pause within an upload, and longest time for a request's head."""
    drain_seconds: float = 30.0
    """After SIGTERM, for the jobs that are there already."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
                raise SettingsError(f"{field.name}: expected a number above 0, got {value!r}")

    def to_dict(self) -> dict[str, float]:
        return asdict(self)
