"""Animations in a batch: every frame is filled with the same noise, and comes out as one file with one record."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from made_photos import picture
from PIL import Image
from quick_model import Folders, add_photo, item_of, make_folders, quick_model

from moebius.batch import Options, Stopped, fill_item
from moebius.batch.gather import gather
from moebius.imaging import read_frames

FRAMES = [picture(40, 32, seed=seed) // 64 * 64 for seed in range(3)]


def add_animation(folders: Folders, name: str, frames: list[Any] = FRAMES, **options: Any) -> Path:
    add_photo(folders, "made.png", seed=1)
    (folders.masks / "made.png").rename((folders.masks / name).with_suffix(".png"))
    (folders.photos / "made.png").unlink()
    path = folders.photos / name
    first, *others = (Image.fromarray(frame) for frame in frames)
    own = {"format": "PNG" if path.suffix == ".apng" else None, "duration": 70, "loop": 0}
    first.save(path, save_all=True, append_images=others, **{"lossless": True, **own, **options})
    return path


def pixels_of(source: Any) -> list[Any]:
    return [frame.pixels for frame in read_frames(source).frames]


@pytest.mark.parametrize("suffix", ["png", "apng", "webp", "gif"])
def test_every_frame_is_filled(tmp_path: Path, suffix: str) -> None:
    folders, name = make_folders(tmp_path, 1, ("jpg",)), f"waves.{suffix}"
    path = add_animation(folders, name)
    options = Options({"seed": 5, "grow": 1, "feather": 0})
    still, record = folders.run(quick_model(), options)
    assert (still.frames, record.frames, record.status, record.warnings) == (None, 3, "done", ())
    assert set(folders.outputs()) == {"000.jpg", name}
    mask = str((folders.masks / name).with_suffix(".png"))
    model = quick_model()
    before = [frame.copy() for frame in read_frames(path).frames]
    expected = [model(frame, mask, seed=5, grow=1, feather=0).photo.pixels for frame in before]
    assert not np.array_equal(expected[0], before[0].pixels)
    assert [frame.tolist() for frame in pixels_of(folders.out / name)] == [each.tolist() for each in expected]
    line = next(line for line in folders.lines() if line["name"] == name)
    assert line["frames"] == 3 and line["written"]["stored"] == "lossless"
    assert line["changes"]["pixels"] == 3 * 40 * 32 and line["changes"]["outside"] == 0
    assert line["nbytes"] == line["written"]["nbytes"] == (folders.out / name).stat().st_size
    assert line["timings"]["total"] >= line["timings"]["denoise"] > 0
    assert folders.run(quick_model(), options) == [], "it is finished"


def test_other_formats_get_the_first_frame(folders: Folders) -> None:
    for name in ("a.gif", "b.webp", "c.apng"):
        add_animation(folders, name)
    chosen = [item for item in gather(folders.request(format="png")).items if item.name[0] in "abc"]
    assert [item.output_name for item in chosen] == ["a.png", "b.png", "c.png"]
    data: dict[str, bytes] = {}
    records = [
        fill_item(quick_model(), item, Options(), lambda item, _, made: data.update({item.name: made}))
        for item in chosen
    ]
    assert [record.frames for record in records] == [None, None, 3], "an APNG stays one"
    assert ["only the first is used" in "".join(record.warnings) for record in records] == [True, True, False]
    with Image.open(io.BytesIO(data["b.webp"])) as image:
        assert not getattr(image, "is_animated", False)


def test_stills_of_animated_formats_become_png(tmp_path: Path) -> None:
    """And what cannot be looked into fails when it is its turn."""
    folders = make_folders(tmp_path, 0)
    add_animation(folders, "waves.gif")
    for name in ("still.gif", "bad.gif", "other.gif"):
        add_photo(folders, name)
    (folders.photos / "bad.gif").write_bytes(b"GIF89a")
    (folders.photos / "other.gif").write_bytes(add_animation(folders, "x.webp").read_bytes())
    assert [item.output_name for item in gather(folders.request()).items] == [
        "bad.png", "other.png", "still.png", "waves.gif", "x.webp",
    ]  # fmt: skip
    records = folders.run(quick_model())
    assert [record.name for record in records if record.status == "failed"] == ["bad.gif"]


def test_tables_and_urls(tmp_path: Path) -> None:
    folders = make_folders(tmp_path, 1, ("png",))
    path = add_animation(folders, "waves.gif")
    rows = [{"photo": "photos/waves.gif"}, {"photo": "photos/waves.gif", "output": "a/b.gif"},
            {"photo": "photos/000.png", "output": "still.gif"}]  # fmt: skip
    table = tmp_path / "t.jsonl"
    table.write_text("".join(json.dumps({**row, "box": "3,3,6,6"}) + "\n" for row in rows))
    records = folders.run(quick_model(), photos=str(table), masks=None)
    done = {record.output: record.frames for record in records if record.status == "done"}
    assert done == {"photos/waves.gif": 3, "a/b.gif": 3}
    (failed,) = (record.error for record in records if record.error)
    assert (
        failed["message"].startswith("expected a format or suffix of JPEG") and "'.gif'" in failed["message"]
    )
    MemoryFileSystem().pipe_file("/in/waves.gif", path.read_bytes())
    try:
        (item,) = gather(folders.request(photos="memory://in", masks=None, other_masks=True)).items
        assert item.output_name == "waves.gif"
    finally:
        MemoryFileSystem().rm("/in", recursive=True)


def test_transparency_is_filled_in_every_frame(tmp_path: Path) -> None:
    """Each frame's own: here a hole that moves."""
    folders = make_folders(tmp_path, 0)
    frames = []
    for number, frame in enumerate(FRAMES):
        alpha = np.full((32, 40, 1), 255, np.uint8)
        alpha[10:16, 5 + 8 * number : 12 + 8 * number] = 0
        frames.append(np.concatenate([frame, alpha], axis=-1))
    add_animation(folders, "cut.png", frames)
    options = Options({"grow": 0, "feather": 0}, mask={"alpha": True})
    (record,) = folders.run(quick_model(), options, masks=None, other_masks=True)
    assert record.frames == 3, record.error
    filled = [frame.samples() for frame in read_frames(folders.out / "cut.png").frames]
    for before, after in zip(frames, filled, strict=True):
        hole = before[..., 3] == 0
        np.testing.assert_array_equal(after[~hole], before[~hole])
        assert (after[..., 3] == 255).all() and (after[hole] != before[hole]).any()


@pytest.mark.parametrize("suffix", ["png", "gif", "webp"])
def test_stopped_between_frames(folders: Folders, suffix: str) -> None:
    """Also while the encoder asks for the next frame, whatever it makes of errors."""
    name = f"waves.{suffix}"
    add_animation(folders, name)
    written: list[Any] = []
    asked = 0

    def is_stopping() -> bool:
        nonlocal asked
        asked += 1
        return asked > 1

    with pytest.raises(Stopped):
        fill_item(
            quick_model(), item_of(folders, name), Options(), lambda *all: written.append(all), is_stopping
        )
    assert asked == 2 and written == []


def test_damage_further_on_fails_it_alone(folders: Folders) -> None:
    path = add_animation(folders, "waves.png", [picture(40, 32, seed=seed) for seed in range(3)])
    data = bytearray(path.read_bytes())
    at = data.rindex(b"fdAT")
    data[at + 40 : at + 60] = bytes(20)
    path.write_bytes(data)
    records = {record.name: record for record in folders.run(quick_model())}
    assert [name for name, record in records.items() if record.status == "failed"] == ["waves.png"]
    assert set(folders.outputs()) == {path.name for path in folders.photos.iterdir()} - {"waves.png"}


def test_pages_are_no_frames(tmp_path: Path) -> None:
    """A TIFF's first one is filled; its record says that the others are not in the picture."""
    folders = make_folders(tmp_path, 0)
    add_animation(folders, "pages.tif", format="TIFF")
    (record,) = folders.run(quick_model())
    assert record.status == "done" and record.frames is None, record.error
    assert record.warnings == ("photo: has 3 frames, only the first is used",)
