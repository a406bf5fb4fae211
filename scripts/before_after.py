"""Fill the example photos and lay them out as one picture: photo with mask | result.

python scripts/before_after.py --out docs/images/examples.jpg
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from PIL import Image

from moebius import Moebius

EXAMPLES = Path(__file__).parent.parent / "examples"
HEIGHT, GAP = 320, 8
TINT = np.array([255, 40, 90], dtype=np.float32)


def tinted(photo: Image.Image, mask: Image.Image) -> Image.Image:
    """The photo with the masked part in colour."""
    pixels = np.asarray(photo.convert("RGB"), dtype=np.float32)
    weight = np.asarray(mask.convert("L"), dtype=np.float32)[..., None] / 255 * 0.6
    return Image.fromarray((pixels * (1 - weight) + TINT * weight).round().astype(np.uint8))


def scaled(image: Image.Image) -> Image.Image:
    return image.resize((round(image.width * HEIGHT / image.height), HEIGHT), Image.Resampling.LANCZOS)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--model", default="nano")
    parser.add_argument(
        "--photos", type=Path, default=EXAMPLES, help="folder of photos with NAME_mask.png beside them"
    )
    options = parser.parse_args()
    model = Moebius.from_pretrained(options.model)
    columns = []
    for mask_path in sorted(options.photos.glob("*_mask.png")):
        stem = mask_path.stem.removesuffix("_mask")
        path = next(p for p in options.photos.iterdir() if p.stem == stem and p != mask_path)
        before, after = (
            tinted(Image.open(path), Image.open(mask_path)),
            model(path, mask_path).image.convert("RGB"),
        )
        pair = Image.new("RGB", (scaled(before).width, 2 * HEIGHT + GAP), "white")
        pair.paste(scaled(before), (0, 0))
        pair.paste(scaled(after), (0, HEIGHT + GAP))
        columns.append(pair)
    width = sum(column.width for column in columns) + GAP * (len(columns) - 1)
    sheet, left = Image.new("RGB", (width, columns[0].height), "white"), 0
    for column in columns:
        sheet.paste(column, (left, 0))
        left += column.width + GAP
    options.out.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(options.out, quality=90)


if __name__ == "__main__":
    main()
