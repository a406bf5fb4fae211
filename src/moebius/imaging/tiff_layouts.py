"""16-bit TIFF layouts that Pillow does not know, shown to it as ones that it does.

Pillow decodes strips and tiles of every compression, but has no 16-bit grey with alpha, Lab or separate planes. The
samples lie there as they would in another picture: Lab as RGB does, a plane as grey does, and grey with alpha as grey
of twice the width. So a second directory is put behind the file, which differs from the first in a few fields, and the
header points there.

Source: TIFF 6.0, sections 2 (directories), 14 (differencing), 18 (ExtraSamples), 23 (Lab).
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from moebius.imaging.exif import ORIENTATION, Directory

OddLayout = Literal["LA", "LA differences", "LAB"]
"""What is shown as grey of twice the width (with differences between neighbours left in), and as RGB."""


@dataclass(frozen=True)
class Shown:
    """A file that Pillow opens, in place of one that it does not."""

    data: bytes
    layout: OddLayout
    """What it really is."""
    orientation: int = 1
    """EXIF orientation that the shown file does not say: a picture of twice the width cannot be turned."""


_WIDTH, _BITS, _PHOTOMETRIC, _SAMPLES = 256, 258, 262, 277
_STRIP_OFFSETS, _STRIP_COUNTS, _PLANAR, _PREDICTOR = 273, 279, 284, 317
_TILE_WIDTH, _TILE_OFFSETS, _TILE_COUNTS, _EXTRA = 322, 324, 325, 338
_SHORT, _LONG = 3, 4
_SIZES = {_SHORT: "H", _LONG: "I"}
_LAB, _SEPARATE, _DIFFERENCES = 8, 2, 2


def shown_as_another(data: bytes) -> Shown | None:
    """The same file as one that Pillow opens; None if it is no such file."""
    try:
        directory = Directory(bytearray(data))
        bits = _values(directory, _BITS)
        samples = directory.value(_SAMPLES) or 1
        contiguous = samples == 1 or directory.value(_PLANAR) != _SEPARATE
        photometric = directory.value(_PHOTOMETRIC)
        if set(bits) != {16} or not contiguous:
            return None
        if photometric == _LAB and samples == 3:
            return Shown(_changed(directory, {_PHOTOMETRIC: [2]}), "LAB")
        if photometric == 1 and samples == 2 and _values(directory, _EXTRA) == [2]:
            tags = [tag for tag in (_WIDTH, _TILE_WIDTH) if tag in directory.entries]
            differences = directory.value(_PREDICTOR) == _DIFFERENCES
            if differences and _TILE_WIDTH in tags:
                return None
            fields = {tag: [2 * _values(directory, tag)[0]] for tag in tags}
            fields |= {_SAMPLES: [1], _BITS: [16], _EXTRA: [], _PREDICTOR: [], ORIENTATION: []}
            turn = directory.value(ORIENTATION) or 1
            layout: OddLayout = "LA differences" if differences else "LA"
            return Shown(_changed(directory, fields), layout, turn if 1 <= turn <= 8 else 1)
    except (struct.error, ValueError, IndexError, KeyError):
        pass
    return None


def plane_files(data: bytes) -> list[bytes]:
    """A file of separate 16-bit planes as one file of grey for each plane.

    Raises:
        ValueError, struct.error: it is laid out in another way.
    """
    directory = Directory(bytearray(data))
    samples = directory.value(_SAMPLES) or 1
    tiled = _TILE_OFFSETS in directory.entries
    tags = (_TILE_OFFSETS, _TILE_COUNTS) if tiled else (_STRIP_OFFSETS, _STRIP_COUNTS)
    places = {tag: _values(directory, tag) for tag in tags}
    each, rest = divmod(len(places[tags[0]]), samples)
    if rest or not each:
        raise ValueError("expected as many strips for each plane")
    grey = {_SAMPLES: [1], _BITS: [16], _PHOTOMETRIC: [1], _PLANAR: [1], _EXTRA: []}
    return [
        _changed(
            directory, {**grey, **{tag: values[index * each :][:each] for tag, values in places.items()}}
        )
        for index in range(samples)
    ]


def grey_and_alpha(wide: NDArray[np.uint16], layout: OddLayout) -> NDArray[np.uint16]:
    """(H, 2 W) as Pillow was shown it -> (H, W, 2)."""
    samples = wide.reshape(len(wide), -1, 2)
    if layout == "LA differences":
        return np.cumsum(samples, axis=1, dtype=np.uint16)  # modulo 65536, as they were taken
    return samples


def _changed(directory: Directory, fields: Mapping[int, list[int]]) -> bytes:
    """The file with a second directory at its end, whose `fields` are these; an empty list drops one."""
    order, data = directory.order, bytearray(directory.data)
    data += bytes(len(data) % 2)
    kept = {tag: bytes(data[at : at + 12]) for tag, at in directory.entries.items() if tag not in fields}
    new = {tag: values for tag, values in fields.items() if values}
    start = len(data)
    place = start + 2 + 12 * (len(kept) + len(new)) + 4
    arrays = b""
    for tag, values in new.items():
        packed = struct.pack(f"{order}{len(values)}I", *values)
        value = packed if len(values) == 1 else struct.pack(order + "I", place + len(arrays))
        kept[tag] = struct.pack(order + "HHI", tag, _LONG, len(values)) + value
        arrays += packed if len(values) > 1 else b""
    data += struct.pack(order + "H", len(kept)) + b"".join(kept[tag] for tag in sorted(kept))
    data += bytes(4) + arrays
    struct.pack_into(order + "I", data, 4, start)
    return bytes(data)


def _values(directory: Directory, tag: int) -> list[int]:
    """All numbers of a field of SHORTs or LONGs."""
    at = directory.entries[tag]
    code, count = _SIZES[directory.read(at + 2, "H")], directory.read(at + 4, "I")
    size = count * struct.calcsize(code)
    start = at + 8 if size <= 4 else directory.base + directory.read(at + 8, "I")
    return list(struct.unpack_from(f"{directory.order}{count}{code}", directory.data, start))
