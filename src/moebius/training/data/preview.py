"""Training samples as one picture, to be looked at before a training."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from moebius.errors import InputError, OutputError
from moebius.imaging import atomic_file, check_path
from moebius.training.data.recipe import DataRecipe, Opposite
from moebius.training.data.sample import Sample, check_source, make_sample
from moebius.training.data.sources import open_sources, split

PAPER, INK, QUIET = (250, 249, 246), (40, 40, 44), (126, 124, 120)
TINT = (226, 62, 87)
"""Of the hole."""
TINTED = 0.6
"""How much of the tint there is in the hole."""
GAP, MARGIN = 6, 28
"""Between the pictures of a sample, and around it, px."""
TEXT, LINE = 15, 20
"""Height of letters and of lines, px."""
SECOND = {"foreground": "foreground", "null": "null ids", "none": "second half"}
"""What the second half of the category table is called."""
FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}


def contact_sheet(
    samples: Sequence[Sample], *, tile: int = 192, columns: int = 2, opposite: Opposite = "null"
) -> Image.Image:
    """Each sample as the network sees it: the crop, the crop with its hole tinted, and what is fed.

    Below stand the photo's key, where the mask is from, the hole's share and the category.

    Args:
        tile: side of a picture, px.
        columns: samples beside each other.
        opposite: what category 1 means.

    Raises:
        InputError: no samples.
    """
    if not samples:
        raise InputError("expected at least one sample to draw, got none")
    columns = min(columns, len(samples))
    rows = -(-len(samples) // columns)
    width, height = 3 * tile + 2 * GAP, tile + GAP + 2 * LINE
    sheet = Image.new("RGB", (MARGIN + columns * (width + MARGIN), MARGIN + rows * (height + MARGIN)), PAPER)
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(TEXT)
    for number, sample in enumerate(samples):
        row, column = divmod(number, columns)
        left, top = MARGIN + column * (width + MARGIN), MARGIN + row * (height + MARGIN)
        for place, picture in enumerate(_pictures(sample)):
            how = Image.Resampling.LANCZOS if picture.width > tile else Image.Resampling.BICUBIC
            sheet.paste(picture.resize((tile, tile), how), (left + place * (tile + GAP), top))
        share = f"hole {sample.mask.mean():.1%}"
        category = SECOND[opposite] if sample.category else "background"
        side = f"{sample.image.shape[-1]} px"
        words = (
            (_shortened(sample.key, width, font), INK),
            (f"{sample.generator}  ·  {share}  ·  {category}  ·  {side}", QUIET),
        )
        for line, (text, colour) in enumerate(words):
            draw.text((left, top + tile + GAP + line * LINE), text, fill=colour, font=font)
    return sheet


def preview(
    paths: Sequence[Path], recipe: DataRecipe, *, seed: int, count: int, out: Path, overwrite: bool = False
) -> str:
    """Draw the first samples of a training, and write them to `out`.

    Args:
        paths: see `open_sources`.
        out: a .png, .jpg or .webp file.
        overwrite: replace it if it is there.

    Returns:
        What is on it, in a few lines.

    Raises:
        InputError: no photos, or none that can be used.
        OutputError: `out` is there already, cannot be written, or is of another kind.
    """
    for name, value, least in (("count", count, 1), ("seed", seed, 0)):
        if value < least:
            raise InputError(f"{name}: expected {least} or more, got {value}")
    kind = FORMATS.get(out.suffix.lower())
    if kind is None:
        raise OutputError(f"{out}: expected a name that ends in {', '.join(FORMATS)}")
    check_path(out, overwrite)
    source, held_out = split(open_sources(paths), recipe.holdout)
    check_source(source, recipe)
    sizes = recipe.sizes
    samples = [make_sample(source, recipe, seed, each, sizes[each % len(sizes)]) for each in range(count)]
    sheet = contact_sheet(samples, columns=2 if count <= 8 else 3, opposite=recipe.opposite)
    with atomic_file(out, overwrite) as file:
        sheet.save(file, kind)
    return f"{out}: {count} samples of {len(source)} photos ({len(held_out)} are held out)\n" + _summary(
        samples, recipe.opposite
    )


def _summary(samples: Sequence[Sample], opposite: Opposite) -> str:
    shares = np.array([sample.mask.mean() for sample in samples])
    counts = Counter(sample.generator for sample in samples)
    second = sum(sample.category for sample in samples)
    lines = [
        f"holes: {shares.min():.1%} to {shares.max():.1%} of the crop, mean {shares.mean():.1%}",
        "masks: " + ", ".join(f"{name} {number}" for name, number in counts.most_common()),
        f"categories: background {len(samples) - second}, {SECOND[opposite]} {second}",
    ]
    broken = dict(entry for sample in samples for entry in sample.broken)
    lines += [f"passed over: {key}: {reason}" for key, reason in broken.items()]
    return "\n".join(lines)


def _pictures(sample: Sample) -> tuple[Image.Image, Image.Image, Image.Image]:
    """The crop, the same with its hole tinted, and what the network is fed."""
    image, condition = _levels(sample.image), _levels(sample.condition)
    hole = sample.mask[0] > 0
    tinted = image.copy()
    tinted[hole] = (1 - TINTED) * tinted[hole] + TINTED * np.array(TINT)
    return tuple(Image.fromarray(each.astype(np.uint8)) for each in (image, tinted, condition))  # type: ignore[return-value]


def _levels(planes: NDArray[np.float32]) -> NDArray[np.float32]:
    """(3, S, S) in [-1, 1] -> (S, S, 3) in [0, 255], whole numbers."""
    levels: NDArray[np.float32] = np.round(np.clip(planes.transpose(1, 2, 0) + 1, 0, 2) * np.float32(127.5))
    return levels


def _shortened(text: str, width: int, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    """The text, its beginning cut off where it is too wide."""
    if font.getlength(text) <= width:
        return text
    while text and font.getlength("…" + text) > width:
        text = text[1:]
    return "…" + text
