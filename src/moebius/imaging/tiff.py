"""Writing TIFF.

Pillow writes no 16-bit colour, and no EXIF into compressed files. Its directory class does the hard part of
TIFF, the directories; what is left are the strips of pixels: rows as differences between neighbours, and
zlib.

Source: TIFF 6.0, sections 3 to 8 (fields), 14 (horizontal differencing), 16 (CMYK), 18 (alpha), 23 (Lab); Adobe's TIFF
Technical Note on deflate (2002).
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import Any, BinaryIO

from PIL import TiffImagePlugin

from moebius.imaging.arrays import Samples

_PHOTOMETRIC = {"L": 1, "RGB": 2, "CMYK": 5, "LAB": 8}  # black is zero; RGB; separated; CIE L*a*b*
_UNCOMPRESSED, _DEFLATE = 1, 8
_UNASSOCIATED_ALPHA, _DIFFERENCES, _INCH, _LONG = 2, 2, 2, 4
_STRIP_BYTES = 1 << 20


def write_tiff(
    samples: Samples,
    mode: str,
    file: BinaryIO,
    *,
    tags: Mapping[int, Any],
    dpi: tuple[float, float] | None = None,
    compress: bool = True,
) -> None:
    """Write a little-endian TIFF of one picture.

    Args:
        samples: (H, W, C) uint8 or uint16, with alpha last if there is one channel more than `mode` has.
        mode: "L", "RGB", "CMYK" or "LAB", whose samples are TIFF's own.
        tags: further fields; a directory inside (EXIF, GPS) is a mapping of its own.
        dpi: horizontal and vertical resolution.
        compress: deflate with differences between neighbours, instead of plain samples.
    """
    height, width, channels = samples.shape
    samples = samples.astype(samples.dtype.newbyteorder("<"), copy=False)
    rows = max(1, _STRIP_BYTES // (width * channels * samples.itemsize))
    strips = [_strip(samples[top : top + rows], compress) for top in range(0, height, rows)]
    counts = [len(strip) for strip in strips]

    directory = TiffImagePlugin.ImageFileDirectory_v2(prefix=b"II")
    for tag, value in tags.items():
        directory[tag] = value
    directory[TiffImagePlugin.IMAGEWIDTH] = width
    directory[TiffImagePlugin.IMAGELENGTH] = height
    directory[TiffImagePlugin.BITSPERSAMPLE] = (8 * samples.itemsize,) * channels
    directory[TiffImagePlugin.SAMPLESPERPIXEL] = channels
    directory[TiffImagePlugin.PHOTOMETRIC_INTERPRETATION] = _PHOTOMETRIC[mode]
    directory[TiffImagePlugin.PLANAR_CONFIGURATION] = 1
    if channels > len(mode):  # a letter a channel
        directory[TiffImagePlugin.EXTRASAMPLES] = _UNASSOCIATED_ALPHA
    if compress:
        directory[TiffImagePlugin.PREDICTOR] = _DIFFERENCES
    directory[TiffImagePlugin.COMPRESSION] = _DEFLATE if compress else _UNCOMPRESSED
    if dpi is not None:
        directory[TiffImagePlugin.RESOLUTION_UNIT] = _INCH
        directory[TiffImagePlugin.X_RESOLUTION], directory[TiffImagePlugin.Y_RESOLUTION] = dpi
    directory[TiffImagePlugin.ROWSPERSTRIP] = rows
    for tag in (TiffImagePlugin.STRIPOFFSETS, TiffImagePlugin.STRIPBYTECOUNTS):
        directory.tagtype[tag] = _LONG
    directory[TiffImagePlugin.STRIPBYTECOUNTS] = counts
    # Counted from the first strip; `save` adds what lies before it.
    directory[TiffImagePlugin.STRIPOFFSETS] = [sum(counts[:index]) for index in range(len(counts))]
    directory.save(file)
    for strip in strips:
        file.write(strip)


def _strip(rows: Samples, compress: bool) -> bytes:
    if not compress:
        return rows.tobytes()
    differences = rows.copy()
    differences[:, 1:] -= rows[:, :-1]  # modulo 2^8 or 2^16, as the samples' type does it
    return zlib.compress(differences.tobytes())
