"""`moebius mask`, and every source of a mask on the command line."""

from __future__ import annotations

import io
import json
import os
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_photos import disc, picture
from numpy.typing import NDArray
from PIL import Image, ImageDraw

Bits = NDArray[np.bool_]
DISC = disc(96, 80, (40, 30), 12)


def coco_of(name: str, width: int, height: int) -> dict[str, Any]:
    """A person, columns 20 to 50 and rows 10 to 20, and a dog of 100 pixels, as run lengths."""
    inside = np.zeros((height, width), bool)
    inside[50:60, 60:70] = True
    edges = np.flatnonzero(np.diff(inside.T.reshape(-1), prepend=False, append=False))
    counts = np.diff(edges, prepend=0, append=inside.size).tolist()
    return {
        "images": [{"id": 1, "file_name": name, "width": width, "height": height}],
        "categories": [{"id": 1, "name": "person"}, {"id": 2, "name": "dog"}],
        "annotations": [
            {"image_id": 1, "category_id": 1, "segmentation": [[20, 10, 50, 10, 50, 20, 20, 20]]},
            {"image_id": 1, "category_id": 2, "segmentation": {"size": [height, width], "counts": counts}},
        ],
    }


@pytest.fixture()
def make(moebius: Any, work: Path) -> Any:
    """`moebius mask make`: the mask that it writes."""

    def call(*arguments: object, photo: str = "photo.png", told: str = "") -> Bits:
        done = moebius("mask", "make", photo, *arguments, "-o", "made.png", "--overwrite")
        assert (done.code, done.out, done.err.replace("moebius: warning: ", "")) == (0, b"", told), done.err
        with Image.open("made.png") as image:
            assert (image.format, image.mode) == ("PNG", "L")
            values = np.asarray(image)
        assert set(np.unique(values)) <= {0, 255}
        return values > 0

    return call


def test_a_mask_file(make: Any) -> None:
    assert np.array_equal(make("mask.png"), DISC)
    told = "a mask file cannot tell what --keep keeps: give --keep to `moebius inpaint` too\n"
    assert np.array_equal(
        make("--mask", "mask.png", "--keep", "mask.png", "--box", "0,0,3,3", told=told),
        make("--box", "0,0,3,3"),
    )
    assert np.array_equal(make("mask.png", "--invert", "--yes"), ~DISC)


def test_shapes(make: Any) -> None:
    expected = np.zeros((80, 96), bool)
    expected[10:20, 20:50] = expected[8:16, 0:24] = True
    assert np.array_equal(make("--box", "20,10,30,10", "--box", "0%,10%,25%,10%"), expected)
    assert np.array_equal(
        make("--polygon", "20,10,50,10,50,20,20,20", "--polygon", "0,8,24,8,24,16,0,16"), expected
    )
    assert np.array_equal(make("--circle", "40.5,30.5,12"), DISC)


def test_several_files(make: Any) -> None:
    for name, box in (("größer.png", (0, 0, 10, 10)), ("b ☕.png", (50, 50, 60, 60))):
        image = Image.new("1", (96, 80))
        ImageDraw.Draw(image).rectangle(box, fill=1)
        image.save(name)
    mask = make("größer.png", "--mask", "b ☕.png", "--mask", "mask.png")
    assert mask.sum() == 121 + 121 + DISC.sum()


def test_alpha(make: Any) -> None:
    Image.fromarray(np.dstack([picture(96, 80), np.where(DISC, 0, 255).astype(np.uint8)])).save("erased.png")
    assert np.array_equal(make("--mask-from", "alpha", photo="erased.png"), DISC)


def test_a_key_colour(make: Any) -> None:
    painted = picture(96, 80)
    painted[DISC] = (250, 5, 250)
    Image.fromarray(painted).save("painted.png")
    assert np.array_equal(make("--key", "#ff00ff", photo="painted.png"), DISC)
    assert not make("--key", "#ff00ff", "--key-tolerance", "4", photo="painted.png").any()
    assert np.array_equal(make("--key", "#ff00ff", "--key-in", "painted.png"), DISC)


def test_a_scribbled_copy(make: Any) -> None:
    painted = picture(96, 80)
    painted[DISC] = (255, 0, 0)
    Image.fromarray(painted).save("painted.jpg", quality=80)
    mask = make("--differs-from", "painted.jpg")
    assert (mask & DISC).sum() > 0.97 * DISC.sum() and mask.mean() < 2 * DISC.mean()
    assert make("--differs-from", "painted.jpg", "--difference", "120").sum() < mask.sum()


def test_annotations(make: Any) -> None:
    Path("labels.json").write_text(json.dumps(coco_of("photo.png", 96, 80)))
    both = make("labels.json")
    assert both[10:20, 20:50].all() and both.sum() == 300 + 100
    assert make("labels.json", "--category", "dog").sum() == 100


def test_annotations_of_a_photo_stored_on_its_side(make: Any) -> None:
    """The photo is turned by its EXIF; its annotations were made before."""
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(picture(96, 80)).save("turned.jpg", exif=exif)
    Path("labels.json").write_text(json.dumps(coco_of("turned.jpg", 96, 80)))
    stored = make("labels.json", photo="turned.jpg")
    assert stored.shape == (96, 80)
    assert stored[20:50, 60:70].all()  # rows 10 to 20 from the top are columns 10 to 20 from the right
    Path("labels.json").write_text(json.dumps(coco_of("turned.jpg", 80, 96)))
    assert make("labels.json", photo="turned.jpg")[10:20, 20:50].all()


def test_cleaning(make: Any) -> None:
    ring = DISC & ~disc(96, 80, (40, 30), 6)
    ring[70, 70] = True
    Image.fromarray(ring).save("ring.png")
    assert np.array_equal(make("ring.png", "--fill-holes", "--drop-specks", "2"), DISC)
    assert np.array_equal(make("ring.png", "--close-gaps", "7", "--drop-specks", "2"), DISC)


def test_standard_input_and_output(moebius: Any, work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for arguments, name in ((("photo.png", "-"), "mask.png"), (("-", "mask.png"), "photo.png")):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(Path(name).read_bytes())))
        done = moebius("mask", "make", *arguments, "-o", "-", "--bits", "1")
        assert (done.code, done.err) == (0, "")
        with Image.open(io.BytesIO(done.out)) as image:
            assert image.mode == "1" and np.array_equal(np.asarray(image), DISC)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_named_pipe(make: Any) -> None:
    """As a shell makes of `moebius mask make photo.png <(draw-mask)`."""
    os.mkfifo("pipe")
    writer = threading.Thread(target=lambda: Path("pipe").write_bytes(Path("mask.png").read_bytes()))
    writer.start()
    assert np.array_equal(make("pipe"), DISC)
    writer.join()


def test_json_report(moebius: Any, work: Path) -> None:
    report = json.loads(moebius("mask", "make", "photo.png", "mask.png", "-o", "m.png", "--json").out)
    assert report == {
        "output": "m.png", "width": 96, "height": 80, "pixels": int(DISC.sum()), "share": float(DISC.mean()),
        "objects": 1,
    }  # fmt: skip


def test_preview(moebius: Any, work: Path) -> None:
    Image.fromarray(picture(1200, 800)).save("large.png")
    boxes = ("--box", "100,100,60,40", "--box", "1000,600,50,50")
    options = ("--max-side", "600", "--grow", "4", "--json")
    done = moebius("mask", "preview", "large.png", *boxes, "-o", "sheet.png", *options)
    assert (done.code, done.err) == (0, "")
    report = json.loads(done.out)
    assert (
        report["pixels"] == 60 * 40 + 50 * 50
        and report["objects"] == 2
        and report["grown"] > report["pixels"]
    )
    crops = [region["box"] for region in report["regions"]]
    assert [region["hole"] for region in report["regions"]] == [[96, 96, 68, 48], [996, 596, 58, 58]]
    with Image.open("sheet.png") as image:
        sheet = np.asarray(image)
    assert sheet.shape[1] == 600 and sheet.shape[0] > 400
    photo = np.asarray(Image.open("large.png").resize((600, 400), Image.Resampling.BOX)).astype(int)
    changed = np.abs(sheet[:400].astype(int) - photo).max(axis=-1) > 60
    assert changed[55:65, 55:75].mean() > 0.6  # inside the first box
    left, top, _, height = crops[1]
    line = sheet[(top + height // 2) // 2, left // 2].astype(int)
    assert np.abs(line - (64, 224, 255)).max() < 3
    assert not changed[20:40, 350:450].any()


def test_preview_shows_what_is_kept(moebius: Any, work: Path) -> None:
    Image.fromarray(np.full((80, 96, 3), 128, np.uint8)).save("photo.png")
    Image.fromarray(np.broadcast_to(np.arange(96) >= 48, (80, 96))).save("keep.png")
    options = ("--grow", "6", "--feather", "6", "-o", "sheet.png", "--overwrite", "--json")
    grown = {}
    for keep in ((), ("--keep", "keep.png")):
        done = moebius("mask", "preview", "photo.png", "mask.png", *keep, *options)
        assert (done.code, done.err) == (0, "")
        grown[keep] = json.loads(done.out)["grown"]
        with Image.open("sheet.png") as image:
            sheet = np.asarray(image)[32:78, 48:94]  # below the crop's label
        assert bool((sheet == 128).all()) == bool(keep), "tints where nothing may change"
    assert grown["--keep", "keep.png"] < grown[()] - 50


def test_preview_of_fills_by_tiles(moebius: Any, work: Path) -> None:
    Image.fromarray(picture(1600, 1200)).save("large.png")
    sheets, box = {}, ("--box", "300,300,700,500")
    for strategy in ("crop", "tiles"):
        options = ("--strategy", strategy, "--max-side", "400", "-o", "sheet.png", "--overwrite", "--json")
        report = json.loads(moebius("mask", "preview", "large.png", *box, *options).out)
        (region,) = report["regions"]
        assert region["scale"] > 1.5 and region["tiles"] == (strategy == "tiles")
        with Image.open("sheet.png") as image:
            sheets[strategy] = np.asarray(image)
    assert not np.array_equal(sheets["crop"], sheets["tiles"]), "the crop's label says how it is filled"


@pytest.mark.parametrize("mode", ["L", "LA", "RGBA", "CMYK", "I;16"])
def test_preview_of_any_photo(moebius: Any, work: Path, mode: str) -> None:
    image = Image.fromarray(picture(96, 80))
    if mode == "I;16":
        image = Image.fromarray(picture(96, 80, channels=1, dtype=np.uint16)[..., 0])
    (image if mode == "I;16" else image.convert(mode)).save("any.tif")
    done = moebius("mask", "preview", "any.tif", "mask.png", "-o", "sheet.png")
    assert (done.code, done.err) == (0, "")
    with Image.open("sheet.png") as sheet:
        assert sheet.mode == "RGB" and sheet.width == 96


def test_preview_of_nothing(moebius: Any, work: Path) -> None:
    done = moebius("mask", "preview", "photo.png", "--key", "#ff00fe", "--key-tolerance", "0", "-o", "-")
    assert done.code == 0 and done.out.startswith(b"\x89PNG")


@pytest.mark.parametrize("command", ["make", "preview"])
def test_wrong_places(moebius: Any, work: Path, command: str) -> None:
    Path("old.png").write_bytes(b"precious")
    for arguments, told in (
        (("-o", "old.png"), "old.png exists already: give --overwrite"),
        (("-o", "mask.jpg"), "mask.jpg: expected a name that ends in .png"),
        (("-o", "nowhere/mask.png"), "expected an existing folder"),
        (("-o", "-", "--json"), "both write to standard output"),
    ):
        done = moebius("mask", command, "photo.png", "mask.png", *arguments)
        assert done.code == 2 and len(done.lines) == 1 and told in done.err
    assert Path("old.png").read_bytes() == b"precious" and not Path("mask.jpg").exists()


def test_preview_needs_a_model_that_is_known(moebius: Any, work: Path) -> None:
    done = moebius("mask", "preview", "photo.png", "mask.png", "-o", "s.png", "--model", "nanno")
    assert done.code == 3 and "did you mean nano?" in done.err and not Path("s.png").exists()
