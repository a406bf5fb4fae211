"""Reading photos."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from moebius.errors import PhotoError
from moebius.imaging.arrays import AnyArray, Samples
from moebius.imaging.colour import CHANNELS, ColourMode
from moebius.imaging.decode import ImageSource, Readable
from moebius.imaging.deep import is_deep, read_deep
from moebius.imaging.exif import turn_dpi, turn_upright
from moebius.imaging.metadata import Metadata, collect_metadata
from moebius.imaging.photo import Photo
from moebius.imaging.tiff_layouts import grey_and_alpha
from moebius.settings import MAX_PIXELS

log = logging.getLogger(__name__)

_READ_AS = {"1": "L", "La": "LA", "P": "RGB", "PA": "RGBA", "RGBX": "RGB", "RGBa": "RGBA", "YCbCr": "RGB"}
"""Pillow modes that are read as another one."""
_TRANSPARENT = {"L": "LA", "RGB": "RGBA"}
_BITS_PER_SAMPLE, _PHOTOMETRIC, _WHITE_IS_ZERO = 258, 262, 0


def read_photo(source: Readable | NDArray[Any], *, max_pixels: int = MAX_PIXELS) -> Photo:
    """Read a photo and turn it upright.

    Args:
        source: a path, the bytes of a file, an open binary file, a Pillow image, or an array: (H, W), (H, W,
            1) or (H, W, 3), or (H, W, 4) with alpha last, as uint8, uint16, or floats in [0, 1] (kept in 8
            bits).
        max_pixels: a photo with more is refused by its header, before it is decoded.

    Returns:
        A photo of its own: nothing in it is shared with `source`. Palettes become RGB, 1-bit becomes grey,
        transparent colours become alpha; grey, CMYK, Lab and 16 bits (in PNG, TIFF and HEIC) stay. Lab samples are
        those of the TIFF (photometric 8), a* and b* in two's complement, in 8 bits as in 16. 10 and 12 bits of HEIC
        are brought to 16, white to white; of AVIF, 8 are read.
        Of several frames the first is taken, with a logged warning.

    Raises:
        PhotoError: it is missing, a folder, empty, no image, damaged, truncated, too large, or stored in a
            way that cannot be kept (floats, 32-bit integers).
    """
    if isinstance(source, np.ndarray):
        return _from_array(source, max_pixels)
    with ImageSource(source, noun="photo", error=PhotoError, max_pixels=max_pixels) as opened:
        image = opened.open()
        with opened.decoding(image):
            frames, at_least = _frames(image), " or more" if image.format == "GIF" else ""
            if frames > 1:
                log.warning("%s: has %d frames%s, only the first is used", opened.label, frames, at_least)
            if opened.layout in ("LA", "LA differences"):
                image.load()
                samples: Samples = grey_and_alpha(np.asarray(image).astype(np.uint16), opened.layout)
            elif opened.stream is not None and is_deep(image):
                samples = _deep_samples(opened, image)
            else:
                image.load()
                samples = _grey_samples(opened, image) if image.mode[0] == "I" else _samples(opened, image)
            metadata, orientation = collect_metadata(image, opened.stream)
            if opened.orientation != 1:
                orientation = opened.orientation
                metadata = replace(metadata, dpi=metadata.dpi and turn_dpi(metadata.dpi, orientation))
    mode: ColourMode = "L" if samples.shape[2] < 3 else "RGB"
    if "LAB" in (image.mode, opened.layout):
        mode = "LAB"
    elif image.mode == "CMYK":
        mode = "CMYK"
    return _photo(turn_upright(samples, orientation), mode, metadata)


def _frames(image: Image.Image) -> int:
    """Frames in the file, of a GIF at most two: it has to be read through to count them."""
    if image.format == "GIF":
        return 1 + getattr(image, "is_animated", False)
    return int(getattr(image, "n_frames", 1))


def _photo(samples: Samples, mode: ColourMode, metadata: Metadata) -> Photo:
    """samples (H, W, C), the photo's channels and perhaps alpha -> a photo with arrays of its own."""
    channels = CHANNELS[mode]
    alpha = samples[..., channels].copy() if samples.shape[2] > channels else None
    return Photo(np.array(samples[..., :channels], order="C"), mode, alpha, metadata)


def _samples(source: ImageSource, image: Image.Image) -> Samples:
    """8-bit samples (H, W, C) of a loaded image, alpha last."""
    mode = _READ_AS.get(image.mode, image.mode)
    if "transparency" in image.info:  # one colour, or some palette entries, are transparent
        mode = _TRANSPARENT.get(mode, mode)
    if mode not in ("L", "LA", "RGB", "RGBA", "CMYK", "LAB"):
        expected = "grey, RGB, CMYK or Lab with 8 or 16 bits"
        raise PhotoError(f"{source.label}: expected {expected}, got Pillow mode {image.mode}")
    array = np.asarray(image if image.mode == mode else image.convert(mode))
    return array.reshape(image.height, image.width, -1)


def _grey_samples(source: ImageSource, image: Image.Image) -> NDArray[np.uint16]:
    """16-bit samples (H, W, 1), or (H, W, 2) with alpha, of a loaded grey image."""
    samples: AnyArray = np.asarray(image)[..., None]
    tags = getattr(image, "tag_v2", {})
    if image.mode == "I" and image.format not in ("PNG", "PPM"):  # Pillow < 10.3 reads their 16 bits as 32
        raise PhotoError(f"{source.label}: expected 8 or 16 bits a sample, got 32-bit whole numbers")
    if tags.get(_BITS_PER_SAMPLE, (16,)) != (16,):
        raise PhotoError(f"{source.label}: expected 8 or 16 bits a sample, got {tags[_BITS_PER_SAMPLE][0]}")
    samples = samples.astype(np.uint16)
    if tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO:
        samples = 65535 - samples
    return _keyed(samples, image.info.get("transparency"))


def _deep_samples(source: ImageSource, image: Image.Image) -> NDArray[np.uint16]:
    """16-bit samples (H, W, C), alpha last, of a colour image that is opened but not loaded."""
    samples = read_deep(source, image)
    if samples is None and source.is_big_tiff:
        raise PhotoError(
            f"{source.label}: expected 16-bit samples of a BigTIFF to lie pixel by pixel, got separate planes or "
            "premultiplied alpha"
        )
    if samples is None:
        raise PhotoError(
            f"{source.label}: more than 8 bits in a layout that would lose some of them; "
            "expected 16-bit grey, RGB or CMYK, with alpha not premultiplied, in a PNG or a TIFF, or 8 bits"
        )
    return _keyed(samples, image.info.get("transparency"))


def _keyed(samples: NDArray[np.uint16], key: object) -> NDArray[np.uint16]:
    """Alpha for a PNG that declares one colour transparent: `key`, a number or three; None for none."""
    if not isinstance(key, int | tuple):
        return samples
    visible = (samples != np.array(key)).any(axis=-1, keepdims=True)
    return np.concatenate([samples, visible * np.uint16(65535)], axis=-1)


def _from_array(array: AnyArray, max_pixels: int) -> Photo:
    shape = array.shape if array.ndim != 2 else (*array.shape, 1)
    if len(shape) != 3 or shape[2] not in (1, 3, 4) or not 0 < shape[0] * shape[1] <= max_pixels:
        raise PhotoError(
            "photo: expected an array (H, W), (H, W, 1), (H, W, 3) or (H, W, 4) "
            f"of 1 to {max_pixels:,} pixels, got {array.shape}"
        )
    if np.issubdtype(array.dtype, np.floating):
        if not (array.min() >= 0 and array.max() <= 1):  # also false for NaN
            raise PhotoError(f"photo: expected floats in [0, 1], got {array.min():g} to {array.max():g}")
        array = np.floor(array * 255 + 0.5).astype(np.uint8)
    elif array.dtype not in (np.uint8, np.uint16):
        raise PhotoError(f"photo: expected uint8, uint16 or floats, got {array.dtype}")
    return _photo(array.reshape(shape), "L" if shape[2] == 1 else "RGB", Metadata())
