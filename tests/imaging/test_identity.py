"""Promise one, over generated photos of every format and kind: what lies outside the feathered mask stays."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import pytest
from made_files import encoded, exif, noise
from PIL import Image, ImageCms

from moebius.imaging import Box, Metadata, Photo, feather_weight, read_photo, write_photo
from moebius.imaging.arrays import AnyArray

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
CASES = 9
"""Of each kind; 23 kinds make 207."""

Make = Callable[[int, int, int], bytes]
"""Width, height and seed -> an encoded photo."""


def pillow(format: str, mode: str, **options: Any) -> Make:
    def make(width: int, height: int, seed: int) -> bytes:
        rgba = Image.fromarray(noise((height, width, 4), seed=seed))
        if mode in ("P", "P transparent"):
            image = rgba.convert("RGB").quantize(64)
            extra = {"transparency": 5} if mode == "P transparent" else {}
            return encoded(image, format, **options, **extra)
        if mode == "I;16":
            return encoded(Image.fromarray(noise((height, width), np.uint16, seed)), format, **options)
        if mode in ("CMYK", "LAB", "LA"):
            samples = noise((height, width, len(mode)), seed=seed)
            return encoded(Image.frombytes(mode, (width, height), samples.tobytes()), format, **options)
        return encoded(rgba if mode == "RGBA" else rgba.convert("RGB").convert(mode), format, **options)

    return make


def deep(suffix: str, channels: int) -> Make:
    def make(width: int, height: int, seed: int) -> bytes:
        done, data = cv2.imencode(suffix, noise((height, width, channels), np.uint16, seed))
        assert done
        return bytes(data)

    return make


def written(mode: Any, alpha: bool = False) -> Make:
    """A 16-bit TIFF of a kind that other libraries do not write."""

    def make(width: int, height: int, seed: int) -> bytes:
        channels = {"L": 1, "LAB": 3, "CMYK": 4}[mode]
        of_alpha = noise((height, width), np.uint16, seed + 1) if alpha else None
        photo = Photo(noise((height, width, channels), np.uint16, seed), mode, of_alpha, Metadata(icc=SRGB))
        buffer = io.BytesIO()
        write_photo(photo, buffer, format="tiff")
        return buffer.getvalue()

    return make


TAGS = {"tiffinfo": {0x010F: "Moe"}, "icc_profile": SRGB}
CARRIED = {"exif": exif(1), "icc_profile": SRGB}
KINDS: dict[str, Make] = {
    "PNG L": pillow("PNG", "L", **CARRIED),
    "PNG LA": pillow("PNG", "LA", **CARRIED),
    "PNG RGB": pillow("PNG", "RGB", **CARRIED),
    "PNG RGBA": pillow("PNG", "RGBA", **CARRIED),
    "PNG P": pillow("PNG", "P", **CARRIED),
    "PNG P transparent": pillow("PNG", "P transparent", **CARRIED),
    "PNG 1": pillow("PNG", "1", **CARRIED),
    "PNG 16-bit L": pillow("PNG", "I;16", **CARRIED),
    "PNG 16-bit RGB": deep(".png", 3),
    "PNG 16-bit RGBA": deep(".png", 4),
    "TIFF raw L": pillow("TIFF", "L", **TAGS),
    "TIFF LZW RGB": pillow("TIFF", "RGB", compression="tiff_lzw", **TAGS),
    "TIFF deflate RGBA": pillow("TIFF", "RGBA", compression="tiff_adobe_deflate", **TAGS),
    "TIFF CMYK": pillow("TIFF", "CMYK", compression="tiff_lzw"),
    "TIFF Lab": pillow("TIFF", "LAB"),
    "TIFF 16-bit RGB": deep(".tiff", 3),
    "TIFF 16-bit LA": written("L", alpha=True),
    "TIFF 16-bit CMYK": written("CMYK"),
    "TIFF 16-bit Lab": written("LAB"),
    "BMP L": pillow("BMP", "L"),
    "BMP RGB": pillow("BMP", "RGB"),
    "WEBP RGB": pillow("WEBP", "RGB", lossless=True, **CARRIED),
    "WEBP RGBA": pillow("WEBP", "RGBA", lossless=True, exact=True, **CARRIED),
}


def filled(photo: Photo, seed: int) -> tuple[Photo, AnyArray]:
    """The photo with a random hole filled by random colours, and where the fill has weight."""
    rng = np.random.default_rng(seed)
    mask = np.zeros((photo.height, photo.width), dtype=bool)
    for _ in range(int(rng.integers(1, 4))):
        x, y = rng.integers(photo.width), rng.integers(photo.height)
        mask[y : y + rng.integers(1, 12), x : x + rng.integers(1, 12)] = True
    weight = feather_weight(mask, float(rng.integers(0, 9)))
    rgb = rng.random((photo.height, photo.width, 3), dtype=np.float32)
    result = photo.copy()
    result.blend_rgb(Box(0, 0, photo.width, photo.height), rgb, weight)
    return result, weight > 0


@pytest.mark.parametrize("kind", KINDS)
def test_what_lies_outside_the_feathered_mask_stays(kind: str) -> None:
    for seed in range(CASES):
        rng = np.random.default_rng(1000 + seed)
        width, height = (int(each) for each in rng.integers(5, 60, 2))
        data = KINDS[kind](width, height, seed)
        before = read_photo(data)
        after, touched = filled(before, seed)
        buffer = io.BytesIO()
        report = write_photo(after, buffer)
        back = read_photo(buffer.getvalue())
        assert (report.stored, report.warnings) == ("lossless", ())
        assert (back.mode, back.bits, back.size) == (before.mode, before.bits, before.size)
        np.testing.assert_array_equal(back.pixels[~touched], before.pixels[~touched])
        np.testing.assert_array_equal(back.pixels, after.pixels)
        assert (back.alpha is None) == (before.alpha is None)
        if before.alpha is not None:
            np.testing.assert_array_equal(back.alpha, before.alpha)
        assert back.metadata.icc == before.metadata.icc
        assert back.metadata.exif == before.metadata.exif
