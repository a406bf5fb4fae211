"""How many bytes of photos a server holds, over all its requests."""

from __future__ import annotations

from moebius.serve.errors import BusyError

RETRY_SECONDS = 2.0


class Memory:
    """A budget of bytes. Not for several threads: it belongs to the event loop.

    Args:
        limit: most bytes held at once.
    """

    def __init__(self, limit: int):
        self.limit = limit
        self.held = 0

    def take(self, nbytes: int) -> None:
        """Count bytes as held.

        Raises:
            BusyError: there is no room; nothing is counted then.
        """
        if self.held + nbytes > self.limit:
            raise BusyError(
                f"the server holds {self.held >> 20} of {self.limit >> 20} MiB of photos: come back later",
                retry_after=RETRY_SECONDS,
            )
        self.held += nbytes

    def give_back(self, nbytes: int) -> None:
        self.held -= nbytes
