"""Sources of every kind, whole and broken."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from sample_photos import box_mask, encoded, make_folder, make_list, make_shard, photo_members, pixels

from moebius.errors import InputError, MaskError, PhotoError
from moebius.training.data.files import open_list
from moebius.training.data.shards import OPEN_FILES, open_shards
from moebius.training.data.sources import Source, open_sources, split


def keys(source: Source) -> list[str]:
    return [source.key(i) for i in range(len(source))]


def test_a_folder(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "photos", 5)
    (folder / "notes.txt").write_text("no photo")
    (folder / ".hidden.png").write_bytes(b"?")
    (folder / "photo000.mask.png").write_bytes(encoded(box_mask()))
    source = open_sources([folder])
    expected = ["photo000.png", "photo001.png", "photo002.png", "photo004.png", "inside/photo003.png"]
    assert keys(source) == sorted(expected)
    assert (
        source.window is None
        and len(source.foreground) == 0
        and source.background.tolist() == [0, 1, 2, 3, 4]
    )
    annotated = keys(source).index("photo000.png")
    record = source.record(annotated)
    assert record.photo == (folder / "photo000.png").read_bytes() and record.category == "background"
    assert record.mask == source.mask(annotated) == (folder / "photo000.mask.png").read_bytes()
    assert source.record(annotated + 1).mask is None


def test_a_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make_list(tmp_path / "lists", 4, 2)
    source = open_sources([path])
    assert keys(source) == [f"p{i}.png" for i in range(6)]
    assert source.foreground.tolist() == [4, 5] and source.background.tolist() == [0, 1, 2, 3]
    assert source.record(5).category == "foreground" and source.record(0).mask is None
    assert source.record(1).mask == (tmp_path / "lists" / "m1.png").read_bytes()
    elsewhere = tmp_path / "elsewhere.jsonl"  # beside it is nothing: the working directory has them
    elsewhere.write_text(json.dumps({"image": "p0.png", "prompt": "background"}))
    monkeypatch.chdir(tmp_path / "lists")
    assert open_sources([elsewhere]).record(0).photo == (tmp_path / "lists" / "p0.png").read_bytes()


def test_shards(tmp_path: Path) -> None:
    members = photo_members(range(4)) | {
        "b.object.png": b"another extension is passed over",
        "sub/a.jpg": encoded(pixels(9), "JPEG"),
        "sub/a.mask.png": encoded(box_mask()),
        "sub/a.json": json.dumps({"prompt": "foreground"}).encode(),
        "key002.json": json.dumps({"source": "somewhere"}).encode(),
    }
    make_shard(tmp_path / "s" / "one.tar", members)
    make_shard(tmp_path / "s" / "two.tar", photo_members(range(4, 6)))
    source = open_sources([tmp_path / "s"])
    assert keys(source) == ["key000", "key001", "key002", "key003", "sub/a", "key004", "key005"]
    assert source.foreground.tolist() == [4] and source.window is not None
    for _ in range(2):  # in any order, again and again
        for i, name in ((6, "key005.webp"), (0, "key000.webp"), (4, "sub/a.jpg")):
            assert source.record(i).photo == (members | photo_members(range(4, 6)))[name]
    assert source.mask(4) == members["sub/a.mask.png"] and source.mask(0) is None
    assert source.record(4).category == "foreground" and source.record(2).category == "background"
    single = open_sources([tmp_path / "s" / "two.tar"])
    assert keys(single) == ["key004", "key005"]


def test_sources_travel_as_paths(tmp_path: Path) -> None:
    make_shard(tmp_path / "s.tar", photo_members(range(3)))
    source = open_sources([tmp_path / "s.tar", make_folder(tmp_path / "f", 3), make_list(tmp_path / "l")])
    before = source.record(1)
    data = pickle.dumps(source)
    assert len(data) < 20_000
    again: Source = pickle.loads(data)
    assert keys(again) == keys(source) and again.record(1) == before
    assert again.foreground.tolist() == source.foreground.tolist()


def test_many_shards_share_few_open_files(tmp_path: Path) -> None:
    photo = photo_members([0])["key000.webp"]
    count = OPEN_FILES + 6
    paths = [make_shard(tmp_path / f"{i:03d}.tar", {f"k{i}.webp": photo}) for i in range(count)]
    source = open_shards(paths)
    assert all(source.record(i % count).photo == photo for i in range(2 * count))
    assert len(source._files._open) == OPEN_FILES


def test_equal_keys_are_told_apart(tmp_path: Path) -> None:
    folders = [make_folder(tmp_path / name, 3, first=first) for name, first in (("a", 0), ("b", 0), ("c", 2))]
    source = open_sources(folders)
    assert keys(source) == [
        "photo000.png", "photo001.png", "photo002.png",
        "photo000.png#2", "photo001.png#2", "photo002.png#2",
        "inside/photo003.png", "photo002.png#3", "photo004.png",
    ]  # fmt: skip
    assert len({source.record(i).key for i in range(len(source))}) == len(source)


def test_a_split_depends_on_keys_alone(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "photos", 60)
    source = open_sources([folder])
    train, held = split(source, 0.3)
    assert sorted(keys(train) + keys(held)) == keys(source) and 6 <= len(held) <= 32
    more = open_sources([make_list(tmp_path / "more"), folder])
    assert set(keys(held)) <= set(keys(split(more, 0.3)[1])) and set(keys(train)) <= set(
        keys(split(more, 0.3)[0])
    )
    again = open_sources([folder, folder])
    for part in split(again, 0.3):
        assert {key.removesuffix("#2") for key in keys(part)} in (set(keys(train)), set(keys(held)))
    everything, nothing = split(source, 0.0)
    assert keys(everything) == keys(source) and len(nothing) == 0
    assert [len(part) for part in split(open_sources([make_folder(tmp_path / "few", 4)]), 0.01)] == [3, 1]
    objects = open_sources([make_list(tmp_path / "list", 6, 6)])
    for part in split(objects, 0.5):
        assert len(part.foreground) + len(part.background) == len(part)
        assert all(part.record(int(i)).category == "foreground" for i in part.foreground)


def write(text: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        (folder / "list.jsonl").write_text(text)
        return folder / "list.jsonl"

    return make


def shard(**members: bytes) -> Callable[[Path], Path]:
    named = {name.replace("__", "."): data for name, data in members.items()}
    return lambda folder: make_shard(folder / "s.tar", named)


def nothing_there(folder: Path) -> Path:
    return folder / "missing"


def empty(folder: Path) -> Path:
    return folder


def unknown(folder: Path) -> Path:
    (folder / "photos.zip").write_bytes(b"PK")
    return folder / "photos.zip"


def orphan(folder: Path) -> Path:
    (folder / "a.mask.png").write_bytes(encoded(box_mask()))
    return folder


def unreadable(folder: Path) -> Path:
    for i in range(3):
        (folder / f"{i}.jpg").write_bytes(b"not a photo")
    return folder


def compressed(folder: Path) -> Path:
    (folder / "s.tar").write_bytes(b"\x1f\x8b" + bytes(600))
    return folder / "s.tar"


def cut_off(folder: Path) -> Path:
    path = make_shard(folder / "s.tar", photo_members(range(3)))
    path.write_bytes(path.read_bytes()[:1000])
    return path


PNG = encoded(pixels(0))
GOOD = '{"image": "a.png", "prompt": "background"}\n'


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            nothing_there,
            r"missing: expected a folder, a \.jsonl list or a \.tar shard of photos, got nothing there",
        ),
        (empty, r"expected images \(.*\) or \.tar shards, got none"),
        (unknown, r"photos\.zip: expected a folder, .*, got another file"),
        (orphan, r"a\.mask\.png: expected a photo a\.\* beside the mask, got none"),
        (unreadable, r"expected photos, got 3 files of which none of 3 can be read \(photo: not an image"),
        (compressed, r"s\.tar: expected an uncompressed tar shard, got: "),
        (cut_off, r"s\.tar: expected an uncompressed tar shard, got: "),
        (write(GOOD + "{'image': 1}\n"), r"list\.jsonl:2: expected JSON, got \"\{'image': 1\}\""),
        (write("[3]\n"), r"list\.jsonl:1: expected an object with image and prompt, got list"),
        (
            write('{"image": "a", "prompt": "sky"}'),
            r":1: prompt: expected background or foreground, got 'sky'",
        ),
        (write('{"image": "a"}'), r":1: prompt: expected background or foreground, got None"),
        (write('{"image": 3, "prompt": "background"}'), r":1: image: expected a path, got 3"),
        (write('{"image": "a", "prompt": "foreground"}'), r":1: mask: expected one, .*, got none"),
        (write("\n\n"), r"list\.jsonl: expected JSON lines that name photos, got an empty file"),
        (shard(a__mask__png=PNG, b__png=PNG), r"s\.tar: a\.mask\.png: expected a photo of that key"),
        (shard(a__png=PNG, a__jpg=PNG), r"s\.tar: a: expected one photo, got png and jpg"),
        (shard(a__png=PNG, a__json=b"{"), r"s\.tar: a\.json: expected JSON, got b'\{'"),
        (shard(a__png=PNG, a__json=b"[]"), r"s\.tar: a\.json: expected an object, got list"),
        (
            shard(a__png=PNG, a__json=b'{"prompt": "x"}'),
            r"s\.tar: a: prompt: expected background or foreground",
        ),
        (
            shard(a__png=PNG, a__json=b'{"prompt": "foreground"}'),
            r"s\.tar: a: expected a\.mask\.png, .* got none",
        ),
        (
            shard(a__txt=b""),
            r"s\.tar: expected photos named KEY\.jpg, \.png or \.webp in the shard, got none",
        ),
    ],
)
def test_what_is_refused(make: Callable[[Path], Path], message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message) as caught:
        open_sources([make(tmp_path)])
    assert "\n" not in str(caught.value)


def test_no_paths() -> None:
    with pytest.raises(InputError, match="expected at least one folder"):
        open_sources([])


def test_files_that_go_away(tmp_path: Path) -> None:
    source = open_list(make_list(tmp_path / "l", 2, 1))
    (tmp_path / "l" / "p0.png").unlink()
    (tmp_path / "l" / "m2.png").unlink()
    with pytest.raises(PhotoError, match=r"photo .*p0\.png: cannot be read"):
        source.record(0)
    with pytest.raises(MaskError, match=r"mask .*m2\.png: cannot be read"):
        source.record(2)
    path = make_shard(tmp_path / "s.tar", photo_members(range(2)))
    shards = open_shards([path])
    path.write_bytes(path.read_bytes()[:700])
    with pytest.raises(PhotoError, match=r"photo key001 in .*s\.tar: expected \d+ bytes, got 0"):
        shards.record(1)
    path.unlink()
    with pytest.raises(PhotoError, match=r"photo key000 in .*s\.tar: cannot be read"):
        open_shards_again(shards).record(0)


def open_shards_again(source: Source) -> Source:
    copy: Source = pickle.loads(pickle.dumps(source))
    return copy


def test_an_index_is_lean(tmp_path: Path) -> None:
    source = open_shards([make_shard(tmp_path / "s.tar", photo_members(range(50)))])
    assert source._places.dtype == np.int64 and source._places.nbytes + len(source._keys) < 50 * 60
