"""What of a batch is left to be done, and whether that can be done at all."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace

from moebius.batch.files import is_url, shown, stamp
from moebius.batch.item import Item
from moebius.batch.ledger import Ledger
from moebius.errors import OutputError


@dataclass(frozen=True)
class Plan:
    """All items, sorted by what is to become of them."""

    todo: tuple[Item, ...]
    """To be filled, in order."""
    finished: tuple[Item, ...] = ()
    """There already, as they would be made now."""
    again: tuple[Item, ...] = ()
    """Those of `todo` whose photo or mask has changed, or whose output is gone."""
    changed: tuple[Item, ...] = ()
    """There already, made with other settings or another model."""
    foreign: tuple[Item, ...] = ()
    """Whose output's place is taken by a file that this batch has not made."""
    what_changed: str = ""
    """Of the first of `changed`."""

    def check(self, overwrite: bool) -> None:
        """Raises OutputError if files would be replaced that may not be."""
        if overwrite:
            return
        if self.foreign:
            first = shown(self.foreign[0].output)
            raise OutputError(
                f"{_files(len(self.foreign))} there already that this batch has not made, {first} the first: "
                "--overwrite replaces them"
            )
        if self.changed:
            first = shown(self.changed[0].output)
            raise OutputError(
                f"{_files(len(self.changed))} there already that were made otherwise ({self.what_changed}), {first} "
                "the first: --overwrite makes them again"
            )


def make_plan(items: Sequence[Item], ledger: Ledger, *, overwrite: bool = False) -> Plan:
    """Hold items against the manifest and the files.

    Args:
        overwrite: what is there from elsewhere, or made otherwise, is to be done again too.

    Raises:
        OutputError: the manifest cannot be read, or an output would replace its own photo or mask.
    """
    ledger.manifest.refresh()
    todo, finished, again, changed, foreign = [], [], [], [], []
    for item in items:
        verdict = ledger.verdict(item)
        if verdict == "finished":
            finished.append(item)
            continue
        item = replace(item, replaces=stamp(item.output) is not None)
        if verdict == "foreign":
            _check_own_place(item)
            foreign.append(item)
        elif verdict == "changed":
            changed.append(item)
        elif verdict == "again":
            again.append(item)
        if overwrite or verdict in ("new", "again"):
            todo.append(item)
    told = ledger.what_changed(changed[0]) if changed else ""
    return Plan(tuple(todo), tuple(finished), tuple(again), tuple(changed), tuple(foreign), told)


def _check_own_place(item: Item) -> None:
    for place, what in ((item.photo, "photo"), (item.mask, "mask")):
        if place is None or is_url(place) or is_url(item.output) or not os.path.exists(place):  # noqa: PTH110
            continue
        if os.path.samefile(place, item.output):  # noqa: PTH121
            raise OutputError(f"{shown(item.output)}: expected another place than the {what}'s own")


def _files(count: int) -> str:
    return "1 file is" if count == 1 else f"{count} files are"
