"""Writing 16-bit colour as TIFF, which Pillow cannot.

A row of W pixels with 16-bit samples is, byte for byte, a row of 2 W pixels with 8-bit samples. So Pillow
writes that, with its own compressions and all its metadata, and two fields of the finished file are put
right: the width, and the bits a sample.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Mapping
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from moebius.imaging.exif import Directory

_IMAGE_WIDTH, _BITS_PER_SAMPLE = 256, 258


def write_tiff16(samples: NDArray[np.uint16], mode: str, file: BinaryIO, options: Mapping[str, Any]) -> None:
    """Write samples (H, W, C), C the channels of `mode`: RGB, RGBA or CMYK.

    Args:
        options: what `Image.save` takes for TIFF; compressions that know of bit depth ("jpeg") will not do.
    """
    height, width, channels = samples.shape
    buffer = io.BytesIO()
    Image.frombytes(mode, (2 * width, height), samples.tobytes()).save(buffer, "TIFF", **options)
    data = bytearray(buffer.getbuffer())
    directory = Directory(data)
    if directory.order != ("<" if sys.byteorder == "little" else ">"):
        raise OSError("16-bit TIFF can be written on little-endian machines only")
    directory.set_value(_IMAGE_WIDTH, width)
    entry = directory.entries[_BITS_PER_SAMPLE]
    values = directory.read(entry + 8, "I")  # more than two shorts lie elsewhere in the file
    for index in range(channels):
        directory.write(values + 2 * index, "H", 16)
    file.write(data)
