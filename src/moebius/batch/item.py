"""One photo of a batch: what is to be done with it, and what was done."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cached_property
from typing import Any, Literal

from moebius._version import __version__
from moebius.batch.files import Stamp, digest, read_bytes
from moebius.batch.shared import SharedFiles

Status = Literal["started", "done", "failed"]
"""Started: handed to a cluster, which may have made the output before anything else could be noted."""


@dataclass(frozen=True)
class Item:
    """One photo and its mask, and where the picture goes. Can be pickled.

    A place is a local path (bytes that are not UTF-8 as Python's surrogate escapes) or a URL with "://".
    """

    name: str
    """The photo's path below PHOTOS with "/" between folders; for people, and for the manifest."""
    photo: str
    """Place of the photo."""
    output: str
    """Place of the picture."""
    output_name: str
    """The picture's path below OUT with "/" between folders: what the manifest knows it by."""
    mask: str | None = None
    """Place of the mask; None where the mask comes from the photo or from `Options.mask`."""
    seed: int | None = None
    """A seed of its own; None takes the batch's."""
    key: str = ""
    """Mixed into the noise with the seed; "" gives what `moebius inpaint` gives."""
    boxes: tuple[str, ...] = ()
    """Rectangles "x,y,w,h" of its own, filled besides what the mask says."""
    replaces: bool = False
    """The output may be there already, and is to be replaced."""
    photo_stamp: Stamp | None = None
    mask_stamp: Stamp | None = None
    """What was told of photo and mask at URLs before, so that nobody has to ask again."""

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Item:
        """The inverse of `dataclasses.asdict`, also after a way through JSON."""
        stamps = {
            role: None if values[role] is None else Stamp(**values[role])
            for role in ("photo_stamp", "mask_stamp")
        }
        return cls(**{**values, **stamps, "boxes": tuple(values["boxes"])})


@dataclass(frozen=True)
class Options:
    """What all photos of a batch have in common. Can be pickled."""

    settings: Mapping[str, Any] = field(default_factory=dict)
    """Fields of `moebius.settings.Settings`, as asked for."""
    quality: int | None = None
    """Of JPEG and lossy formats; None takes the photo's own."""
    mask: Mapping[str, Any] = field(default_factory=dict)
    """Fields of `moebius.imaging.mask_sources.MaskSources` that all photos share: where masks come from besides the
    items' own files and boxes, and how they are cleaned. Those that `settings` has too are taken from there."""
    allow_large: bool = False
    """Fill a mask that covers more than 80 % of its photo, instead of taking it for an inverted one."""
    rows: int = 1
    """Regions that go through the network at once (see `Lane`); pictures depend on it in their last bits."""
    shared: SharedFiles = field(default_factory=SharedFiles, compare=False, repr=False)
    """Files that several photos want, for as long as the options live."""

    @cached_property
    def mask_told(self) -> dict[str, Any]:
        """`mask` as plain values that tell it from others: files by the SHA-256 of their bytes, as they are when this
        is first asked for.

        Raises:
            InputError: a file cannot be read.
        """
        told = {name: value for name, value in self.mask.items() if value not in (None, (), False, 0)}
        for name in LISTS_OF_FILES:
            if name in told:
                told[name] = [_digest(each) for each in told[name]]
        for name in SINGLE_FILES:
            if name in told:
                told[name] = _digest(told[name])
        return {name: list(value) if isinstance(value, tuple) else value for name, value in told.items()}


LISTS_OF_FILES = ("files", "keep")
SINGLE_FILES = ("key_in", "differs_from")
"""Which of `Options.mask` name files."""


def _digest(source: str | bytes) -> str:
    return digest(source if isinstance(source, bytes) else read_bytes(source))


@dataclass(frozen=True)
class Source:
    """A file that was read."""

    place: str
    nbytes: int
    mtime_ns: int | None
    """Time of its last change; None where that is not to be had."""
    sha256: str
    tag: str | None = None
    """`Stamp.tag`"""


@dataclass(frozen=True)
class Record:
    """What became of an item: one line of manifest.jsonl."""

    name: str
    output: str
    """`Item.output_name`"""
    status: Status
    sha256: str | None = None
    """Of the output's bytes; None if there is none."""
    nbytes: int | None = None
    replaced: bool = False
    """Another file was in the output's place before, and may still be if the program was killed just then."""
    photo: Source | None = None
    mask: Source | None = None
    model: str = ""
    model_hash: str = ""
    settings: dict[str, Any] = field(default_factory=dict)
    """Complete: the model's own values where none were asked for, and the item's own seed."""
    key: str = ""
    asked: dict[str, Any] = field(default_factory=dict)
    """What else decides about the output's bytes: `asked_of`."""
    engine: str = ""
    device: str = ""
    dtype: str = ""
    size: tuple[int, int] | None = None
    """(width, height)"""
    regions: int = 0
    """Of an animation: in its last frame."""
    frames: int | None = None
    """Of an animation; None for a still."""
    written: dict[str, Any] | None = None
    """How the picture was stored: `moebius.imaging.Written` as plain values."""
    changes: dict[str, Any] | None = None
    """What differs from the photo: `moebius.imaging.Changes` as plain values; of an animation in all frames."""
    timings: dict[str, float] = field(default_factory=dict)
    """Seconds by stage: read, prepare, encode, denoise, decode, blend, write (into memory), total; of all frames."""
    warnings: tuple[str, ...] = ()
    error: dict[str, str] | None = None
    """{"kind": the exception's name, "message": its line} of a failed item."""
    stops: bool = False
    """The failure is not the item's own (a full disk): what comes next would fail alike. Not in the manifest."""
    version: str = __version__

    def to_dict(self) -> dict[str, Any]:
        """Plain values, without those that nothing is known of."""
        empty = asdict(replace(_EMPTY, version=""))
        values = asdict(self)
        for role in ("photo", "mask"):
            if values[role] is not None and values[role]["tag"] is None:
                del values[role]["tag"]
        return {name: value for name, value in values.items() if name != "stops" and value != empty[name]}

    def to_line(self) -> bytes:
        """One line of JSON in UTF-8 with its line end. Names in any script stay readable."""
        values = self.to_dict()
        try:
            return (json.dumps(values, ensure_ascii=False) + "\n").encode()
        except UnicodeEncodeError:  # a file's name that is no UTF-8
            return (json.dumps(values) + "\n").encode()

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Record:
        """The inverse of `to_dict`; fields of a later version are left out.

        Raises:
            KeyError, TypeError: it is no record.
        """
        known = {each.name for each in fields(cls)}
        chosen = {name: value for name, value in values.items() if name in known}
        for role in ("photo", "mask"):
            if chosen.get(role) is not None:
                chosen[role] = Source(**chosen[role])
        if chosen.get("size") is not None:
            chosen["size"] = tuple(chosen["size"])
        chosen["warnings"] = tuple(chosen.get("warnings", ()))
        return cls(**chosen)


_EMPTY = Record(None, None, None)  # type: ignore[arg-type]


def asked_of(item: Item, options: Options) -> dict[str, Any]:
    """What decides about an output's bytes besides photo, mask, model, settings and key; plain values.

    Raises:
        InputError: see `Options.mask_told`.
    """
    rows = None if options.rows == 1 else options.rows
    asked = {
        "quality": options.quality,
        "mask": options.mask_told,
        "boxes": list(item.boxes),
        "rows": rows,
    }
    return {name: value for name, value in asked.items() if value not in (None, [], {})}
