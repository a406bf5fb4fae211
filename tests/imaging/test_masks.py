"""A mask means the same in whatever file it comes, and no stroke of it is ever lost."""

from __future__ import annotations

import io

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_files import encoded, exif, noise, random_mask
from PIL import Image, ImageOps
from scipy import ndimage
from skimage.measure import label

from moebius.errors import MaskError
from moebius.imaging import default_growth, grow_mask, grow_objects, mask_to_latent, read_mask, resize_mask
from moebius.imaging.arrays import Mask

HEIGHT, WIDTH = 40, 60
SIDES = st.integers(1, 70)
SIZE = (WIDTH, HEIGHT)
HOLE = np.zeros((HEIGHT, WIDTH), dtype=bool)
HOLE[8:24, 16:48] = True
GREY = Image.fromarray(HOLE.astype(np.uint8) * 255)


def painted(opaque: tuple[int, ...], elsewhere: tuple[int, ...]) -> Image.Image:
    """An RGBA picture of one colour in the hole and another around it."""
    colours = np.where(HOLE[..., None], np.array(opaque), np.array(elsewhere))
    return Image.fromarray(colours.astype(np.uint8))


def palette(hole_index: int) -> Image.Image:
    """Indices that say the opposite of their colours."""
    image = Image.fromarray(np.where(HOLE, hole_index, 200).astype(np.uint8))
    image = image.convert("P")
    colours = [0] * 768
    colours[3 * hole_index : 3 * hole_index + 3] = [255, 255, 255]
    image.putpalette(colours)
    return image


KINDS = {
    "grey": GREY,
    "1-bit": GREY.convert("1"),
    "RGB": GREY.convert("RGB"),
    "CMYK": GREY.convert("CMYK"),
    "palette": palette(3),
    "16-bit": Image.fromarray(HOLE.astype(np.uint16) * 65535),
    "grey and opaque alpha": GREY.convert("LA"),
    "RGBA, opaque": GREY.convert("RGBA"),
    "white on nothing": painted((255, 255, 255, 255), (0, 0, 0, 0)),
    "red on nothing": painted((255, 0, 0, 255), (0, 0, 0, 0)),
    "black on nothing": painted((0, 0, 0, 255), (0, 0, 0, 0)),
    "half opaque green on white nothing": painted((0, 255, 0, 128), (255, 255, 255, 10)),
    "dim yellow luma": painted((150, 150, 0, 255), (40, 90, 60, 255)),
    "float": Image.fromarray(HOLE.astype(np.float32)),
}


@pytest.mark.parametrize("kind", KINDS)
def test_kinds_of_images(kind: str) -> None:
    np.testing.assert_array_equal(read_mask(KINDS[kind], size=SIZE), HOLE)
    np.testing.assert_array_equal(read_mask(KINDS[kind], size=SIZE, invert=True), ~HOLE)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in ("CMYK", "float")])
def test_kinds_of_files(kind: str) -> None:
    np.testing.assert_array_equal(read_mask(encoded(KINDS[kind], "PNG"), size=SIZE), HOLE)


def test_two_colours_with_alpha_are_laid_on_black() -> None:
    """Black and white are both opaque, so this is no painted layer; a transparent corner is not filled."""
    image = painted((255, 255, 255, 255), (0, 0, 0, 255))
    image.paste((255, 255, 255, 0), (0, 0, 5, 5))
    np.testing.assert_array_equal(read_mask(image, size=SIZE), HOLE)


def test_transparent_palette_entry() -> None:
    image = palette(3)
    image.info["transparency"] = 200
    np.testing.assert_array_equal(read_mask(encoded(image, "PNG", transparency=200), size=SIZE), HOLE)


@pytest.mark.parametrize("quality", [10, 50, 90])
def test_jpeg_noise(quality: int) -> None:
    mask = read_mask(encoded(GREY, "JPEG", quality=quality), size=SIZE)
    np.testing.assert_array_equal(mask, HOLE)


def test_threshold_is_half() -> None:
    levels = np.array([[0, 1, 127, 128, 254, 255]], dtype=np.uint8)
    expected = [[False, False, False, True, True, True]]
    for source in (
        levels,
        Image.fromarray(levels),
        levels.astype(np.uint16) * 257,
        levels / 255,
        levels.astype(np.int64),
    ):
        assert read_mask(source, size=(6, 1)).tolist() == expected
    for source in (np.array([[0.4999, 0.5]]), np.array([[32767, 32768]], dtype=np.uint16)):
        assert read_mask(source, size=(2, 1)).tolist() == [[False, True]]


@pytest.mark.parametrize(
    "array",
    [
        HOLE,
        HOLE[..., None],
        HOLE.astype(np.uint8),  # 0 and 1
        HOLE.astype(np.int64),
        HOLE.astype(np.uint8) * 255,
        HOLE.astype(np.uint16) * 65535,
        HOLE.astype(np.float32),
        np.repeat(HOLE[..., None].astype(np.uint8) * 255, 3, axis=-1),
    ],
)
def test_arrays(array: np.ndarray) -> None:
    mask = read_mask(array, size=SIZE)
    np.testing.assert_array_equal(mask, HOLE)
    mask[:] = False
    assert array.any(), "the mask must not share memory with the array"


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((4, 4, 5), np.uint8), r"got \(4, 4, 5\)"),
        (np.full((4, 4), 1.5), "got 1.5 to 1.5"),
        (np.full((4, 4), np.nan), "got nan"),
        (np.full((4, 4), -1), "from -1"),
        (np.full((4, 4), 256), "0 to 255, got 256 to 256"),
        (np.full((4, 4), 1j), "complex"),
    ],
)
def test_arrays_that_are_no_masks(array: np.ndarray, message: str) -> None:
    with pytest.raises(MaskError, match=message):
        read_mask(array, size=(4, 4))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied(orientation: int) -> None:
    data = encoded(GREY, "PNG", exif=exif(orientation))
    expected = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data)))) > 127
    np.testing.assert_array_equal(read_mask(data, size=expected.shape[::-1]), expected)


def test_other_size_is_refused_with_both_sizes(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(MaskError, match=r"got 60 x 40 for a photo of 120 x 80"):
        read_mask(GREY, size=(120, 80))
    with pytest.raises(MaskError, match=r"got 60 x 40 for a photo of 40 x 60"):
        read_mask(GREY, size=(40, 60))
    np.testing.assert_array_equal(
        read_mask(GREY, size=(120, 80), fit=True), np.kron(HOLE, np.ones((2, 2), bool))
    )
    assert not caplog.text
    assert read_mask(GREY, size=(50, 50), fit=True).shape == (50, 50)
    assert "another aspect" in caplog.text


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 90), st.integers(1, 90), st.data())
@settings(deadline=None, max_examples=150)
def test_resizing_never_loses_a_pixel(
    height: int, width: int, new_height: int, new_width: int, data: st.DataObject
) -> None:
    """Each pixel, as an area of the picture, is covered after resizing; and nothing is without cause."""
    y, x = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
    mask = np.zeros((height, width), dtype=bool)
    mask[y, x] = True
    resized = resize_mask(mask, (new_height, new_width))
    rows, columns = np.nonzero(resized)
    expected_rows = range(y * new_height // height, -(-(y + 1) * new_height // height))
    expected_columns = range(x * new_width // width, -(-(x + 1) * new_width // width))
    assert sorted(set(rows)) == list(expected_rows)
    assert sorted(set(columns)) == list(expected_columns)
    assert len(rows) == len(expected_rows) * len(expected_columns)


@given(st.integers(0, 2**32), st.sampled_from([0.0, 0.01, 0.2]), SIDES, SIDES, SIDES, SIDES)
@settings(deadline=None, max_examples=150)
def test_resizing_is_any_of_what_is_covered(
    seed: int, density: float, height: int, width: int, new_height: int, new_width: int
) -> None:
    mask = random_mask(seed, density, height, width)
    expected = np.zeros((new_height, new_width), dtype=bool)
    for y, x in np.argwhere(mask).tolist():
        rows = slice(y * new_height // height, -(-(y + 1) * new_height // height))
        expected[rows, x * new_width // width : -(-(x + 1) * new_width // width)] = True
    np.testing.assert_array_equal(resize_mask(mask, (new_height, new_width)), expected)


def test_resizing_a_thin_stroke() -> None:
    stroke = np.zeros((1000, 1500), dtype=bool)
    stroke[np.arange(1000), np.arange(1000)] = True
    small = resize_mask(stroke, (64, 96))
    assert small.flags.c_contiguous
    assert ndimage.label(small, np.ones((3, 3)))[1] == 1
    assert small.any(axis=1).all()


masks = st.builds(
    random_mask, st.integers(0, 2**32), st.sampled_from([0.0, 0.003, 0.05, 0.5, 1.0]), SIDES, SIDES
)


@given(masks, st.integers(0, 20))
@settings(deadline=None, max_examples=100)
def test_growing_is_dilation_by_a_disk(mask: Mask, pixels: int) -> None:
    before = mask.copy()
    y, x = np.mgrid[-pixels : pixels + 1, -pixels : pixels + 1]
    disk = (x * x + y * y <= pixels * pixels).astype(np.uint8)
    expected = cv2.dilate(mask.astype(np.uint8), disk, borderType=cv2.BORDER_CONSTANT, borderValue=0) > 0
    np.testing.assert_array_equal(grow_mask(mask, pixels), expected)
    np.testing.assert_array_equal(mask, before)


@pytest.mark.parametrize(
    ("longer", "expected"), [(1, 4), (160, 4), (200, 5), (1000, 25), (1920, 48), (9000, 48)]
)
def test_default_growth(longer: int, expected: int) -> None:
    shorter = -(-longer // 4)
    assert default_growth(longer, shorter, longer * shorter) == expected
    assert default_growth(shorter, longer, longer * shorter) == expected
    assert default_growth(longer, longer, longer * longer) == expected


def test_scratches_grow_by_their_width_more_than_by_their_length() -> None:
    assert default_growth(2000, 2000, 10_000) == 5
    scratch = np.zeros((300, 1200), bool)
    scratch[100:102, 100:1100] = scratch[200:290, 20:110] = True
    grown = grow_objects(scratch, None)
    assert grown[98:104, 600].tolist() == [True] * 6 and not grown[95, 600] and not grown[106, 600]
    assert np.array_equal(grown[150:], grow_mask(scratch, 4)[150:])


@pytest.mark.parametrize("density", [0.0, 0.02, 0.3, 1.0])
def test_objects_grow_one_by_one(density: float) -> None:
    mask = np.random.default_rng(3).random((60, 90)) < density
    mask[10:40, 10:40] |= density > 0
    expected = mask.copy()
    for piece in range(1, int((labels := label(mask, connectivity=2)).max()) + 1):
        rows, columns = np.nonzero(labels == piece)
        growth = default_growth(int(np.ptp(columns)) + 1, int(np.ptp(rows)) + 1, len(rows))
        expected |= grow_mask(labels == piece, growth)
    assert np.array_equal(grow_objects(mask, None), expected)


@given(st.integers(0, 63), st.integers(0, 63))
@settings(deadline=None, max_examples=50)
def test_one_pixel_reaches_the_latent_grid(y: int, x: int) -> None:
    mask = np.zeros((64, 64), dtype=bool)
    mask[y, x] = True
    cells = mask_to_latent(mask)
    assert (cells.dtype, cells.shape, cells.sum()) == (np.float32, (8, 8), 1)
    assert cells[y // 8, x // 8] == 1


def test_latent_modes_and_batches() -> None:
    masks = noise((2, 3, 24, 16)) > 200
    nearest = mask_to_latent(masks, 8, "nearest")
    np.testing.assert_array_equal(nearest, masks[..., ::8, ::8])
    largest = mask_to_latent(masks.astype(np.float64), 4)
    np.testing.assert_array_equal(
        largest, ndimage.maximum_filter(masks, (1, 1, 4, 4), origin=(0, 0, -2, -2))[..., ::4, ::4]
    )
    with pytest.raises(ValueError, match="divide by 8, got 24 x 12"):
        mask_to_latent(masks[..., :12])
    with pytest.raises(ValueError, match="'max' or 'nearest'"):
        mask_to_latent(masks, 8, "mean")  # type: ignore[arg-type]


@pytest.mark.parametrize("mode", ["1", "L", "RGB", "RGBA", "P", "I;16"])
def test_true_is_the_byte_one(mode: str) -> None:
    """Pillow hands out 1-bit images as booleans of byte 255, which scipy and others read as a number."""
    drawn = Image.new("L", (8, 4))
    drawn.paste(255, (2, 1, 5, 3))
    image = (
        drawn.convert("I").point(lambda v: v * 257).convert("I;16") if mode == "I;16" else drawn.convert(mode)
    )
    for source in (image, np.asarray(drawn.convert("1"))):
        mask = read_mask(source, size=(8, 4))
        assert sorted(np.unique(mask.view(np.uint8))) == [0, 1]
        assert mask.sum() == 6
