"""Sizes and times of the files of a plan, each looked at once; at URLs by listings, and else many at a time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

from moebius.batch.files import Stamp, is_url, stamp

LISTED = 50
"""Wanted files of a folder from which on it is listed: a listing tells of 1,000 a request."""
_LOOKS = 32
"""Looks at a time; storages are far away."""


class Stamps:
    """What is known of files by now."""

    def __init__(self) -> None:
        self._known: dict[str, Stamp | None] = {}
        self._listings: dict[str, dict[str, Stamp]] = {}

    def at(self, place: str) -> Stamp | None:
        """As `moebius.batch.files.stamp`, which is asked once for a place.

        Raises:
            InputError: a storage does not say.
        """
        if place not in self._known:
            folder, _, name = place.rpartition("/")
            listing = self._listings.get(folder)
            self._known[place] = stamp(place) if listing is None else listing.get(name)
        return self._known[place]

    def told(self, place: str | None) -> Stamp | None:
        """What is known of a file at a URL without another look."""
        if place is None or not is_url(place):
            return None
        folder, _, name = place.rpartition("/")
        return self._known.get(place) or self._listings.get(folder, {}).get(name)

    def look_at(self, places: Iterable[str], beside: Iterable[str] = ()) -> None:
        """Look at many files in advance, as far as they are at URLs.

        Args:
            beside: places that are not needed, but count for what is worth a listing.

        Raises:
            InputError: a storage does not say.
        """
        needed = {place for place in places if is_url(place)}
        wanted = needed.union(place for place in beside if is_url(place))
        if not wanted:
            return
        from moebius.batch import remote

        folders = Counter(place.rpartition("/")[0] for place in wanted)
        for folder, count in folders.items():
            listing = remote.look_in(folder) if count >= LISTED else None
            if listing is not None:
                self._listings[folder] = listing
        alone = [place for place in needed if place.rpartition("/")[0] not in self._listings]
        with ThreadPoolExecutor(_LOOKS) as pool:
            self._known.update(zip(alone, pool.map(stamp, alone), strict=True))
