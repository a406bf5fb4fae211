"""Animations: GIF, WebP and APNG, frame by frame.

    animation = read_frames("waves.gif")
    filled = (model(frame, mask).photo for frame in animation.frames)
    write_frames(replace(animation, frames=filled), "clean.gif")

Each frame is read as it is shown: whole, with what earlier frames left standing. APNG and lossless WebP are written
exactly; colours under full transparency may change in WebP. A GIF has 256 colours a frame: pixels that were not changed
keep theirs as long as they have no more than 255, and changed ones get what is left of the palette, or the nearest
colour. A folder of numbered photos is no animation here: those are photos, one by one.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image

from moebius.errors import MoebiusError, OutputError, PhotoError
from moebius.imaging.atomic import atomic_file
from moebius.imaging.changes import Stored, Written
from moebius.imaging.decode import ImageSource, Readable, reason
from moebius.imaging.exif import SIDEWAYS, turn_upright
from moebius.imaging.frame_files import write_apng, write_webp_frames
from moebius.imaging.frame_headers import DISPOSE_TO_BACKGROUND, MAX_FRAMES, READERS
from moebius.imaging.gif_palette import as_palette
from moebius.imaging.metadata import Metadata, read_headers
from moebius.imaging.photo import Photo
from moebius.imaging.reader import read_photo
from moebius.imaging.save_options import OPTIONS
from moebius.settings import MAX_PIXELS

MAX_ANIMATION_PIXELS = 2 * MAX_PIXELS
"""Pixels of all frames together: encoders keep what has changed in every frame until they write."""
_FORMATS = {"GIF": ".gif", "PNG": ".png .apng", "WEBP": ".webp"}
_LOSSY_QUALITY = 90


@dataclass(frozen=True)
class Animation:
    """Frames of one size, and how they are shown."""

    frames: Iterable[Photo]
    """In the order of showing. Those of `read_frames` are read one at a time, as often as they are asked for."""
    durations: tuple[float, ...]
    """Milliseconds, one a frame."""
    loop: int | None
    """How often it is shown, 0 for without end; None for a file that does not say, which is shown once."""
    size: tuple[int, int]
    format: str
    """"GIF", "PNG" or "WEBP"."""
    lossless: bool = True
    default_image: bool = False
    """APNG: the first frame is shown by programs that know no animations, and by them only."""
    original: Iterable[Photo] | None = None
    """The frames as they were read, for a GIF's palettes."""

    def __len__(self) -> int:
        return len(self.durations)


class _Frames:
    """The frames of a file, decoded one at a time, each time anew."""

    def __init__(self, data: bytes | Path, mode: str | None, metadata: Metadata, orientation: int):
        self._data, self._mode = data, mode
        self._metadata, self._orientation = metadata, orientation

    def __iter__(self) -> Iterator[Photo]:
        with ImageSource(self._data, noun="animation", error=PhotoError, max_pixels=MAX_PIXELS) as source:
            image = source.open()
            mode = self._mode
            for index in range(MAX_FRAMES + 1):
                with source.decoding(image):
                    try:
                        image.seek(index)
                    except EOFError:
                        return
                    image.load()
                    mode = mode or ("RGBA" if _may_be_transparent(image) else "RGB")
                    samples = turn_upright(np.asarray(image.convert(mode)), self._orientation)
                yield replace(read_photo(samples), metadata=self._metadata)


def is_animated(source: Readable) -> bool:
    """Whether a file is a GIF, WebP or APNG of several frames.

    Raises:
        PhotoError: it is missing or no image.
    """
    return _animated_format(source) is not None


def fits_all_frames(source: Readable, output: str) -> bool:
    """Whether a file is an animation, and an output of this name is of its format, so that it keeps all frames.

    Raises:
        PhotoError: it is missing or no image; not for outputs that hold no animations.
    """
    suffix = Path(output).suffix.lower()
    kind = next((format for format, suffixes in _FORMATS.items() if suffix in suffixes.split()), None)
    return kind is not None and _animated_format(source) == kind


def _animated_format(source: Readable) -> str | None:
    """The format of an animation; None for all else."""
    with ImageSource(source, noun="photo", error=PhotoError, max_pixels=MAX_PIXELS) as opened:
        image = opened.open()
        with opened.decoding(image):
            is_one = image.format in _FORMATS and bool(getattr(image, "is_animated", False))
    return image.format if is_one else None


def read_frames(source: str | Path | bytes | BinaryIO) -> Animation:
    """Read an animation. Its frames are decoded when they are asked for; see `Animation.frames`.

    Args:
        source: a path, which must stay as it is while the frames are read, the file's bytes, or an open binary file.

    Returns:
        Frames in RGB, upright, with alpha where the file has transparency.

    Raises:
        PhotoError: see `read_photo`; a file of one frame, or of more than `MAX_FRAMES` or `MAX_ANIMATION_PIXELS`;
            also while the frames are read, if the file is damaged further on.
    """
    with ImageSource(source, noun="animation", error=PhotoError, max_pixels=MAX_PIXELS) as opened:
        image = opened.open()
        label = opened.label
        assert opened.stream is not None
        opened.stream.seek(0)
        data = opened.stream.read()
        size, name = image.size, str(image.format)
        if name not in _FORMATS:
            raise PhotoError(f"{label}: expected an animated GIF, PNG or WEBP, got {name}")
        if name == "PNG" and data[24] > 8:
            raise PhotoError(f"{label}: expected 8 bits a sample in an animation, got {data[24]}")
        with opened.decoding(image):
            shown = READERS[name](data)
            metadata, orientation = read_headers(image, opened.stream)
    metadata = replace(metadata, lossless=shown.lossless)
    count = len(shown.durations)
    if not 1 < count <= MAX_FRAMES:
        raise PhotoError(f"{label}: expected 2 to {MAX_FRAMES:,} frames, got {_at_most(count)}")
    if count * size[0] * size[1] > MAX_ANIMATION_PIXELS:
        limit = f"{MAX_ANIMATION_PIXELS:,} pixels in all frames"
        raise PhotoError(f"{label}: expected up to {limit}, got {count} of {size[0]} x {size[1]}")
    kept = Path(source) if isinstance(source, str | os.PathLike) else data
    frames = _Frames(kept, shown.mode, metadata, orientation)
    size = size[::-1] if orientation in SIDEWAYS else size
    return Animation(
        frames, shown.durations, shown.loop, size, name, shown.lossless, shown.default_image, frames
    )


def write_frames(
    animation: Animation,
    target: str | Path | BinaryIO,
    *,
    quality: int | None = None,
    overwrite: bool = False,
) -> Written:
    """Write an animation in its own format, whole or not at all. Equal frames in a row become one in a GIF.

    Args:
        target: a path whose suffix fits the format, or a binary file open for writing.
        quality: 1 to 100, for WebP, which it makes lossy; 90 for a WebP that was lossy.

    Raises:
        OutputError: the suffix is another format's; the file exists; a frame is missing, too many, of another size or
            of 16 bits; or writing failed. Nothing is left behind then.

    What the frames' own iterator raises comes out as it is.
    """
    if isinstance(target, str | os.PathLike):
        suffixes = _FORMATS[animation.format].split()
        if Path(target).suffix.lower() not in suffixes:
            raise OutputError(f"{target}: expected a name ending in {' or '.join(suffixes)}")
        with atomic_file(target, overwrite=overwrite) as file:
            return _write(animation, file, quality)
    buffer = io.BytesIO()
    written = _write(animation, buffer, quality)
    target.write(buffer.getbuffer())
    return written


def _write(animation: Animation, file: BinaryIO, quality: int | None) -> Written:
    warnings: list[str] = []
    raised: list[Exception] = []
    frames = _checked(animation, raised)
    first = next(frames, None)
    if first is None:
        raise OutputError(f"expected {len(animation)} frames, got 0")
    frames = chain([first], frames)
    lossless = animation.lossless and (quality is None or animation.format != "WEBP")
    loop = 1 if animation.loop is None else animation.loop
    try:
        if animation.format == "GIF":
            _write_gif(animation, frames, file, warnings)
        elif animation.format == "PNG":
            samples = (frame.samples() for frame in frames)
            write_apng(
                samples,
                file,
                animation.durations,
                loop,
                default_image=animation.default_image,
                options=OPTIONS["PNG"](first, None),
            )
        else:
            samples = (frame.samples() for frame in frames)
            write_webp_frames(
                samples, file, animation.durations, loop, options=_webp_options(first, lossless, quality)
            )
    except MoebiusError:
        raise
    except Exception as error:
        if any(error is each for each in raised):
            raise
        raise OutputError(
            f"the animation cannot be written as {animation.format}: {reason(error)}"
        ) from error
    stored: Stored = "lossy" if warnings or not lossless else "lossless"
    return Written(
        animation.format, file.seek(0, os.SEEK_END), stored, warnings=tuple(dict.fromkeys(warnings))
    )


def _webp_options(first: Photo, lossless: bool, quality: int | None) -> dict[str, Any]:
    known = {"icc_profile": first.metadata.icc, "exif": first.metadata.exif, "xmp": first.metadata.xmp}
    coding = {"lossless": True, "exact": True} if lossless else {"quality": quality or _LOSSY_QUALITY}
    return {key: value for key, value in known.items() if value} | coding


def _write_gif(animation: Animation, frames: Iterator[Photo], file: BinaryIO, warnings: list[str]) -> None:
    options: dict[str, Any] = {"duration": [round(each) for each in animation.durations], "optimize": False}
    hidden = animation.original is None or any(
        frame.alpha is not None and bool((frame.alpha < 128).any()) for frame in animation.original
    )
    options["disposal"] = DISPOSE_TO_BACKGROUND if hidden else 0
    if animation.loop is not None:
        options["loop"] = animation.loop
    images = as_palette(frames, animation.original, warnings)
    next(images).save(file, "GIF", save_all=True, append_images=images, **options)


def _checked(animation: Animation, raised: list[Exception]) -> Iterator[Photo]:
    """The frames, held against what the animation says; what their iterator raises is noted in `raised`."""
    count, mode = 0, None
    for count, frame in enumerate(_noting(animation.frames, raised), 1):
        kind = (frame.mode, frame.alpha is not None)
        mode = kind if mode is None else mode
        if (frame.size, frame.bits, frame.mode, kind) != (animation.size, 8, "RGB", mode) or count > len(
            animation
        ):
            width, height = animation.size
            raise OutputError(
                f"expected {len(animation)} frames alike, {width} x {height} in 8-bit RGB, got {frame!r}"
            )
        yield frame
    if count != len(animation):
        raise OutputError(f"expected {len(animation)} frames, got {count}")


def _noting(frames: Iterable[Photo], raised: list[Exception]) -> Iterator[Photo]:
    try:
        yield from frames
    except Exception as error:
        raised.append(error)
        raise


def _may_be_transparent(image: Image.Image) -> bool:
    return image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info


def _at_most(count: int) -> str:
    return f"more than {MAX_FRAMES:,}" if count > MAX_FRAMES else str(count)
