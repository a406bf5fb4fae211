"""Animations frame by frame: each as it is shown, and back without loss where the format can."""

from __future__ import annotations

import io
import re
import struct
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_files import MAKER_NOTE, encoded, exif, noise, png_chunk
from PIL import Image, PngImagePlugin

from moebius.errors import OutputError, PhotoError
from moebius.imaging import Photo
from moebius.imaging.arrays import AnyArray
from moebius.imaging.changes import Written
from moebius.imaging.exif import turn_upright
from moebius.imaging.frames import Animation, is_animated, read_frames, write_frames

HEIGHT, WIDTH = 40, 60
HOLE = (slice(5, 15), slice(10, 30))
DURATIONS = (100.0, 200.0, 50.0, 70.0)
OUTSIDE = np.ones((HEIGHT, WIDTH), dtype=bool)
OUTSIDE[HOLE] = False
OPTIONS: dict[str, dict[str, Any]] = {
    "PNG": {},
    "WEBP": {"lossless": True, "exact": True},
    "GIF": {"disposal": 2},
}


def animated(format: str, mode: str, colours: int = 200, still: bool = False, **options: Any) -> bytes:
    """Four frames of a few colours; `still`: only a corner differs from one to the next."""
    table = noise((colours, 3), seed=5)
    frames = []
    for index in range(len(DURATIONS)):
        rng = np.random.default_rng(0 if still else index)
        samples = table[rng.integers(0, colours, (HEIGHT, WIDTH))]
        samples[:4, :4] = table[index]
        alpha = np.where(rng.random((HEIGHT, WIDTH)) < 0.2, 0, 255).astype(np.uint8)
        frames.append(Image.fromarray(np.dstack([samples, alpha])[..., : len(mode)]))
    own = {} if format == "GIF" and mode == "RGB" else OPTIONS[format]
    return encoded(
        frames[0],
        format,
        save_all=True,
        append_images=frames[1:],
        duration=DURATIONS,
        loop=3,
        **own | options,
    )


def painted(photo: Photo, seed: int = 1, count: int = 256) -> Photo:
    result = photo.copy()
    table = noise((count, 3), seed=9)
    result.pixels[HOLE] = table[np.random.default_rng(seed).integers(0, count, (10, 20))]
    return result


def written(animation: Animation, **options: Any) -> tuple[Animation, Written, bytes]:
    buffer = io.BytesIO()
    report = write_frames(animation, buffer, **options)
    return read_frames(buffer.getvalue()), report, buffer.getvalue()


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
@pytest.mark.parametrize("format", ["PNG", "WEBP"])
@pytest.mark.parametrize("still", [False, True])
def test_apng_and_lossless_webp_are_exact(format: str, mode: str, still: bool) -> None:
    animation = read_frames(animated(format, mode, still=still))
    assert (animation.durations, animation.loop, animation.size) == (DURATIONS, 3, (WIDTH, HEIGHT))
    filled = [painted(frame) for frame in animation.frames]
    back, report, data = written(replace(animation, frames=iter(filled)))
    assert (report.format, report.stored, report.nbytes) == (format, "lossless", len(data))
    assert (back.durations, back.loop, len(back)) == (DURATIONS, 3, 4)
    for before, after, frame in zip(animation.frames, filled, back.frames, strict=True):
        np.testing.assert_array_equal(frame.samples(), after.samples())
        np.testing.assert_array_equal(frame.pixels[OUTSIDE], before.pixels[OUTSIDE])
    assert not still or len(data) < len(animated(format, mode)) / 1.5  # frames are stored as differences


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
@pytest.mark.parametrize("count", [20, 256])
def test_gif_keeps_unchanged_pixels(mode: str, count: int) -> None:
    """200 colours: 20 more fit into the palette, 256 do not, and are brought to the nearest."""
    animation = read_frames(animated("GIF", mode))
    filled = [painted(frame, count=count) for frame in animation.frames]
    back, report, _ = written(replace(animation, frames=iter(filled)))
    assert (report.stored, bool(report.warnings)) == (("lossless", False) if count == 20 else ("lossy", True))
    assert (back.durations, back.loop) == (DURATIONS, 3)
    for before, after, frame in zip(animation.frames, filled, back.frames, strict=True):
        shown = np.ones_like(OUTSIDE) if before.alpha is None else before.alpha > 0
        np.testing.assert_array_equal(frame.pixels[OUTSIDE & shown], before.pixels[OUTSIDE & shown])
        if before.alpha is not None:
            opaque = np.full_like(before.alpha, 255)
            np.testing.assert_array_equal(opaque if frame.alpha is None else frame.alpha, before.alpha)
        far = np.abs(frame.pixels.astype(int) - after.pixels)[shown]
        assert far.max() <= (0 if count == 20 else 80)


def test_gif_deltas_are_flattened() -> None:
    """Frames that only draw a corner are read with everything that earlier ones left standing."""
    data = animated("GIF", "RGB", still=True)
    frames = list(read_frames(data).frames)
    np.testing.assert_array_equal(frames[3].pixels[8:], frames[0].pixels[8:])
    assert (frames[3].pixels[:4, :4] != frames[0].pixels[:4, :4]).any()
    assert (frames[3].pixels[8:].std(axis=(0, 1)) > 20).all()


def test_gif_of_more_colours_than_a_palette_has() -> None:
    animation = read_frames(animated("GIF", "RGB"))
    frames = [Photo(noise((HEIGHT, WIDTH, 3), seed=seed), "RGB") for seed in range(4)]
    back, report, _ = written(replace(animation, frames=frames, original=None))
    assert report.stored == "lossy"
    far = np.abs(next(iter(back.frames)).pixels.astype(int) - frames[0].pixels)
    assert far.mean() < 25


def test_lossy_webp_and_quality() -> None:
    lossy = read_frames(animated("WEBP", "RGB", lossless=False, exact=False))
    assert not lossy.lossless
    assert written(lossy)[1].stored == "lossy"
    exact = read_frames(animated("WEBP", "RGB"))
    assert exact.lossless
    assert written(exact, quality=50)[1].stored == "lossy"


def test_apng_whose_first_frame_is_not_shown() -> None:
    animation = read_frames(animated("PNG", "RGB", default_image=True))
    assert animation.default_image
    filled = [painted(frame) for frame in animation.frames]
    back, _, _ = written(replace(animation, frames=filled))
    assert (back.default_image, back.durations) == (True, animation.durations)
    for after, frame in zip(filled, back.frames, strict=True):
        np.testing.assert_array_equal(frame.pixels, after.pixels)


def test_metadata_and_long_durations() -> None:
    frames = [Image.fromarray(noise((8, 8, 3), seed=seed)) for seed in range(2)]
    data = encoded(
        frames[0], "WEBP", save_all=True, append_images=frames[1:], lossless=True, icc_profile=b"profile!"
    )
    animation = replace(read_frames(data), durations=(90_000.0, 20.0))
    back, _, _ = written(animation)
    assert next(iter(back.frames)).metadata.icc == b"profile!"
    assert back.durations == (90_000, 20)
    as_png = replace(animation, format="PNG", original=None)
    assert written(as_png)[0].durations == (90_000, 20)


@pytest.mark.parametrize("format", ["PNG", "WEBP"])
@pytest.mark.parametrize("orientation", [3, 6, 8])
def test_animations_that_exif_turns(format: str, orientation: int) -> None:
    stored = [noise((8, 12, 3), seed=seed) for seed in range(3)]
    first, *others = map(Image.fromarray, stored)
    data = encoded(
        first, format, save_all=True, append_images=others, exif=exif(orientation), **OPTIONS[format]
    )
    animation = read_frames(data)
    upright = [turn_upright(each, orientation) for each in stored]
    assert animation.size == (upright[0].shape[1], upright[0].shape[0])
    filled = []
    for frame, expected in zip(animation.frames, upright, strict=True):
        np.testing.assert_array_equal(frame.pixels, expected)
        copy = frame.copy()
        copy.pixels[2:4, 2:4] = 9
        filled.append(copy)
    back, _, _ = written(replace(animation, frames=filled))
    assert back.size == animation.size
    for after, frame in zip(filled, back.frames, strict=True):
        np.testing.assert_array_equal(frame.pixels, after.pixels)
    assert MAKER_NOTE in next(iter(back.frames)).metadata.exif


@pytest.mark.parametrize("behind", [False, True])
def test_what_an_apng_tells_stays(behind: bool) -> None:
    told = PngImagePlugin.PngInfo()
    told.add(b"gAMA", (45455).to_bytes(4, "big"))
    told.add_text("Title", "sea", zip=True)
    told.add_itxt("Author", "Moë")
    told.add_itxt("XML:com.adobe.xmp", "<x:xmpmeta/>")
    frames = [Image.fromarray(noise((8, 8, 3), seed=seed)) for seed in range(2)]
    data = encoded(
        frames[0], "PNG", save_all=True, append_images=frames[1:], pnginfo=told, dpi=(300, 300), duration=100
    )
    if behind:
        data = data[:-12] + png_chunk(b"tEXt", b"Comment\0last") + data[-12:]
    back, report, again = written(read_frames(data))
    metadata = next(iter(back.frames)).metadata
    expected = {"Title": "sea", "Author": "Moë"} | ({"Comment": "last"} if behind else {})
    assert dict(metadata.text) == expected and metadata.xmp == b"<x:xmpmeta/>"
    assert metadata.png_chunks == ((b"gAMA", (45455).to_bytes(4, "big")),)
    assert metadata.dpi == pytest.approx((300, 300), abs=0.1) and report.stored == "lossless"
    with Image.open(io.BytesIO(again)) as image:
        assert image.text["Title"] == "sea" and image.n_frames == 2


@pytest.mark.parametrize(
    "delay", [(1, 60), (1001, 30000), (65535, 1), (65535, 29), (1, 65535), (7, 0), (40000, 3), (0, 5)]
)
def test_frame_times_are_fractions(delay: tuple[int, int]) -> None:
    frames = [Image.fromarray(noise((8, 8, 3), seed=seed)) for seed in range(2)]
    data = encoded(frames[0], "PNG", save_all=True, append_images=frames[1:], duration=100)
    for chunk in [match.start() for match in re.finditer(b"fcTL", data)]:
        body = data[chunk + 4 : chunk + 24] + struct.pack(">HH", *delay) + data[chunk + 28 : chunk + 30]
        data = data[: chunk - 4] + png_chunk(b"fcTL", body) + data[chunk + 34 :]
    animation = read_frames(data)
    assert animation.durations == (1000 * delay[0] / (delay[1] or 100),) * 2
    assert written(animation)[0].durations == pytest.approx(animation.durations, rel=1e-15)


def test_frames_are_read_one_at_a_time_and_again(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(animated("PNG", "RGB"))
    animation = read_frames(path)
    pulled: list[int] = []

    def filling() -> Iterator[Photo]:
        for index, frame in enumerate(animation.frames):
            pulled.append(index)
            yield frame

    iterator = filling()
    next(iterator)
    assert pulled == [0]
    assert len(list(animation.frames)) == len(list(animation.frames)) == len(animation) == 4
    write_frames(replace(animation, frames=filling()), tmp_path / "b.apng")
    assert is_animated(tmp_path / "b.apng")


@pytest.mark.parametrize("format", ["PNG", "WEBP", "GIF"])
def test_is_animated(format: str) -> None:
    assert is_animated(animated(format, "RGB"))
    still = encoded(Image.fromarray(noise((8, 8, 3))).convert("P" if format == "GIF" else "RGB"), format)
    assert not is_animated(still)
    with pytest.raises(PhotoError, match="2 to 10,000 frames, got"):
        read_frames(still)


def gif(width: int, height: int, count: int) -> bytes:
    """Frames of one pixel on a large canvas."""
    head = b"GIF89a" + struct.pack("<HH", width, height) + b"\x80\0\0" + bytes(6)
    frame = b"\x21\xf9\x04\0\1\0\0\0" + b"\x2c" + struct.pack("<HHHH", 0, 0, 1, 1) + b"\0\2\2\x44\1\0"
    return head + frame * count + b";"


def apng(count: int) -> bytes:
    still = encoded(Image.new("RGB", (4, 4)), "PNG")
    at = still.index(b"IDAT") - 4
    controls = b"".join(
        png_chunk(b"fcTL", struct.pack(">IIIIIHHBB", index, 4, 4, 0, 0, 1, 10, 0, 0))
        for index in range(count)
    )
    return still[:at] + png_chunk(b"acTL", struct.pack(">II", count, 0)) + controls + still[at:]


BOMBS = {
    "frames": (gif(100, 100, 100_000), "got more than 10,000"),
    "canvas": (gif(60_000, 60_000, 2), "got 60000 x 60000"),
    "all together": (gif(10_000, 10_000, 50), "400,000,000 pixels in all frames"),
    "APNG frames": (apng(11_000), "got more than 10,000"),
    "no animation": (encoded(Image.new("RGB", (4, 4)), "JPEG"), "expected an animated GIF, PNG or WEBP"),
    "16 bits": (encoded(Image.fromarray(noise((4, 4), np.uint16)), "PNG"), "8 bits a sample"),
    "cut": (animated("GIF", "RGB")[:900], "damaged or truncated GIF"),
}


@pytest.mark.parametrize("name", BOMBS)
def test_bad_animations(name: str) -> None:
    data, message = BOMBS[name]
    with pytest.raises(PhotoError) as caught:
        read_frames(data)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_damage_further_on_leaves_no_file(tmp_path: Path) -> None:
    data = bytearray(animated("PNG", "RGB"))
    at = data.rindex(b"fdAT")
    data[at + 40 : at + 60] = bytes(20)
    animation = read_frames(bytes(data))
    with pytest.raises((PhotoError, OutputError)):
        write_frames(animation, tmp_path / "a.png")
    assert list(tmp_path.iterdir()) == []


def few(frames: list[Photo]) -> list[Photo]:
    return frames[:3]


def many(frames: list[Photo]) -> list[Photo]:
    return [*frames, frames[0]]


def smaller(frames: list[Photo]) -> list[Photo]:
    return [*frames[:3], Photo(frames[3].pixels[:5].copy(), "RGB")]


def deeper(frames: list[Photo]) -> list[Photo]:
    return [Photo(frame.pixels.astype(np.uint16), "RGB") for frame in frames]


def grey(frames: list[Photo]) -> list[Photo]:
    return [Photo(frame.pixels[..., :1].copy(), "L") for frame in frames]


@pytest.mark.parametrize("spoil", [few, many, smaller, deeper, grey, lambda frames: []])
@pytest.mark.parametrize("format", ["PNG", "GIF", "WEBP"])
def test_frames_that_do_not_fit(format: str, spoil: Any, tmp_path: Path) -> None:
    animation = read_frames(animated(format, "RGB"))
    target = tmp_path / f"a.{format.lower()}"
    with pytest.raises(OutputError, match="expected 4 "):
        write_frames(replace(animation, frames=spoil(list(animation.frames))), target)
    assert list(tmp_path.iterdir()) == []


def test_suffix_and_overwriting(tmp_path: Path) -> None:
    animation = read_frames(animated("GIF", "RGB"))
    with pytest.raises(OutputError, match=r"ending in \.gif"):
        write_frames(animation, tmp_path / "a.png")
    write_frames(animation, tmp_path / "a.gif")
    with pytest.raises(OutputError, match="exists already"):
        write_frames(animation, tmp_path / "a.gif")
    write_frames(animation, tmp_path / "a.gif", overwrite=True)


def samples_of(animation: Animation) -> list[AnyArray]:
    return [frame.samples() for frame in animation.frames]


def test_pillow_sees_the_same_frames() -> None:
    """Another reader's view of what was written, by its own way of counting."""
    for format in ("PNG", "WEBP", "GIF"):
        animation = read_frames(animated(format, "RGB"))
        _, _, data = written(animation)
        image = Image.open(io.BytesIO(data))
        assert getattr(image, "n_frames", 1) == 4
        for index, samples in enumerate(samples_of(animation)):
            image.seek(index)
            np.testing.assert_array_equal(np.asarray(image.convert("RGB")), samples[..., :3])
