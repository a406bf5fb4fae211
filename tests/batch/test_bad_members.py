"""Photos, masks and annotations made to do harm: each fails alone, in one line, and the others are finished."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image
from quick_model import add_photo, make_folders, quick_model

from moebius.batch.gather import gather
from moebius.errors import InputError, OutputError


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, *more: bytes, pixels: bytes = b"") -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return (
        b"\x89PNG\r\n\x1a\n"
        + header
        + b"".join(more)
        + chunk(b"IDAT", zlib.compress(pixels))
        + chunk(b"IEND", b"")
    )


def image_bomb() -> bytes:
    """A few bytes that say they are 60,000 x 60,000 pixels."""
    return png(60_000, 60_000)


def text_bomb() -> bytes:
    """A text that unpacks to 200 MB."""
    packer = zlib.compressobj(9)
    packed = b"".join(packer.compress(bytes(10**7)) for _ in range(20)) + packer.flush()
    return png(40, 32, chunk(b"zTXt", b"a\0\0" + packed), pixels=bytes(32 * 121))


def frame_bomb() -> bytes:
    """A GIF of 600 frames of 1,000 x 1,000 pixels in 20 KB."""
    head = b"GIF89a" + struct.pack("<HHBBB", 1000, 1000, 0x80, 0, 0) + bytes(6)
    frame = b"," + struct.pack("<HHHHB", 0, 0, 1, 1, 0) + b"\x02\x02\x44\x01\x00"
    return head + frame * 600 + b";"


def deep_json() -> bytes:
    return b"[" * 200_000


def endless_runs() -> bytes:
    """Run lengths of very many pixels for a photo of few."""
    segmentation = {"size": [32, 40], "counts": [0, 10**15]}
    image = {"id": 1, "file_name": "bad.png", "width": 40, "height": 32}
    annotation = {"image_id": 1, "segmentation": segmentation}
    return json.dumps({"images": [image], "annotations": [annotation]}).encode()


def cut() -> bytes:
    return png(40, 32, pixels=bytes(32 * 121))[:60]


@pytest.mark.parametrize(
    ("photo", "mask", "message"),
    [
        (image_bomb, None, "photo: expected 1 to 200,000,000 pixels, got 60000 x 60000"),
        (text_bomb, None, "photo: damaged or truncated PNG"),
        (cut, None, "photo: damaged or truncated PNG"),
        (frame_bomb, None, "animation: expected up to 400,000,000 pixels in all frames, got 600 of 1000 x 1000"),
        (None, image_bomb, "mask: expected 1 to 200,000,000 pixels, got 60000 x 60000"),
        (None, text_bomb, "mask: damaged or truncated PNG"),
        (None, deep_json, "annotations: expected JSON in UTF-8"),
        (None, endless_runs, "annotations: expected COCO or LabelMe annotations, got a damaged entry"),
    ],
    ids=lambda each: each.__name__ if callable(each) else "",
)  # fmt: skip
def test_the_others_are_finished(
    tmp_path: Path, photo: Callable[[], bytes] | None, mask: Callable[[], bytes] | None, message: str
) -> None:
    folders = make_folders(tmp_path, 2)
    name = "bad.gif" if photo is frame_bomb else "bad.png"
    add_photo(folders, name)
    place = folders.masks / "bad.png"
    if photo is not None:
        (folders.photos / name).write_bytes(photo())
    if mask is not None:
        place.write_bytes(mask())
        if mask in (deep_json, endless_runs):
            place.rename(place.with_suffix(".json"))
    records = {record.name: record for record in folders.run(quick_model())}
    assert {each: record.status for each, record in records.items()} == {
        "000.png": "done", "001.jpg": "done", name: "failed",
    }  # fmt: skip
    error = records[name].error
    assert error is not None and error["message"].startswith(message) and "\n" not in error["message"], error
    assert set(folders.outputs()) == {"000.png", "001.jpg"}
    assert [line["name"] for line in folders.lines() if line["status"] == "failed"] == [name]


def test_photos_of_one_name_are_refused_before_the_work(tmp_path: Path) -> None:
    """As they would share a mask, and a picture."""
    folders = make_folders(tmp_path, 1)
    (folders.photos / "000.webp").write_bytes(b"")
    with pytest.raises(InputError, match=r"photos: expected one for each name, got 000\.png and 000\.webp"):
        gather(folders.request())
    with pytest.raises(OutputError, match=r"expected outputs of different names, got 000\.jpg for both"):
        gather(folders.request(masks=str(folders.masks / "000.png"), format="jpg"))


def test_circles_of_links_end_and_links_to_nowhere_fail_alone(tmp_path: Path) -> None:
    folders = make_folders(tmp_path, 1)
    (folders.photos / "sub").symlink_to(folders.photos, target_is_directory=True)
    (folders.photos / "self.png").symlink_to("self.png")
    Image.new("L", (40, 32), 0).save(folders.masks / "self.png")
    records = folders.run(quick_model(), recursive=True)
    assert [(record.name, record.status) for record in records] == [
        ("000.png", "done"),
        ("self.png", "failed"),
    ]


@pytest.mark.parametrize(
    "photo", ["صورة.png", "照片.webp", "👩‍🎨🎈.jpg", "e\u0301te\u0301 \u202egnp.bmp", "नमस्ते.tif"]
)
def test_names_in_any_script_as_table_and_in_annotations(tmp_path: Path, photo: str) -> None:
    folders = make_folders(tmp_path, 0)
    add_photo(folders, photo)
    image = {"id": 1, "file_name": photo, "width": 40, "height": 32}
    coco = {"images": [image, {**image, "id": 2, "file_name": "b.png"}], "annotations": [
        {"image_id": 1, "bbox": [3, 3, 9, 9]}]}  # fmt: skip
    (tmp_path / "coco.json").write_text(json.dumps(coco, ensure_ascii=False), encoding="utf-8")
    (tmp_path / "t.csv").write_text(f"photo,mask\nphotos/{photo},coco.json\n", encoding="utf-8")
    (record,) = folders.run(quick_model(), photos=str(tmp_path / "t.csv"), masks=None)
    assert record.status == "done" and record.changes is not None and record.changes["changed"] > 0, (
        record.error
    )
    assert set(folders.outputs()) == {f"photos/{photo}"} == {line["name"] for line in folders.lines()}
