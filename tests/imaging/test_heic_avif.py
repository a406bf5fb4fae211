"""HEIC and AVIF in and out: 8 bits, and HEIC's 10 bits at 16."""

from __future__ import annotations

import importlib.util
import io
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_files import noise
from made_profiles import grey_profile, power, rgb_profile
from PIL import Image

from moebius.errors import OutputError, PhotoError
from moebius.imaging import Photo, read_photo, write_photo
from moebius.imaging.arrays import AnyArray
from moebius.imaging.metadata import Metadata


def slopes(dtype: type, channels: int) -> AnyArray:
    y, x = np.mgrid[:64, :96] / 96
    values = np.stack([x, y, 1 - x, np.ones_like(x)][:channels], axis=-1)
    return np.round(values * np.iinfo(dtype).max).astype(dtype)


def rewritten(photo: Photo, **options: Any) -> tuple[bytes, Photo]:
    buffer = io.BytesIO()
    write_photo(photo, buffer, **options)
    return buffer.getvalue(), read_photo(buffer.getvalue())


def heic(array: AnyArray, **options: Any) -> bytes:
    pillow_heif = pytest.importorskip("pillow_heif")
    height, width, channels = array.shape
    mode = {3: "RGB", 4: "RGBA"}[channels] + (";16" if array.dtype == np.uint16 else "")
    buffer = io.BytesIO()
    pillow_heif.from_bytes(mode=mode, size=(width, height), data=array.tobytes()).save(buffer, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [3, 4])
def test_heic(channels: int, dtype: type) -> None:
    samples, known = slopes(dtype, channels), set(Image.OPEN)
    photo = read_photo(heic(samples, quality=95, chroma=444))
    assert (photo.metadata.format, photo.metadata.lossless) == ("HEIF", False)
    assert (photo.bits, photo.alpha is not None) == (samples.itemsize * 8, channels == 4)
    scale = np.iinfo(dtype).max
    assert np.abs(photo.samples() / scale - samples / scale).max() < 0.06
    _, back = rewritten(photo)
    assert (back.metadata.format, back.bits) == ("HEIF", photo.bits)
    assert np.abs(back.samples() / scale - photo.samples() / scale).max() < 0.06
    assert set(Image.OPEN) == known, "the plugin is for the file at hand, not for all of Pillow"


@pytest.mark.parametrize("mode", ["L;16", "RGBA;16"])
def test_white_of_ten_bits_is_white_and_opaque_is_opaque(mode: str) -> None:
    pillow_heif = pytest.importorskip("pillow_heif")
    shape = (48, 64) if mode == "L;16" else (48, 64, 4)
    buffer = io.BytesIO()
    white = np.full(shape, 65535, np.uint16)
    pillow_heif.from_bytes(mode=mode, size=(64, 48), data=white.tobytes()).save(buffer, quality=-1)
    photo = read_photo(buffer.getvalue())
    assert (photo.samples() == 65535).all()
    write_photo(photo, io.BytesIO(), format="jpeg")  # which refuses transparency


def test_heic_without_its_library(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    data = heic(noise((16, 16, 3)))
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(PhotoError, match=r"HEIC needs pillow-heif: pip install 'moebius-inpaint\[heic\]'"):
        read_photo(data)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(OutputError, match=r"HEIC needs pillow-heif: pip install 'moebius-inpaint\[heic\]'"):
        write_photo(Photo(noise((16, 16, 3)), "RGB"), tmp_path / "a.heic")
    assert list(tmp_path.iterdir()) == []


def test_avif_of_any_mode() -> None:
    for mode in ("L", "RGB", "RGBA"):
        image = Image.fromarray(slopes(np.uint8, 3)).convert(mode)
        if mode == "RGBA":
            image.putalpha(Image.fromarray(slopes(np.uint8, 1)[..., 0]))
        photo = read_photo(image)
        _, back = rewritten(photo, format="avif")
        assert (back.metadata.format, back.alpha is not None) == ("AVIF", mode == "RGBA")
        assert np.abs(back.pixels.astype(int) - photo.pixels).max() < 30


@pytest.mark.parametrize("format", ["avif", "heic", "webp"])
def test_a_grey_profile_does_not_go_with_rgb(format: str) -> None:
    """These formats hold grey photos as RGB, which such a profile cannot describe."""
    if format == "heic":
        pytest.importorskip("pillow_heif")
    grey = Photo(slopes(np.uint8, 1), "L", metadata=Metadata(icc=grey_profile(power(1.8))))
    _, back = rewritten(grey, format=format)
    assert back.mode == "RGB" and back.metadata.icc is None
    colour = Photo(slopes(np.uint8, 3), "RGB", metadata=Metadata(icc=rgb_profile(power(1.8))))
    assert rewritten(colour, format=format)[1].metadata.icc == colour.metadata.icc
    assert rewritten(grey, format="png")[1].metadata.icc == grey.metadata.icc
