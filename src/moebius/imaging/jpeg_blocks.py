"""JPEG to JPEG with every block kept that nobody touched.

A JPEG holds quantised cosine coefficients of 8 x 8 blocks. Decoding and encoding again, even with the same tables,
moves some of them everywhere. Here only the neighbourhood of what has changed is encoded anew; the coefficients of all
other blocks are taken from the file that the photo came from, and are the same numbers in the new file.

A block is touched when a pixel of its own area has changed: of 8 x 8 pixels for luma, of up to 16 x 16 for chroma.
Decoders blend chroma with its neighbours, so pixels outside touched blocks decode to the same values but for a rim of
one chroma sample around them.

`jpeglib` (the extra "jpeg") reads and writes the coefficients. It is C code that keeps markers in tables of fixed size
and shares them between threads, so it is given files without any, one at a time.

Source: ITU-T T.81, annexes A (blocks, interleaving) and B (markers); JFIF 1.02.
"""

from __future__ import annotations

import io
import math
import tempfile
import threading
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, JpegImagePlugin

from moebius.imaging.arrays import AnyArray, Mask
from moebius.imaging.decode import reason
from moebius.imaging.exif import turn_upright
from moebius.imaging.jpeg_segments import Layout, header_segments, read_layout, with_ids, without_metadata
from moebius.imaging.photo import Photo

MAX_COEFFICIENTS = 160_000_000
"""Larger files are encoded anew: coefficients take two bytes each, two or three times over. 100 megapixels of 4:2:0."""
_BLOCK = 8
_SUBSAMPLING = {(1, 1): 0, (2, 1): 1, (2, 2): 2}
"""Luma samples a chroma sample, across and down -> Pillow's number."""
_ROWS = 512
_ONE_AT_A_TIME = threading.Lock()

Coefficients = NDArray[np.int16]
"""(rows of blocks, columns of blocks, 8, 8)"""


class BlocksLostError(Exception):
    """The blocks cannot be kept; the message says why, to go behind "re-encoded: "."""


@dataclass(frozen=True)
class KeptBlocks:
    """A JPEG file, and how much of it is the original's."""

    data: bytes
    blocks_total: int
    """Blocks of all components."""
    blocks_rewritten: int
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Coded:
    """A picture as coefficients, one entry a component in `planes` and `tables`."""

    layout: Layout
    planes: list[Coefficients]
    tables: list[NDArray[np.uint16]]  # (8, 8) each


def keep_blocks(photo: Photo, options: Mapping[str, Any]) -> KeptBlocks:
    """Write a photo that came from a JPEG as a JPEG, keeping the blocks whose pixels are as they were.

    Args:
        photo: upright; compared with what its `metadata.source` decodes to.
        options: what `Image.save` takes for JPEG; tables, subsampling and quality are the original's.

    Raises:
        BlocksLostError: see the message.
    """
    source = photo.metadata.source
    if source is None:
        raise BlocksLostError("the original JPEG is not at hand")
    layout = read_layout(source.data)
    _check(photo, layout, source.orientation)
    changed = _stored(_changed(photo, source.data, source.orientation), source.orientation)
    original = _read(source.data, layout)
    head, rewritten = _splice(original, photo, changed, source.orientation, options)
    result = _upright(original, source.orientation)
    total = sum(plane.shape[0] * plane.shape[1] for plane in result.planes)
    warnings = ("the original is progressive, its copy is sequential",) if layout.progressive else ()
    return KeptBlocks(head + _write(result), total, rewritten, warnings)


def _check(photo: Photo, layout: Layout, orientation: int) -> None:
    """Everything that can be told before anything is decoded."""
    if layout.problem:
        raise BlocksLostError(layout.problem)
    if layout.components == 3 and layout.chroma not in _SUBSAMPLING:
        across, down = layout.chroma
        raise BlocksLostError(f"its chroma has one sample for {across} x {down} pixels")
    upright = layout.transposed() if orientation > 4 else layout
    if photo.size != upright.size or photo.bits != 8 or photo.alpha is not None:
        raise BlocksLostError("the photo has not the size or kind that the original has")
    if photo.mode != {1: "L", 3: "RGB"}[layout.components]:
        raise BlocksLostError(f"the photo is {photo.mode}, the original has {layout.components} components")
    if layout.coefficients > MAX_COEFFICIENTS:
        raise BlocksLostError(f"it has more than {MAX_COEFFICIENTS:,} coefficients")
    (width, height), (across, down) = upright.size, upright.chroma
    mirrored = (orientation in (2, 3, 6, 7) and width % (_BLOCK * across)) or (
        orientation in (3, 4, 7, 8) and height % (_BLOCK * down)
    )
    if mirrored:
        raise BlocksLostError(f"orientation {orientation} would move the incomplete blocks at its edge")


def _changed(photo: Photo, data: bytes, orientation: int) -> Mask:
    """(H, W), upright: the pixels that are not what the file decodes to."""
    try:
        decoded = np.asarray(JpegImagePlugin.JpegImageFile(io.BytesIO(data)))
        before = turn_upright(decoded, orientation).reshape(photo.pixels.shape)
    except Exception as error:
        raise BlocksLostError(f"the original cannot be decoded ({reason(error)})") from error
    changed = np.empty(photo.pixels.shape[:2], dtype=bool)
    for top in range(0, photo.height, _ROWS):
        rows = slice(top, top + _ROWS)
        changed[rows] = (photo.pixels[rows] != before[rows]).any(axis=-1)
    return changed


def _stored(pixels: AnyArray, orientation: int) -> AnyArray:
    """(H, W, ...) as it lies in the file: the opposite of `turn_upright`."""
    rows = slice(None, None, -1 if orientation in (3, 4, 7, 8) else 1)
    columns = slice(None, None, -1 if orientation in (2, 3, 6, 7) else 1)
    pixels = pixels[rows, columns]
    return pixels.swapaxes(0, 1) if orientation > 4 else pixels


def _splice(
    original: _Coded, photo: Photo, changed: Mask, orientation: int, options: Mapping[str, Any]
) -> tuple[bytes, int]:
    """Put the blocks that have changed into `original`.

    Whole MCUs (the smallest areas that hold whole blocks of every component) around all that has changed are encoded,
    which gives the same coefficients as encoding everything.

    Returns:
        The new file's header with its metadata, and the number of blocks that are new.
    """
    across, down = (_BLOCK * factor for factor in original.layout.chroma)
    height, width = changed.shape
    rows, columns = (np.flatnonzero(changed.any(axis=axis)) for axis in (1, 0))
    left, top, right, bottom = 0, 0, across, down
    if rows.size:
        top, left = int(rows[0]) // down * down, int(columns[0]) // across * across
        bottom, right = int(rows[-1]) // down * down + down, int(columns[-1]) // across * across + across
    bottom, right = min(bottom, height), min(right, width)
    pixels = np.ascontiguousarray(_stored(photo.pixels, orientation)[top:bottom, left:right])
    encoded = _encode(pixels, original, options)
    piece = _read(encoded, read_layout(encoded))
    touched_pixels = changed[top:bottom, left:right]
    rewritten = 0
    for index, (plane, new) in enumerate(zip(original.planes, piece.planes, strict=True)):
        if (original.tables[index] != piece.tables[index]).any():
            raise BlocksLostError("its quantisation tables cannot be written again")
        size = (down, across) if index and original.layout.components == 3 else (_BLOCK, _BLOCK)
        touched = _any_in_blocks(touched_pixels, size)
        first_row, first_column = top // size[0], left // size[1]
        part = plane[first_row : first_row + len(new), first_column : first_column + new.shape[1]]
        part[touched] = new[touched]
        rewritten += int(touched.sum())
    return header_segments(encoded), rewritten


def _any_in_blocks(mask: Mask, size: tuple[int, int]) -> Mask:
    """Whether there is a True in each block of size (height, width); blocks at the edge may be incomplete."""
    height, width = (math.ceil(length / step) * step for length, step in zip(mask.shape, size, strict=True))
    padded = np.zeros((height, width), dtype=bool)
    padded[: mask.shape[0], : mask.shape[1]] = mask
    blocks = padded.reshape(height // size[0], size[0], width // size[1], size[1])
    return np.logical_or.reduce(blocks, axis=(1, 3))  # type: ignore[no-any-return]


def _encode(pixels: AnyArray, original: _Coded, options: Mapping[str, Any]) -> bytes:
    own = {key: value for key, value in options.items() if key not in ("quality", "progressive")}
    own["qtables"] = [table.ravel().tolist() for table in original.tables]
    if original.layout.components == 3:
        own["subsampling"] = _SUBSAMPLING[original.layout.chroma]
    buffer = io.BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels).save(buffer, "JPEG", **own)
    return buffer.getvalue()


def _upright(coded: _Coded, orientation: int) -> _Coded:
    """Coefficients of the picture turned and mirrored: blocks change places, odd frequencies their sign."""
    if orientation == 1:
        return coded
    planes = []
    for plane in coded.planes:
        if orientation > 4:
            plane = plane.swapaxes(2, 3)
        plane = np.array(turn_upright(plane, orientation), order="C")
        if orientation in (3, 4, 7, 8):
            plane[:, :, 1::2, :] *= -1
        if orientation in (2, 3, 6, 7):
            plane[:, :, :, 1::2] *= -1
        planes.append(plane)
    if orientation <= 4:
        return replace(coded, planes=planes)
    return _Coded(coded.layout.transposed(), planes, [table.T for table in coded.tables])


def _read(data: bytes, layout: Layout) -> _Coded:
    jpeglib = _jpeglib()
    with _ONE_AT_A_TIME, tempfile.TemporaryDirectory(prefix="moebius-") as folder:
        path = Path(folder) / "in.jpg"
        path.write_bytes(without_metadata(data))
        try:
            read = jpeglib.read_dct(str(path))
            read.load()
            planes = [read.Y] if layout.components == 1 else [read.Y, read.Cb, read.Cr]
            tables = [read.qt[number] for number in read.quant_tbl_no]
        except Exception as error:  # it meets hostile bytes, like any decoder
            raise BlocksLostError(f"its coefficients cannot be read ({error})") from error
    if [plane.shape[:2] for plane in planes] != layout.blocks():
        raise BlocksLostError("its coefficients are not laid out as its header says")
    return _Coded(layout, planes, tables)


def _write(coded: _Coded) -> bytes:
    """The file from the quantisation tables to the end."""
    jpeglib = _jpeglib()
    tables = [coded.tables[0]]
    if coded.layout.components == 3:
        same = (coded.tables[1] == coded.tables[2]).all()
        tables += [coded.tables[1]] if same else coded.tables[1:]
    numbers = [min(index, len(tables) - 1) for index in range(coded.layout.components)]
    image = jpeglib.from_dct(*coded.planes, qt=np.stack(tables), quant_tbl_no=numbers)
    image.width, image.height = coded.layout.size
    image.samp_factor = [[down, across] for across, down in coded.layout.factors]
    with _ONE_AT_A_TIME, tempfile.TemporaryDirectory(prefix="moebius-") as folder:
        path = Path(folder) / "out.jpg"
        try:
            image.write_dct(str(path), flags=["+OPTIMIZE_CODING"])
            data = path.read_bytes()
        except Exception as error:
            raise BlocksLostError(f"its coefficients cannot be written ({error})") from error
    written = read_layout(data)
    if (written.size, written.factors, written.problem) != (coded.layout.size, coded.layout.factors, ""):
        raise BlocksLostError("its coefficients cannot be written in the original's layout")
    return with_ids(data)


def _jpeglib() -> Any:
    try:
        import jpeglib
    except ImportError as error:
        raise BlocksLostError("keeping blocks needs jpeglib: pip install 'moebius-inpaint[jpeg]'") from error
    return jpeglib
