"""What encoders are told: quality, tables, and the metadata that each format has a place for."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Any, BinaryIO

import numpy as np
from PIL import PngImagePlugin

from moebius.imaging.metadata import XMP_AS_TEXT, Metadata
from moebius.imaging.photo import Photo

log = logging.getLogger(__name__)

JPEG_QUALITY = 95
"""For photos that bring no quantisation tables."""
WEBP_QUALITY = 90
"""For photos that were lossy before."""
AVIF_QUALITY = HEIC_QUALITY = 90
_JPEG_SEGMENT = 65_000
"""Bytes of EXIF, XMP or comment that one JPEG segment takes, rounded down."""
_PROFILE_COLOURS = slice(16, 20)
"""Where an ICC profile names its colour space (ICC.1, section 7.2)."""


def write_heif(photo: Photo, file: BinaryIO, quality: int | None) -> None:
    """16 bits become 10, HEVC's next best."""
    from pillow_heif import from_bytes

    if photo.mode == "L":
        photo = replace(photo, pixels=np.repeat(photo.pixels, 3, axis=-1), mode="RGB")
    mode = "RGB" if photo.alpha is None else "RGBA"
    samples = np.ascontiguousarray(photo.samples())
    image = from_bytes(
        mode=mode + (";16" if photo.bits == 16 else ""), size=photo.size, data=samples.tobytes()
    )
    metadata = photo.metadata
    icc = _colour_profile(metadata)
    image.info.update({"icc_profile": icc, "icc_profile_type": "prof"} if icc else {})
    best = HEIC_QUALITY if quality is None else quality
    image.save(file, quality=best, exif=metadata.exif or None, xmp=metadata.xmp, chroma=444)


def _shared_options(metadata: Metadata) -> dict[str, Any]:
    options = {"icc_profile": metadata.icc, "exif": metadata.exif, "xmp": metadata.xmp, "dpi": metadata.dpi}
    return {key: value for key, value in options.items() if value}


def _colour_options(metadata: Metadata) -> dict[str, Any]:
    """The same for a format without grey. A profile is always named: Pillow takes the image's own otherwise."""
    return _shared_options(metadata) | {"icc_profile": _colour_profile(metadata)}


def _colour_profile(metadata: Metadata) -> bytes | None:
    """The profile for samples that are written as RGB: a grey photo's own would not fit them."""
    icc = metadata.icc
    return None if icc is not None and icc[_PROFILE_COLOURS] == b"GRAY" else icc


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
    options = _colour_options(photo.metadata) | {"exact": True}  # colours under full transparency stay
    if photo.metadata.lossless and quality is None:
        return options | {"lossless": True}
    return options | {"quality": WEBP_QUALITY if quality is None else quality}


def _avif_options(photo: Photo, quality: int | None) -> dict[str, Any]:
    options = _colour_options(photo.metadata)
    options.pop("dpi", None)
    return options | {"quality": AVIF_QUALITY if quality is None else quality, "subsampling": "4:4:4"}


def _bmp_options(photo: Photo, quality: int | None) -> dict[str, Any]:
    return {"dpi": photo.metadata.dpi} if photo.metadata.dpi else {}


OPTIONS: dict[str, Callable[[Photo, int | None], dict[str, Any]]] = {
    "JPEG": _jpeg_options,
    "PNG": _png_options,
    "WEBP": _webp_options,
    "BMP": _bmp_options,
    "AVIF": _avif_options,
}
"""Format -> what Pillow is told when it saves in it."""
