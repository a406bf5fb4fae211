"""What of a batch is left to be done, and whether that can be done at all."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain

from moebius.batch.files import shown
from moebius.batch.item import Item
from moebius.batch.ledger import Ledger
from moebius.batch.own_places import check_own_place
from moebius.batch.stamps import Stamps
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
        InputError: a storage does not say whether a file is there.
    """
    ledger.manifest.refresh()
    stamps = _looked_at(items, ledger)
    todo, finished, again, changed, foreign = [], [], [], [], []
    for item in items:
        verdict = ledger.verdict(item, stamps)
        if verdict == "finished":
            finished.append(item)
            continue
        item = replace(
            item,
            replaces=stamps.at(item.output) is not None,
            photo_stamp=stamps.told(item.photo),
            mask_stamp=stamps.told(item.mask),
        )
        if verdict == "foreign":
            check_own_place(item)
            foreign.append(item)
        elif verdict == "changed":
            changed.append(item)
        elif verdict == "again":
            again.append(item)
        if overwrite or verdict in ("new", "again"):
            todo.append(item)
    told = ledger.what_changed(changed[0]) if changed else ""
    return Plan(tuple(todo), tuple(finished), tuple(again), tuple(changed), tuple(foreign), told)


def _looked_at(items: Sequence[Item], ledger: Ledger) -> Stamps:
    """What listings and many looks at a time tell; all outputs are needed, and the sources of known ones."""
    stamps, known = Stamps(), ledger.manifest.done
    stamps.look_at(
        chain(
            (item.output for item in items),
            _sources(item for item in items if item.output_name in known),
        ),
        beside=_sources(items),
    )
    return stamps


def _sources(items: Iterable[Item]) -> Iterator[str]:
    return (place for item in items for place in (item.photo, item.mask) if place is not None)


def _files(count: int) -> str:
    return "1 file is" if count == 1 else f"{count} files are"
