"""Photos in folders as people have them: links in circles, names in any script, the output in the middle."""

from __future__ import annotations

import os
import sys
import uuid
from pathlib import Path

import pytest
from made_photos import picture
from PIL import Image
from quick_model import Folders, add_photo, make_folders, quick_model

from moebius.batch.folders import list_images
from moebius.batch.gather import gather
from moebius.errors import InputError, OutputError

NAMES = (
    "плакат.png",
    "写真 1.jpg",
    "صورة.bmp",
    "a b'c\"d.png",
    "-o.png",
    "%41.png",
    "é.jpg",
    "new\nline.png",
)


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def test_what_is_listed(tmp_path: Path) -> None:
    touch(
        tmp_path,
        "b.JPG",
        "a.png",
        ".hidden.png",
        "notes.txt",
        "no_suffix",
        "d/c.tif",
        ".cache/x.png",
        "d/e/f.webp",
    )
    (tmp_path / "folder.png").mkdir()
    flat, deep = list_images(str(tmp_path)), list_images(str(tmp_path), recursive=True)
    assert (flat.names, flat.ignored) == (("a.png", "b.JPG"), 2)
    assert deep.names == ("a.png", "b.JPG", "d/c.tif", "d/e/f.webp")
    assert (
        list_images(str(tmp_path), recursive=True, skip=[str(tmp_path / "d" / "e")]).names == deep.names[:3]
    )


def test_links_in_a_circle(tmp_path: Path) -> None:
    touch(tmp_path, "top/z/a.png", "outside/b.png")
    top = tmp_path / "top"
    (top / "z" / "up").symlink_to(top)
    (top / "0").symlink_to(top / "z")  # sorts before the folder itself
    (top / "there").symlink_to(tmp_path / "outside")
    (tmp_path / "outside" / "back").symlink_to(top)
    (top / "self").symlink_to(top / "self")
    assert list_images(str(top), recursive=True).names == ("there/b.png", "z/a.png")


def test_linked_files_and_broken_links(tmp_path: Path) -> None:
    touch(tmp_path, "real/a.png", "top/b.png")
    (tmp_path / "top" / "c.png").symlink_to(tmp_path / "real" / "a.png")
    (tmp_path / "top" / "d.png").symlink_to(tmp_path / "nowhere.png")
    assert list_images(str(tmp_path / "top")).names == ("b.png", "c.png", "d.png")


@pytest.mark.parametrize("place", ["missing", "file.png"])
def test_no_folder(place: str, tmp_path: Path) -> None:
    touch(tmp_path, "file.png")
    with pytest.raises(InputError, match=f"{place}: expected a folder, got"):
        list_images(str(tmp_path / place))


def test_names_in_any_script(tmp_path: Path) -> None:
    folders = make_folders(tmp_path, 0)
    for name in NAMES:
        add_photo(folders, name)
    records = folders.run(quick_model())
    assert [(each.name, each.status) for each in records] == [(name, "done") for name in sorted(NAMES)]
    assert set(folders.outputs()) == set(NAMES) == {line["name"] for line in folders.lines()}
    assert "写真" in (folders.out / "manifest.jsonl").read_text(encoding="utf-8")
    assert folders.run(quick_model()) == []


@pytest.mark.skipif(sys.platform in ("darwin", "win32"), reason="names are text on this file system")
def test_names_that_are_no_text(tmp_path: Path) -> None:
    folders = make_folders(tmp_path, 0)
    name = os.fsdecode(b"\xff\xfe caf\xe9.png")
    add_photo(folders, name)
    (record,) = folders.run(quick_model())
    assert (record.name, record.status) == (name, "done")
    assert set(folders.outputs()) == {name} and folders.lines()[0]["output"] == name
    (folders.out / "manifest.jsonl").read_bytes().decode("utf-8")
    assert folders.run(quick_model()) == []


def test_subfolders_are_mirrored(tmp_path: Path) -> None:
    folders = make_folders(tmp_path, 1)
    add_photo(folders, "x/y/b.png")
    add_photo(folders, "x/c.jpg")
    assert len(gather(folders.request()).items) == 1
    assert len(folders.run(quick_model(), recursive=True)) == 3
    assert set(folders.outputs()) == {"000.png", "x/c.jpg", "x/y/b.png"}


@pytest.mark.parametrize("recursive", [True, False])
def test_everything_in_one_folder(tmp_path: Path, recursive: bool) -> None:
    """MASKS and OUT inside PHOTOS are not photos; nor are pictures of an earlier run."""
    folders = make_folders(tmp_path, 3)
    folders.masks.rename(folders.photos / "masks")
    inside = Folders(folders.photos, folders.photos / "masks", folders.photos / "out")
    inside.run(quick_model(), recursive=recursive)
    found = gather(inside.request(recursive=recursive))
    assert len(found.items) == 3 and found.photos_alone == found.masks_alone == ()


def test_masks_beside_photos(tmp_path: Path) -> None:
    folders = make_folders(tmp_path, 2)
    for mask in folders.masks.iterdir():
        mask.rename(folders.photos / f"{mask.stem}_mask.png")
    (folders.photos / "b_mask.png").touch()
    Image.fromarray(picture(40, 32)).save(folders.photos / "c.png")
    found = gather(folders.request(masks=None, mask_suffix="_mask"))
    assert [item.output_name for item in found.items] == ["000.png", "001.jpg"]
    assert (found.photos_alone, found.masks_alone) == (("c.png",), ("b_mask.png",))
    assert found == gather(folders.request(masks=str(folders.photos), mask_suffix="_mask"))


def test_one_mask_for_all(folders: Folders) -> None:
    mask = str(folders.masks / "000.png")
    found = gather(folders.request(masks=mask))
    assert len(found.items) == 6 and {item.mask for item in found.items} == {mask}
    inside = gather(folders.request(photos=str(folders.masks), masks=mask))
    assert len(inside.items) == 5, "it is no photo"


def test_format_for_all(folders: Folders) -> None:
    folders.run(quick_model(), format="png")
    assert set(folders.outputs()) == {f"{number:03}.png" for number in range(6)}
    assert all(data.startswith(b"\x89PNG") for data in folders.outputs().values())


def test_two_photos_of_one_format(tmp_path: Path) -> None:
    folders = make_folders(tmp_path, 0)
    for name in ("a.jpg", "a.png"):
        add_photo(folders, name)
    mask = str(folders.masks / "a.png")
    assert len(gather(folders.request(masks=mask)).items) == 2
    with pytest.raises(
        OutputError, match=r"a.jpg and a.png: expected outputs of different names, got a.png for both"
    ):
        gather(folders.request(masks=mask, format="png"))
    with pytest.raises(InputError, match=r"photos: expected one for each name, got a.jpg and a.png"):
        gather(folders.request())


def test_places_that_make_no_sense(folders: Folders) -> None:
    photos, masks = str(folders.photos), str(folders.masks)
    for changes, message in [
        ({"out": photos}, "OUT: expected another folder than PHOTOS"),
        ({"out": f"{photos}/../photos"}, "OUT: expected another folder than PHOTOS"),
        ({"out": masks}, "OUT: expected another folder than MASKS"),
        ({"masks": None}, "masks: expected a folder or a file of masks, --mask-suffix"),
        ({"masks": photos}, "masks: expected a folder or a file of masks, --mask-suffix"),
        ({"masks": f"{masks}/none"}, "none: no such file or folder"),
        ({"masks": "m" * 300}, "m: no such file or folder"),
        ({"photos": "p" * 300}, "p: expected a folder, got nothing"),
        ({"out": "o" * 300}, r"OUT: expected a folder, got o+ \(File name too long\)"),
        ({"out": f"{photos}/000.png"}, "OUT: expected a folder, got the file"),
        ({"out": f"{photos}/000.png/x"}, r"OUT: expected a folder, got .* \(Not a directory\)"),
        ({"photos": f"{photos}/000.png"}, "PHOTOS: expected a folder or a table"),
        ({"photos": f"{photos}/none"}, "expected a folder, got nothing"),
    ]:
        with pytest.raises(InputError, match=message):
            gather(folders.request(**changes))


def test_urls(folders: Folders, tmp_path: Path) -> None:
    """Photos, masks and pictures in a storage that fsspec knows; the manifest here."""
    pytest.importorskip("fsspec", reason="the extra [ray] is not installed")
    from moebius.batch.files import read_bytes, write_bytes

    top = f"memory://{uuid.uuid4().hex}"
    for folder in (folders.photos, folders.masks):
        for path in folder.iterdir():
            write_bytes(f"{top}/{folder.name}/{path.name}", path.read_bytes())
    write_bytes(f"{top}/photos/.hidden.png", b"")
    places = {"photos": f"{top}/photos/", "masks": f"{top}/masks", "out": f"{top}/out"}
    local = Folders(folders.photos, folders.masks, tmp_path / "local")
    local.run(quick_model())
    assert [record.status for record in folders.run(quick_model(), **places)] == ["done"] * 6
    assert folders.run(quick_model(), **places) == []
    for name, data in local.outputs().items():
        assert read_bytes(f"{top}/out/{name}") == data
