"""How fast photos are filled, and so how long one will wait."""

from __future__ import annotations

_SHARE = 0.1
"""Of the mean that the newest photo makes up."""


class Pace:
    """A mean of the seconds that a worker has had photos for, of late."""

    def __init__(self) -> None:
        self._seconds: float | None = None

    def note(self, seconds: float) -> None:
        """A photo has been filled."""
        before = seconds if self._seconds is None else self._seconds
        self._seconds = before + _SHARE * (seconds - before)

    def wait(self, ahead: int, places: int) -> float:
        """Seconds until so many photos have gone, and one more; 0 as long as nothing is known.

        Args:
            places: photos that are worked on at a time.
        """
        return (ahead + 1) * (self._seconds or 0.0) / max(1, places)
