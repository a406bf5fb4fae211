"""The documentation's pictures, laid out from what the commands on its pages have made.

python scripts/docs_pictures.py [PAGE...]       for example docs/howto/scratch.md; all, if none is named
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import docs_console
from PIL import Image

IMAGES = docs_console.DOCS / "images"
WIDTH, GAP = 1200, 8
"""Of a sheet; and between its columns, pixels."""
MOST_BYTES = 150_000

SHEETS: dict[str, dict[str, tuple[str, ...]]] = {
    "tutorial.md": {
        "tutorial-preview.jpg": ("preview.png",),
        "tutorial-clean.jpg": ("rocket.jpg", "clean.jpg"),
        "tutorial-seeds.jpg": ("clean.jpg 230,230,420,427", "seed1.jpg 230,230,420,427"),
    },
    "howto/remove-object.md": {
        "remove-object-mask.jpg": ("preview.png",),
        "remove-object.jpg": ("rocket.jpg", "clean.jpg"),
    },
    "howto/scratch.md": {"scratch.jpg": ("scratched.png", "painted.png", "clean.png")},
    "howto/outpaint.md": {"outpaint.jpg": ("cropped.png", "wider.png", "extended.png")},
    "howto/product-set.md": {
        "product-set-before.jpg": ("dated/rocket.jpg", "dated/shuttle.png", "dated/spoon.png"),
        "product-set-after.jpg": ("clean/rocket.jpg", "clean/shuttle.png", "clean/spoon.png"),
    },
    "howto/fine-tune.md": {"fine-tune.jpg": ("sheet.png",)},
    "cannot.md": {
        "cannot-hidden.jpg": ("spoon.png", "half.png"),
        "cannot-sides.jpg": ("shuttle.png", "sides.png"),
    },
}
"""Pages below docs/, their pictures below docs/images/, and the columns of each: files that the page's commands leave,
or a part of one (left, top, right, bottom)."""


def column(folder: Path, words: str) -> Image.Image:
    """One column of a sheet; parts of pictures three times as large."""
    name, _, corners = words.partition(" ")
    picture = opaque(Image.open(folder / name))
    if corners:
        left, top, right, bottom = map(int, corners.split(","))
        size = 3 * (right - left), 3 * (bottom - top)
        picture = picture.crop((left, top, right, bottom)).resize(size, Image.Resampling.BICUBIC)
    return picture


def sheet(pictures: list[Image.Image], level: bool) -> Image.Image:
    """The pictures side by side, bottoms level or of one height, scaled as one to the sheet's width."""
    height = max(picture.height for picture in pictures)
    if not level:
        pictures = [each.resize((round(each.width * height / each.height), height)) for each in pictures]
    total = sum(picture.width for picture in pictures)
    scale = min(1.0, (WIDTH - GAP * (len(pictures) - 1)) / total)
    pictures = [
        each.resize((round(each.width * scale), round(each.height * scale)), Image.Resampling.LANCZOS)
        for each in pictures
    ]
    width, height = sum(each.width for each in pictures), max(each.height for each in pictures)
    laid = Image.new("RGB", (width + GAP * (len(pictures) - 1), height), "white")
    left = 0
    for each in pictures:
        laid.paste(each, (left, height - each.height))
        left += each.width + GAP
    return laid


def opaque(picture: Image.Image) -> Image.Image:
    """The picture in RGB, with squares where it is transparent."""
    if "A" not in picture.getbands():
        return picture.convert("RGB")
    under = Image.new("RGB", picture.size, (205, 205, 205))
    side = 10
    for top in range(0, picture.height, side):
        for left in range(top // side % 2 * side, picture.width, 2 * side):
            under.paste((235, 235, 235), (left, top, left + side, top + side))
    under.paste(picture.convert("RGB"), mask=picture.getchannel("A"))
    return under


def sheets(page: Path, folder: Path) -> dict[Path, Image.Image]:
    """The page's pictures by their places, from the folder in which its commands were run."""
    wanted = SHEETS.get(page.relative_to(docs_console.DOCS).as_posix(), {})
    return {
        IMAGES / name: sheet(
            [column(folder, part) for part in parts], level=not name.startswith("product-set")
        )
        for name, parts in wanted.items()
    }


def write(page: Path, folder: Path) -> None:
    """Write the page's pictures, each below the bytes that a page should cost."""
    for place, picture in sheets(page, folder).items():
        for quality in (88, 82, 76, 70, 60):
            picture.save(place, quality=quality, optimize=True)
            if place.stat().st_size < MOST_BYTES:
                break


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("pages", type=Path, nargs="*")
    for path in [each.resolve() for each in parser.parse_args().pages] or docs_console.pages():
        sys.stderr.write(f"{path}\n")
        with docs_console.workshop() as made:
            docs_console.run_page(path, made)
            write(path, made)
