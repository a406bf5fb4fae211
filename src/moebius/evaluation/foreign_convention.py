"""How a foreign ONNX graph wants its picture and mask, and what it answers.

    people have                 inputs                              image        mask         answer
    LaMa                        image, mask; float                  0 to 1       1 = hole     0 to 255, or 0 to 1
    LaMa, one input             image and mask; float, 4 channels   0 to 1       1 = hole     0 to 1
    MI-GAN, the whole pipeline  image, mask; uint8                  0 to 255     255 = known  0 to 255
    MI-GAN, generator alone     mask and image; float, 4 channels   -1 to 1      0.5 = known  -1 to 1
                                                                                 -0.5 = hole

The second cannot be told from the last by its graph: it needs `order=image-mask`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from moebius.errors import InputError, SettingsError
from moebius.evaluation.foreign import Options, check_names, choice, whole

Range = Literal["1", "255", "signed"]
"""Of samples: 0 to 1, 0 to 255, -1 to 1."""
Order = Literal["image-mask", "mask-image"]
White = Literal["hole", "known"]
Under = Literal["zero", "smooth"]

OPTIONS = ("size", "multiple", "order", "range", "mask", "under", "output")
RANGES: tuple[Range, ...] = ("1", "255", "signed")
ORDERS: tuple[Order, ...] = ("image-mask", "mask-image")
WHITES: tuple[White, ...] = ("hole", "known")
UNDERS: tuple[Under, ...] = ("zero", "smooth")

BYTES = "tensor(uint8)"
_TYPES: dict[str, type[np.generic]] = {
    "tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(double)": np.float64,
    BYTES: np.uint8,
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Convention:
    """Of one graph. The mask is of 0 and 255 where the graph takes bytes, of 0 and 1 otherwise."""

    image: str
    """Name of the input that takes the picture, (1, 3, H, W)."""
    mask: str
    """Name of the input that takes the mask, (1, 1, H, W); the same if one, (1, 4, H, W), takes both."""
    order: Order
    """Which comes first; with the mask first in one input, 0.5 is taken from it, as MI-GAN wants it."""
    size: tuple[int, int] | None
    """(height, width) that pictures are resized to; None = as they are."""
    multiple: int
    """Where they are not resized: the sides are mirrored at their ends up to a multiple of this."""
    range: Range
    """Of the picture's samples."""
    white: White
    """What 1 (or 255) in the mask means."""
    under: Under
    """What the picture holds in the hole: 0, in its own range, or the smooth fill.

    Zero is what such networks are trained with. Graphs that resize the picture themselves would mix it into
    the known pixels around.
    """
    output: Range | None
    """Of the answer, (1, 3, H, W); None = not known yet."""


def read_convention(inputs: Sequence[Any], options: Options, where: str) -> Convention:
    """The convention of a graph by its inputs (onnxruntime's), as far as they tell; options come first.

    Args:
        options: size (px, where the graph leaves it open), multiple, order, range, mask ("hole" or "known" is
            white), under, output: see `Convention`.
        where: begins the errors.

    Raises:
        InputError: no inpainter has such inputs.
        SettingsError: an option of another name or value, or one that the graph does not leave open.
    """
    check_names(options, OPTIONS, where)
    order = choice(options, "order", ORDERS)
    given = choice(options, "range", RANGES)
    if not all(p.type in _TYPES and len(p.shape) == 4 and _may_be(p.shape[0], 1) for p in inputs):
        raise _no_inpainter(inputs, where)
    if len(inputs) == 1 and inputs[0].shape[1] == 4 and inputs[0].type != BYTES:
        image = mask = inputs[0]
        order = order or "mask-image"
    else:
        possible = _orders(inputs)
        if not possible or (len(possible) > 1 and order is None):
            raise _no_inpainter(inputs, where)
        if order is not None and order not in possible:
            raise SettingsError(f"{where}: expected order={possible[0]} by the graph's inputs, got {order}")
        order = order or possible[0]
        image, mask = inputs if order == "image-mask" else reversed(inputs)

    migan = image is mask and order == "mask-image"
    in_bytes = image.type == BYTES
    if in_bytes and given not in (None, "255"):
        raise SettingsError(f"{where}: expected range=255 for a graph that takes bytes, got {given}")
    return Convention(
        image=image.name,
        mask=mask.name,
        order=order,
        size=_size((image, mask), options, where),
        multiple=whole(options, "multiple", 1, 1024) or (1 if in_bytes else 32),
        range=given or ("255" if in_bytes else "signed" if migan else "1"),
        white=choice(options, "mask", WHITES) or ("known" if in_bytes or migan else "hole"),
        under=choice(options, "under", UNDERS) or ("smooth" if in_bytes else "zero"),
        output=choice(options, "output", RANGES) or ("signed" if migan else None),
    )


def numpy_types(inputs: Sequence[Any]) -> dict[str, type[np.generic]]:
    """What each input is fed, by name."""
    return {port.name: _TYPES[port.type] for port in inputs}


def to_range(picture: NDArray[np.float32], samples: Range) -> NDArray[np.float32]:
    """[0, 1] -> another range, not rounded."""
    if samples == "signed":
        return picture * np.float32(2) - np.float32(1)
    return picture * np.float32(255) if samples == "255" else picture


def from_range(picture: NDArray[np.float32], samples: Range) -> NDArray[np.float32]:
    """Another range -> [0, 1]; what lies outside is cut."""
    if samples == "signed":
        picture = picture * np.float32(0.5) + np.float32(0.5)
    elif samples == "255":
        picture = picture / np.float32(255)
    return np.clip(picture, 0, 1)


def _orders(inputs: Sequence[Any]) -> list[Order]:
    """What two inputs may be: by their channels, or else by their names."""
    if len(inputs) != 2:
        return []
    three, one = [[_may_be(p.shape[1], count) for p in inputs] for count in (3, 1)]
    orders = [order for order, i in zip(ORDERS, (0, 1), strict=True) if three[i] and one[1 - i]]
    named = [order for order, p in zip(ORDERS, reversed(inputs), strict=True) if "mask" in p.name.lower()]
    return named if len(orders) == 2 and len(named) == 1 else orders


def _size(ports: Sequence[Any], options: Options, where: str) -> tuple[int, int] | None:
    """(height, width) that pictures are resized to; the one that the graph names, if it names one."""
    given = whole(options, "size", 8, 8192)
    heights, widths = ({p.shape[axis] for p in ports if _fixed(p.shape[axis])} for axis in (2, 3))
    if len(heights) > 1 or len(widths) > 1:
        raise _no_inpainter(ports, where)
    for side in heights | widths:
        if given not in (None, side):
            raise SettingsError(f"{where}: expected size={side} by the graph's inputs, got {given}")
    height, width = (min(sides, default=given) for sides in (heights, widths))
    height, width = height or width, width or height
    return None if height is None or width is None else (height, width)


def _fixed(side: Any) -> bool:
    return isinstance(side, int) and side > 0


def _may_be(side: Any, count: int) -> bool:
    return side == count or not _fixed(side)


def _no_inpainter(inputs: Sequence[Any], where: str) -> InputError:
    def shown(port: Any) -> str:
        shape = ", ".join(str(side) if _fixed(side) else "?" for side in port.shape)
        return f"{port.name} {port.type.removeprefix('tensor(').rstrip(')')} ({shape})"

    expected = "an inpainter's inputs, image (1, 3, H, W) and mask (1, 1, H, W), or one (1, 4, H, W)"
    return InputError(f"{where}: expected {expected}, got {'; '.join(map(shown, inputs)) or 'none'}")
