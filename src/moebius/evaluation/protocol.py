"""Protocols as holes: the cases of a benchmark, in an order that never changes.

What a protocol is stands in `protocol_file.py`; what its data folder holds depends on its kind:

    "list"      pictures named by a rule; a mask is drawn for each
    "manifest"  manifest.jsonl, a line a picture: {"id", "group", "source", "image", "masks": {family: path}}
    "removal"   photos with a mask of an object, and no truth: manifest.json, a list of {"name", "image", "mask",
                "object"}, or else pairs NAME.jpg, NAME_mask.png

Paths in manifests are relative to the folder. White in a mask = hole.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath

from moebius.errors import InputError, MaskError
from moebius.evaluation.holes import Case, Mask, spread
from moebius.evaluation.planted import PlantedMask
from moebius.evaluation.protocol_file import (
    ImageRule,
    MaskRule,
    Protocol,
    Published,
    RunRule,
    expect_one_of,
    open_protocol,
    protocol_names,
)
from moebius.imaging import grow_objects, read_mask

__all__ = [
    "DrawnMask",
    "ImageRule",
    "InvertedMask",
    "MaskRule",
    "Protocol",
    "Published",
    "RunRule",
    "cases",
    "list_sha256",
    "open_protocol",
    "protocol_names",
]

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")
"""Of pictures; where several would do, the first that is there."""


@dataclass(frozen=True)
class DrawnMask:
    """The mask of a list's picture `index`, for `Case.mask`."""

    rule: MaskRule
    index: int

    def __call__(self, size: tuple[int, int]) -> Mask:
        if size[0] != size[1]:
            raise MaskError(f"mask: expected a square picture, got {size[0]} x {size[1]}")
        return self.rule.draw(self.index, size[0])


@dataclass(frozen=True)
class InvertedMask:
    """A mask file in which black = hole, for `Case.mask`."""

    path: Path = field(repr=False)

    def __call__(self, size: tuple[int, int]) -> Mask:
        return read_mask(self.path, size=size, invert=True)


def cases(
    protocol: Protocol,
    data: Path | None,
    *,
    masks: Path | None = None,
    invert: bool = False,
    list_file: Path | None = None,
    families: Sequence[str] = (),
    limit: int | None = None,
) -> list[Case]:
    """The holes of a protocol in a fixed order: pictures as listed, families as stated.

    Args:
        data: folder of the pictures; None is answered with what to download.
        masks: folder of masks instead of drawn ones, each named like its picture and of the protocol's side.
        invert: in `masks`, black = hole.
        list_file: pictures instead of those of the rule, a path below `data` a line. A drawn mask belongs to a
            place in the full list: `limit` does not change it, another list does.
        families: only these.
        limit: so many pictures, evenly spaced over the list; None = all.

    Raises:
        InputError: data or masks are missing (what, how many, and where to get them), or damaged, or options
            do not fit the protocol.
    """
    wanted = list(protocol.families)
    for family in families:
        expect_one_of("families", family, wanted)
    wanted = [family for family in wanted if not families or family in families]
    if protocol.kind != "list" and (masks is not None or list_file is not None):
        option = "masks" if masks is not None else "list file"
        raise InputError(f"{protocol.name}: expected no {option}: the data folder brings its own")
    if data is None:
        raise InputError(f"{protocol.name}: expected a data folder, got none. {_remedy(protocol)}")
    for folder in (data,) if masks is None else (data, masks):
        if not folder.is_dir():
            remedy = f". {_remedy(protocol)}" if folder == data else ""
            raise InputError(f"{protocol.name}: expected a folder, found none at {folder}{remedy}")
    if protocol.kind == "list":
        photos = _listed(protocol, data, masks, invert, list_file, wanted)
    else:
        photos = (_manifested if protocol.kind == "manifest" else _removals)(protocol, data, wanted)
    name, times = Counter(photo[0].photo for photo in photos).most_common(1)[0]
    if times > 1:
        raise InputError(f"{protocol.name}: expected every picture once, got {name} {times} times in {data}")
    chosen = spread(photos, limit)
    _present(protocol, "pictures", [photo[0].image for photo in chosen], data, _remedy(protocol))
    files = [_file(case) for photo in chosen for case in photo]
    remedy = "Each must be named like its picture." if masks else _remedy(protocol)
    _present(protocol, "masks", [path for path in files if path is not None], masks or data, remedy)
    return [case for photo in chosen for case in photo]


def list_sha256(cases: Iterable[Case]) -> str:
    """Digest of what is measured: names, families, sides, and where masks come from. Files are not read."""
    total = hashlib.sha256()
    for case in cases:
        path = _file(case)
        if path is None and not isinstance(case.mask, DrawnMask | PlantedMask):
            raise TypeError(f"expected a case of a protocol, got the mask {case.mask!r}")
        source = case.mask.name if isinstance(case.mask, Path) else repr(case.mask)
        line = [case.photo, case.family, case.side, case.crop, case.margin is not None, source]
        total.update(json.dumps(line).encode() + b"\n")
    return total.hexdigest()


def _listed(
    protocol: Protocol,
    data: Path,
    masks: Path | None,
    invert: bool,
    list_file: Path | None,
    families: Sequence[str],
) -> list[list[Case]]:
    rule = protocol.images
    assert protocol.masks is not None
    if list_file is not None:
        lines = _text(list_file, f"{list_file}: expected a list of pictures, a path a line").splitlines()
        names = [line.strip() for line in lines if line.strip()]
        if not names:
            raise InputError(f"{list_file}: expected a path a line, found none")
    elif rule.pattern:
        names = [rule.pattern.format(rule.first + i) for i in range(rule.count or 0)]
    else:
        found = (path for path in data.glob(rule.glob) if path.suffix.lower() in SUFFIXES)
        names = sorted(path.relative_to(data).as_posix() for path in found if path.name[0] != ".")
        if len(names) < (rule.count or 1):
            raise InputError(
                f"{protocol.name}: expected {rule.count or 1:,} pictures in {data}, found {len(names):,}. "
                f"{_remedy(protocol)}"
            )
        names = names[: rule.count]
    photos = []
    for index, name in enumerate(names):
        photo = str(PurePosixPath(name).with_suffix("")) if Path(name).suffix.lower() in SUFFIXES else name
        mask: Path | Callable[[tuple[int, int]], Mask] = DrawnMask(protocol.masks, index)
        if masks is not None:
            path = _picture(masks, photo)
            mask = InvertedMask(path) if invert else path
        image = data / name if photo != name else _picture(data, name)
        photos.append(
            [Case(photo=photo, image=image, mask=mask, family=each, side=rule.side) for each in families]
        )
    return photos


def _manifested(protocol: Protocol, data: Path, families: Sequence[str]) -> list[list[Case]]:
    path = data / "manifest.jsonl"
    expected = f"{path}: expected the list of the set's pictures"
    photos = []
    for number, line in enumerate(_text(path, expected, f". {_remedy(protocol)}").splitlines(), start=1):
        try:
            entry = json.loads(line)
            masks = {family: data / mask for family, mask in entry["masks"].items()}
            make = partial(
                Case,
                photo=str(entry["id"]),
                image=data / entry["image"],
                group=str(entry["group"]),
                source=str(entry.get("source", "")),
            )
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise InputError(
                f"{path}, line {number}: expected id, group, image, masks, got {error!r}"
            ) from error
        for family in families:
            if family not in masks:
                got = ", ".join(masks) or "none"
                raise InputError(f"{path}, line {number}: expected a mask of family {family!r}, got {got}")
        photos.append([make(mask=masks[family], family=family) for family in families])
    if not photos:
        raise InputError(f"{path}: expected a line a picture, found none")
    return photos


def _removals(protocol: Protocol, data: Path, families: Sequence[str]) -> list[list[Case]]:
    path = data / "manifest.json"
    found: list[tuple[str, Path, Path, str]] = []
    if path.exists():
        expected = f"{path}: expected a list of name, image, mask, object"
        try:
            for entry in json.loads(_text(path, expected)):
                paths = data / entry["image"], data / entry["mask"]
                found.append((str(entry["name"]), *paths, str(entry.get("object", ""))))
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise InputError(f"{expected}, got {error!r}") from error
    else:
        for image in sorted(data.iterdir()):
            picture = image.suffix.lower() in SUFFIXES and image.name[0] != "."
            if picture and not image.stem.endswith("_mask"):
                found.append((image.stem, image, _picture(data, f"{image.stem}_mask"), ""))
    if not found:
        raise InputError(f"{protocol.name}: expected photos in {data}, found none. {_remedy(protocol)}")
    if protocol.kind == "planted":
        places = {family: place for place, family in enumerate(protocol.families)}
        return [
            [
                Case(photo=name, image=image, mask=PlantedMask(mask, places[each]), family=each)
                for each in families
            ]
            for name, image, mask, _ in found
        ]
    make = partial(Case, family=families[0], margin=partial(grow_objects, pixels=None))
    return [[make(photo=name, image=image, mask=mask, source=what)] for name, image, mask, what in found]


def _picture(folder: Path, name: str) -> Path:
    """The picture of that name without a suffix; where there is none, what a PNG's path would be."""
    paths = [folder / f"{name}{suffix}" for suffix in SUFFIXES]
    return next((path for path in paths if path.is_file()), paths[0])


def _file(case: Case) -> Path | None:
    if isinstance(case.mask, InvertedMask | PlantedMask):
        return case.mask.path
    return case.mask if isinstance(case.mask, Path) else None


def _text(path: Path, expected: str, remedy: str = "") -> str:
    try:
        return path.read_bytes().decode("utf-8-sig", "replace")
    except OSError as error:
        raise InputError(f"{expected} ({error.strerror}){remedy}") from error


def _remedy(protocol: Protocol) -> str:
    return " ".join(protocol.images.download.split())


def _present(protocol: Protocol, what: str, paths: Sequence[Path], folder: Path, remedy: str) -> None:
    missing = [path for path in paths if not path.is_file()]
    if missing:
        first = missing[0].relative_to(folder) if missing[0].is_relative_to(folder) else missing[0]
        raise InputError(
            f"{protocol.name}: {len(missing):,} of {len(paths):,} {what} are missing in {folder}, "
            f"the first is {first.as_posix()}. {remedy}"
        )
