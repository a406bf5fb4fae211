"""Frames of an animation in palettes, with the colours of unchanged pixels first."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from moebius.imaging.arrays import AnyArray, Mask
from moebius.imaging.photo import Photo

_COLOURS = 255
"""One entry of 256 is left for transparency, which also marks what stays between frames."""
_CHUNK = 4096

Packed = NDArray[np.uint32]
"""(H, W) or (n,): red, green and blue in one number."""


def as_palette(
    frames: Iterable[Photo], originals: Iterable[Photo] | None, warnings: list[str]
) -> Iterator[Image.Image]:
    """8-bit RGB frames, with alpha or without, as frames in mode P, one at a time.

    Colours are exact where a frame has up to 255. Where it has more, the pixels that are as in the original frame
    keep theirs, and the changed ones share what is left; if the original's alone are too many, all are quantised.

    Args:
        originals: the frames before they were changed; None if they are not known.
        warnings: gets a line for what is not exact.
    """
    before = iter(originals) if originals is not None else iter(())
    for frame in frames:
        original = next(before, None)
        shape = frame.pixels.shape[:2]
        hidden = np.zeros(shape, dtype=bool) if frame.alpha is None else frame.alpha < 128
        same = np.zeros(shape, dtype=bool)
        if original is not None and original.pixels.shape == frame.pixels.shape:
            same = (original.pixels == frame.pixels).all(axis=-1)
        yield _frame(frame.pixels, hidden, same, warnings)


def _frame(rgb: AnyArray, hidden: Mask, same: Mask, warnings: list[str]) -> Image.Image:
    packed = _pack(rgb)
    palette = np.unique(packed[~hidden])
    if len(palette) > _COLOURS:
        kept = np.unique(packed[~hidden & same])
        changed = packed[~hidden & ~same]
        if len(kept) > _COLOURS:
            warnings.append("nearest: a frame's unchanged pixels have more than 255 colours")
            kept, changed = kept[:0], packed[~hidden]
        else:
            warnings.append("nearest: changed pixels have the nearest of a frame's 255 colours")
        palette = np.union1d(kept, _quantised(changed, _COLOURS - len(kept)))
    indices = np.searchsorted(palette, packed).clip(0, max(len(palette) - 1, 0))
    if len(palette):
        wrong = (palette[indices] != packed) & ~hidden
        colours, place = np.unique(packed[wrong], return_inverse=True)
        indices[wrong] = _nearest(colours, palette)[place]
    indices[hidden] = _COLOURS
    frame = Image.fromarray(indices.astype(np.uint8)).convert("P")
    frame.putpalette(_unpack(palette).astype(np.uint8).tobytes().ljust(768, b"\0"))
    if hidden.any():
        frame.info["transparency"] = _COLOURS
    return frame


def _quantised(packed: Packed, count: int) -> Packed:
    """Up to `count` colours for these pixels, by Pillow's median cut."""
    if not count:
        return packed[:0]
    strip = Image.fromarray(_unpack(packed).astype(np.uint8)[None])
    found = strip.quantize(count, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    used = np.frombuffer(bytes(found.getpalette() or ()), np.uint8).reshape(-1, 3)[:count]
    return np.unique(_pack(used))


def _nearest(colours: Packed, palette: Packed) -> NDArray[np.intp]:
    """For each colour the index of the nearest in the palette, by squared distance in RGB."""
    targets = _unpack(palette).astype(np.int32)
    parts = [
        ((_unpack(colours[at : at + _CHUNK]).astype(np.int32)[:, None] - targets) ** 2).sum(-1).argmin(-1)
        for at in range(0, len(colours), _CHUNK)
    ]
    return np.concatenate(parts) if parts else np.zeros(0, dtype=np.intp)


def _pack(rgb: AnyArray) -> Packed:
    wide = rgb.astype(np.uint32)
    return wide[..., 0] << np.uint32(16) | wide[..., 1] << np.uint32(8) | wide[..., 2]


def _unpack(packed: Packed) -> AnyArray:
    return np.stack([packed >> 16 & 255, packed >> 8 & 255, packed & 255], axis=-1)
