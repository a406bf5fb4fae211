"""A photo in memory: its own pixels in its own colours, and everything it carries."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from moebius.imaging.arrays import FloatImage, Samples
from moebius.imaging.box import Box
from moebius.imaging.colour import CHANNELS, ColourMode, Colours, lab_in_8_bits
from moebius.imaging.metadata import Metadata

_BLEND_ROWS = 256
"""Rows that are blended at a time."""


@dataclass(eq=False)
class Photo:
    """A photo, upright, in the colours and depth it is stored in.

    Pixels that nobody asks to change stay the samples they were: RGB in [0, 1] is made for a crop at a time
    (`crop_rgb`) and comes back only where a fill has weight (`blend_rgb`).

    Raises:
        ValueError: the arrays do not belong together.
    """

    pixels: Samples
    """(H, W, C) uint8 or uint16; C is 1 for "L", 3 for "RGB" and "LAB", 4 for "CMYK" (0 is no ink).

    Lab is as TIFF has it (photometric 8) and as `np.asarray` gives it of a Pillow image of mode "LAB": L* from 0 to 100
    over the type's whole range; a* and b* in two's complement, a unit each in 8 bits and 1/256 in 16; its white is D50.
    """
    mode: ColourMode
    alpha: Samples | None = None
    """(H, W) of the pixels' own type, 0 is transparent; None if the photo has none, as CMYK and Lab never have."""
    metadata: Metadata = field(default_factory=Metadata)
    _colours: Colours | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        shape, dtype, alpha = self.pixels.shape, self.pixels.dtype, self.alpha
        channels = CHANNELS[self.mode]
        if len(shape) != 3 or shape[2] != channels or dtype not in (np.uint8, np.uint16):
            raise ValueError(f"expected (H, W, {channels}) uint8 or uint16, got {shape} {dtype}")
        if alpha is None:
            return
        if self.mode not in ("L", "RGB") or alpha.shape != shape[:2] or alpha.dtype != dtype:
            raise ValueError(
                f"expected alpha {shape[:2]} {dtype} beside L or RGB, "
                f"got {alpha.shape} {alpha.dtype} beside {self.mode}"
            )

    @property
    def width(self) -> int:
        return int(self.pixels.shape[1])

    @property
    def height(self) -> int:
        return int(self.pixels.shape[0])

    @property
    def size(self) -> tuple[int, int]:
        """(width, height)"""
        return self.width, self.height

    @property
    def bits(self) -> int:
        """Bits a sample, 8 or 16."""
        return self.pixels.dtype.itemsize * 8

    def __repr__(self) -> str:
        mode = self.mode if self.alpha is None else f"{self.mode} with alpha"
        return f"<Photo {self.width} x {self.height}, {mode}, {self.bits} bits, {self.metadata.format}>"

    def copy(self) -> Photo:
        """A photo of its own: pixels and alpha are copied, metadata cannot change."""
        alpha = None if self.alpha is None else self.alpha.copy()
        twin = replace(self, pixels=self.pixels.copy(), alpha=alpha)
        twin._colours = self._own_colours()
        return twin

    def crop_rgb(self, box: Box) -> FloatImage:
        """The box as RGB: (box.height, box.width, 3) float32 in [0, 1]; grey gives three equal channels.

        Values are spaced as in sRGB, whatever the photo's own tone curve; see `colour`.

        Raises:
            ValueError: the box is not inside the photo.
        """
        self._check(box)
        return self._own_colours().to_rgb(self.pixels[box.slices])

    def blend_rgb(self, box: Box, rgb: FloatImage, weight: FloatImage) -> None:
        """Blend a fill into the box, in place and in the photo's own colours: (1 - weight) old + weight new.

        The sum is taken in light for RGB and grey, in stored samples for CMYK and Lab. Samples are rounded half up.
        Where weight is 0 nothing is written; where it is 1 nothing of the old pixel goes into the new one. Alpha stays.

        Args:
            rgb: (box.height, box.width, 3) in [0, 1].
            weight: (box.height, box.width) in [0, 1].

        Raises:
            ValueError: the box is not inside the photo, or the shapes are not the box's.
        """
        self._check(box)
        if rgb.shape != (box.height, box.width, 3) or weight.shape != (box.height, box.width):
            raise ValueError(f"expected rgb and weight of {box}, got {rgb.shape} and {weight.shape}")
        region, colours = self.pixels[box.slices], self._own_colours()
        for top in range(0, box.height, _BLEND_ROWS):  # floats of a whole photo would take a gigabyte
            rows = slice(top, top + _BLEND_ROWS)
            touched = weight[rows] > 0
            if touched.any():
                region[rows][touched] = colours.blend(
                    region[rows][touched], rgb[rows][touched], weight[rows][touched]
                )

    def in_8_bits(self) -> Photo:
        """The photo with 8-bit samples, rounded; itself if it has them already."""
        alpha = None if self.alpha is None else _in_8_bits(self.alpha)
        if self.bits == 8:
            return self
        pixels = lab_in_8_bits(self.pixels) if self.mode == "LAB" else _in_8_bits(self.pixels)
        return replace(self, pixels=pixels, alpha=alpha)

    def samples(self) -> Samples:
        """Pixels and alpha together: (H, W, C), or (H, W, C + 1) with alpha last."""
        return self.pixels if self.alpha is None else np.dstack([self.pixels, self.alpha])

    def to_pil(self) -> Image.Image:
        """A Pillow image of mode L, LA, RGB, RGBA, CMYK, LAB or I;16, with profile, EXIF and resolution.

        16 bits stay for grey; other 16-bit samples are rounded to 8, for Pillow has no modes for them.
        """
        if self.bits == 16 and self.mode == "L" and self.alpha is None:
            image = Image.fromarray(self.pixels[..., 0])
        else:
            mode = self.mode if self.alpha is None else self.mode + "A"
            image = Image.frombytes(mode, self.size, self.in_8_bits().samples().tobytes())
        known = {"icc_profile": self.metadata.icc, "exif": self.metadata.exif, "dpi": self.metadata.dpi}
        image.info.update({key: value for key, value in known.items() if value})
        return image

    def _own_colours(self) -> Colours:
        if self._colours is None:
            self._colours = Colours(self.mode, self.metadata.icc)
        return self._colours

    def _check(self, box: Box) -> None:
        if not Box(0, 0, self.width, self.height).contains(box):
            raise ValueError(f"expected a box inside {self.width} x {self.height}, got {box}")


def _in_8_bits(samples: Samples) -> NDArray[np.uint8]:
    return ((samples.astype(np.uint32) * 255 + 32767) // 65535).astype(np.uint8)
