"""A picture of what a mask will do: the mask over its photo, what it grows to, and the crops that are filled."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from moebius.imaging.arrays import FloatImage, Mask
from moebius.imaging.blend import feather_weight
from moebius.imaging.photo import Photo
from moebius.imaging.regions import Region
from moebius.imaging.resample import resize_mask

MASKED, GROWN, FEATHER = (255, 45, 85), (255, 149, 0), (255, 226, 90)
"""Tints, RGB."""
CROP = (64, 224, 255)
_DARK, _LIGHT = (24, 26, 30), (240, 240, 240)
_CHECKS = 12
"""Side of the squares that show through transparent pixels, px."""


def preview_mask(
    photo: Photo,
    mask: Mask,
    grown: Mask,
    regions: Sequence[Region],
    *,
    feather: int,
    kept: Mask | None = None,
    refined: Collection[Region] = (),
    caption: Sequence[str] = (),
    max_side: int = 2000,
) -> Image.Image:
    """The photo with its mask (red, outlined), the margin it grows by (orange), the feather (yellow) and the crops.

    Args:
        mask, grown: (H, W), True = fill.
        feather: pixels of the photo.
        kept: (H, W), True where the feather does not reach.
        refined: regions that are filled at the photo's own resolution, by tiles.
        caption: what is said below each colour's patch: of the mask, of the growth, of the feather, of the crops.
        max_side: a larger photo is scaled down to it; strokes of any width stay visible.

    Returns:
        RGB, as wide as the photo (scaled down), with a strip for the caption below.
    """
    image = _on_checks(photo.in_8_bits().to_pil())
    image.thumbnail((max_side, max_side), reducing_gap=2.0)
    width, height = image.size
    scale = width / photo.width
    line = max(1, round(max(width, height) / 700))
    small, wide = resize_mask(mask, (height, width)), resize_mask(grown, (height, width))
    pixels = np.asarray(image, dtype=np.float32)
    none = wide if kept is None else wide | ~resize_mask(~kept, (height, width))
    fade = np.where(none, np.float32(0), feather_weight(wide, feather * scale))
    pixels = _tinted(pixels, FEATHER, fade * np.float32(0.75))
    pixels = _tinted(pixels, GROWN, (wide & ~small) * np.float32(0.6))
    pixels = _tinted(pixels, MASKED, small * np.float32(0.45))
    pixels[_outline(small, line)] = (255, 255, 255)
    sheet = Image.fromarray(np.floor(pixels + 0.5).astype(np.uint8))
    font = ImageFont.load_default(max(12, round(max(width, height) / 60)))
    for region in regions:
        _draw_crop(sheet, region, region in refined, scale, line, font)
    return _with_caption(sheet, caption, font) if caption else sheet


def _on_checks(image: Image.Image) -> Image.Image:
    """RGB; transparent parts show a chequered ground."""
    if image.mode not in ("LA", "RGBA"):
        return image.convert("RGB")
    rows, columns = np.ogrid[: image.height, : image.width]
    squares = ((rows // _CHECKS + columns // _CHECKS) % 2 * 45 + 165).astype(np.uint8)
    ground = Image.fromarray(squares).convert("RGBA")
    ground.alpha_composite(image.convert("RGBA"))
    return ground.convert("RGB")


def _tinted(pixels: FloatImage, colour: tuple[int, int, int], weight: FloatImage) -> FloatImage:
    return pixels + (np.array(colour, dtype=np.float32) - pixels) * weight[..., None]


def _outline(mask: Mask, width: int) -> Mask:
    """The mask's pixels within `width` steps of what is not masked; the photo's border is no outline."""
    inner = np.pad(mask, 1, mode="edge")
    for _ in range(width):
        shrunk = inner.copy()
        shrunk[1:] &= inner[:-1]
        shrunk[:-1] &= inner[1:]
        shrunk[:, 1:] &= inner[:, :-1]
        shrunk[:, :-1] &= inner[:, 1:]
        inner = shrunk
    outline: Mask = mask & ~inner[1:-1, 1:-1]
    return outline


def _draw_crop(
    sheet: Image.Image,
    region: Region,
    refined: bool,
    scale: float,
    line: int,
    font: ImageFont.ImageFont | ImageFont.FreeTypeFont,
) -> None:
    draw = ImageDraw.Draw(sheet)
    box = region.box
    left, top = round(box.left * scale), round(box.top * scale)
    right, bottom = max(left, round(box.right * scale) - 1), max(top, round(box.bottom * scale) - 1)
    draw.rectangle((left, top, right, bottom), outline=CROP, width=line + 1)
    text = f"{region.index + 1}: {box.width} x {box.height}"
    if refined:
        text += ", by tiles at full scale"
    elif region.scale > 1.05:
        text += f", filled at 1/{region.scale:.1f} scale"
    _, _, text_width, text_height = draw.textbbox((0, 0), text, font=font)
    pad = max(3, round(text_height / 4))
    x = max(0, min(left, sheet.width - round(text_width) - 2 * pad))
    y = top
    draw.rectangle((x, y, x + text_width + 2 * pad, y + text_height + 2 * pad), fill=CROP)
    draw.text((x + pad, y + pad), text, fill=_DARK, font=font)


def _with_caption(
    sheet: Image.Image, caption: Sequence[str], font: ImageFont.ImageFont | ImageFont.FreeTypeFont
) -> Image.Image:
    """The sheet on a dark strip with a patch of colour before each text; as many to a line as fit."""
    draw = ImageDraw.Draw(sheet)
    size = round(draw.textbbox((0, 0), "Hg", font=font)[3])
    gap, row_height = size, round(size * 1.7)
    places: list[tuple[int, int, str]] = []
    x, row = gap, 0
    for text in caption:
        wide = round(draw.textlength(text, font=font)) + round(size * 1.5)
        if x > gap and x + wide > sheet.width:
            x, row = gap, row + 1
        places.append((x, row, text))
        x += wide + 2 * gap
    framed = Image.new("RGB", (sheet.width, sheet.height + row_height * (row + 1) + gap), _DARK)
    framed.paste(sheet)
    draw = ImageDraw.Draw(framed)
    for (x, row, text), colour in zip(places, (MASKED, GROWN, FEATHER, CROP), strict=False):
        y = sheet.height + gap // 2 + row * row_height + (row_height - size) // 2
        draw.rectangle((x, y + size // 8, x + size, y + size // 8 + size), fill=colour)
        draw.text((x + round(size * 1.5), y), text, fill=_LIGHT, font=font)
    return framed
