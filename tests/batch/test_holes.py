"""What is filled: by an item's own mask file and boxes, and by what is said for all photos."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from made_photos import photo
from PIL import Image
from quick_model import Folders, item_of, make_folders, quick_model

from moebius.batch import Item, Options, fill_item
from moebius.batch.gather import gather
from moebius.batch.hole import hole_of
from moebius.errors import MaskError
from moebius.imaging import read_photo
from moebius.imaging.arrays import Mask

ITEM = Item("a.png", "a.png", "out/a.png", "a.png")
CORNER = Options(mask={"boxes": ("0,0,8,8",), "files": (), "keep": (), "key": None, "drop_specks": 0})


def hole(folders: Folders, item: Item, options: Options) -> Mask:
    data = None if item.mask is None else Path(item.mask).read_bytes()
    return hole_of(photo("RGB", 40, 32), (folders.photos / "000.png").read_bytes(), data, item, options)[
        1
    ].mask


def test_sources_are_put_together(folders: Folders) -> None:
    item = item_of(folders, "000.png", boxes=("30,20,4,4",))
    all_three = hole(folders, item, CORNER)
    assert all_three[:8, :8].all() and all_three[20:24, 30:34].all() and all_three[10, 12]
    alone = hole(folders, item_of(folders, "000.png"), Options())
    assert (all_three & ~alone).sum() > 16 and not (alone & ~all_three).any()
    shared = Options(
        mask={"files": (str(folders.masks / "001.png"),), "keep": (str(folders.masks / "000.png"),)}
    )
    other = hole(folders, item_of(folders, "001.jpg"), Options())
    assert (hole(folders, item_of(folders, "000.png"), shared) == other & ~alone).all()


def test_no_source_and_bad_ones(folders: Folders) -> None:
    with pytest.raises(MaskError, match="mask: expected a mask file, --box, "):
        hole(folders, ITEM, Options())
    for box in ("1,2,3", "a,b,c,d", "900,900,5,5"):
        record = fill_item(
            quick_model(), item_of(folders, "000.png", boxes=(box,)), Options(), lambda *_: None
        )
        assert record.error is not None and record.error["kind"] == "MaskError"


def test_settings_are_for_the_mask_file(folders: Folders) -> None:
    item = item_of(folders, "000.png")
    plain, inverted = (
        hole(folders, item, Options({"invert": turn}, allow_large=True)) for turn in (False, True)
    )
    assert (plain == ~inverted).all()
    Image.new("L", (20, 16), 255).save(str(item.mask))
    with pytest.raises(MaskError, match="expected the photo's size"):
        hole(folders, item, Options())
    assert hole(folders, item, Options({"fit_mask": True}, allow_large=True)).all()


def test_no_mask_files_at_all(folders: Folders) -> None:
    assert pickle.loads(pickle.dumps(CORNER)) == CORNER
    records = folders.run(quick_model(), CORNER, masks=None, other_masks=True)
    assert [record.status for record in records] == ["done"] * 6 and records[0].mask is None
    assert all(item.mask is None for item in gather(folders.request(masks=None, other_masks=True)).items)
    assert folders.run(quick_model(), CORNER, masks=None, other_masks=True) == []
    same = Options(mask={"boxes": ("0,0,8,8",)})
    assert folders.run(quick_model(), same, masks=None, other_masks=True) == []
    plan, _ = folders.plan(quick_model(), Options(mask={"boxes": ("0,0,9,8",)}), masks=None, other_masks=True)
    assert len(plan.changed) == 6


def test_transparent_parts_become_opaque(tmp_path: Path) -> None:
    folders = make_folders(tmp_path, 1, ("png",))
    pixels = np.full((32, 40, 4), 200, np.uint8)
    pixels[..., 3] = 255
    pixels[10:20, 10:20, 3] = 0
    Image.fromarray(pixels).save(folders.photos / "000.png")
    options = Options(mask={"alpha": True})
    (record,) = folders.run(quick_model(), options, masks=None, other_masks=True)
    assert record.status == "done", record.error
    assert (np.asarray(Image.open(folders.out / "000.png"))[..., 3] == 255).all()


def test_annotations(folders: Folders) -> None:
    """A LabelMe file for each photo; one COCO file for all."""
    outline = [[5, 5], [15, 5], [15, 15], [5, 15]]
    for path in sorted(folders.photos.iterdir()):
        mask = folders.masks / f"{path.stem}.png"
        mask.unlink()
        shape = {"label": "cat", "shape_type": "polygon", "points": outline}
        labelled = {"imageWidth": 40, "imageHeight": 32, "imagePath": path.name, "shapes": [shape]}
        mask.with_suffix(".json").write_text(json.dumps(labelled))
    assert [record.status for record in folders.run(quick_model())] == ["done"] * 6
    names = sorted(path.name for path in folders.photos.iterdir())
    coco = {
        "images": [{"id": n, "file_name": name, "width": 40, "height": 32} for n, name in enumerate(names)],
        "categories": [{"id": 1, "name": "cat"}],
        "annotations": [
            {
                "id": n,
                "image_id": n,
                "category_id": 1,
                "iscrowd": 0,
                "segmentation": [[x for p in outline for x in p]],
            }
            for n in range(6)
        ],
    }
    (folders.photos.parent / "coco.json").write_text(json.dumps(coco))
    again = Folders(folders.photos, folders.photos.parent / "coco.json", folders.out.parent / "again")
    assert [record.status for record in again.run(quick_model())] == ["done"] * 6
    assert again.outputs() == folders.outputs()


@pytest.mark.parametrize("grow", [None, 3])
def test_what_is_kept_stays(folders: Folders, grow: int | None) -> None:
    kept = np.broadcast_to(np.arange(40) >= 12, (32, 40))
    Image.fromarray(kept).save(folders.photos.parent / "keep.png")
    options = Options({"grow": grow, "feather": 4}, mask={"keep": (str(folders.photos.parent / "keep.png"),)})
    pictures: list[bytes] = []
    item = item_of(folders, "000.png")
    record = fill_item(quick_model(), item, options, lambda _item, _record, data: pictures.append(data))
    assert record.changes is not None and record.changes["outside"] == 0 < record.changes["changed"]
    before, after = read_photo(item.photo).pixels, read_photo(pictures[0]).pixels
    assert np.array_equal(before[kept], after[kept]) and not np.array_equal(before, after)
