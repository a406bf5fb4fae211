"""Images and masks the way the release treats them: for parity with published numbers, not for good pictures.

Everything here follows the released inference code step by step, its losses included (see each function).
The program itself goes another way (`moebius.imaging`): it keeps the photo's size, and its pixels outside the
mask.

Source: the inference pipeline released with the Moebius paper, as measured in this project's golden data.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from moebius.errors import InputError, MaskError, MoebiusError, PhotoError, SettingsError

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]
Morphology = Literal["dilate", "close"]

IMAGE_SIZE = 512
MULTIPLE = 64
"""Sides are floored to multiples of this."""
BLUR_RADIUS = 3
COMPENSATION = 1.1
RING_MARGIN = 10
"""Pixels by which the holes' bounding box is made wider and higher for the compensation's ring."""


@dataclass(frozen=True, eq=False)
class Prepared:
    """One photo and its mask at the size the network sees."""

    photo: Pixels
    """(H, W, 3) uint8: the photo, resized."""
    grey_mask: Pixels
    """(H, W) uint8, 255 = fill: the mask after resizing and morphology, grey edges kept; pasting uses it."""

    @property
    def image(self) -> Floats:
        """(3, H, W) float32 in [-1, 1]."""
        pixels = self.photo.transpose(2, 0, 1).astype(np.float32)
        return pixels / np.float32(255) * np.float32(2) - np.float32(1)

    @property
    def mask(self) -> Floats:
        """(1, H, W) float32, exactly 0 or 1 = fill: grey 128 and above."""
        return (self.grey_mask >= 128)[None].astype(np.float32)

    @property
    def masked_image(self) -> Floats:
        """(3, H, W) float32 in [-1, 1]: the photo with the hole at 0, mid-grey."""
        return self.image * (1 - self.mask)


def prepare(
    image: Image.Image | Pixels,
    mask: Image.Image | Pixels,
    *,
    image_size: int | tuple[int, int] = IMAGE_SIZE,
    kernel: int = 0,
    morphology: Morphology = "dilate",
) -> Prepared:
    """Threshold the mask at 127.5, resize both with Lanczos, then widen or close the mask.

    As released, a mask of another size or aspect is stretched to the photo's, EXIF orientation is ignored and
    alpha is dropped. One deviation: a mask that is not grey becomes grey first, as in the released command
    line (the released pipeline thresholds a palette's indices and fails on RGB).

    Args:
        image: PIL image of any mode with 8 bits a channel, or (H, W, 3) uint8.
        mask: PIL image with 8 bits or fewer a channel, or (H, W) uint8; white = fill.
        image_size: the photo's short side, or (width, height); see `resized_size`.
        kernel: side of the square of the morphology, in pixels at the new size; 0 for none.
        morphology: "dilate", or "close", which dilates and then erodes.

    Raises:
        PhotoError, MaskError: not an 8-bit image.
        SettingsError: a size below 64, a negative kernel, an unknown morphology.
    """
    photo = _eight_bit(image, PhotoError, "photo").convert("RGB")
    grey = _eight_bit(mask, MaskError, "mask").convert("L").point([0] * 128 + [255] * 128)
    size = resized_size(photo.width, photo.height, image_size)
    photo = photo.resize(size, Image.Resampling.LANCZOS)
    grey = grey.resize(size, Image.Resampling.LANCZOS)

    if kernel < 0:
        raise SettingsError(f"mask kernel: expected 0 or more pixels, got {kernel}")
    if morphology not in ("dilate", "close"):
        raise SettingsError(f"mask morphology: expected dilate or close, got {morphology!r}")
    grey_mask = np.array(grey)
    if kernel > 0:
        grey_mask = dilate(grey_mask, kernel)
        if morphology == "close":
            grey_mask = ~dilate(~grey_mask, kernel)
    return Prepared(np.array(photo), grey_mask)


def preprocess_image_and_mask(
    image: Image.Image | Pixels,
    mask: Image.Image | Pixels,
    target_size: int | tuple[int, int] = IMAGE_SIZE,
) -> tuple[Floats, Floats]:
    """The image and mask tensors of one photo, under the name that the model's public write-ups use.

    Args:
        image, mask: as in `prepare`.
        target_size: the photo's short side, or (width, height), in pixels.

    Returns:
        image (1, 3, H, W) float32 in [-1, 1], and mask (1, 1, H, W) float32, 0 or 1 = fill.

    Raises:
        InputError: as in `prepare`.
    """
    prepared = prepare(image, mask, image_size=target_size)
    return prepared.image[None], prepared.mask[None]


def resized_size(width: int, height: int, image_size: int | tuple[int, int] = IMAGE_SIZE) -> tuple[int, int]:
    """(width, height) after resizing: short side to `image_size`, both sides floored to multiples of 64.

    Flooring squeezes the photo a little (nothing is cropped), and an `image_size` of 500 becomes 448. A pair
    (width, height) is taken as it is, then floored; the released command line squashes photos so.

    Raises:
        SettingsError: a side would be below 64.
    """
    if isinstance(image_size, int):
        scale = image_size / min(width, height)
        long = int(max(width, height) * scale)
        size = (image_size, long) if width <= height else (long, image_size)
    else:
        size = image_size
    floored = (size[0] // MULTIPLE * MULTIPLE, size[1] // MULTIPLE * MULTIPLE)
    if min(floored) < MULTIPLE:
        raise SettingsError(f"image size: expected at least {MULTIPLE} pixels a side, got {image_size}")
    return floored


def dilate(grey: Pixels, kernel: int) -> Pixels:
    """Largest value in the square of `kernel` x `kernel` pixels around each pixel; nothing beyond the border.

    The square reaches kernel // 2 pixels up and left and kernel - 1 - kernel // 2 down and right, as OpenCV's
    does: an even one is off centre by a pixel. Time grows with the logarithm of `kernel`.

    Args:
        grey: (H, W) uint8.
    """
    before, after = kernel // 2, kernel - 1 - kernel // 2
    for _ in range(2):  # down the columns, then, transposed, along the rows
        tops = np.pad(grey, ((before, after), (0, 0)))
        span = 1  # each value is the largest of `span` values from its place on
        while span < kernel:
            shift = min(span, kernel - span)
            tops = np.maximum(tops[:-shift], tops[shift:])
            span += shift
        grey = tops.T
    return grey


def to_bytes(decoded: Floats) -> Pixels:
    """(3, H, W) floats in [-1, 1], clipped, to (H, W, 3) uint8; cut off, not rounded: half a level darker.

    Raises:
        MoebiusError: NaN, from which the release makes black pixels.
    """
    if np.isnan(decoded).any():
        raise MoebiusError("decoded picture: expected numbers, got NaN (try a wider number format)")
    levels: Pixels = (np.clip((decoded + 1) / 2, 0, 1) * 255).astype(np.uint8)
    return levels.transpose(1, 2, 0)


def paste(filled: Pixels, prepared: Prepared) -> Pixels:
    """Fade the fill into the photo through the mask, blurred by 3 pixels.

    The fade reaches 8 pixels to both sides of the mask's edge: known pixels that near change, and that far
    inside the hole the old content shines through with a weight of up to 0.44.

    Args:
        filled: (H, W, 3) uint8, as decoded.

    Returns:
        (H, W, 3) uint8, cut off, not rounded; where the blurred mask is 0, the photo's own bytes.
    """
    weight = _blurred(prepared.grey_mask)
    return (255 * (filled / 255 * weight + prepared.photo / 255 * (1 - weight))).astype(np.uint8)


def paste_compensated(filled: Pixels, prepared: Prepared, factor: float = COMPENSATION) -> Pixels:
    """Shift the fill's colours to the photo's as seen in a ring around the holes, then paste it.

    The shift is `factor` times the difference of the mean colours over `ring_around` the holes: one shift for
    the whole fill, overdone by 10 % for a reason that was not published. The fade is that of `paste`, through
    the mask cut at grey 128.

    Where the ring is empty (no hole, or one that fills its own surroundings) the release divides nothing by
    nothing and gives a black picture; here the colours then stay as they are.
    """
    hole = prepared.grey_mask > 128
    ring = ring_around(hole)
    shift = np.zeros(3)
    if ring.any():
        shift = prepared.photo[ring].mean(axis=0) - filled[ring].mean(axis=0)
    weight = _blurred(np.where(hole, np.uint8(255), np.uint8(0)))
    blend = (filled / 255 + factor * (shift / 255)) * weight + prepared.photo / 255 * (1 - weight)
    return (255 * np.clip(blend, 0, 1)).astype(np.uint8)


def ring_around(hole: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Known pixels in the bounding box of all holes, made 10 pixels wider and higher; (H, W) bool."""
    ring = np.zeros_like(hole)
    if hole.any():
        spans = []
        for places in (np.flatnonzero(hole.any(axis=1)), np.flatnonzero(hole.any(axis=0))):
            low, high = int(places[0]), int(places[-1])
            centre, half = (low + high) // 2, (high - low + 1 + RING_MARGIN) // 2
            spans.append(slice(max(0, centre - half), centre + half + 1))
        ring[spans[0], spans[1]] = True
    return ring & ~hole


def _blurred(mask: Pixels) -> NDArray[np.float64]:
    """(H, W, 1) float64 in [0, 1]: Pillow's Gaussian blur, three box blurs in whole levels."""
    blurred = Image.fromarray(mask).filter(ImageFilter.GaussianBlur(BLUR_RADIUS))
    return np.asarray(blurred, np.float64)[..., None] / 255


def _eight_bit(source: Image.Image | Pixels, error: type[InputError], what: str) -> Image.Image:
    if isinstance(source, np.ndarray):
        if source.dtype != np.uint8:
            raise error(f"{what}: expected 8 bits a channel, got an array of {source.dtype}")
        channels = source.shape[2:] or (1,)
        if source.size == 0 or source.ndim not in (2, 3) or channels[0] not in (1, 3, 4):
            raise error(f"{what}: expected height, width and 1, 3 or 4 channels, got shape {source.shape}")
        return Image.fromarray(source[..., 0] if channels == (1,) and source.ndim == 3 else source)
    if source.mode.startswith(("I", "F")):
        raise error(f"{what}: expected 8 bits a channel, got an image of mode {source.mode}")
    return source
