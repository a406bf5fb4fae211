"""A download that is not whole yet: its bytes, and a note of what file they are the beginning of."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True)
class Note:
    """What the server said of the file that the partial bytes are the beginning of."""

    etag: str = ""
    sha256: str = ""
    bytes: int | None = None


@dataclass(frozen=True)
class Partial:
    """Bytes that have arrived, and the note beside them."""

    path: Path

    @property
    def size(self) -> int:
        return self.path.stat().st_size if self.path.is_file() else 0

    @property
    def _note_path(self) -> Path:
        return self.path.with_name(self.path.name + ".json")

    @property
    def note(self) -> Note:
        try:
            return Note(**json.loads(self._note_path.read_text()))
        except (OSError, ValueError, TypeError):
            return Note()

    def begin(self, note: Note) -> None:
        """Empty the file and note what its bytes will belong to."""
        self.path.write_bytes(b"")
        self._note_path.write_text(json.dumps(asdict(note)))

    def discard(self) -> None:
        self.path.unlink(missing_ok=True)
        self._note_path.unlink(missing_ok=True)
