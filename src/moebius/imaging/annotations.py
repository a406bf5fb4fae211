"""Masks from annotation files: COCO and LabelMe, told apart by what is in them.

COCO's "Data format" page describes polygons ([x1, y1, x2, y2, ...] in pixels, several for one object) and run lengths
({"size": [height, width], "counts": ...}, down the columns, beginning with zeros). Its counts are numbers, or a string
of them as written by the published `maskApi`: `decode_counts`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from moebius.errors import MaskError
from moebius.imaging.annotation_files import (
    AnnotationCache,
    AnnotationFile,
    base_of,
    label_of,
    load_annotations,
    plain,
    stem_of,
)
from moebius.imaging.arrays import Mask
from moebius.imaging.exif import turn_upright
from moebius.imaging.mask_shapes import MAX_COORDINATE, Point, fill_box, fill_circle, fill_polygon

_TURNED = (5, 6, 7, 8)
_NUMBER_BITS = 60
"""A longer run is no photo's; and numbers that never end would take a time that grows with their square."""
_LISTED = 8
"""Names that a message lists at most."""


def looks_like_annotations(start: bytes) -> bool:
    """Whether a file that begins with these bytes (32 or more) is JSON rather than an image."""
    return start.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] in (b"{", b"[")


def read_annotations(
    source: str | Path | bytes,
    *,
    size: tuple[int, int],
    name: str | None = None,
    categories: Sequence[str] = (),
    orientation: int = 1,
    cache: AnnotationCache | None = None,
) -> Mask:
    """The objects that a COCO or LabelMe file outlines in one photo.

    COCO: polygons, run lengths, and for an object with neither its box. LabelMe: polygons, rectangles and circles.

    Args:
        source: a path, or the file's bytes.
        size: (width, height) of the photo, upright.
        name: of the photo's file; finds its entry. None takes the only photo that the file speaks of.
        categories: names, or COCO's category ids, of the objects wanted; none means all.
        orientation: EXIF orientation that the photo was stored with. Annotations of its size lying on its side are
            turned upright with it.
        cache: holds the file for other photos that want it.

    Returns:
        (H, W) bool; empty if the photo has no objects of these categories.

    Raises:
        MaskError: cannot be read, is no annotation file, is damaged, is for another photo or another size, does not
            know a category, or holds a kind of shape that has no inside (point, line).
    """
    label = label_of(source)
    try:
        file = load_annotations(source) if cache is None else cache.load(source)
        found = _parse(file, label, name, categories)
        return _draw(found, size, orientation, label)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError) as error:
        what = f"no {error}" if isinstance(error, KeyError) else str(error) or type(error).__name__
        raise MaskError(
            f"{label}: expected COCO or LabelMe annotations, got a damaged entry ({what})"
        ) from error


def decode_counts(text: str) -> list[int]:
    """The run lengths in a COCO string.

    Each number is cut into groups of 5 bits, lowest first; a character is 48 + the group, + 32 if another follows;
    bit 16 of the last group is the sign. From the fourth number on, the difference to the number two before is stored.

    Raises:
        ValueError: a character outside the alphabet, a number of more than 60 bits, or the string ends within one.
    """
    counts: list[int] = []
    value = shift = 0
    for character in text:
        group = ord(character) - 48
        if not 0 <= group < 64:
            raise ValueError(f"run lengths hold the character {character!r}")
        value |= (group & 31) << shift
        shift += 5
        if shift > _NUMBER_BITS:
            raise ValueError(f"run lengths hold a number of more than {_NUMBER_BITS} bits")
        if group & 32:
            continue
        if group & 16:
            value -= 1 << shift
        counts.append(value + (counts[-2] if len(counts) > 2 else 0))
        value = shift = 0
    if shift:
        raise ValueError("run lengths end within a number")
    return counts


@dataclass(frozen=True)
class _Found:
    """The shapes of one photo, still to be drawn."""

    size: tuple[int, int] | None
    """(width, height) that the file gives the photo, if it does."""
    shapes: list[_Shape]


@dataclass(frozen=True)
class _Shape:
    """kind: polygon, rectangle, circle (points: centre and a point on it) or runs."""

    kind: str
    points: list[Point]
    runs: Any = None


def _parse(file: AnnotationFile, label: str, name: str | None, categories: Sequence[str]) -> _Found:
    values = file.values
    if isinstance(values, dict) and isinstance(values.get("images"), list) and "annotations" in values:
        return _coco(file, label, name, categories)
    if isinstance(values, dict) and isinstance(values.get("shapes"), list):
        return _labelme(values, label, name, categories)
    raise MaskError(f"{label}: expected COCO (images, annotations) or LabelMe (shapes) JSON, got other JSON")


def _coco(file: AnnotationFile, label: str, name: str | None, categories: Sequence[str]) -> _Found:
    values, image = file.values, _image(file, label, name)
    known = {each["id"]: str(each["name"]) for each in values.get("categories", [])}
    wanted: set[Any] = set()
    for category in categories:
        ids = [id_ for id_, called in known.items() if category == called or category == str(id_)]
        if not ids:
            raise MaskError(
                f"{label}: expected a category out of {_listed(known.values())}, got {category!r}"
            )
        wanted.update(ids)
    shapes = [
        shape
        for each in file.annotations_of(image["id"])
        if not categories or each["category_id"] in wanted
        for shape in _coco_shapes(each)
    ]
    return _Found(_size(image, "width", "height"), shapes)


def _image(file: AnnotationFile, label: str, name: str | None) -> Any:
    """The entry of the photo called `name`: the very name, else the only one that differs in its suffix alone."""
    images = file.values["images"]
    if name is None:
        if len(images) != 1:
            raise MaskError(
                f"{label}: expected one photo, or the photo's file name, got {len(images)} photos"
            )
        return images[0]
    alike = file.images_called(name)
    if len(alike) > 1:  # the same name in several folders
        parts = PurePosixPath(plain(name)).parts
        ends = [_common_end(PurePosixPath(plain(image["file_name"])).parts, parts) for image in alike]
        alike = [image for image, end in zip(alike, ends, strict=True) if end == max(ends)]
    if len(alike) != 1:
        names = _listed(image["file_name"] for image in images)
        raise MaskError(
            f"{label}: expected one entry for {base_of(name)}, got {len(alike)} (the file has {names})"
        )
    return alike[0]


def _coco_shapes(annotation: Any) -> Iterator[_Shape]:
    segmentation = annotation.get("segmentation")
    if isinstance(segmentation, dict):
        yield _Shape("runs", [], segmentation)
    elif segmentation:
        for polygon in segmentation:
            if len(polygon) % 2:
                raise ValueError(f"a polygon of {len(polygon)} numbers")
            yield _Shape("polygon", _points(zip(polygon[::2], polygon[1::2], strict=True)))
    elif annotation.get("bbox"):
        x, y, width, height = annotation["bbox"]
        yield _Shape("rectangle", _points([(x, y), (x + width, y + height)]))


def _labelme(values: dict[str, Any], label: str, name: str | None, categories: Sequence[str]) -> _Found:
    path = values.get("imagePath")
    if name is not None and path and stem_of(path) != stem_of(name):
        raise MaskError(f"{label}: expected annotations of {base_of(name)}, got those of {base_of(path)}")
    known = {str(shape["label"]) for shape in values["shapes"]}
    for category in categories:
        if category not in known:
            raise MaskError(f"{label}: expected a label out of {_listed(known)}, got {category!r}")
    shapes = []
    for shape in values["shapes"]:
        if categories and str(shape["label"]) not in categories:
            continue
        kind = shape.get("shape_type") or "polygon"
        if kind not in ("polygon", "rectangle", "circle"):
            raise MaskError(
                f"{label}: expected polygons, rectangles and circles, got a {kind} ({shape['label']})"
            )
        points = _points(shape["points"])
        if kind != "polygon" and len(points) != 2:
            raise ValueError(f"a {kind} of {len(points)} points")
        shapes.append(_Shape(kind, points))
    return _Found(_size(values, "imageWidth", "imageHeight"), shapes)


def _draw(found: _Found, size: tuple[int, int], orientation: int, label: str) -> Mask:
    drawn_at = found.size or size
    if drawn_at != size and (orientation not in _TURNED or drawn_at != size[::-1]):
        sizes = f"{drawn_at[0]} x {drawn_at[1]} for a photo of {size[0]} x {size[1]}"
        raise MaskError(f"{label}: expected the photo's size, got {sizes}")
    mask = np.zeros((drawn_at[1], drawn_at[0]), dtype=bool)
    for shape in found.shapes:
        if shape.kind == "runs":
            _fill_runs(mask, shape.runs)
        elif shape.kind == "rectangle":
            fill_box(mask, *shape.points)
        elif shape.kind == "circle":
            (x, y), (on_x, on_y) = shape.points
            fill_circle(mask, (x, y), float(np.hypot(on_x - x, on_y - y)))
        elif len(shape.points) < 3:
            raise ValueError(f"a polygon of {len(shape.points)} points")
        else:
            fill_polygon(mask, shape.points)
    return mask if drawn_at == size else np.ascontiguousarray(turn_upright(mask, orientation))


def _fill_runs(mask: Mask, runs: Any) -> None:
    height, width = runs["size"]
    if (height, width) != mask.shape:
        raise ValueError(f"run lengths for {width} x {height} pixels")
    counts = runs["counts"]
    counts = decode_counts(counts) if isinstance(counts, str) else counts
    if any(isinstance(count, bool) or not isinstance(count, int) or count < 0 for count in counts):
        raise ValueError("run lengths that are no whole numbers from 0")
    if sum(counts) != mask.size:
        raise ValueError(f"run lengths of {sum(counts)} pixels instead of {mask.size}")
    values = np.arange(len(counts)) % 2 == 1
    mask |= np.repeat(values, counts).reshape(width, height).T


def _points(pairs: Any) -> list[Point]:
    points = [(float(x), float(y)) for x, y in pairs]
    if not all(abs(value) <= MAX_COORDINATE for point in points for value in point):  # also false for NaN
        raise ValueError("a coordinate that is no number of pixels")
    return points


def _size(values: Any, width: str, height: str) -> tuple[int, int] | None:
    size = values.get(width), values.get(height)
    if size == (None, None):
        return None
    if not all(isinstance(side, int) and side > 0 for side in size):
        raise ValueError(f"a size of {size[0]} x {size[1]}")
    return size


def _common_end(parts: Sequence[str], others: Sequence[str]) -> int:
    """How many last parts of two paths are the same."""
    count = 0
    for part, other in zip(reversed(parts), reversed(others), strict=False):
        if part != other:
            break
        count += 1
    return count


def _listed(names: Any) -> str:
    """A few names for a message."""
    names = sorted({str(name) for name in names})
    rest = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + rest if names else "none"
