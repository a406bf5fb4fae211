"""Masks people really have: files, transparency, painted colours, drawn shapes, differences; alone or together."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from moebius.errors import MaskError, PhotoError
from moebius.imaging.annotation_files import AnnotationCache
from moebius.imaging.annotations import looks_like_annotations, read_annotations
from moebius.imaging.arrays import Mask
from moebius.imaging.decode import ImageSource, Readable
from moebius.imaging.hole import Hole
from moebius.imaging.mask import read_mask
from moebius.imaging.mask_cleaning import close_gaps, drop_specks, fill_holes
from moebius.imaging.mask_pixels import (
    DIFFERENCE,
    KEY_TOLERANCE,
    alpha_mask,
    check_level,
    difference_mask,
    key_mask,
    opaque_under,
    parse_colour,
)
from moebius.imaging.mask_shapes import draw_shapes
from moebius.imaging.metadata import read_headers
from moebius.imaging.photo import Photo
from moebius.imaging.reader import read_photo
from moebius.settings import MAX_PIXELS

LARGE = 0.8
"""A mask that covers a larger share of its photo is probably the wrong way round."""


def check_share(mask: Mask, *, inverted: bool = False, from_file: bool = True) -> None:
    """Refuse a mask (H, W) that covers more than 80 % of its photo: it is probably the wrong way round.

    Args:
        inverted: it has been inverted already, which is then not what to advise.
        from_file: it comes from an image, which can be inverted.

    Raises:
        MaskError: it covers more; the message says what to do.
    """
    share = float(mask.mean())
    if share <= LARGE:
        return
    if from_file and not inverted:
        advice = "white means fill; give --invert if it is the other way round, or --yes to fill that much"
    else:
        advice = "give --yes to fill that much"
    raise MaskError(f"the mask covers {share:.0%} of the photo: {advice}")


@dataclass(frozen=True, kw_only=True)
class MaskSources:
    """Everything that a mask is made of: the union of all sources, less what is kept, then cleaned.

    Holds names and numbers only, so it can be compared, pickled and used for one photo or for many.

    Raises:
        MaskError: two fields contradict each other, or a number is out of range.
    """

    files: tuple[str | bytes, ...] = ()
    """Mask images, COCO or LabelMe JSON: paths or the files' bytes."""
    keep: tuple[str | bytes, ...] = ()
    """Mask images or annotations of what stays as it is: neither growth nor feather reach into it."""
    boxes: tuple[str, ...] = ()
    polygons: tuple[str, ...] = ()
    circles: tuple[str, ...] = ()
    """As `add_box`, `add_polygon` and `add_circle` read them."""
    alpha: bool = False
    """The photo's transparent part is filled, and becomes opaque."""
    key: str | None = None
    """A colour that is to be filled, "#ff00ff"."""
    key_tolerance: int | None = None
    key_in: str | None = None
    """An annotated copy of the photo in which the key colour is looked for, instead of in the photo."""
    differs_from: str | None = None
    """A copy of the photo that has been painted on, or the clean photo if this one has."""
    difference: int | None = None
    categories: tuple[str, ...] = ()
    """Of annotations: only these."""
    invert: bool = False
    """Mask images are black where they should be filled."""
    fit: bool = False
    """Mask images of another size are brought to the photo's."""
    close_gaps: int = 0
    fill_holes: bool = False
    drop_specks: int = 0
    """Cleaning, in this order: `mask_cleaning`."""
    grow: int | None = None
    """Growth that the fill will have; what is made opaque grows with it."""

    def __post_init__(self) -> None:
        if not self:
            raise MaskError(
                "mask: expected a mask file, --box, --polygon, --circle, --mask-from alpha, --key or --differs-from, "
                "got none"
            )
        for wrong, message in (
            (self.invert and not self.files, "--invert: expected a mask file, got none"),
            (
                self.categories and not (self.files or self.keep),
                "--category: expected an annotation file, got none",
            ),
            (self.key_in is not None and self.key is None, "--key-in: expected a colour in --key, got none"),
            (
                self.key_tolerance is not None and self.key is None,
                "--key-tolerance: expected a --key, got none",
            ),
            (
                self.difference is not None and self.differs_from is None,
                "--difference: expected a photo in --differs-from, got none",
            ),
            (
                self.close_gaps < 0 or self.close_gaps > 512,
                f"close_gaps: expected 0 to 512, got {self.close_gaps}",
            ),
            (self.drop_specks < 0, f"drop_specks: expected 0 or more pixels, got {self.drop_specks}"),
        ):
            if wrong:
                raise MaskError(message)
        if self.key is not None:
            parse_colour(self.key)
        check_level("key tolerance", self.key_tolerance or 0)
        check_level("difference", self.difference or 0)

    def __bool__(self) -> bool:
        """Whether there is anything to make a mask of."""
        shapes = self.boxes or self.polygons or self.circles
        return bool(self.files or shapes or self.alpha or self.key or self.differs_from)

    @property
    def has_images(self) -> bool:
        """Whether any of the files is a mask image, which can be inverted; annotations cannot."""
        return not all(_is_annotation(file) for file in self.files)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values that tell one set of sources from another; bytes by their SHA-256."""
        return {
            key: [sha256(each).hexdigest() if isinstance(each, bytes) else each for each in value]
            if isinstance(value, tuple)
            else value
            for key, value in asdict(self).items()
        }

    def hole_in(
        self, photo: Photo, stored: Readable, name: str | None = None, *,
        allow_large: bool = False, cache: AnnotationCache | None = None,
    ) -> tuple[Photo, Hole]:  # fmt: skip
        """`hole_of` for a photo that was read from `stored`, whose header tells how it lay.

        Args:
            allow_large: do not take a mask that covers more than 80 % of the photo for an inverted one.

        Raises:
            MaskError, PhotoError: see `hole_of` and `check_share`.
        """
        orientation = stored_orientation(stored) if self.files or self.keep else 1
        photo, hole = self.hole_of(photo, name, orientation, cache)
        if not allow_large:
            check_share(hole.mask, inverted=self.invert, from_file=self.has_images)
        return photo, hole

    def mask_of(
        self,
        photo: Photo,
        name: str | None = None,
        orientation: int = 1,
        cache: AnnotationCache | None = None,
    ) -> tuple[Photo, Mask]:
        """`hole_of`, of which only the mask (H, W): it does not know what its growth may not reach."""
        photo, hole = self.hole_of(photo, name, orientation, cache)
        return photo, hole.mask

    def hole_of(
        self,
        photo: Photo,
        name: str | None = None,
        orientation: int = 1,
        cache: AnnotationCache | None = None,
    ) -> tuple[Photo, Hole]:
        """The photo as it is to be filled, and what is filled of it, not grown yet.

        Args:
            name: of the photo's file, for annotations of several photos.
            orientation: EXIF orientation that the photo was stored with, for annotations of it lying on its side.
            cache: holds annotation files for other photos that share them.

        Raises:
            MaskError, PhotoError: a source cannot be read, or does not fit the photo.
        """
        mask = draw_shapes(photo.size, self.boxes, self.polygons, self.circles)
        kept = np.zeros_like(mask)
        annotated = False
        for file, target, invert in (
            *((file, mask, self.invert) for file in self.files),
            *((file, kept, False) for file in self.keep),
        ):
            found, is_annotation = self._read(file, photo, name, orientation, invert, cache)
            target |= found
            annotated |= is_annotation
        if self.categories and not annotated:
            raise MaskError("--category: expected an annotation file, got mask images")
        if self.key is not None:
            where = photo if self.key_in is None else _same_size(self.key_in, photo)
            mask |= key_mask(
                where, self.key, KEY_TOLERANCE if self.key_tolerance is None else self.key_tolerance
            )
        if self.differs_from is not None:
            threshold = DIFFERENCE if self.difference is None else self.difference
            mask |= difference_mask(photo, _same_size(self.differs_from, photo), threshold)
        transparent = alpha_mask(photo) if self.alpha else None
        if transparent is not None:
            mask |= transparent
        mask = self._clean(mask & ~kept) & ~kept  # cleaning may not take it back
        hole = Hole(mask, kept if self.keep else None)
        if transparent is not None:
            photo = opaque_under(photo, Hole(mask & transparent, hole.kept).grown(self.grow).mask)
        return photo, hole

    def _read(
        self, file: str | bytes, photo: Photo, name: str | None, orientation: int, invert: bool,
        cache: AnnotationCache | None,
    ) -> tuple[Mask, bool]:  # fmt: skip
        """One file's mask, and whether it is an annotation file."""
        if not _is_annotation(file):
            return read_mask(file, size=photo.size, invert=invert, fit=self.fit), False
        if invert:
            raise MaskError("--invert: expected mask images, got annotations, which outline what is filled")
        return read_annotations(
            file,
            size=photo.size,
            name=name,
            categories=self.categories,
            orientation=orientation,
            cache=cache,
        ), True

    def _clean(self, mask: Mask) -> Mask:
        if self.close_gaps:
            mask = close_gaps(mask, self.close_gaps)
        if self.fill_holes:
            mask = fill_holes(mask)
        if self.drop_specks:
            mask = drop_specks(mask, self.drop_specks)
        return mask


def _is_annotation(file: str | bytes) -> bool:
    if isinstance(file, bytes):
        return looks_like_annotations(file[:64])
    try:
        with Path(file).open("rb") as stream:
            return looks_like_annotations(stream.read(64))
    except (OSError, ValueError):
        return False  # `read_mask` says what is wrong


def _same_size(path: str, photo: Photo) -> Photo:
    try:
        other = read_photo(path)
    except PhotoError as error:
        raise MaskError(f"copy of the {error}") from error
    if other.size != photo.size:
        sizes = f"{other.width} x {other.height} for a photo of {photo.width} x {photo.height}"
        raise MaskError(f"{path}: expected the photo's size, got {sizes}")
    return other


def stored_orientation(source: Readable) -> int:
    """EXIF orientation, 1 to 8, that a photo is stored with. Nothing is decoded.

    Raises:
        PhotoError: it cannot be read.
    """
    with ImageSource(source, noun="photo", error=PhotoError, max_pixels=MAX_PIXELS) as opened:
        image = opened.open()
        with opened.decoding(image):
            _, orientation = read_headers(image, opened.stream)
        return opened.orientation if opened.layout else orientation
