"""One annotation file for all photos of a batch is read, hashed and parsed once in a run."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path
from typing import Any

import pytest
from made_photos import photo
from quick_model import Folders, quick_model

from moebius.batch import Item, Options, shared
from moebius.batch.hole import hole_of
from moebius.batch.shared import SharedFiles
from moebius.errors import InputError, MaskError
from moebius.imaging import annotation_files

BOX = [5, 5, 10, 10]


def write_coco(folders: Folders, box: list[int] = BOX) -> Path:
    names = sorted(path.name for path in folders.photos.iterdir())
    values = {
        "images": [{"id": n, "file_name": name, "width": 40, "height": 32} for n, name in enumerate(names)],
        "annotations": [{"image_id": n, "bbox": box} for n in range(len(names))],
    }
    path = folders.photos.parent / "coco.json"
    path.write_text(json.dumps(values))
    return path


@pytest.fixture()
def seen(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[Any]]:
    """What was read and what was parsed."""
    calls: dict[str, list[Any]] = {"read": [], "parsed": []}
    read, load = shared.read_bytes, annotation_files.load_annotations
    monkeypatch.setattr(shared, "read_bytes", lambda place: calls["read"].append(place) or read(place))
    monkeypatch.setattr(
        annotation_files, "load_annotations", lambda source: calls["parsed"].append(source) or load(source)
    )
    return calls


@pytest.mark.parametrize("own", [True, False])
def test_one_for_all_is_read_once(folders: Folders, seen: dict[str, list[Any]], own: bool) -> None:
    """As MASKS, or as one more --mask."""
    coco = str(write_coco(folders))
    options = Options() if own else Options(mask={"files": (coco,)})
    records = folders.run(quick_model(), options, masks=coco if own else None, other_masks=True, workers=4)
    assert [record.status for record in records] == ["done"] * 6
    assert len(seen["parsed"]) == 1 and seen["read"].count(coco) == own
    assert {record.mask.place if record.mask else None for record in records} == {coco if own else None}


def test_one_that_changes_is_read_again(tmp_path: Path) -> None:
    files, path = SharedFiles(), tmp_path / "a.json"
    for text, seconds in (("{}", 1), ("{} ", 1), ("{ }", 2)):
        path.write_text(text)
        os.utime(path, (seconds, seconds))
        one, again = files.read(str(path)), files.read(str(path))
        assert one is again and one.data == text.encode()
        assert one.stamp is not None and one.stamp.mtime_ns == seconds * 10**9
    path.unlink()
    with pytest.raises(InputError, match="no such file"):
        files.read(str(path))


def test_mask_images_are_not_held(tmp_path: Path) -> None:
    path = tmp_path / "a.PNG"
    path.write_bytes(b"1")
    files = SharedFiles()
    assert files.read(str(path)) is not files.read(str(path))


def test_options_travel_without_what_they_hold(folders: Folders) -> None:
    options = Options({"seed": 1})
    options.shared.annotations.load(write_coco(folders))
    copy = pickle.loads(pickle.dumps(options))
    assert copy == options and len(copy.shared.annotations) == 0 and "shared" not in repr(options)


def test_large_annotations_are_not_told_to_invert(folders: Folders) -> None:
    data = write_coco(folders, [0, 0, 40, 30]).read_bytes()
    item = Item("000.png", "000.png", "o", "o")
    with pytest.raises(MaskError, match=r"covers 94% of the photo: give --yes to fill that much$"):
        hole_of(photo("RGB", 40, 32), (folders.photos / "000.png").read_bytes(), data, item, Options())
