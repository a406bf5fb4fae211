"""The photos that the documentation's commands work on: the examples, and some that are spoiled on purpose.

python scripts/docs_materials.py FOLDER

scratched.png    the cup with drawn scratches and dust, and painted.png, a copy in which they are painted over
cropped.png      a part of the launch pad's photo, to be extended
dated/           the three examples with a date in the corner
"""

from __future__ import annotations

import argparse
import random
import shutil
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
DUST = (240, 232, 214)
PAINT = (255, 0, 255)
SCRATCHES = ((120, 0, 330, 1.5), (185, 235, 400, -1.5), (470, 0, 380, 2.5), (545, 60, 400, -1.2))
"""x and y of a scratch's beginning, y of its end, slope to the right."""
PHOTOS = "rocket.jpg", "shuttle.png", "spoon.png"


def make(folder: Path) -> None:
    """Put everything into a folder that exists."""
    for path in EXAMPLES.iterdir():
        if path.suffix in (".jpg", ".png"):
            shutil.copyfile(path, folder / path.name)
    scratched, painted = scratch(Image.open(EXAMPLES / "spoon.png").convert("RGB"))
    scratched.save(folder / "scratched.png")
    painted.save(folder / "painted.png")
    Image.open(EXAMPLES / "rocket.jpg").crop((160, 100, 500, 427)).save(folder / "cropped.png")
    (folder / "dated").mkdir()
    for name in PHOTOS:
        photo = dated(Image.open(EXAMPLES / name).convert("RGB"))
        photo.save(folder / "dated" / name, quality=92)


def scratch(photo: Image.Image) -> tuple[Image.Image, Image.Image]:
    """The photo with scratches and dust, and the same with all of them painted over a little wider."""
    spoiled, painted = photo.copy(), photo.copy()
    pens = (ImageDraw.Draw(spoiled), DUST, 0), (ImageDraw.Draw(painted), PAINT, 2)
    chance = random.Random(7)
    for x, y, end, slope in SCRATCHES:
        points = []
        while y < end:
            points.append((x, y))
            x, y = x + slope + chance.uniform(-3, 3), y + 16
        for pen, colour, margin in pens:
            pen.line(points, fill=colour, width=2 + 2 * margin)
    for _ in range(25):
        x, y = chance.uniform(10, photo.width - 10), chance.uniform(10, photo.height - 10)
        radius = chance.choice((1, 1, 2))
        for pen, colour, margin in pens:
            r = radius + margin
            pen.ellipse((x - r, y - r, x + r, y + r), fill=colour)
    return spoiled, painted


def dated(photo: Image.Image) -> Image.Image:
    """The photo with a camera's date in its lower right corner: 30 % of the width, 12 % of the height hold it."""
    font = ImageFont.load_default(photo.height * 0.06)
    place = photo.width * 0.96, photo.height * 0.96
    ImageDraw.Draw(photo).text(place, "'98  7 14", fill=(255, 150, 40), font=font, anchor="rb")
    return photo


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    make(options.folder)
