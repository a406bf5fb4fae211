"""TIFF in every layout that other libraries write, read and written exactly."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
import tifffile
from made_files import noise

from moebius.errors import PhotoError
from moebius.imaging import Photo, read_mask, read_photo, write_photo
from moebius.imaging.exif import turn_upright

HEIGHT, WIDTH = 37, 53


def rewritten(photo: Photo) -> tuple[bytes, Photo]:
    buffer = io.BytesIO()
    write_photo(photo, buffer)
    return buffer.getvalue(), read_photo(buffer.getvalue())


PACKINGS: list[dict[str, Any]] = [
    {"rowsperstrip": 17},
    {"rowsperstrip": 17, "compression": "zlib"},
    {"rowsperstrip": 17, "compression": "zlib", "predictor": True},
    {"tile": (16, 32)},
    {"tile": (16, 32), "compression": "zlib"},
]
KINDS_OF_TIFF: dict[str, tuple[int, dict[str, Any]]] = {
    "grey": (1, {"photometric": "minisblack"}),
    "grey and alpha": (
        2,
        {"photometric": "minisblack", "extrasamples": ["unassalpha"], "planarconfig": "contig"},
    ),
    "RGB": (3, {"photometric": "rgb"}),
    "RGBA": (4, {"photometric": "rgb", "extrasamples": ["unassalpha"]}),
    "planes": (3, {"photometric": "rgb", "planarconfig": "separate"}),
    "planes and alpha": (
        4,
        {"photometric": "rgb", "planarconfig": "separate", "extrasamples": ["unassalpha"]},
    ),
    "CMYK": (4, {"photometric": "separated"}),
    "Lab": (3, {"photometric": "cielab"}),
}


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("kind", KINDS_OF_TIFF)
def test_tiff_of_every_layout(kind: str, dtype: type) -> None:
    """Strips and tiles, plain and compressed, of both byte orders, as another library writes them."""
    channels, options = KINDS_OF_TIFF[kind]
    samples = noise((HEIGHT, WIDTH, channels), dtype)
    given = np.moveaxis(samples, -1, 0) if "planes" in kind else samples[..., 0] if channels == 1 else samples
    for packing in PACKINGS:
        for order in "<>":
            buffer = io.BytesIO()
            tifffile.imwrite(buffer, given, byteorder=order, **options, **packing)
            photo = read_photo(buffer.getvalue())
            np.testing.assert_array_equal(photo.samples(), samples, err_msg=f"{packing} {order}")
            assert photo.mode == {"grey": "L", "CMYK": "CMYK", "Lab": "LAB"}.get(kind.split()[0], "RGB")
    written, back = rewritten(photo)
    np.testing.assert_array_equal(back.samples(), samples)
    assert back.mode == photo.mode
    np.testing.assert_array_equal(tifffile.imread(io.BytesIO(written)).reshape(samples.shape), samples)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_bigtiff(dtype: type) -> None:
    samples = noise((HEIGHT, WIDTH, 3), dtype)
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, samples, photometric="rgb", bigtiff=True, compression="zlib", rowsperstrip=8)
    np.testing.assert_array_equal(read_photo(buffer.getvalue()).pixels, samples)


@pytest.mark.parametrize("kind", ["grey and alpha", "planes", "Lab"])
def test_bigtiff_of_what_only_a_tiff_may_be(kind: str) -> None:
    channels, options = KINDS_OF_TIFF[kind]
    samples = noise((HEIGHT, WIDTH, channels), np.uint16)
    buffer = io.BytesIO()
    given = np.moveaxis(samples, -1, 0) if kind == "planes" else samples
    tifffile.imwrite(buffer, given, bigtiff=True, **options)
    with pytest.raises(PhotoError, match="BigTIFF") as caught:
        read_photo(buffer.getvalue())
    assert kind != "planes" or "damaged" not in str(caught.value)


@pytest.mark.parametrize("kind", ["grey and alpha", "Lab"])
@pytest.mark.parametrize("orientation", [1, 3, 6])
def test_masks_of_odd_layouts(kind: str, orientation: int) -> None:
    channels, options = KINDS_OF_TIFF[kind]
    hole = np.zeros((4, 6), bool)
    hole[1:3, 1:2] = True
    samples = np.zeros((4, 6, channels), np.uint16)
    samples[..., 0] = np.where(hole, 40000, 20000)
    if channels == 2:
        samples[..., 1] = 65535
    for packing in ({}, {"compression": "zlib", "predictor": True}):
        buffer = io.BytesIO()
        turn = [(274, "H", 1, orientation, True)]
        tifffile.imwrite(buffer, samples, **options, **packing, extratags=turn)
        expected = turn_upright(hole, orientation)
        found = read_mask(buffer.getvalue(), size=(expected.shape[1], expected.shape[0]))
        np.testing.assert_array_equal(found, expected)


def test_lab_with_alpha_is_refused() -> None:
    samples = noise((HEIGHT, WIDTH, 4), np.uint16)
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, samples, photometric="cielab", extrasamples=["unassalpha"])
    with pytest.raises(PhotoError, match="TIFF"):
        read_photo(buffer.getvalue())


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("predictor", [False, True])
def test_grey_and_alpha_lying_on_its_side(orientation: int, predictor: bool) -> None:
    samples = noise((4, 6, 2), np.uint16)
    buffer = io.BytesIO()
    tifffile.imwrite(
        buffer, samples, photometric="minisblack", extrasamples=["unassalpha"], planarconfig="contig",
        compression="zlib", predictor=predictor, extratags=[(274, "H", 1, orientation, True)],
    )  # fmt: skip
    photo = read_photo(buffer.getvalue())
    assert np.array_equal(photo.samples(), turn_upright(samples, orientation))
    _, again = rewritten(photo)
    assert np.array_equal(again.samples(), photo.samples())
