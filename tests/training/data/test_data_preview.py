"""Contact sheets of samples, of small photos and of the training shards where they are at hand."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sample_photos import make_folder, make_list, small_recipe

from moebius.errors import InputError, OutputError
from moebius.training.data.preview import GAP, MARGIN, PAPER, contact_sheet, preview
from moebius.training.data.recipe import DataRecipe
from moebius.training.data.sample import make_sample
from moebius.training.data.sources import open_sources

REPOSITORY = Path(__file__).parents[3]
SHARDS = Path(os.environ.get("MOEBIUS_TRAIN_DATA", REPOSITORY.parent / "shared" / "data" / "train"))


def test_a_sheet_shows_what_the_network_sees(tmp_path: Path) -> None:
    source = open_sources([make_list(tmp_path / "l")])
    recipe = small_recipe(opposite="foreground")
    samples = [make_sample(source, recipe, 0, position, 32) for position in range(5)]
    sheet = contact_sheet(samples, tile=32, columns=2, opposite="foreground")
    assert sheet.mode == "RGB" and sheet.getpixel((0, 0)) == PAPER
    pictures = np.asarray(sheet)[MARGIN : MARGIN + 32]
    shown, tinted, fed = (
        pictures[:, left : left + 32] for left in (MARGIN + i * (32 + GAP) for i in range(3))
    )
    first = samples[0]
    image = np.round((first.image.transpose(1, 2, 0) + 1) * 127.5)
    hole = first.mask[0] > 0
    assert np.abs(shown - image).max() <= 1
    assert np.array_equal(tinted[~hole], shown[~hole]) and (tinted[hole] != shown[hole]).any(-1).all()
    assert (np.abs(fed[hole].astype(int) - 128) <= 1).all() and np.array_equal(fed[~hole], shown[~hole])
    assert contact_sheet(samples[:1], tile=32).width < sheet.width
    with pytest.raises(InputError, match="expected at least one sample"):
        contact_sheet([])


def _size(path: Path) -> tuple[int, int]:
    with Image.open(path) as image:
        return image.size


def test_a_preview_is_a_file(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "f", 6)
    out = tmp_path / "sheet.png"
    (folder / "photo002.mask.png").write_bytes(b"broken")
    summary = preview([folder], small_recipe(sizes=(32, 64)), seed=0, count=10, out=out)
    assert summary.startswith(f"{out}: 10 samples of 5 photos (1 are held out)\nholes: ")
    assert "\nmasks: " in summary and "\ncategories: background " in summary
    assert "\npassed over: photo002.png: mask: not an image" in summary
    before = out.read_bytes()
    with pytest.raises(OutputError, match=r"sheet\.png: exists already"):
        preview([folder], small_recipe(), seed=1, count=4, out=out)
    assert out.read_bytes() == before
    preview([folder], small_recipe(), seed=1, count=4, out=out, overwrite=True)
    assert out.read_bytes() != before
    for name in ("sheet.jpg", "sheet.webp"):
        preview([folder], small_recipe(), seed=0, count=1, out=tmp_path / name)
        assert _size(tmp_path / name)[0] > 192
    with pytest.raises(OutputError, match=r"sheet\.gif: expected a name that ends in \.png, \.jpg"):
        preview([folder], small_recipe(), seed=0, count=4, out=tmp_path / "sheet.gif")
    with pytest.raises(InputError, match=r"count: expected 1 or more, got 0"):
        preview([folder], small_recipe(), seed=0, count=0, out=tmp_path / "none.png")
    with pytest.raises(OutputError, match="expected an existing folder"):
        preview([folder], small_recipe(), seed=0, count=1, out=tmp_path / "no" / "sheet.png")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["f", "sheet.jpg", "sheet.png", "sheet.webp"]


@pytest.mark.skipif(
    not (SHARDS / "open-00.tar").exists(), reason="no training shards: set MOEBIUS_TRAIN_DATA to their folder"
)
def test_a_preview_of_the_shards(tmp_path: Path) -> None:
    recipe = DataRecipe(
        sizes=(128,), crop="random", scale_jitter=0.5, feed="prefill",
        masks={"thin": 0.15, "medium": 0.3, "thick": 0.2, "object": 0.35},
    )  # fmt: skip
    summary = preview([SHARDS / "open-00.tar"], recipe, seed=0, count=12, out=tmp_path / "sheet.png")
    assert "12 samples of 334 photos (9 are held out)" in summary and "passed over" not in summary
