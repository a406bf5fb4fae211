"""Outputs are never written over what a batch reads."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from functools import cache

from moebius.batch.files import is_url, place_key, shown
from moebius.batch.item import Item
from moebius.errors import OutputError


def check_places(items: Sequence[Item]) -> None:
    """No item's output may be in the place of any item's photo or mask, whatever is allowed to be replaced.

    Raises:
        OutputError: one is; the message names it.
    """
    key_of = cache(place_key)  # folders are few
    folders = {key_of(_folder(place)) for _, place in _sources(items)}
    shared = folders & {key_of(_folder(item.output)) for item in items}
    if not shared:
        return

    def key(place: str) -> tuple[str, str] | None:
        folder = key_of(_folder(place))
        return (folder, os.path.basename(place)) if folder in shared else None  # noqa: PTH119

    outputs = {key(item.output): item for item in items}
    outputs.pop(None, None)
    for what, place in _sources(items):
        item = outputs.get(key(place))
        if item is not None:
            own = place in (item.photo, item.mask)
            whose = f"the {what}'s own" if own else f"that of the {what} {shown(place)}"
            raise OutputError(f"{shown(item.output)}: expected another place than {whose}")


def check_own_place(item: Item) -> None:
    """The same for one item whose output is there, by what the file system says (links, names in another case).

    Raises:
        OutputError: it is its own photo or mask.
    """
    for place, what in ((item.photo, "photo"), (item.mask, "mask")):
        if place is None or is_url(place) or is_url(item.output) or not os.path.exists(place):  # noqa: PTH110
            continue
        if os.path.samefile(place, item.output):  # noqa: PTH121
            raise OutputError(f"{shown(item.output)}: expected another place than the {what}'s own")


def _sources(items: Iterable[Item]) -> Iterator[tuple[str, str]]:
    for item in items:
        yield "photo", item.photo
        if item.mask is not None:
            yield "mask", item.mask


def _folder(place: str) -> str:
    return os.path.dirname(place) or "."  # noqa: PTH120, which URLs have too
