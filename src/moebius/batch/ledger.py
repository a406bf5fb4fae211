"""What is done already, and what may be done: the manifest held against the files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Literal, Self

from moebius.batch.claims import Claims
from moebius.batch.files import Stamp, digest, make_folder, read_bytes, write_bytes
from moebius.batch.item import Item, Options, Record, Source, asked_of
from moebius.batch.manifest import Manifest, conditions_of, difference
from moebius.batch.stamps import Stamps
from moebius.errors import InputError

if TYPE_CHECKING:
    from moebius.pipeline import Moebius

_LINES = 1000
"""Lines that are written at a time."""

Verdict = Literal["new", "finished", "again", "changed", "foreign"]
"""New: nothing is there. Finished: as it would be made now. Again: ours, but its photo or mask has changed, or it is
missing. Changed: ours, made with other settings or another model. Foreign: a file that no line tells of, or one of ours
that somebody has worked on."""


class Ledger:
    """The state of a batch's folder, for one model and one set of options.

    Reading needs nothing more; what writes is inside a `with` block, which opens the claims.

    Args:
        folder: of the manifest and the claims.
        verify: compare photos, masks and outputs by their bytes, not by size and time alone.

    Raises:
        SettingsError: the settings are not for this model, or no steps can be planned with them.
        InputError: a file that all masks share cannot be read.
    """

    def __init__(self, folder: Path, model: Moebius, options: Options, *, verify: bool = False):
        self.folder, self.verify = folder, verify
        self.manifest = Manifest(folder)
        self._options, self._model_hash = options, model.model_hash
        settings = model.complete(**options.settings)
        model.plan(settings)
        self._settings, _ = settings.to_dict(), options.mask_told
        self._claims: Claims | None = None

    def __enter__(self) -> Self:
        make_folder(self.folder)
        self._claims = Claims(self.folder).__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.claims.__exit__(kind, error, trace)
        self._claims = None

    @property
    def claims(self) -> Claims:
        """Raises RuntimeError outside the `with` block."""
        if self._claims is None:
            raise RuntimeError("expected the ledger's claims inside its with block")
        return self._claims

    def verdict(self, item: Item, stamps: Stamps | None = None) -> Verdict:
        """How things stand with an item, by the manifest as last refreshed and the files as they are.

        Args:
            stamps: what is known of the files already.

        Raises:
            InputError: a storage does not say whether a file is there, or an output cannot be read.
        """
        stamps = stamps or Stamps()
        known, there = self.manifest.done.get(item.output_name), stamps.at(item.output)
        if there is None:
            return "new" if known is None else "again"
        unknown: Verdict = "again" if item.output_name in self.manifest.started else "foreign"
        if known is None or there.nbytes not in known.sizes:
            return unknown
        if known.conditions != self._conditions(item):
            return "changed"
        is_same = self._is_same(item.photo, known.photo, stamps) and self._is_same(
            item.mask, known.mask, stamps
        )
        if is_same and there.nbytes == known.nbytes and not (known.replaced or self.verify):
            return "finished"
        # What is to be replaced has to be ours; and a kill between a line and its picture leaves the one before.
        found = digest(read_bytes(item.output))
        if found not in known.digests:
            return unknown
        return "finished" if is_same and found == known.sha256 else "again"

    def what_changed(self, item: Item) -> str:
        """For an item whose verdict is "changed": what is not as it was."""
        return difference(self.manifest.done[item.output_name].conditions, self._conditions(item))

    def commit(self, item: Item, record: Record, data: bytes) -> None:
        """Put an output in its place, and before that its line into the manifest.

        Raises:
            OutputError: one of them cannot be written.
        """
        write_bytes(item.output, data, overwrite=item.replaces, first=lambda: self.note(record))

    def note(self, record: Record) -> None:
        """A line for the manifest.

        Raises:
            OutputError: it cannot be written.
        """
        self.manifest.append(self.claims, record)

    def note_started(self, items: Sequence[Item]) -> None:
        """Lines for items that are handed to others, who make outputs before their records come back.

        Raises:
            OutputError: they cannot be written.
        """
        for start in range(0, len(items), _LINES):
            part = items[start : start + _LINES]
            self.manifest.append(
                self.claims, *(Record(item.name, item.output_name, "started") for item in part)
            )

    def _conditions(self, item: Item) -> str:
        seed = {} if item.seed is None else {"seed": item.seed}
        return conditions_of(
            self._model_hash, {**self._settings, **seed}, item.key, asked_of(item, self._options)
        )

    def _is_same(self, place: str | None, known: Source | None, stamps: Stamps) -> bool:
        """Whether a file is the one that was read then."""
        if place is None or known is None:
            return place is None and known is None
        if self.verify:
            try:
                return digest(read_bytes(place)) == known.sha256
            except InputError:
                return False
        return stamps.at(place) == Stamp(known.nbytes, known.mtime_ns, known.tag)
