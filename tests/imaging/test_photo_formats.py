"""Pixels that nobody asked to change come back byte for byte, in every format that promises it."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from made_files import encoded, noise, png, png_chunk
from PIL import Image, TiffImagePlugin

from moebius.errors import OutputError, PhotoError, SettingsError
from moebius.imaging import Box, Metadata, Photo, check_output, output_formats, read_photo, write_photo
from moebius.imaging.arrays import AnyArray
from moebius.imaging.writer import asked_name

HEIGHT, WIDTH = 37, 53
BOX = Box(9, 5, 33, 29)
INSIDE = np.zeros((HEIGHT, WIDTH), dtype=bool)
INSIDE[BOX.slices] = True

LOSSLESS = [
    ("PNG", "L", {}),
    ("PNG", "LA", {}),
    ("PNG", "RGB", {}),
    ("PNG", "RGBA", {}),
    ("WEBP", "RGB", {"lossless": True}),
    ("WEBP", "RGBA", {"lossless": True, "exact": True}),
    ("TIFF", "L", {}),
    ("TIFF", "LA", {}),
    ("TIFF", "RGB", {"compression": "tiff_lzw"}),
    ("TIFF", "RGBA", {"compression": "packbits"}),
    ("TIFF", "CMYK", {"compression": "tiff_adobe_deflate"}),
    ("BMP", "L", {}),
    ("BMP", "RGB", {}),
]
CHANNELS = {"L": 1, "LA": 2, "RGB": 3, "RGBA": 4, "CMYK": 4, "LAB": 3}


def blend_something(photo: Photo) -> None:
    rgb = np.random.default_rng(1).random((BOX.height, BOX.width, 3), dtype=np.float32)
    photo.blend_rgb(BOX, rgb, np.ones((BOX.height, BOX.width), dtype=np.float32))


def rewritten(photo: Photo, **options: object) -> tuple[bytes, Photo]:
    buffer = io.BytesIO()
    write_photo(photo, buffer, **options)  # type: ignore[arg-type]
    return buffer.getvalue(), read_photo(buffer.getvalue())


def check_untouched(samples: AnyArray, source: Photo, blended: Photo, back: Photo) -> None:
    """`samples` (H, W, C), alpha last, are what the file held before."""
    channels = source.pixels.shape[2]
    np.testing.assert_array_equal(source.pixels, samples[..., :channels])
    np.testing.assert_array_equal(back.pixels, blended.pixels)
    np.testing.assert_array_equal(back.pixels[~INSIDE], samples[..., :channels][~INSIDE])
    assert (back.pixels[INSIDE] != samples[..., :channels][INSIDE]).any()
    assert (back.alpha is None) == (samples.shape[2] == channels)
    if back.alpha is not None:
        np.testing.assert_array_equal(back.alpha, samples[..., -1])


@pytest.mark.parametrize(("format", "mode", "options"), LOSSLESS)
def test_untouched_pixels_8_bit(format: str, mode: str, options: dict[str, object]) -> None:
    samples = noise((HEIGHT, WIDTH, CHANNELS[mode]))
    image = Image.frombytes(mode, (WIDTH, HEIGHT), samples.tobytes())
    source = read_photo(encoded(image, format, **options))
    blended = source.copy()
    blend_something(blended)
    data, back = rewritten(blended)
    assert back.metadata.format == format
    check_untouched(samples, source, blended, back)
    reopened = np.asarray(Image.open(io.BytesIO(data))).reshape(HEIGHT, WIDTH, -1)  # and for other programs
    np.testing.assert_array_equal(reopened[~INSIDE], samples[~INSIDE])


def cv2_order(samples: AnyArray) -> AnyArray:
    """RGB(A) <-> BGR(A)"""
    channels = samples.shape[2]
    return samples if channels < 3 else samples[..., [2, 1, 0, 3][:channels]]


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("suffix", [".png", ".tiff"])
def test_untouched_pixels_16_bit(suffix: str, channels: int) -> None:
    samples = noise((HEIGHT, WIDTH, channels), np.uint16)
    done, data = cv2.imencode(suffix, cv2_order(samples))
    assert done
    source = read_photo(data.tobytes())
    blended = source.copy()
    blend_something(blended)
    data, back = rewritten(blended)
    assert back.bits == 16
    check_untouched(samples, source, blended, back)
    reopened = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED).reshape(samples.shape)
    np.testing.assert_array_equal(cv2_order(reopened)[~INSIDE], samples[~INSIDE])


@pytest.mark.parametrize("compression", [1, 5, 8])  # none, LZW, deflate
def test_16_bit_tiff_compressions(compression: int) -> None:
    samples = noise((HEIGHT, WIDTH, 3), np.uint16)
    _, data = cv2.imencode(".tiff", cv2_order(samples), [cv2.IMWRITE_TIFF_COMPRESSION, compression])
    photo = read_photo(data.tobytes())
    np.testing.assert_array_equal(photo.pixels, samples)
    data, _ = rewritten(photo)
    kept = 1 if compression == 1 else 8
    assert Image.open(io.BytesIO(data)).tag_v2[259] == kept  # type: ignore[attr-defined]


@pytest.mark.parametrize("format", ["PNG", "TIFF"])
@pytest.mark.parametrize(
    ("mode", "alpha"),
    [("L", False), ("L", True), ("RGB", False), ("RGB", True), ("CMYK", False), ("LAB", False)],
)
def test_16_bit_of_every_kind(format: str, mode: str, alpha: bool) -> None:
    photo = Photo(
        noise((HEIGHT, WIDTH, CHANNELS[mode]), np.uint16),
        mode,
        noise((HEIGHT, WIDTH), np.uint16, 1) if alpha else None,
    )
    if format == "PNG" and mode in ("CMYK", "LAB"):
        with pytest.raises(OutputError, match=f"PNG cannot keep {mode} colours, use .*TIFF"):
            rewritten(photo, format=format)
        return
    _, back = rewritten(photo, format=format)
    assert back.bits == 16
    np.testing.assert_array_equal(back.samples(), photo.samples())


def test_16_bit_interlaced_and_keyed() -> None:
    """Adam7, 2 x 2: pass 1 holds (0, 0), pass 6 (0, 1), pass 7 row 1. Then: one colour transparent."""
    rows = noise((2, 2, 3), np.uint16)
    big = rows.astype(">u2")
    data = b"".join(b"\0" + part.tobytes() for part in (big[0, 0], big[0, 1], big[1]))
    file = png(2, 2, 16, 2, data, interlace=1)
    np.testing.assert_array_equal(read_photo(file).pixels, rows)

    keyed = file.replace(png_chunk(b"IEND", b""), b"")
    at = keyed.index(b"IDAT") - 4
    photo = read_photo(
        keyed[:at] + png_chunk(b"tRNS", big[1, 0].tobytes()) + keyed[at:] + png_chunk(b"IEND", b"")
    )
    assert photo.alpha is not None
    np.testing.assert_array_equal(photo.alpha, [[65535, 65535], [0, 65535]])


@pytest.mark.parametrize("format", ["png", "tiff"])
def test_16_bit_rows_in_several_pieces(format: str) -> None:
    """More rows than are filtered at once, more bytes than a strip holds, and slopes in every direction."""
    y, x = np.mgrid[:250, :1200]
    slopes = np.stack([x * 50, y * 200, (x + y) * 40], axis=-1).astype(np.uint16)
    photo = Photo(np.concatenate([slopes, noise((20, 1200, 3), np.uint16)]), "RGB")
    data, back = rewritten(photo, format=format)
    np.testing.assert_array_equal(back.pixels, photo.pixels)
    other = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(cv2_order(other), photo.pixels)
    assert len(data) < photo.pixels.nbytes / 4


def test_big_endian_16_bit_tiff() -> None:
    samples = noise((HEIGHT, WIDTH, 3), np.uint16)
    directory = TiffImagePlugin.ImageFileDirectory_v2(prefix=b"MM")
    tags = {
        256: WIDTH,
        257: HEIGHT,
        258: (16, 16, 16),
        259: 1,
        262: 2,
        273: 0,
        277: 3,
        278: HEIGHT,
        279: samples.nbytes,
    }
    for tag, value in tags.items():
        directory[tag] = value
    buffer = io.BytesIO()
    directory.save(buffer)  # with the pixels at the end of the file
    buffer.seek(0, io.SEEK_END)
    buffer.write(samples.astype(">u2").tobytes())
    assert buffer.getvalue().startswith(b"MM")
    np.testing.assert_array_equal(read_photo(buffer.getvalue()).pixels, samples)


def test_gif_of_very_many_frames_is_not_counted(caplog: pytest.LogCaptureFixture) -> None:
    frames = [Image.fromarray(noise((8, 8), seed=seed)) for seed in range(3)]
    read_photo(encoded(frames[0], "GIF", save_all=True, append_images=frames[1:]))
    assert "2 frames or more" in caplog.text


@pytest.mark.parametrize(
    ("mode", "expected", "alpha"),
    [
        ("1", "L", False),
        ("P", "RGB", False),
        ("PA", "RGB", True),
        ("YCbCr", "RGB", False),
        ("RGBX", "RGB", False),
    ],
)
def test_other_pillow_modes(mode: str, expected: str, alpha: bool) -> None:
    image = Image.fromarray(noise((HEIGHT, WIDTH, 3))).convert(mode)
    photo = read_photo(image)
    assert (photo.mode, photo.alpha is not None) == (expected, alpha)
    np.testing.assert_array_equal(
        photo.samples(), np.asarray(image.convert(photo.to_pil().mode)).reshape(photo.samples().shape)
    )


@pytest.mark.parametrize("mode", ["1", "L", "RGB", "P"])
def test_transparent_colour_becomes_alpha(mode: str) -> None:
    image = Image.fromarray(noise((HEIGHT, WIDTH, 3))).convert(mode)
    key = image.getpixel((3, 4))
    photo = read_photo(encoded(image, "PNG", transparency=key))
    assert photo.alpha is not None
    assert photo.alpha[4, 3] == 0
    assert photo.alpha.max() == 255
    _, back = rewritten(photo)
    np.testing.assert_array_equal(back.samples(), photo.samples())


def test_transparent_16_bit_grey_becomes_alpha() -> None:
    samples = np.array([[7, 8], [65535, 7]], dtype=np.uint16)
    photo = read_photo(encoded(Image.fromarray(samples), "PNG", transparency=7))
    assert photo.alpha is not None
    np.testing.assert_array_equal(photo.alpha, [[0, 65535], [65535, 0]])


@pytest.mark.parametrize("mode", ["F", "HSV", "I"])
def test_modes_that_cannot_be_kept(mode: str) -> None:
    image = Image.new(mode, (4, 4))
    with pytest.raises(PhotoError, match="expected"):
        read_photo(image)


def test_tiff_where_zero_is_white() -> None:
    samples = noise((HEIGHT, WIDTH), np.uint16)
    photo = read_photo(encoded(Image.fromarray(samples), "TIFF", tiffinfo={262: 0}))
    np.testing.assert_array_equal(photo.pixels[..., 0], 65535 - samples)


def test_multi_frame_file_gives_its_first_frame(caplog: pytest.LogCaptureFixture) -> None:
    frames = [Image.fromarray(noise((8, 8, 3), seed=seed)) for seed in range(3)]
    data = encoded(frames[0], "TIFF", save_all=True, append_images=frames[1:])
    np.testing.assert_array_equal(read_photo(data).pixels, np.asarray(frames[0]))
    assert "3 frames" in caplog.text


def smooth(mode: str) -> Image.Image:
    """A picture that JPEG can hold well."""
    y, x = np.mgrid[:HEIGHT, :WIDTH] / WIDTH
    channels = [x, y, 1 - x, y * x][: CHANNELS[mode]]
    samples = np.round(np.stack(channels, axis=-1) * 200 + 20).astype(np.uint8)
    return Image.frombytes(mode, (WIDTH, HEIGHT), samples.tobytes())


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_jpeg_again_and_again(mode: str) -> None:
    """With its own tables a JPEG hardly moves; Adobe's inverted CMYK is neither inverted nor converted."""
    image = smooth(mode)
    options = {"quality": 90, "subsampling": 1} if mode == "RGB" else {"quality": 90}
    source = read_photo(encoded(image, "JPEG", **options))
    assert source.mode == mode
    original = np.asarray(image).reshape(source.pixels.shape).astype(int)
    assert np.abs(source.pixels - original).max() < 12
    data, back = rewritten(source)
    assert np.abs(back.pixels.astype(int) - source.pixels).max() <= 6
    assert back.metadata.jpeg_tables == source.metadata.jpeg_tables
    assert len(back.metadata.jpeg_tables) == (2 if mode == "RGB" else 1)
    assert back.metadata.jpeg_subsampling == (1 if mode == "RGB" else None)
    assert Image.open(io.BytesIO(data)).mode == mode


def test_jpeg_quality_and_progressive() -> None:
    image = smooth("RGB")
    photo = read_photo(encoded(image, "JPEG", quality=30, progressive=True))
    own, _ = rewritten(photo)
    better, _ = rewritten(photo, quality=97)
    assert len(better) > len(own)
    forgetful = replace(photo, metadata=replace(photo.metadata, source=None))
    assert Image.open(io.BytesIO(rewritten(forgetful)[0])).info["progressive"] == 1
    with pytest.raises(SettingsError, match="1 to 100"):
        rewritten(photo, quality=0)


def test_webp_stays_lossy_or_lossless() -> None:
    image = smooth("RGB")
    lossy = read_photo(encoded(image, "WEBP", quality=80))
    lossless = read_photo(encoded(image, "WEBP", lossless=True))
    assert (lossy.metadata.lossless, lossless.metadata.lossless) == (False, True)
    for photo, exact in ((lossy, False), (lossless, True), (read_photo(encoded(image, "PNG")), True)):
        data, back = rewritten(photo, format="webp")
        assert back.metadata.lossless is exact
        assert (b"VP8L" in data) is exact
        assert not exact or (back.pixels == photo.pixels).all()
    _, squeezed = rewritten(lossless, quality=50)
    assert not squeezed.metadata.lossless


def test_animated_webp_is_told_lossless_by_its_first_frame() -> None:
    frames = [Image.fromarray(noise((8, 8, 3), seed=seed)) for seed in range(2)]
    for lossless in (True, False):
        data = encoded(frames[0], "WEBP", save_all=True, append_images=frames[1:], lossless=lossless)
        assert read_photo(data).metadata.lossless is lossless


def test_16_bits_are_rounded_where_there_is_no_room(caplog: pytest.LogCaptureFixture) -> None:
    samples = np.array([[0, 128, 129, 32767, 65406, 65407, 65535]], dtype=np.uint16)[..., None]
    _, back = rewritten(Photo(samples, "L"), format="bmp")
    assert back.pixels.ravel().tolist() == [0, 0, 1, 127, 254, 255, 255]
    assert "BMP holds 8 bits" in caplog.text


@pytest.mark.parametrize("format", ["jpeg", "bmp"])
def test_transparency_is_not_dropped_silently(format: str, tmp_path: Path) -> None:
    alpha = np.full((8, 8), 255, dtype=np.uint8)
    opaque = Photo(noise((8, 8, 3)), "RGB", alpha)
    write_photo(opaque, tmp_path / f"opaque.{format}")  # nothing is lost
    alpha[2, 3] = 254
    with pytest.raises(OutputError, match="cannot keep the photo's transparency, use PNG or WEBP or TIFF"):
        write_photo(opaque, tmp_path / f"transparent.{format}")
    assert [path.name for path in tmp_path.iterdir()] == [f"opaque.{format}"]


@pytest.mark.parametrize(
    ("came", "name", "format", "expected"),
    [
        ("JPEG", "a.png", None, "PNG"),
        ("JPEG", "a.JPG", None, "JPEG"),
        ("PNG", "a.tif", None, "TIFF"),
        ("PNG", "a.webp", "jpeg", "JPEG"),
        ("TIFF", "without_suffix", None, "TIFF"),
        ("GIF", "without_suffix", None, "PNG"),
        (None, "without_suffix", None, "PNG"),
    ],
)
def test_choice_of_format(
    came: str | None, name: str, format: str | None, expected: str, tmp_path: Path
) -> None:
    photo = Photo(noise((8, 8, 3)), "RGB", metadata=Metadata(format=came))
    assert check_output(photo, tmp_path / name, format=format) == expected
    write_photo(photo, tmp_path / name, format=format)
    assert read_photo(tmp_path / name).metadata.format == expected


@pytest.mark.parametrize("name", ["a.gif", "a.xyz", "a.pngg"])
def test_unknown_suffix(name: str, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"JPEG or PNG or WEBP or TIFF or BMP or AVIF or HEIF, got '\.\w+'"):
        write_photo(Photo(noise((8, 8, 3)), "RGB"), tmp_path / name)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32, np.float64])
@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 1), (5, 7, 3), (5, 7, 4)])
def test_arrays(shape: tuple[int, ...], dtype: type) -> None:
    array = noise(shape, dtype) if np.issubdtype(dtype, np.integer) else noise(shape).astype(dtype) / 255
    photo = read_photo(array)
    expected = array if np.issubdtype(dtype, np.integer) else noise(shape)
    np.testing.assert_array_equal(photo.samples(), expected.reshape(5, 7, -1))
    assert photo.mode == ("L" if len(shape) == 2 or shape[2] == 1 else "RGB")
    photo.pixels[:] = 0
    assert array.any(), "the photo must not share memory with the array"


def test_formats_are_told_by_the_names_they_are_asked_for_by() -> None:
    for name in output_formats():
        written = write_photo(Photo(noise((8, 8, 3)), "RGB"), io.BytesIO(), format=name)
        assert asked_name(written.format) == name == name.lower()
    assert asked_name("HEIF") == "heic"


def test_pillow_image_is_not_changed() -> None:
    image = Image.fromarray(noise((5, 7, 3)))
    before = image.tobytes()
    photo = read_photo(image)
    photo.pixels[:] = 0
    assert image.tobytes() == before


def test_to_pil() -> None:
    photo = read_photo(encoded(Image.fromarray(noise((5, 7, 4))), "PNG", dpi=(300, 300)))
    image = photo.to_pil()
    assert (image.mode, image.size) == ("RGBA", (7, 5))
    assert image.info["dpi"] == pytest.approx((300, 300), abs=0.01)
    assert Photo(noise((5, 7, 1), np.uint16), "L").to_pil().mode == "I;16"
    assert repr(photo) == "<Photo 7 x 5, RGB with alpha, 8 bits, PNG>"
