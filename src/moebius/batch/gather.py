"""From what the person named (folders, a table) to items, and who is left over."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from moebius.batch.files import is_url, place_key, read_bytes, shown
from moebius.batch.folders import list_images
from moebius.batch.item import Item
from moebius.batch.names import ANIMATED, WRITTEN, check_below, check_outputs, is_mask, output_name
from moebius.batch.own_places import check_places
from moebius.batch.pairing import Pairing, pair_by_stem, split_by_suffix
from moebius.batch.table import Row, is_table, read_table
from moebius.errors import InputError, OutputError
from moebius.imaging.frames import fits_all_frames

_LOOKS = 16
"""Files that are looked into at a time; they may be far away."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """What is to be filled, with which masks, and where the pictures go. Places are paths or URLs."""

    photos: str
    """A folder, or a table."""
    out: str
    """A folder."""
    masks: str | None = None
    """A folder, or one mask for all."""
    mask_suffix: str = ""
    """What a mask's stem has behind the photo's. Without `masks`, masks lie beside the photos."""
    recursive: bool = False
    """Folders below PHOTOS and MASKS too."""
    format: str | None = None
    """Of all outputs; None takes each photo's own."""
    other_masks: bool = False
    """Masks also come from elsewhere (`Options.mask`), so that no mask files are needed."""
    no_photos: tuple[str, ...] = ()
    """Files that are no photos of the batch, wherever they lie: masks that all of them share, and the like."""


@dataclass(frozen=True)
class Found:
    """The items of a batch, and what is not in it."""

    items: tuple[Item, ...]
    photos_alone: tuple[str, ...] = ()
    """Photos that have no mask."""
    masks_alone: tuple[str, ...] = ()
    """Masks that have no photo."""
    ignored: int = 0
    """Files in PHOTOS that are no images by their names."""


def gather(request: Request) -> Found:
    """Find photos and masks, and pair them.

    Raises:
        InputError: a place is missing or of the wrong kind, names are ambiguous, or a table cannot be used.
        OutputError: two photos would have one output, an output would take a photo's or mask's place, or OUT cannot be
            a folder.
    """
    _check_out(request.out)
    if is_table(request.photos):
        if request.masks is not None:
            raise InputError(
                f"MASKS: expected none beside a table, which has a column mask, got {shown(request.masks)}"
            )
        found = Found(tuple(_table_items(request)))
    else:
        found = _folders(request)
    check_outputs((item.name, item.output_name) for item in found.items)
    check_places(found.items)
    return found


def _check_out(out: str) -> None:
    if is_url(out):
        return
    try:
        is_file = stat.S_ISREG(Path(out).stat().st_mode)
    except FileNotFoundError:
        return
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise OutputError(f"OUT: expected a folder, got {shown(out)} ({reason})") from error
    if is_file:
        raise OutputError(f"OUT: expected a folder, got the file {shown(out)}")


def join(folder: str, name: str) -> str:
    """The place of `name`, a path with "/", in a folder."""
    return f"{folder.rstrip('/')}/{name}" if is_url(folder) else str(Path(folder, *name.split("/")))


def _folders(request: Request) -> Found:
    photos, masks, out = request.photos, request.masks, request.out
    if not is_url(photos) and os.path.isfile(photos):  # noqa: PTH113, unlike Path's it has no error for long names
        raise InputError(
            f"PHOTOS: expected a folder or a table (.csv, .jsonl, .parquet), got the file {shown(photos)}"
        )
    for place, what in ((photos, "PHOTOS"), (masks, "MASKS")):
        if place is not None and _is_same_place(place, out):
            raise OutputError(f"OUT: expected another folder than {what}, got {shown(out)} for both")
    beside = masks is None or _is_same_place(masks, photos)
    if beside and not request.mask_suffix and not (masks is None and request.other_masks):
        raise InputError(
            "masks: expected a folder or a file of masks, --mask-suffix, or another source, got none"
        )
    skip = [each for each in (out, None if beside else masks, *request.no_photos) if each is not None]
    listing = list_images(photos, recursive=request.recursive, skip=skip)
    if beside and not request.mask_suffix:
        return Found(_items(request, [(name, None) for name in listing.names]), ignored=listing.ignored)
    if beside:
        chosen, mask_names = split_by_suffix(listing.names, request.mask_suffix)
        return _found(request, pair_by_stem(chosen, mask_names, request.mask_suffix), photos, listing.ignored)
    assert masks is not None
    if _is_one_mask(masks):
        return Found(_items(request, [(name, masks) for name in listing.names]), ignored=listing.ignored)
    names = list_images(masks, recursive=request.recursive, skip=[out], is_wanted=is_mask).names
    return _found(request, pair_by_stem(listing.names, names, request.mask_suffix), masks, listing.ignored)


def _found(request: Request, pairing: Pairing, masks: str, ignored: int) -> Found:
    pairs = [(photo, join(masks, mask)) for photo, mask in pairing.pairs]
    return Found(_items(request, pairs), pairing.photos_alone, pairing.masks_alone, ignored)


def _items(request: Request, pairs: Sequence[tuple[str, str | None]]) -> tuple[Item, ...]:
    """(photo's name, place of the mask) -> items."""
    places = {name: join(request.photos, name) for name, _ in pairs}
    animated = _with_all_frames(places.values()) if request.format is None else frozenset()
    items = []
    for name, mask in pairs:
        output = output_name(name, request.format, all_frames=places[name] in animated)
        items.append(Item(name, places[name], join(request.out, output), output, mask))
    return tuple(items)


def _with_all_frames(places: Iterable[str]) -> frozenset[str]:
    """Animations among photos whose format holds nothing else: these keep their names, others of them become PNG."""
    doubtful = [place for place in places if PurePosixPath(place).suffix.lower() in ANIMATED]
    if not doubtful:
        return frozenset()
    with ThreadPoolExecutor(_LOOKS) as pool:
        found = pool.map(_has_all_frames, doubtful)
        return frozenset(place for place, is_one in zip(doubtful, found, strict=True) if is_one)


def _has_all_frames(place: str) -> bool:
    try:
        return fits_all_frames(read_bytes(place) if is_url(place) else place, place)
    except InputError:
        return False  # it fails when it is its turn


def _table_items(request: Request) -> list[Item]:
    table = Path(request.photos)
    rows = list(read_table(table))
    animated: frozenset[str] = frozenset()
    if request.format is None:
        animated = _with_all_frames(_beside(table, row.photo) for row in rows if row.output is None)
    items = []
    for row in rows:
        if row.mask is None and not row.boxes and not request.other_masks:
            raise InputError(
                f"{shown(request.photos)}: expected a mask or a box for {shown(row.photo)}, got none"
            )
        photo = _beside(table, row.photo)
        output = _table_output(row, request, photo in animated)
        mask = None if row.mask is None else _beside(table, row.mask)
        place = join(request.out, output)
        items.append(Item(row.photo, photo, place, output, mask, row.seed, row.key, row.boxes))
    return items


def _table_output(row: Row, request: Request, all_frames: bool) -> str:
    if row.output is None:
        path = PurePosixPath(row.photo)
        below = not is_url(row.photo) and not path.is_absolute() and ".." not in path.parts
        name = path.as_posix() if below else path.name
        return output_name(name, request.format, all_frames=all_frames)
    output = check_below(row.output)
    suffix = PurePosixPath(output).suffix
    if suffix.lower() not in (*WRITTEN, *ANIMATED):
        known = ", ".join((*WRITTEN, *ANIMATED))
        raise OutputError(f"output: expected a suffix of {known}, got {shown(output)!r}")
    return output


def _beside(table: Path, place: str) -> str:
    return place if is_url(place) else str(table.parent / place)


def _is_one_mask(masks: str) -> bool:
    if is_url(masks):
        return is_mask(masks)
    if not os.path.exists(masks):  # noqa: PTH110, likewise
        raise InputError(f"MASKS: {shown(masks)}: no such file or folder")
    return not Path(masks).is_dir()


def _is_same_place(one: str, other: str) -> bool:
    return place_key(one) == place_key(other)
