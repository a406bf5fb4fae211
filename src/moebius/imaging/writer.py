"""Writing photos: the format they came in unless told otherwise, with everything they carried."""

from __future__ import annotations

import io
import logging
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image, PngImagePlugin, TiffImagePlugin

from moebius.errors import OutputError, SettingsError
from moebius.imaging.atomic import atomic_file, check_path
from moebius.imaging.decode import reason
from moebius.imaging.metadata import XMP_AS_TEXT, Metadata, tiff_tags
from moebius.imaging.photo import Photo
from moebius.imaging.png16 import write_png16
from moebius.imaging.tiff import write_tiff

log = logging.getLogger(__name__)

JPEG_QUALITY = 95
"""For photos that bring no quantisation tables."""
WEBP_QUALITY = 90
"""For photos that were lossy before."""
_JPEG_SEGMENT = 65_000
"""Bytes of EXIF, XMP or comment that one JPEG segment takes, rounded down."""
_PROFILE_COLOURS = slice(16, 20)
"""Where an ICC profile names its colour space (ICC.1, section 7.2)."""


@dataclass(frozen=True)
class _Format:
    """What a format can hold."""

    name: str
    suffixes: tuple[str, ...]
    modes: tuple[str, ...] = ("L", "RGB")
    alpha: bool = True
    deep: tuple[str, ...] = ()
    """Modes (Pillow's, with alpha) in which it holds 16 bits."""


_FORMATS = {
    each.name: each
    for each in (
        _Format("JPEG", (".jpg", ".jpeg", ".jpe", ".jfif"), modes=("L", "RGB", "CMYK"), alpha=False),
        _Format("PNG", (".png",), deep=("L", "LA", "RGB", "RGBA")),
        _Format("WEBP", (".webp",)),
        _Format("TIFF", (".tif", ".tiff"), modes=("L", "RGB", "CMYK"), deep=("L", "RGB", "RGBA", "CMYK")),
        _Format("BMP", (".bmp",), alpha=False),
    )
}
_SUFFIXES = {suffix: each.name for each in _FORMATS.values() for suffix in each.suffixes}


def write_photo(
    photo: Photo,
    target: str | Path | BinaryIO,
    *,
    format: str | None = None,
    quality: int | None = None,
    overwrite: bool = False,
) -> None:
    """Write a photo, whole or not at all.

    PNG, TIFF and BMP give back the same samples; so does WebP (grey as RGB) for photos that were not lossy
    before, and for which no quality is given. JPEG is written with the photo's own quantisation tables and
    subsampling if it brings them. EXIF, ICC profile, XMP, resolution and PNG text go where the format has a
    place for them.

    Args:
        target: a path, or a binary file open for writing.
        format: "jpeg", "png", "webp", "tiff" or "bmp"; by default the one of the target's suffix, else the
            one the photo came in, else PNG.
        quality: 1 to 100, for JPEG and for WebP (which it makes lossy); other formats ignore it.
        overwrite: replace a file that exists.

    Raises:
        OutputError: see `check_output`; or writing failed, in which case nothing is left behind.
        SettingsError: quality is out of range.
    """
    if quality is not None and not 1 <= quality <= 100:
        raise SettingsError(f"quality: expected 1 to 100, got {quality}")
    name = check_output(photo, target, format=format, overwrite=overwrite)
    if isinstance(target, str | os.PathLike):
        with atomic_file(target, overwrite=overwrite) as file:
            _write(photo, file, name, quality)
    else:
        buffer = io.BytesIO()
        _write(photo, buffer, name, quality)
        target.write(buffer.getbuffer())


def check_output(
    photo: Photo, target: str | Path | BinaryIO, *, format: str | None = None, overwrite: bool = False
) -> str:
    """Everything about an output that can be known before there is a picture to write.

    Returns:
        The format it will have: "JPEG", "PNG", "WEBP", "TIFF" or "BMP".

    Raises:
        OutputError: an unknown format or suffix; a format that would drop the photo's transparency or its
            CMYK inks; the file exists and `overwrite` is false; the folder does not exist.
    """
    name = _choose(photo, target, format)
    chosen = _FORMATS[name]
    keeping = [each for each in _FORMATS.values() if photo.mode in each.modes]
    if chosen not in keeping:
        raise OutputError(f"{name} cannot keep {photo.mode} colours, use {_names(keeping)}")
    if not chosen.alpha and _is_transparent(photo):
        keeping = [each for each in keeping if each.alpha]
        raise OutputError(f"{name} cannot keep the photo's transparency, use {_names(keeping)}")
    if isinstance(target, str | os.PathLike):
        check_path(target, overwrite)
    return name


def _choose(photo: Photo, target: str | Path | BinaryIO, format: str | None) -> str:
    wanted = format
    if wanted is None and isinstance(target, str | os.PathLike):
        wanted = Path(target).suffix
    if not wanted:
        return photo.metadata.format if photo.metadata.format in _FORMATS else "PNG"
    name = _SUFFIXES.get("." + wanted.lower().removeprefix("."))
    if name is None:
        raise OutputError(f"expected a format or suffix of {_names(_FORMATS.values())}, got {wanted!r}")
    return name


def _names(formats: Iterable[_Format]) -> str:
    return " or ".join(each.name for each in formats)


def _is_transparent(photo: Photo) -> bool:
    return photo.alpha is not None and bool((photo.alpha != np.iinfo(photo.alpha.dtype).max).any())


def _write(photo: Photo, file: BinaryIO, name: str, quality: int | None) -> None:
    """Encode into an open file, for a photo and a format that go together."""
    chosen = _FORMATS[name]
    if photo.alpha is not None and not chosen.alpha:
        photo = replace(photo, alpha=None)  # opaque everywhere, or `check_output` had refused
    mode = photo.mode + ("A" if photo.alpha is not None else "")
    if photo.bits == 16 and mode not in chosen.deep:
        log.warning("%s holds 8 bits of %s, the photo's 16 are rounded", name, mode)
        photo = photo.in_8_bits()
    try:
        if name == "TIFF":
            _write_tiff(photo, file)
            return
        options = _OPTIONS[name](photo, quality)
        if photo.bits == 8 or mode == "L":
            photo.to_pil().save(file, name, **options)
        else:
            write_png16(photo.samples(), file, options)
    except Exception as error:  # encoders, like decoders, raise anything
        raise OutputError(f"the photo cannot be written as {name}: {reason(error)}") from error


def _write_tiff(photo: Photo, file: BinaryIO) -> None:
    metadata = photo.metadata
    exif = Image.Exif()
    exif.load(metadata.exif)
    tags = tiff_tags(exif)
    if metadata.icc:
        tags[TiffImagePlugin.ICCPROFILE] = metadata.icc
    if metadata.xmp:
        tags[TiffImagePlugin.XMP] = metadata.xmp
    compress = metadata.tiff_compression != "raw"
    write_tiff(photo.samples(), photo.mode, file, tags=tags, dpi=metadata.dpi, compress=compress)


def _shared_options(metadata: Metadata) -> dict[str, Any]:
    options = {"icc_profile": metadata.icc, "exif": metadata.exif, "xmp": metadata.xmp, "dpi": metadata.dpi}
    return {key: value for key, value in options.items() if value}


def _jpeg_options(photo: Photo, quality: int | None) -> dict[str, Any]:
    metadata = photo.metadata
    options = _shared_options(metadata) | {"progressive": metadata.jpeg_progressive}
    if metadata.comment:
        options["comment"] = metadata.comment
    for key in ("exif", "xmp", "comment"):
        if len(options.get(key, b"")) > _JPEG_SEGMENT:
            log.warning("the photo's %s is too long for JPEG and is dropped", key)
            del options[key]
    if metadata.jpeg_tables and quality is None:
        options["qtables"] = [list(table) for table in metadata.jpeg_tables]
    else:
        options["quality"] = JPEG_QUALITY if quality is None else quality
    if photo.mode == "RGB":  # 4:4:4 loses least where the photo's own is not known
        options["subsampling"] = metadata.jpeg_subsampling or 0
    return options


def _png_options(photo: Photo, quality: int | None) -> dict[str, Any]:
    metadata = photo.metadata
    extra = PngImagePlugin.PngInfo()
    for name, data in metadata.png_chunks:
        extra.add(name, data)
    for keyword, text in metadata.text.items():
        extra.add_text(keyword, text)
    if metadata.xmp:
        extra.add_itxt(XMP_AS_TEXT, metadata.xmp.decode("utf-8", "replace"))
    return _shared_options(metadata) | {"pnginfo": extra}


def _webp_options(photo: Photo, quality: int | None) -> dict[str, Any]:
    options = _shared_options(photo.metadata) | {"exact": True}  # colours under full transparency stay
    if options.get("icc_profile", b"")[_PROFILE_COLOURS] == b"GRAY":
        del options["icc_profile"]  # WebP has no grey, and the profile would not fit RGB
    if photo.metadata.lossless and quality is None:
        return options | {"lossless": True}
    return options | {"quality": WEBP_QUALITY if quality is None else quality}


def _bmp_options(photo: Photo, quality: int | None) -> dict[str, Any]:
    return {"dpi": photo.metadata.dpi} if photo.metadata.dpi else {}


_OPTIONS: dict[str, Callable[[Photo, int | None], dict[str, Any]]] = {
    "JPEG": _jpeg_options,
    "PNG": _png_options,
    "WEBP": _webp_options,
    "BMP": _bmp_options,
}
"""Format -> what Pillow is told when it saves in it."""
