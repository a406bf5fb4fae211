"""JPEG to JPEG with every block kept that nobody touched.

A JPEG holds quantised cosine coefficients of 8 x 8 blocks. Decoding and encoding again, even with the same tables,
moves some of them everywhere. Here only the neighbourhood of what has changed is encoded anew; the coefficients of all
other blocks are taken from the file that the photo came from, and are the same numbers in the new file.

A block is touched when a pixel of its own area has changed: of 8 x 8 pixels for luma, of up to 16 x 16 for chroma.
Decoders blend chroma with its neighbours, so pixels outside touched blocks decode to the same values but for a rim of
one chroma sample around them. A photo that EXIF turned is stored upright: its coefficients are turned exactly, but a
decoder rounds them in another order, so that pixels anywhere may come out up to three levels off.

`jpeg_coefficients` reads and writes the coefficients, in memory. Work in Python grows with what has changed; the rest
costs a decoding and a comparison (to see what has changed) and copies of coefficients.

Source: ITU-T T.81, annexes A (blocks, interleaving) and B (markers); JFIF 1.02.
"""

from __future__ import annotations

import io
import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from PIL import Image, JpegImagePlugin

from moebius.imaging.arrays import AnyArray, Mask
from moebius.imaging.decode import reason
from moebius.imaging.exif import turn_upright
from moebius.imaging.jpeg_coefficients import Coded, CoefficientsError, read_coefficients, write_coefficients
from moebius.imaging.jpeg_segments import Layout, header_segments, read_layout
from moebius.imaging.photo import Photo

log = logging.getLogger(__name__)

MAX_COEFFICIENTS = 160_000_000
"""Larger files are encoded anew: coefficients take two bytes each, two or three times over. 100 megapixels of 4:2:0."""
_BLOCK = 8
_SUBSAMPLING = {(1, 1): 0, (2, 1): 1, (2, 2): 2}
"""Luma samples a chroma sample, across and down -> Pillow's number."""
_SIDEWAYS = (1, 2)
"""4:4:0, which Pillow does not write: 4:2:2 of the picture lying on its side."""
_GAP = 16
"""Rows of MCUs without a change that are cheaper to leave out than to encode."""
_ROWS = 64
"""Compared at a time: what they need stays in the processor's cache."""


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


def keep_blocks(photo: Photo, options: Mapping[str, Any]) -> KeptBlocks:
    """Write a photo that came from a JPEG as a JPEG, keeping the blocks whose pixels are as they were.

    Args:
        photo: upright; compared with what its `metadata.source` decodes to.
        options: what `Image.save` takes for JPEG; tables, subsampling and quality are the original's.

    Raises:
        BlocksLostError: whatever goes wrong; see the message.
    """
    try:
        return _keep_blocks(photo, options)
    except BlocksLostError:
        raise
    except CoefficientsError as error:
        raise BlocksLostError(str(error)) from error
    except Exception as error:  # the photo can still be written, without them
        log.warning("keeping the blocks of a JPEG has failed", exc_info=True)
        raise BlocksLostError(f"keeping its blocks has failed: {reason(error)}") from error


def _keep_blocks(photo: Photo, options: Mapping[str, Any]) -> KeptBlocks:
    source = photo.metadata.source
    if source is None:
        raise BlocksLostError("the original JPEG is not at hand")
    layout = read_layout(source.data)
    _check(photo, layout, source.orientation)
    changed = _stored(_changed(photo, source.data, source.orientation), source.orientation)
    original = read_coefficients(source.data, layout)
    head, rewritten = _splice(original, photo, changed, source.orientation, options)
    result = _upright(original, source.orientation)
    total = sum(plane.shape[0] * plane.shape[1] for plane in result.planes)
    warnings = ("the original is progressive, its copy is sequential",) if layout.progressive else ()
    return KeptBlocks(head + write_coefficients(result), total, rewritten, warnings)


def _check(photo: Photo, layout: Layout, orientation: int) -> None:
    """Everything that can be told before anything is decoded."""
    if layout.problem:
        raise BlocksLostError(layout.problem)
    if layout.components == 3 and layout.chroma not in (*_SUBSAMPLING, _SIDEWAYS):
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
    changed = np.zeros(photo.pixels.shape[:2], dtype=bool)
    for top in range(0, photo.height, _ROWS):
        differs = photo.pixels[top : top + _ROWS] != before[top : top + _ROWS]
        if differs.any():
            for channel in range(differs.shape[2]):  # many times faster than `any` along so short an axis
                changed[top : top + _ROWS] |= differs[..., channel]
    return changed


def _stored(pixels: AnyArray, orientation: int) -> AnyArray:
    """(H, W, ...) as it lies in the file: the opposite of `turn_upright`."""
    rows = slice(None, None, -1 if orientation in (3, 4, 7, 8) else 1)
    columns = slice(None, None, -1 if orientation in (2, 3, 6, 7) else 1)
    pixels = pixels[rows, columns]
    return pixels.swapaxes(0, 1) if orientation > 4 else pixels


def _splice(
    original: Coded, photo: Photo, changed: Mask, orientation: int, options: Mapping[str, Any]
) -> tuple[bytes, int]:
    """Put the blocks that have changed into `original`.

    Whole MCUs (the smallest areas that hold whole blocks of every component) around what has changed are encoded,
    which gives the same coefficients as encoding everything.

    Returns:
        The new file's header with its metadata, and the number of blocks that are new.
    """
    across, down = (_BLOCK * factor for factor in original.layout.chroma)
    stored = _stored(photo.pixels, orientation)
    head, rewritten = b"", 0
    for left, top, right, bottom in _areas(changed, across, down):
        pixels = np.ascontiguousarray(stored[top:bottom, left:right])
        head, piece = _encode(pixels, original, options)
        for index, (plane, new) in enumerate(zip(original.planes, piece.planes, strict=True)):
            if (original.tables[index] != piece.tables[index]).any():
                raise BlocksLostError("its quantisation tables cannot be written again")
            size = (down, across) if index and original.layout.components == 3 else (_BLOCK, _BLOCK)
            touched = _any_in_blocks(changed[top:bottom, left:right], size)
            first_row, first_column = top // size[0], left // size[1]
            part = plane[first_row : first_row + len(new), first_column : first_column + new.shape[1]]
            part[touched] = new[touched]
            rewritten += int(touched.sum())
    return head, rewritten


def _areas(changed: Mask, across: int, down: int) -> list[tuple[int, int, int, int]]:
    """Boxes (left, top, right, bottom) of whole MCUs, one below the other, with all that has changed inside.

    There is always one, for the metadata is encoded with it.
    """
    height, width = changed.shape
    rows = np.unique(np.flatnonzero(changed.any(axis=1)) // down)
    if not rows.size:
        return [(0, 0, min(across, width), min(down, height))]
    areas = []
    for run in np.split(rows, np.flatnonzero(np.diff(rows) > _GAP) + 1):
        top, bottom = int(run[0]) * down, min(int(run[-1] + 1) * down, height)
        columns = np.flatnonzero(changed[top:bottom].any(axis=0)) // across
        areas.append((int(columns[0]) * across, top, min(int(columns[-1] + 1) * across, width), bottom))
    return areas


def _any_in_blocks(mask: Mask, size: tuple[int, int]) -> Mask:
    """Whether there is a True in each block of size (height, width); blocks at the edge may be incomplete."""
    height, width = (math.ceil(length / step) * step for length, step in zip(mask.shape, size, strict=True))
    padded = np.zeros((height, width), dtype=bool)
    padded[: mask.shape[0], : mask.shape[1]] = mask
    rows, columns = height // size[0], width // size[1]
    eights = padded.view(np.uint64).reshape(
        rows, size[0], width // 8
    )  # eight pixels a number: 20 times faster
    return (np.bitwise_or.reduce(eights, axis=1) != 0).reshape(rows, columns, -1).any(axis=2)  # type: ignore[no-any-return]


def _encode(pixels: AnyArray, original: Coded, options: Mapping[str, Any]) -> tuple[bytes, Coded]:
    """Encode part of the photo as the original is encoded.

    Returns:
        A file's start with the photo's metadata, and the coefficients.
    """
    sideways = original.layout.chroma == _SIDEWAYS
    if sideways:
        pixels = np.ascontiguousarray(pixels.swapaxes(0, 1))
    own = {key: value for key, value in options.items() if key not in ("quality", "progressive")}
    own["qtables"] = [(table.T if sideways else table).ravel().tolist() for table in original.tables]
    if original.layout.components == 3:
        own["subsampling"] = _SUBSAMPLING[(2, 1) if sideways else original.layout.chroma]
    buffer = io.BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels).save(buffer, "JPEG", **own)
    encoded = buffer.getvalue()
    piece = read_coefficients(encoded, read_layout(encoded))
    return header_segments(encoded), _upright(piece, 5) if sideways else piece


def _upright(coded: Coded, orientation: int) -> Coded:
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
    return Coded(coded.layout.transposed(), planes, [table.T for table in coded.tables])
