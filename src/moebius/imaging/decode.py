"""From a path, bytes, an open file or a Pillow image to a Pillow image whose size is known to be bearable.

Pillow guards against decompression bombs with a process-wide limit and a warning. Here the limit is an
argument, held against the size in the header before a pixel is decoded, so files go to Pillow's format
plugins directly, as `Image.open` hands them on, and no process-wide setting is read or changed.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from PIL import Image

from moebius.errors import InputError
from moebius.imaging.tiff_layouts import OddLayout, shown_as_another

Readable = str | Path | bytes | BinaryIO | Image.Image
"""What can hold an encoded image: a path, the file's bytes, an open binary file, or a Pillow image."""

FORMATS = (
    "JPEG", "PNG", "WEBP", "TIFF", "BMP", "AVIF", "GIF", "JPEG2000", "PPM", "QOI",
)  # fmt: skip
"""Formats that are tried, by Pillow's names. Pillow reads more, some by starting other programs (EPS).
HEIC comes besides, by pillow-heif."""


_BIG_TIFF = (b"II\x2b\0", b"MM\0\x2b")
_HEIC_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx")


class ImageSource:
    """An image to be read, and how to speak of it when that fails. A context manager.

        with ImageSource(path, noun="photo", error=PhotoError, max_pixels=MAX_PIXELS) as source:
            image = source.open()
            with source.decoding(image):
                image.load()

    Args:
        source: see `Readable`. Open files are rewound if they can be, and stay open.
        noun: what the person calls it, "photo" or "mask"; begins every message.
        error: what is raised, always with a message of one line.
        max_pixels: width * height above this is refused.
    """

    def __init__(self, source: Readable, *, noun: str, error: type[InputError], max_pixels: int):
        self._source, self._error, self._max_pixels = source, error, max_pixels
        self.label = f"{noun} {source}" if isinstance(source, str | os.PathLike) else noun
        self.stream: BinaryIO | None = None
        """The encoded bytes, seekable; None for a Pillow image."""
        self.layout: OddLayout | None = None
        """What an opened TIFF really is, if `stream` has become one that shows it as something else."""
        self.is_big_tiff = False
        """Whether an opened file is a TIFF of 8-byte offsets, of which `tiff_layouts` knows nothing."""
        self.orientation = 1
        """EXIF orientation of such a TIFF that Pillow is not shown; 1 to 8."""

    def __enter__(self) -> Self:
        source = self._source
        if isinstance(source, Image.Image):
            return self
        if isinstance(source, bytes | bytearray | memoryview):
            self.stream = io.BytesIO(source)
        elif isinstance(source, str | os.PathLike):
            self.stream = self._open_path(Path(source))
        elif hasattr(source, "read"):
            self.stream = source if _seekable(source) else io.BytesIO(source.read())
        else:
            kinds = "a path, bytes, a file, an image or an array"
            raise self._error(f"{self.label}: expected {kinds}, got {type(source).__name__}")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.stream is not None and self.stream is not self._source:
            self.stream.close()

    def open(self) -> Image.Image:
        """The image with its header read and its size checked, not yet decoded. Each call starts afresh.

        Raises:
            `error`: empty, not an image, a damaged header, or more than `max_pixels`.
        """
        image = self._source if isinstance(self._source, Image.Image) else self._identify()
        width, height = image.size
        if width * height > self._max_pixels or not width or not height:
            limit = f"{self._max_pixels:,}"
            raise self._error(f"{self.label}: expected 1 to {limit} pixels, got {width} x {height}")
        return image

    @contextmanager
    def decoding(self, image: Image.Image) -> Iterator[None]:
        """Around whatever decodes: everything that Pillow raises comes out as `error`.

        Decoders meet hostile bytes, and raise anything: OSError, ValueError, SyntaxError, struct.error,
        zlib.error.
        """
        try:
            yield
        except self._error:
            raise
        except Exception as error:
            name = image.format or "image"
            raise self._error(f"{self.label}: damaged or truncated {name} ({reason(error)})") from error

    def _open_path(self, path: Path) -> BinaryIO:
        try:
            stream = path.open("rb")
        except FileNotFoundError as error:
            raise self._error(f"{self.label}: no such file") from error
        except IsADirectoryError as error:
            raise self._error(f"{self.label}: expected an image file, got a folder") from error
        except (OSError, ValueError) as error:
            raise self._error(f"{self.label}: cannot be read ({reason(error)})") from error
        if _seekable(stream):
            return stream
        with stream:  # a pipe
            return io.BytesIO(stream.read())

    def _identify(self) -> Image.Image:
        stream = self.stream
        assert stream is not None, "used outside its with block"
        stream.seek(0)
        prefix = stream.read(64)
        if not isinstance(prefix, bytes):
            raise self._error(f"{self.label}: expected a file opened as binary, got one opened as text")
        if not prefix:
            raise self._error(f"{self.label}: expected an image, got 0 bytes")
        if _is_heic(prefix):
            return self._open_heic(stream)
        self.is_big_tiff = prefix[:4] in _BIG_TIFF
        Image.init()
        for name in FORMATS:
            factory, accept = Image.OPEN.get(name, (None, None))
            if factory is None or accept is None or accept(prefix[:16]) is not True:
                continue
            stream.seek(0)
            try:
                return factory(stream, "")
            except Exception as error:
                odd = self._odd_tiff(factory) if name == "TIFF" else None
                if odd is not None:
                    return odd
                what = f"damaged or truncated {name} ({reason(error)})"
                if self.is_big_tiff:
                    what += "; or 16-bit Lab or grey with alpha, which are read from a TIFF but not from a BigTIFF"
                raise self._error(f"{self.label}: {what}") from error
        known = ", ".join([name for name in FORMATS if name in Image.OPEN] + ["HEIC"])
        raise self._error(f"{self.label}: not an image that is known here ({known})")

    def _open_heic(self, stream: BinaryIO) -> Image.Image:
        """By pillow-heif's plugin, without making it known to all of Pillow."""
        try:
            from pillow_heif import HeifImageFile
        except ImportError as error:
            needed = "HEIC needs pillow-heif: pip install 'moebius-inpaint[heic]'"
            raise self._error(f"{self.label}: {needed}") from error
        stream.seek(0)
        try:
            opened: Image.Image = HeifImageFile(stream, "")
        except Exception as error:
            raise self._error(f"{self.label}: damaged or truncated HEIC ({reason(error)})") from error
        return opened

    def _odd_tiff(self, factory: Callable[[BinaryIO, str], Image.Image]) -> Image.Image | None:
        """A TIFF that Pillow has refused, as another one that it takes."""
        assert self.stream is not None
        self.stream.seek(0)
        shown = shown_as_another(self.stream.read())
        if shown is None:
            return None
        try:
            image = factory(io.BytesIO(shown.data), "")
        except Exception:
            return None
        if self.stream is not self._source:
            self.stream.close()
        self.stream, self.layout = io.BytesIO(shown.data), shown.layout
        self.orientation = shown.orientation
        return image


def _is_heic(prefix: bytes) -> bool:
    """Whether a file type box (ISO/IEC 14496-12, section 4.3) names a brand of HEVC coded stills (23008-12)."""
    if prefix[4:8] != b"ftyp":
        return False
    end = min(int.from_bytes(prefix[:4], "big"), len(prefix))
    brands = {prefix[8:12], *(prefix[at : at + 4] for at in range(16, end - 3, 4))}
    return not brands.isdisjoint(_HEIC_BRANDS)


def _seekable(stream: BinaryIO) -> bool:
    try:
        return stream.seekable()
    except AttributeError:
        return False


def reason(error: Exception) -> str:
    """The first line of the message, or the kind of error if it has none."""
    text = (error.strerror if isinstance(error, OSError) else None) or str(error)
    return text.splitlines()[0] if text else type(error).__name__
