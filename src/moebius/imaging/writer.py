"""Writing photos: the format they came in unless told otherwise, with everything they carried."""

from __future__ import annotations

import importlib.util
import io
import logging
import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image, TiffImagePlugin, features

from moebius.errors import OutputError, SettingsError
from moebius.imaging.atomic import atomic_file, check_path
from moebius.imaging.changes import Stored, Written
from moebius.imaging.decode import reason
from moebius.imaging.jpeg_blocks import BlocksLostError, KeptBlocks, keep_blocks
from moebius.imaging.metadata import tiff_tags
from moebius.imaging.photo import Photo
from moebius.imaging.png16 import write_png16
from moebius.imaging.save_options import OPTIONS, write_heif
from moebius.imaging.tiff import write_tiff

log = logging.getLogger(__name__)


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
        _Format(
            "TIFF",
            (".tif", ".tiff"),
            modes=("L", "RGB", "CMYK", "LAB"),
            deep=("L", "LA", "RGB", "RGBA", "CMYK", "LAB"),
        ),
        _Format("BMP", (".bmp",), alpha=False),
        _Format("AVIF", (".avif",)),
        _Format("HEIF", (".heic", ".heif", ".hif"), deep=("RGB", "RGBA")),
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
) -> Written:
    """Write a photo, whole or not at all.

    PNG, TIFF and BMP give back the same samples; so does WebP (grey as RGB) for photos that were not lossy
    before, and for which no quality is given. A photo that came from a JPEG, written as JPEG, keeps the
    coefficients of every block in which nothing has changed (`jpeg_blocks`); where that cannot be done, all are
    encoded with the photo's own quantisation tables and subsampling. AVIF and HEIC are lossy. EXIF, ICC profile,
    XMP, resolution and PNG text go where the format has a place for them.

    Args:
        target: a path, or a binary file open for writing.
        format: "jpeg", "png", "webp", "tiff", "bmp", "avif" or "heic"; by default the one of the target's
            suffix, else the one the photo came in, else PNG.
        quality: 1 to 100, for JPEG (all of which is then encoded anew), AVIF, HEIC, and for WebP (which it makes
            lossy); other formats ignore it.
        overwrite: replace a file that exists.

    Returns:
        What was done.

    Raises:
        OutputError: see `check_output`; or writing failed, in which case nothing is left behind.
        SettingsError: quality is out of range.
    """
    if quality is not None and not 1 <= quality <= 100:
        raise SettingsError(f"quality: expected 1 to 100, got {quality}")
    name = check_output(photo, target, format=format, overwrite=overwrite)
    if isinstance(target, str | os.PathLike):
        with atomic_file(target, overwrite=overwrite) as file:
            return _write(photo, file, name, quality)
    buffer = io.BytesIO()
    written = _write(photo, buffer, name, quality)
    target.write(buffer.getbuffer())
    return written


def check_output(
    photo: Photo, target: str | Path | BinaryIO, *, format: str | None = None, overwrite: bool = False
) -> str:
    """Everything about an output that can be known before there is a picture to write.

    Returns:
        The format it will have: "JPEG", "PNG", "WEBP", "TIFF", "BMP", "AVIF" or "HEIF".

    Raises:
        OutputError: an unknown format or suffix; a format that would drop the photo's transparency or its
            CMYK inks; one whose library is not installed; the file exists and `overwrite` is false; the folder
            does not exist.
    """
    name = _choose(photo, target, format)
    chosen = _FORMATS[name]
    keeping = [each for each in _FORMATS.values() if photo.mode in each.modes]
    if chosen not in keeping:
        raise OutputError(f"{name} cannot keep {photo.mode} colours, use {_names(keeping)}")
    if not chosen.alpha and _is_transparent(photo):
        keeping = [each for each in keeping if each.alpha]
        raise OutputError(f"{name} cannot keep the photo's transparency, use {_names(keeping)}")
    _check_library(name)
    if isinstance(target, str | os.PathLike):
        check_path(target, overwrite)
    return name


def check_format(format: str) -> str:
    """The format's name in `Written`, for one as `write_photo` takes it ("jpg", ".jpeg" and "JPEG" are the same).

    Raises:
        OutputError: unknown, or its library is not installed.
    """
    name = _named(format)
    _check_library(name)
    return name


def output_formats() -> tuple[str, ...]:
    """What can be written here, by the names that `write_photo` takes: those of missing libraries are left out."""
    found = []
    for name in _FORMATS:
        try:
            _check_library(name)
        except OutputError:
            continue
        found.append(asked_name(name))
    return tuple(found)


def asked_name(name: str) -> str:
    """A format as people ask for it ("jpeg", "heic"), for its name in `Written`."""
    return {"HEIF": "heic"}.get(name, name.lower())


def _check_library(name: str) -> None:
    if name == "AVIF" and not features.check("avif"):
        raise OutputError("AVIF needs Pillow 11.3 or newer with AVIF support")
    if name == "HEIF" and importlib.util.find_spec("pillow_heif") is None:
        raise OutputError("HEIC needs pillow-heif: pip install 'moebius-inpaint[heic]'")


def _choose(photo: Photo, target: str | Path | BinaryIO, format: str | None) -> str:
    wanted = format
    if wanted is None and isinstance(target, str | os.PathLike):
        wanted = Path(target).suffix
    if not wanted:
        return photo.metadata.format if photo.metadata.format in _FORMATS else "PNG"
    return _named(wanted)


def _named(format: str) -> str:
    name = _SUFFIXES.get("." + format.lower().removeprefix("."))
    if name is None:
        raise OutputError(f"expected a format or suffix of {_names(_FORMATS.values())}, got {format!r}")
    return name


def _names(formats: Iterable[_Format]) -> str:
    return " or ".join(each.name for each in formats)


def _is_transparent(photo: Photo) -> bool:
    return photo.alpha is not None and bool((photo.alpha != np.iinfo(photo.alpha.dtype).max).any())


def _write(photo: Photo, file: BinaryIO, name: str, quality: int | None) -> Written:
    """Encode into an open file, for a photo and a format that go together."""
    chosen, warnings = _FORMATS[name], []
    if photo.alpha is not None and not chosen.alpha:
        photo = replace(photo, alpha=None)  # opaque everywhere, or `check_output` had refused
    mode = photo.mode + ("A" if photo.alpha is not None else "")
    stored: Stored = "lossless"
    if photo.bits == 16 and mode not in chosen.deep:
        warnings.append(f"{name} holds 8 bits of {mode}, the photo's 16 are rounded")
        log.warning("%s", warnings[-1])
        photo, stored = photo.in_8_bits(), "lossy"
    kept = None
    try:
        if name == "TIFF":
            _write_tiff(photo, file)
        elif name == "HEIF":
            write_heif(photo, file, quality)
        elif photo.bits == 16 and mode != "L":
            write_png16(photo.samples(), file, OPTIONS["PNG"](photo, quality))
        else:
            options = OPTIONS[name](photo, quality)
            if name == "JPEG" and quality is None and photo.metadata.format == "JPEG":
                kept = _keep_blocks(photo, options, warnings)
            if kept is None:
                photo.to_pil().save(file, name, **options)
            else:
                file.write(kept.data)
            if name in ("JPEG", "AVIF") or (name == "WEBP" and not options.get("lossless")):
                stored = "lossy"
    except Exception as error:  # encoders, like decoders, raise anything
        raise OutputError(f"the photo cannot be written as {name}: {reason(error)}") from error
    nbytes = file.seek(0, os.SEEK_END)
    if name == "HEIF":
        stored = "lossy"
    if kept is None:
        return Written(name, nbytes, stored, warnings=tuple(warnings))
    return Written(
        name, nbytes, "blocks kept", kept.blocks_total, kept.blocks_rewritten, (*warnings, *kept.warnings)
    )


def _keep_blocks(photo: Photo, options: dict[str, Any], warnings: list[str]) -> KeptBlocks | None:
    try:
        return keep_blocks(photo, options)
    except BlocksLostError as error:
        warnings.append(f"nearest: re-encoded at the same quantisation ({error})")
        log.info("%s", warnings[-1])
        return None


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
